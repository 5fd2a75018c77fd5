"""Prompts placed with the mouse in the real views."""

from __future__ import annotations

import math
from typing import Any

import slicer

from .runner import Checks, require

checks = Checks("Prompts in the views")
check = checks.check
PLANES = {"Red": "axial", "Green": "coronal", "Yellow": "sagittal"}
_PIXEL_MM = 1.5  # a click lands on a pixel of the view, not on the point that was asked for


def _near(first: Any, second: Any, tolerance: float = _PIXEL_MM) -> bool:
    return math.dist(first, second) <= tolerance


@check("Clicks in the three slice views place points with the plane of the view")
def points(site: Any) -> str:
    site.start()
    segment = site.add_segment("target")
    wanted = {"Red": (24, 24, 12), "Green": (28, 22, 12), "Yellow": (20, 26, 13)}
    site.tool("positive")
    for view, ijk in wanted.items():
        site.click_at(view, site.ras(ijk))
        site.settle()
    placed = site.prompts(segment)
    require(len(placed) == 3, f"{len(placed)} prompts after 3 clicks")
    for prompt, (view, ijk) in zip(placed, wanted.items(), strict=True):
        require(prompt.plane == PLANES[view], f"the plane of {view} is said to be {prompt.plane}")
        require(_near(prompt.ras, site.ras(ijk)), f"{view}: {prompt.ras} instead of {site.ras(ijk)}")
    require(site.mask(segment).any(), "the points were not answered")
    return f"{int(site.mask(segment).sum())} voxels"


@check("The point tool stays after a click, and its button with it")
def point_tool_stays(site: Any) -> None:
    site.start()
    site.add_segment("target")
    site.tool("positive")
    site.click_at("Red", site.ras((24, 24, 12)))
    site.settle()
    require(site.workbench.is_placing(), "placing ended after one point")
    require(site.ui.positiveTool.checked, "the button is up")
    site.tool("positive")
    require(not site.workbench.is_placing(), "the second press of the button does not end placing")


@check("A negative point takes voxels away")
def negative(site: Any) -> None:
    site.start()
    segment = site.add_segment("target")
    site.point_at(segment, (24, 24, 12))
    before = int(site.mask(segment).sum())
    site.tool("negative")
    site.click_at("Red", site.ras((28, 24, 12)))
    site.settle()
    require(0 < site.mask(segment).sum() < before, f"{before} voxels before, {site.mask(segment).sum()} after")
    require(not site.prompts(segment)[-1].positive, "the prompt is positive")


@check("Two clicks place a box in the slice, then the tool ends")
def box(site: Any) -> str:
    site.start()
    segment = site.add_segment("target")
    site.tool("box")
    low, high = (14, 14, 12), (32, 34, 12)
    site.click_at("Red", site.ras(low))
    site.click_at("Red", site.ras(high))
    site.settle()
    placed = site.prompts(segment)
    require(len(placed) == 1 and placed[0].kind == "box", f"prompts: {[prompt.kind for prompt in placed]}")
    require(placed[0].plane == "axial", f"the plane is {placed[0].plane}")
    found = sorted((placed[0].corner_a, placed[0].corner_b))
    wanted = sorted((site.ras(low), site.ras(high)))
    require(all(_near(a, b, 2.5) for a, b in zip(found, wanted, strict=True)), f"corners {found} instead of {wanted}")
    require(not site.workbench.is_placing() and not site.ui.boxTool.checked, "the tool is still on")
    slices = site.mask(segment).any(axis=(1, 2)).nonzero()[0].tolist()
    require(slices == [12], f"the mask is on the slices {slices}")
    return f"{int(site.mask(segment).sum())} voxels on slice 12"


def _curve(site: Any, tool: str, kind: str) -> Any:
    site.start()
    segment = site.add_segment("target")
    site.tool(tool)
    corners = [(18, 18, 12), (30, 18, 12), (30, 30, 12), (18, 30, 12)]
    for ijk in corners:
        site.click_at("Red", site.ras(ijk))
    require(site.prompts(segment) == (), "the curve was taken before it was finished")
    site.end_curve("Red", site.ras(corners[-1]))
    site.settle()
    placed = site.prompts(segment)
    require(len(placed) == 1 and placed[0].kind == kind, f"prompts: {[prompt.kind for prompt in placed]}")
    require(len(placed[0].points) >= len(corners), f"{len(placed[0].points)} points")
    require(not site.workbench.is_placing(), "the tool is still on")
    require(site.mask(segment).any(), "it was not answered")
    return placed[0]


@check("A right click ends a scribble")
def scribble(site: Any) -> str:
    return f"{len(_curve(site, 'scribble', 'scribble').points)} points"


@check("A right click closes a lasso")
def lasso(site: Any) -> str:
    return f"{len(_curve(site, 'lasso', 'polygon').points)} points"


@check("The crosshair tells which slice view the mouse is in")
def cursor(site: Any) -> None:
    from MoESegLib.mrml.views import plane_under_cursor

    site.start()
    for view, plane in PLANES.items():
        site.move_to(view, site.ras((24, 24, 12)))
        told = plane_under_cursor(slicer.mrmlScene, site.workbench.session.volume)
        require(told == plane, f"in {view} it tells {told}")


@check("Dragging a point moves its prompt and answers anew")
def drag(site: Any) -> None:
    site.start()
    segment = site.add_segment("target")
    site.point_at(segment, (20, 24, 12))
    before = site.mask(segment)
    node = site.workbench.session.nodes.nodes(segment)[0]
    site.drag_point("Red", node, 0, site.ras((27, 24, 12)))
    site.settle()
    placed = site.prompts(segment)
    require(len(placed) == 1, f"{len(placed)} prompts after dragging one")
    require(_near(placed[0].ras, site.ras((27, 24, 12)), 2.5), f"it is at {placed[0].ras}")
    require((site.mask(segment) != before).any(), "the mask did not follow")


@check("Jump to shows the slice of a prompt in all views")
def jump(site: Any) -> None:
    site.start()
    segment = site.add_segment("target")
    site.point_at(segment, (24, 24, 17))
    site.move_to("Red", site.ras((24, 24, 5)))
    site.ui.promptTable.selectRow(0)
    site.ui.jumpButton.click()
    site.pause(0.1)
    red = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode()
    offset = red.GetSliceToRAS().GetElement(2, 3)
    require(abs(offset - site.ras((24, 24, 17))[2]) < 1.0, f"the axial slice is at {offset:.1f} mm")


@check("Every click is a new lesion in many-lesions mode")
def lesions(site: Any) -> str:
    site.start()
    site.ui.lesionsCheckBox.click()
    site.tool("positive")
    for ijk in ((20, 24, 12), (30, 24, 12)):
        site.click_at("Red", site.ras(ijk))
        site.settle()
    segmentation = site.workbench.parameters.segmentation.GetSegmentation()
    names = [segmentation.GetNthSegment(index).GetName() for index in range(segmentation.GetNumberOfSegments())]
    site.ui.lesionsCheckBox.click()
    require(names == ["Lesion 1", "Lesion 2"], f"segments: {names}")
    return f"{site.ui.lesionTable.rowCount} rows in the table"
