"""The button "Without prompt" and the field for phrases: on the slice in view, or on all slices."""

from __future__ import annotations

import numpy as np
import pytest
from fakes import ThresholdModel
from panel_helpers import OpenPanel

from MoESegLib.engines.slice_engine import SliceEngine

KINDS = frozenset({"box", "point", "mask", "text", "automatic"})


@pytest.fixture
def panel(open_panel) -> OpenPanel:
    """Opened with a model that understands everything."""
    return open_panel(load=lambda name: SliceEngine(ThresholdModel(KINDS, refines=True)))


def look_at(panel: OpenPanel, ijk: tuple[int, int, int]) -> None:
    for logic in panel.harness.slice_logics.values():
        logic.GetSliceNode().JumpSliceByOffsetting(*panel.ras(ijk))


def slices_of(mask: np.ndarray) -> list[int]:
    return np.flatnonzero(mask.any(axis=(1, 2))).tolist()


def rows(panel: OpenPanel) -> list[list[str]]:
    table = panel.ui.promptTable
    return [[table.item(row, column).text() for column in range(3)] for row in range(table.rowCount)]


def test_the_button_segments_the_slice_in_view_and_a_click_corrects_it(panel: OpenPanel):
    look_at(panel, (23, 20, 3))
    panel.add_segment("target")
    panel.harness.click(panel.ui.automaticButton)
    panel.settle()
    before = panel.mask("target")
    assert slices_of(before) == [3]
    assert rows(panel)[0][0] == "1. Without prompt" and rows(panel)[0][2] == "axial"
    panel.harness.click(panel.ui.negativeTool)
    panel.click_at((23, 20, 3))
    assert panel.mask("target")[3, 20, 23] == 0 < before[3, 20, 23]
    panel.harness.click(panel.ui.undoButton)
    panel.settle()
    assert np.array_equal(panel.mask("target"), before)
    panel.harness.select_row(panel.ui.promptTable, 0)
    panel.harness.click(panel.ui.deleteButton)
    panel.settle()
    assert not panel.mask("target").any()


def test_with_whole_volume_all_slices_are_searched_and_what_is_empty_is_said(panel: OpenPanel):
    panel.harness.click(panel.ui.volumeButton)
    panel.settle()
    panel.harness.press("S")
    panel.settle()
    (name,) = panel.names()
    assert len(slices_of(panel.mask(name))) > 3
    assert rows(panel) == [["1. Without prompt", "all slices", ""]]
    assert panel.ui.sliceButton.enabled and panel.ui.statusLabel.text == ""


def test_a_slice_without_the_target_says_that_nothing_was_found(panel: OpenPanel):
    look_at(panel, (20, 1, 3))
    panel.harness.pointer.move_to(panel.ras((20, 1, 3)), "Green")
    panel.harness.press("S")
    panel.settle()
    (name,) = panel.names()
    assert panel.prompts(name)[0].plane == "coronal"
    assert "Nothing was found on the slice." in panel.ui.answerLabel.text


def test_a_phrase_is_looked_for_on_the_slice_in_view(panel: OpenPanel):
    look_at(panel, (23, 20, 5))
    panel.harness.type(panel.ui.textEdit, "liver")
    panel.harness.click(panel.ui.textButton)
    panel.settle()
    assert panel.names() == ["liver"] and slices_of(panel.mask("liver")) == [5]
    assert rows(panel) == [["1. Text", "liver", "axial"]]


def test_a_model_that_was_not_taught_it_says_so_in_the_tooltip_and_the_key_does_nothing(open_panel):
    panel = open_panel()
    assert not panel.ui.automaticButton.enabled
    assert "no expert that segments without a prompt" in panel.ui.automaticButton.toolTip
    panel.harness.press("S")
    panel.settle()
    assert panel.names() == []
