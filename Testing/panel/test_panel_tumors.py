"""A radiologist who looks for tumors in the panel: phrase, organs, lesions, refusals, refining, saving."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import slicer
from fakes3d import CENTER, BrightRegion
from panel_helpers import OpenPanel, paint
from test_panel_scenes import reload
from tumor_tools import BrightLesions, engine_with, inside, ramp_volume

from MoESegLib.core.results import MaskPatch
from MoESegLib.core.volume import Volume
from MoESegLib.engines.volume_engine import VolumeEngine
from MoESegLib.mrml.segmentations import add_segment, create_segmentation, segment_of
from MoESegLib.mrml.volumes import local_ijk_to_ras
from MoESegLib.mrml.writer import oriented_image

LARGE, SMALL = CENTER + (0, -14, 0), CENTER + (0, 14, 0)
TITLE = "MAST-Pro compact (our implementation of the published idea)"


@pytest.fixture
def volume() -> Volume:
    return ramp_volume((24, 44, 40), np.diag([-1.5, -1.5, 2.0, 1.0]), ((LARGE, 9.0), (SMALL, 6.0)))


@pytest.fixture
def network() -> BrightLesions:
    return BrightLesions()


@pytest.fixture
def panel(open_panel, volume, network) -> OpenPanel:
    """MAST-Pro chosen on a CT with two bright balls."""

    def load(name: str):
        return engine_with(network) if name == "mast-pro" else VolumeEngine(BrightRegion())

    opened = open_panel(volume, load=load)
    made_by(opened, "CT")
    opened.harness.choose(opened.ui.modelSelector, TITLE)
    opened.settle()
    return opened


def made_by(panel: OpenPanel, modality: str) -> None:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(panel.harness.scene)
    item = hierarchy.GetItemByDataNode(panel.volume) or hierarchy.CreateItem(hierarchy.GetSceneItemID(), panel.volume)
    hierarchy.SetItemAttribute(item, "DICOM.Modality", modality)


def look_for(panel: OpenPanel, phrase: str, find: bool = True) -> None:
    panel.harness.type(panel.ui.tumorSelector, phrase, enter=True)
    panel.harness.pump(0.1)
    if find:
        panel.harness.click(panel.ui.findButton)
        panel.settle()


def give_liver(panel: OpenPanel, volume: Volume, name: str = "liver", center=CENTER, radius: float = 30.0) -> None:
    node = create_segmentation(panel.harness.scene, panel.volume, "Organs of CT")
    segment = segment_of(node, add_segment(node, name))
    image = oriented_image(MaskPatch.of(inside(volume, center, radius)), local_ijk_to_ras(panel.volume))
    segment.AddRepresentation("Binary labelmap", image)
    panel.harness.choose(panel.ui.anatomySelector, "Organs of CT")


def table(panel: OpenPanel) -> list[str]:
    return [panel.ui.lesionTable.item(row, 0).text() for row in range(panel.ui.lesionTable.rowCount)]


def certainties(panel: OpenPanel) -> list[str]:
    return [panel.ui.lesionTable.item(row, 4).text() for row in range(panel.ui.lesionTable.rowCount)]


def test_the_section_is_there_with_the_model_that_finds_lesions_only(panel: OpenPanel):
    assert panel.ui.tumorSection.visible and panel.ui.volumeButton.checked
    assert not panel.ui.positiveTool.enabled and not panel.ui.fromSegmentButton.enabled
    assert "under 'Find lesions'" in panel.ui.textEdit.toolTip and not panel.ui.textEdit.enabled
    panel.harness.choose(panel.ui.modelSelector, "LiteMedSAM")
    panel.settle()
    assert not panel.ui.tumorSection.visible


def test_from_phrase_and_organs_to_a_table_of_lesions(panel: OpenPanel, volume: Volume):
    items = [panel.ui.tumorSelector.itemText(index) for index in range(panel.ui.tumorSelector.count)]
    assert "liver tumor" in items and "thyroid nodule" not in items
    assert not panel.ui.findButton.enabled and "Choose or type" in panel.ui.findButton.toolTip
    look_for(panel, "HCC", find=False)
    assert panel.ui.needsLabel.text == "A liver tumor lies in: liver. <b>Not given.</b>"
    give_liver(panel, volume)
    assert panel.ui.needsLabel.text == "Organs for a liver tumor: <b>liver</b>."
    panel.harness.click(panel.ui.findButton)
    panel.settle()
    assert panel.names() == ["liver tumor"] and table(panel) == ["liver tumor 1", "liver tumor 2"]
    assert "2 separate lesions." in panel.ui.answerLabel.text and TITLE in panel.ui.answerLabel.text
    prompts = panel.ui.promptTable
    assert [prompts.item(row, 1).text() for row in range(prompts.rowCount)] == ["HCC", "liver"]
    assert prompts.item(1, 0).text() == "2. Organ"
    panel.harness.dialogs.assert_none()
    panel.harness.click(panel.ui.undoButton)
    panel.settle()
    assert panel.names() == [] and table(panel) == []
    panel.harness.click(panel.ui.redoButton)
    panel.settle()
    assert table(panel) == ["liver tumor 1", "liver tumor 2"]


def test_a_selected_lesion_is_shown_and_refined_by_clicks(panel: OpenPanel, volume: Volume):
    look_for(panel, "liver tumor")
    whole, sure = panel.mask("liver tumor"), certainties(panel)
    assert all(text.endswith(" %") and int(text[:-2]) > 90 for text in sure)
    assert "Select a lesion" in panel.ui.refineButton.toolTip and not panel.ui.refineButton.enabled
    panel.harness.select_row(panel.ui.lesionTable, 1)
    red = panel.harness.slice_logics["Red"].GetSliceNode()
    assert red.GetSliceToRAS().GetElement(2, 3) == pytest.approx(SMALL[2], abs=1)
    panel.harness.choose(panel.ui.refineSelector, "SAM-Med3D (the best one here)")
    panel.harness.click(panel.ui.refineButton)
    panel.settle()
    assert panel.workbench.parameters.model == "sam-med3d" and panel.ui.positiveTool.checked
    assert panel.names() == ["liver tumor", "liver tumor 2"]
    own = panel.mask("liver tumor 2")
    assert np.array_equal(panel.mask("liver tumor") | own, whole)
    panel.harness.place_point(tuple(SMALL))
    panel.settle()
    assert "BrightRegion" not in panel.ui.answerLabel.text and "SAM-Med3D" in panel.ui.answerLabel.text
    assert [prompt.kind for prompt in panel.prompts("liver tumor 2")] == ["mask", "point"]
    assert panel.mask("liver tumor 2").any()
    assert table(panel) == ["liver tumor 1", "liver tumor 2"]
    assert certainties(panel) == sure and not panel.ui.lesionTable.isColumnHidden(4)
    for _ in range(2):
        panel.harness.click(panel.ui.undoButton)
        panel.settle()
    assert panel.names() == ["liver tumor"] and np.array_equal(panel.mask("liver tumor"), whole)
    panel.harness.dialogs.assert_none()


def test_lesions_are_separated_and_removed(panel: OpenPanel):
    look_for(panel, "liver tumor")
    panel.harness.select_row(panel.ui.lesionTable, 0)
    panel.harness.click(panel.ui.removeLesionButton)
    panel.settle()
    assert len(table(panel)) == 1
    panel.harness.click(panel.ui.undoButton)
    panel.settle()
    panel.harness.click(panel.ui.separateButton)
    panel.settle()
    assert panel.names() == ["liver tumor", "liver tumor 1", "liver tumor 2"]
    assert table(panel) == ["liver tumor 1", "liver tumor 2"]
    assert not panel.ui.separateButton.enabled


@pytest.mark.parametrize(
    ("phrase", "reason"),
    [
        ("liver", "is an organ and no tumor"),
        ("left liver tumor", "has no left one"),
        ("multiple sclerosis lesion", "is looked for in MR, and this image is CT"),
        ("tumor", "which is no type of tumor in a place"),
    ],
)
def test_what_cannot_be_looked_for_is_told_beside_the_button_and_in_the_answer_card(
    panel: OpenPanel, phrase: str, reason: str
):
    look_for(panel, phrase, find=False)
    assert reason in panel.ui.needsLabel.text.replace("&quot;", '"')
    assert reason in panel.ui.answerLabel.text and "Not searched." in panel.ui.answerLabel.text
    assert not panel.ui.findButton.enabled and reason in panel.ui.findButton.toolTip
    panel.harness.dialogs.assert_none()
    look_for(panel, "liver tumor", find=False)
    assert "Not searched." not in panel.ui.answerLabel.text and panel.ui.findButton.enabled


def test_the_wrong_organ_and_nothing_found_are_notes_of_the_answer(panel: OpenPanel, volume: Volume):
    give_liver(panel, volume, "spleen")
    look_for(panel, "liver tumor")
    assert "none in which a liver tumor lies" in panel.ui.answerLabel.text
    assert table(panel) == [] and panel.ui.statusLabel.text == ""
    panel.harness.dialogs.assert_none()


def test_nothing_in_an_organ_without_lesions_is_said(panel: OpenPanel, volume: Volume):
    give_liver(panel, volume, center=CENTER + (26, 0, 0), radius=4.0)
    look_for(panel, "liver tumor")
    assert "Nothing was found." in panel.ui.answerLabel.text
    panel.harness.dialogs.assert_none()


def test_a_painted_organ_guides(panel: OpenPanel):
    panel.add_segment("my strokes")
    paint(panel, "my strokes", (10, 30, 6, 16, 4, 18))
    panel.settle()
    assert "first" in panel.ui.paintedOrganSelector.toolTip and not panel.ui.paintedOrganSelector.enabled
    look_for(panel, "left kidney tumor", find=False)
    panel.harness.choose(panel.ui.paintedSelector, "my strokes")
    assert panel.ui.paintedOrganSelector.currentText == "left kidney"
    assert "<b>kidney</b>" in panel.ui.needsLabel.text
    look_for(panel, "liver tumor", find=False)
    assert "Not given" in panel.ui.needsLabel.text
    panel.harness.choose(panel.ui.paintedOrganSelector, "liver")
    look_for(panel, "liver tumor")
    assert "my strokes" in panel.names() and len([name for name in table(panel) if "liver" in name]) == 1


def test_a_search_can_be_cancelled_and_goes_on_when_asked_again(panel: OpenPanel, network: BrightLesions):
    import threading

    release = threading.Event()
    network.before = lambda: release.wait(20)
    look_for(panel, "liver tumor", find=False)
    panel.harness.click(panel.ui.findButton)
    panel.harness.pump(5, until=lambda: panel.ui.findProgressBar.visible)
    assert panel.ui.stopFindButton.enabled and not panel.ui.findButton.enabled
    panel.harness.click(panel.ui.stopFindButton)
    release.set()
    panel.settle()
    assert not panel.ui.findProgressBar.visible and not panel.mask("liver tumor").any()
    panel.harness.click(panel.ui.findButton)
    panel.settle()
    assert table(panel) == ["liver tumor 1", "liver tumor 2"]


def test_a_saved_scene_comes_back_with_phrase_organs_and_lesions(panel: OpenPanel, volume: Volume, tmp_path: Path):
    give_liver(panel, volume)
    look_for(panel, "liver tumor")
    found = panel.mask("liver tumor")
    reload(panel, tmp_path / "scene.mrb")
    assert panel.ui.tumorSelector.currentText == "liver tumor"
    assert panel.ui.anatomySelector.currentNode().GetName() == "Organs of CT"
    assert np.array_equal(panel.mask("liver tumor"), found)
    assert [prompt.kind for prompt in panel.prompts("liver tumor")] == ["text", "mask"]
    assert panel.prompts("liver tumor")[1].structure == "liver"


def test_totalsegmentator_needs_its_extension_and_consent(
    panel: OpenPanel, volume: Volume, tmp_path, monkeypatch, home
):
    assert not panel.ui.organsButton.enabled and "extension 'TotalSegmentator'" in panel.ui.organsButton.toolTip
    monkeypatch.setattr(slicer.modules, "totalsegmentator", object(), raising=False)
    program = tmp_path / "program.py"
    program.write_text(
        "import sys, SimpleITK as sitk\n"
        "image = sitk.ReadImage(sys.argv[2])\n"
        "labels = sitk.Cast(image > -1e9, sitk.sitkUInt8) * 5\n"  # liver everywhere
        "sitk.WriteImage(labels, sys.argv[4])\n"
    )
    logic = panel.loaded.widget.logic
    monkeypatch.setattr(logic, "totalSegmentatorProgram", lambda: [sys.executable, str(program)], raising=False)
    panel.loaded.widget.panel.refresh()
    panel.harness.dialogs.answer("confirmOkCancelDisplay", False)
    panel.harness.click(panel.ui.organsButton)
    panel.settle()
    assert panel.ui.anatomySelector.currentNode() is None
    assert "stays on this machine" in panel.harness.dialogs.texts()[0]
    panel.harness.dialogs.answer("confirmOkCancelDisplay", True)
    panel.harness.click(panel.ui.organsButton)
    panel.settle()
    organs = panel.ui.anatomySelector.currentNode()
    assert organs.GetName() == "CT organs" and not organs.GetDisplayNode().GetVisibility()
    look_for(panel, "liver tumor", find=False)
    assert panel.ui.needsLabel.text == "Organs for a liver tumor: <b>liver</b>."
    panel.harness.click(panel.ui.organsButton)  # known from before: not asked again
    panel.settle()
    assert len(panel.harness.dialogs.texts()) == 2
