"""A radiologist at the panel: the real module and .ui on real MRML, driven by mouse, keyboard and the timer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import slicer
from panel_helpers import OpenPanel, add_volume, corners, default_volume, paint

from MoESegLib import Session
from MoESegLib.core.volume import Volume
from MoESegLib.engines.slice_engine import SliceEngine
from MoESegLib.mrml.volumes import volume_from_node


def test_a_box_on_the_demo_ct_becomes_a_liver(open_panel, demo_volume: Volume, lite_engine, tmp_path: Path):
    panel = open_panel(demo_volume, load=lambda name: lite_engine)
    panel.add_segment("liver")
    panel.harness.click(panel.ui.boxTool)
    low, high = (-15.1, 70.3, -784.5), (147.0, 248.1, -784.5)
    panel.harness.place_box(low, high)
    panel.settle()
    liver = panel.segment("liver")
    mask = panel.mask("liver")
    session = Session(volume_from_node(panel.volume), lite_engine)
    session.add(panel.prompts("liver")[0])
    assert np.array_equal(mask, session.mask(liver))
    assert mask.sum() > 5000
    assert "mL" in panel.ui.answerLabel.text and "LiteMedSAM" in panel.ui.answerLabel.text
    assert panel.ui.promptTable.rowCount == 1
    entry = panel.tag("liver", slicer.vtkSegment.GetTerminologyEntryTagName())
    assert "SCT^10200004^Liver" in entry
    assert panel.tag("liver", "MoESeg.Model") == "lite-medsam"
    panel.harness.dialogs.assert_none()


def test_a_second_segment_overlaps_or_overwrites_as_the_user_chose(open_panel: OpenPanel):
    panel = open_panel()
    panel.add_segment("first")
    panel.box((10, 8), (30, 32))
    first = panel.mask("first")
    panel.add_segment("second")
    panel.choose_overlap("Allow overlap")
    panel.box((14, 8), (38, 32))
    assert np.array_equal(panel.mask("first"), first)
    assert (panel.mask("second") & first).any()
    panel.harness.click(panel.ui.undoButton)
    panel.settle()
    assert panel.mask("second").sum() == 0
    panel.choose_overlap("Overwrite visible segments")
    panel.box((14, 8), (38, 32))
    second = panel.mask("second")
    assert second.any() and np.array_equal(panel.mask("first"), first & ~second)


def test_a_locked_segment_is_never_changed(open_panel: OpenPanel):
    panel = open_panel()
    panel.add_segment("first")
    panel.box((10, 8), (30, 32))
    panel.harness.click(panel.ui.acceptButton)
    assert panel.ui.acceptButton.text == "Unlock" and "locked" in panel.ui.answerLabel.text
    locked = panel.mask("first")
    panel.add_segment("second")
    for overlap in ("Overwrite visible segments", "Overwrite all segments", "Allow overlap"):
        panel.choose_overlap(overlap)
        panel.box((12, 8), (38, 32))
        assert panel.mask("second").any()
        assert np.array_equal(panel.mask("first"), locked)
    panel.select("first")
    panel.box((8, 8), (38, 32))
    assert np.array_equal(panel.mask("first"), locked)
    assert "locked" in panel.ui.statusLabel.text


def test_three_steps_back_and_forth_over_prompts_and_a_brush_stroke(open_panel: OpenPanel):
    panel = open_panel()
    panel.add_segment("second")
    panel.add_segment("first")
    states = [panel.state()]
    panel.box((10, 8), (24, 32))
    states.append(panel.state())
    paint(panel, "first", (2, 6, 2, 6, 4, 4))
    panel.settle()
    states.append(panel.state())
    panel.select("second")
    panel.box((20, 8), (38, 32))
    states.append(panel.state())
    assert len({repr(state) for state in states}) == 4
    for expected in reversed(states[:-1]):
        panel.harness.click(panel.ui.undoButton)
        panel.settle()
        assert panel.state() == expected
    for expected in states[1:]:
        panel.harness.click(panel.ui.redoButton)
        panel.settle()
        assert panel.state() == expected
    assert not panel.ui.redoButton.enabled


def test_clicks_flip_move_delete_and_the_list_follow(open_panel: OpenPanel):
    panel = open_panel()
    panel.add_segment("target")
    panel.harness.press("P")
    assert panel.ui.positiveTool.checked
    panel.click_at((20, 20, 4))
    panel.click_at((28, 20, 4))
    assert panel.ui.promptTable.rowCount == 2
    both = panel.mask("target")
    panel.harness.select_row(panel.ui.promptTable, 1)
    panel.harness.click(panel.ui.flipButton)
    panel.settle()
    assert panel.mask("target").sum() < both.sum()
    assert "outside" in panel.ui.promptTable.item(1, 0).text()
    node = next(node for node in panel.nodes("target") if node.GetAttribute("MoESeg.Kind") == "point+")
    panel.harness.drag_point(node, 0, panel.ras((24, 22, 4)))
    panel.settle()
    assert panel.prompts("target")[0].ras == pytest.approx(panel.ras((24, 22, 4)))
    panel.harness.select_row(panel.ui.promptTable, 1)
    panel.harness.click(panel.ui.deleteButton)
    panel.settle()
    assert panel.ui.promptTable.rowCount == 1
    assert len(panel.prompts("target")) == 1


def test_masks_equal_the_python_session_under_an_oblique_scaled_transform(
    open_panel, oblique_volume, oblique_transform
):
    panel = open_panel(oblique_volume, transform=oblique_transform)
    panel.add_segment("target")
    panel.harness.click(panel.ui.positiveTool)
    panel.click_at((20, 20, 4))
    panel.click_at((26, 22, 4))
    panel.harness.click(panel.ui.boxTool)
    panel.harness.place_box(*corners(panel, (8, 8), (38, 30), 5))
    panel.settle()
    volume = volume_from_node(panel.volume)
    assert not np.allclose(volume.ijk_to_ras, oblique_volume.ijk_to_ras)
    session = Session(volume, SliceEngine(panel.model))
    for prompt in panel.prompts("target"):
        session.add(prompt)
    mask = session.mask(panel.segment("target"))
    assert mask[4].any() and mask[5].any()
    assert np.array_equal(panel.mask("target"), mask)


def test_many_lesions_are_numbered_measured_and_copied(open_panel: OpenPanel):
    import qt

    panel = open_panel()
    panel.harness.click(panel.ui.lesionsCheckBox)
    panel.harness.click(panel.ui.positiveTool)
    panel.click_at((20, 20, 4))
    panel.click_at((28, 20, 4))
    assert panel.names() == ["Lesion 1", "Lesion 2"]
    assert panel.ui.lesionTable.rowCount == 2 and panel.ui.lesionTable.isColumnHidden(4)  # nothing was searched for
    panel.harness.click(panel.ui.copyLesionsButton)
    lines = qt.QApplication.clipboard().text().splitlines()
    assert lines[0].startswith("name,volume (mL)") and lines[2].startswith("Lesion 2,")


def test_an_expert_chosen_from_the_alternatives_answers(open_panel: OpenPanel):
    panel = open_panel(experts=3)
    panel.add_segment("target")
    panel.box((10, 8), (38, 32))
    assert panel.ui.alternativesList.count == 2
    assert "expert0" in panel.ui.answerLabel.text
    panel.ui.alternativesList.itemClicked(panel.ui.alternativesList.item(1))
    panel.settle()
    assert "expert2" in panel.ui.answerLabel.text
    assert panel.tag("target", "MoESeg.Expert") == "expert2"
    panel.harness.click(panel.ui.undoButton)
    panel.settle()
    assert panel.tag("target", "MoESeg.Expert") == "expert0"


def test_prompts_wait_for_run_when_auto_run_is_off(open_panel: OpenPanel):
    panel = open_panel()
    panel.add_segment("target")
    panel.harness.click(panel.ui.autoRunCheckBox)
    assert not panel.ui.runButton.enabled
    panel.box((10, 8), (38, 32))
    assert panel.mask("target").sum() == 0
    assert panel.ui.runButton.enabled
    panel.harness.click(panel.ui.runButton)
    panel.settle()
    assert panel.mask("target").sum() > 50
    assert not panel.ui.runButton.enabled


def test_overlays_show_what_changed_and_how_sure_and_go_away(open_panel: OpenPanel):
    panel = open_panel()
    panel.add_segment("target")
    panel.box((10, 8), (38, 32))
    panel.harness.click(panel.ui.changesCheckBox)
    changes = panel.harness.scene.GetFirstNodeByName("MoESeg changes")
    assert changes is not None and not changes.GetSaveWithScene()
    image = changes.GetBinaryLabelmapInternalRepresentation("added")
    assert image is not None and not image.IsEmpty()
    panel.harness.click(panel.ui.confidenceCheckBox)
    layer = panel.harness.scene.GetFirstNodeByName("MoESeg confidence (%)")
    composite = panel.harness.slice_logics["Red"].GetSliceCompositeNode()
    assert composite.GetForegroundVolumeID() == layer.GetID()
    panel.harness.exit()
    assert composite.GetForegroundVolumeID() is None
    assert panel.harness.scene.GetFirstNodeByName("MoESeg changes") is None


def test_shortcuts_live_only_while_the_module_is_open(open_panel: OpenPanel):
    panel = open_panel()
    panel.add_segment("target")
    panel.harness.press("X")
    assert panel.ui.boxTool.checked
    panel.harness.exit()
    assert not panel.ui.boxTool.checked
    panel.harness.press("X")
    assert not panel.ui.boxTool.checked
    panel.harness.enter()
    panel.harness.press("X")
    assert panel.ui.boxTool.checked


def test_disabled_controls_say_why(open_panel: OpenPanel):
    panel = open_panel(volume=None)
    for name in ("positiveTool", "boxTool", "textButton", "addSegmentButton", "fromSegmentButton"):
        control = getattr(panel.ui, name)
        assert not control.enabled and "Choose an image first." in control.toolTip
    assert "nothing" in panel.ui.undoButton.toolTip.lower()
    assert "Nothing runs" in panel.ui.cancelButton.toolTip


def test_a_prompt_outside_the_volume_is_refused_in_the_status_line(open_panel: OpenPanel):
    panel = open_panel()
    panel.add_segment("target")
    panel.harness.click(panel.ui.positiveTool)
    panel.harness.place_point((900.0, 0.0, 0.0))
    panel.settle()
    assert "outside the volume" in panel.ui.statusLabel.text
    assert panel.prompts("target") == () and panel.mask("target").sum() == 0


def test_markups_made_elsewhere_become_prompts(open_panel: OpenPanel):
    panel = open_panel()
    panel.add_segment("target")
    assert "Choose markups first" in panel.ui.markupsButton.toolTip
    plane = panel.harness.scene.AddNewNodeByClass("vtkMRMLMarkupsPlaneNode", "my plane")
    plane.SetOriginWorld(panel.ras((24, 20, 4)))
    plane.SetNormalWorld(0, 0, 1)
    plane.SetSizeWorld(26.0, 24.0)
    panel.harness.choose(panel.ui.markupsSelector, "my plane")
    panel.harness.click(panel.ui.markupsButton)
    panel.settle()
    assert [prompt.kind for prompt in panel.prompts("target")] == ["box"]
    assert panel.mask("target")[4].sum() > 50
    assert plane.GetScene() is not None


def test_missing_packages_are_installed_after_the_user_agreed(open_panel: OpenPanel):
    panel = open_panel(volume=None)
    logic = panel.loaded.widget.logic
    logic._missing = ["safetensors>=0.4.3"]
    library = panel.workbench.models
    library.missing = logic.missingDependencies
    panel.loaded.widget.panel.refresh()
    panel.volume = add_volume(panel.harness.scene, default_volume())
    panel.harness.choose(panel.ui.volumeSelector, "CT")
    panel.settle()
    assert "safetensors" in panel.ui.boxTool.toolTip and not panel.ui.boxTool.enabled
    assert panel.harness.packaging.count("pip_ensure") == 0
    panel.harness.click(panel.ui.getModelButton)
    assert panel.harness.packaging.count("pip_ensure") == 1
    panel.settle()
    assert panel.ui.boxTool.enabled
