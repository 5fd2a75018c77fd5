"""Markups made elsewhere become prompts: point lists, ROI, plane, curves, whatever the grid."""

from __future__ import annotations

import numpy as np
import pytest
import vtk
from fakes import blob_volume
from mrml_tools import LEFT_HANDED, OBLIQUE, SHEARED

from MoESegLib.core.errors import PromptError
from MoESegLib.core.prompts import BoxPrompt, PointPrompt, PolygonPrompt, ScribblePrompt
from MoESegLib.core.volume import Volume
from MoESegLib.mrml.prompt_nodes import PromptNodes
from MoESegLib.mrml.prompt_sources import prompts_from_markups

GRIDS = [None, OBLIQUE, LEFT_HANDED, SHEARED]


@pytest.fixture(params=GRIDS, ids=["plain", "oblique", "left-handed", "sheared"])
def volume(request) -> Volume:
    return blob_volume(ijk_to_ras=request.param)


@pytest.fixture
def markups(scene, volume):
    """Markups of a class with control points at these voxels."""

    def make(name: str, *ijk):
        node = scene.AddNewNodeByClass(name)
        for point in ijk:
            node.AddControlPointWorld(vtk.vtkVector3d(*volume.to_ras(point)))
        return node

    return make


def test_a_point_list_gives_points_inside(markups, volume):
    node = markups("vtkMRMLMarkupsFiducialNode", (20, 20, 4), (24, 18, 5))
    prompts = prompts_from_markups(node, volume, "s")
    assert all(isinstance(prompt, PointPrompt) and prompt.positive for prompt in prompts)
    assert np.allclose([p.ras for p in prompts], volume.to_ras([(20, 20, 4), (24, 18, 5)]))


def test_curves_give_a_scribble_and_an_outline(markups, volume):
    corners = ((10, 10, 4), (30, 10, 4), (30, 28, 4))
    scribble = prompts_from_markups(markups("vtkMRMLMarkupsCurveNode", *corners), volume, "s")
    outline = prompts_from_markups(markups("vtkMRMLMarkupsClosedCurveNode", *corners), volume, "s")
    assert isinstance(scribble[0], ScribblePrompt) and isinstance(outline[0], PolygonPrompt)
    assert np.allclose(outline[0].ras_points, volume.to_ras(corners))


def test_a_roi_gives_the_smallest_box_along_the_voxel_axes(markups, volume):
    node = markups("vtkMRMLMarkupsROINode")
    node.SetCenterWorld(volume.to_ras((24, 20, 4)))
    node.SetSizeWorld(12.0, 8.0, 6.0)
    (prompt,) = prompts_from_markups(node, volume, "s")
    assert isinstance(prompt, BoxPrompt) and prompt.plane is None
    low, high = np.sort(volume.ras_to_ijk([prompt.corner_a, prompt.corner_b]), axis=0)
    signs = np.array([[x, y, z] for x in (-6, 6) for y in (-4, 4) for z in (-3, 3)])
    corners = volume.ras_to_ijk(volume.to_ras((24, 20, 4)) + signs)
    assert np.allclose(low, corners.min(axis=0), atol=1e-4) and np.allclose(high, corners.max(axis=0), atol=1e-4)


def test_a_plane_gives_a_flat_box_in_the_nearest_slice(markups, volume):
    node = markups("vtkMRMLMarkupsPlaneNode")
    directions = volume.ijk_to_ras[:3, :3] / np.linalg.norm(volume.ijk_to_ras[:3, :3], axis=0)
    normal = np.cross(directions[:, 0], directions[:, 1])
    node.SetOriginWorld(volume.to_ras((24, 20, 4.2)))
    node.SetNormalWorld(normal / np.linalg.norm(normal))
    node.SetSizeWorld(14.0, 10.0)
    (prompt,) = prompts_from_markups(node, volume, "s")
    low, high = np.sort(volume.ras_to_ijk([prompt.corner_a, prompt.corner_b]), axis=0)
    axis = volume.axis_of(prompt.plane)
    assert axis == int(np.argmax(np.abs(directions.T @ normal)))
    assert low[axis] == pytest.approx(high[axis]) and low[axis] == pytest.approx(round(low[axis]))
    middle = (low + high) / 2
    others = [other for other in range(3) if other != axis]
    assert np.allclose(middle[others], np.array((24, 20, 4.2))[others], atol=1e-3)
    assert (high - low)[others].min() > 2


@pytest.mark.parametrize("name", ["vtkMRMLMarkupsFiducialNode", "vtkMRMLMarkupsROINode", "vtkMRMLMarkupsPlaneNode"])
def test_markups_without_points_are_refused(markups, volume, name: str):
    with pytest.raises(PromptError, match="no points yet"):
        prompts_from_markups(markups(name), volume, "s")


def test_other_markups_and_our_own_prompts_are_refused(scene, markups, volume):
    with pytest.raises(PromptError, match="no point list"):
        prompts_from_markups(markups("vtkMRMLMarkupsAngleNode"), volume, "s")
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    nodes = PromptNodes(scene, segmentation, lambda: None, lambda: volume)
    with pytest.raises(PromptError, match="prompt already"):
        prompts_from_markups(nodes.new_node("s", "liver", "point+"), volume, "s")
    nodes.close()
