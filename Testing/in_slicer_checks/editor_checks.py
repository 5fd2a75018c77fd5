"""Prompts and the embedded Segment Editor: one undo stack, masking, overlays in the views."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from . import mouse
from .runner import Checks, Skipped, require

checks = Checks("Segment Editor and overlays")
check = checks.check


def _stroke(site: Any, segment: str, extent: tuple[int, int, int, int, int, int]) -> None:
    """A box of voxels added as a brush does it: a state for undo through the widget, then the change."""
    from MoESegLib.core.results import MaskPatch
    from MoESegLib.mrml.volumes import local_ijk_to_ras
    from MoESegLib.mrml.writer import oriented_image

    parameters = site.workbench.parameters
    shape = (extent[5] - extent[4] + 1, extent[3] - extent[2] + 1, extent[1] - extent[0] + 1)
    image = oriented_image(MaskPatch(extent, np.ones(shape, np.uint8)), local_ijk_to_ras(parameters.volume))
    site.ui.segmentEditor.saveStateForUndo()
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    logic.SetBinaryLabelmapToSegment(image, parameters.segmentation, segment, logic.MODE_MERGE_MAX, image.GetExtent())
    site.settle()


@check("Prompts and brush strokes share the editor's undo stack")
def shared_undo(site: Any) -> str:
    site.start()
    segment = site.add_segment("target")
    states = [site.state()]
    site.point_at(segment, (24, 24, 12))
    states.append(site.state())
    _stroke(site, segment, (2, 6, 2, 6, 12, 12))
    states.append(site.state())
    site.point_at(segment, (30, 24, 12))
    states.append(site.state())
    require(len({repr(state) for state in states}) == 4, "two of the four states are equal")
    for step, expected in enumerate(reversed(states[:-1]), 1):
        site.ui.undoButton.click()
        site.settle()
        require(site.state() == expected, f"undo {step} brings back something else")
    for step, expected in enumerate(states[1:], 1):
        site.ui.redoButton.click()
        site.settle()
        require(site.state() == expected, f"redo {step} brings back something else")
    return "3 steps back and forth"


@check("Undo of the editor itself takes a prompt back, too")
def editor_undo(site: Any) -> None:
    site.start()
    segment = site.add_segment("target")
    site.point_at(segment, (24, 24, 12))
    site.ui.segmentEditor.undo()
    site.settle()
    require(not site.mask(segment).any(), "the voxels are still there")
    require(site.prompts(segment) == (), "the prompt is still there")
    require(site.ui.promptTable.rowCount == 0, "the list still shows the prompt")


@check("A stroke of the real Paint brush is undone by the panel", application=True)
def paint(site: Any) -> str:
    site.start()
    segment = site.add_segment("target")
    editor = site.ui.segmentEditor
    if "Paint" not in list(editor.availableEffectNames()):
        raise Skipped("the editor has no Paint effect here")
    site.point_at(segment, (24, 24, 12))
    before = site.state()
    editor.setCurrentSegmentID(segment)
    editor.setActiveEffectByName("Paint")
    effect = editor.activeEffect()
    effect.setCommonParameter("BrushDiameterIsRelative", 0)
    effect.setCommonParameter("BrushAbsoluteDiameter", 6)
    site.click_at("Red", site.ras((4, 4, 12)))
    editor.setActiveEffect(None)
    site.settle()
    painted = int(site.mask(segment)[12, 2:7, 2:7].sum())
    require(painted > 0, "the brush painted nothing; is the view large enough on the screen?")
    site.ui.undoButton.click()
    site.settle()
    require(site.state() == before, "undo brought back something else")
    return f"{painted} voxels painted"


@check("A locked segment keeps every voxel")
def locked(site: Any) -> None:
    site.start()
    first = site.add_segment("first")
    site.point_at(first, (24, 24, 12))
    before = site.mask(first)
    site.ui.acceptButton.click()
    site.pause(0.05)
    require(site.workbench.is_locked(first), "Accept and lock does not lock")
    second = site.add_segment("second")
    site.point_at(second, (26, 24, 12))
    require(site.mask(second).any(), "the second segment is empty")
    require((site.mask(first) == before).all(), "the locked segment was changed")


@check("Overlap is allowed or overwritten as chosen")
def overlap(site: Any) -> None:
    for mode, shared in (("none", True), ("visible", False)):
        site.start()
        first = site.add_segment("first")
        site.workbench.overwrite_mode = mode
        site.point_at(first, (24, 24, 12))
        second = site.add_segment("second")
        site.point_at(second, (26, 24, 12))
        both = bool((site.mask(first) & site.mask(second)).any())
        require(both == shared, f"mode {mode!r}: segments {'overlap' if both else 'do not overlap'}")
    site.workbench.overwrite_mode = "visible"


@check("A known name gets its SNOMED CT code, which Slicer's terminologies read", application=True)
def terminology(site: Any) -> str:
    from MoESegLib.mrml.segmentations import get_tag, segment_of

    site.start()
    segment = segment_of(site.workbench.parameters.segmentation, site.add_segment("liver"))
    text = get_tag(segment, slicer.vtkSegment.GetTerminologyEntryTagName())
    entry = slicer.vtkSlicerTerminologyEntry()
    require(slicer.modules.terminologies.logic().DeserializeTerminologyEntry(text, entry), f"not read: {text}")
    require(entry.GetTypeObject().GetCodeMeaning() == "Liver", f"it reads as {entry.GetTypeObject().GetCodeMeaning()}")
    return text


@check("The other expert's answer is offered with a picture, and taken")
def alternatives(site: Any) -> None:
    site.start()
    segment = site.add_segment("target")
    site.point_at(segment, (24, 24, 12))
    wide = int(site.mask(segment).sum())
    listing = site.ui.alternativesList
    require(listing.count == 1, f"{listing.count} alternatives are shown")
    require(not listing.item(0).icon().isNull(), "the alternative has no picture")
    site.panel.answers.onAlternative(listing.item(0))
    site.settle()
    require(0 < site.mask(segment).sum() < wide, "the other answer was not taken")


@check("The overlays change what the Red view shows, and go away", application=True)
def overlays(site: Any) -> str:
    site.start()
    segment = site.add_segment("target")
    site.point_at(segment, (24, 24, 12))
    mouse.scroll_to("Red", site.ras((24, 24, 12)))
    plain = _picture("Red")
    share = {}
    for name, box in (("changes", site.ui.changesCheckBox), ("confidence", site.ui.confidenceCheckBox)):
        box.setChecked(True)
        site.pause(0.3)
        shown = _picture("Red")
        share[name] = float((shown != plain).any(axis=-1).mean())
        site.ui.MoESeg.window().grab().save(str(site.folder / f"overlay-{name}.png"))
        box.setChecked(False)
        site.pause(0.3)
        require(share[name] > 0, f"the overlay '{name}' is not visible")
        require((_picture("Red") == plain).all(), f"the overlay '{name}' does not go away")
    return ", ".join(f"{name}: {100 * value:.1f} % of the pixels" for name, value in share.items())


def _picture(view: str) -> np.ndarray:
    """What a slice view shows, as an array [y, x, 3]."""
    slicer.util.forceRenderAllViews()
    grab = vtk.vtkWindowToImageFilter()
    grab.SetInput(mouse.slice_widget(view).sliceView().renderWindow())
    grab.ReadFrontBufferOff()
    grab.Update()
    image = grab.GetOutput()
    width, height, _ = image.GetDimensions()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1).copy()
