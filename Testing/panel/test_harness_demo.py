"""A scripted user drives a small module through its widgets."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from panel_harness import Harness, HarnessError, LoadedModule, PanelError, check_source


def add_volume(name: str = "CT") -> object:
    import slicer

    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    array = np.zeros((6, 20, 20), np.int16)
    array[2:4, 5:15, 5:15] = 300
    slicer.util.updateVolumeFromArray(volume, array)
    return volume


@pytest.fixture
def panel(harness: Harness, demo_module: Path) -> LoadedModule:
    loaded = harness.load_module(demo_module)
    harness.enter()
    return loaded


def segment(harness: Harness, panel: LoadedModule, name: str) -> str:
    harness.type(panel.ui.nameEdit, name)
    harness.click(panel.ui.applyButton)
    return panel.ui.segmentsTable.selectedSegmentIDs()[0]


def test_a_user_chooses_a_volume_and_makes_segments(harness: Harness, panel: LoadedModule) -> None:
    import slicer

    volume = add_volume()
    ui = panel.ui
    assert not ui.applyButton.enabled
    harness.choose(ui.volumeSelector, "CT")
    first = segment(harness, panel, "liver")
    second = segment(harness, panel, "höhle")
    assert ui.resultLabel.text == "2 segments"
    node = ui.segmentsTable.segmentationNode()
    assert [node.GetSegmentation().GetSegment(i).GetName() for i in (first, second)] == ["liver", "höhle"]
    assert slicer.util.arrayFromSegmentBinaryLabelmap(node, first, volume).sum() == 200
    assert harness.dialogs.status == ["done", "done"]
    harness.dialogs.assert_none()


def test_a_click_on_a_disabled_button_is_refused_and_says_why(harness: Harness, panel: LoadedModule) -> None:
    with pytest.raises(HarnessError, match="applyButton is disabled: Choose a volume first"):
        harness.click(panel.ui.applyButton)


def test_a_click_inside_a_folded_section_is_refused_until_it_is_opened(harness: Harness, panel: LoadedModule) -> None:
    clicks: list[bool] = []
    panel.ui.advancedButton.connect("clicked(bool)", clicks.append)
    with pytest.raises(HarnessError, match="folded away"):
        harness.click(panel.ui.advancedButton)
    harness.click(panel.ui.advancedSection)
    assert not panel.ui.advancedSection.collapsed
    harness.click(panel.ui.advancedButton)
    assert clicks == [False]


def test_a_click_on_a_hidden_panel_is_refused(harness: Harness, panel: LoadedModule) -> None:
    harness.exit()
    with pytest.raises(HarnessError, match="hidden"):
        harness.click(panel.ui.autoCheck)


def test_timers_fire_and_waiting_for_nothing_times_out(harness: Harness, panel: LoadedModule) -> None:
    harness.pump(until=lambda: panel.widget.fired == 1)
    with pytest.raises(TimeoutError):
        harness.pump(0.02, until=lambda: panel.widget.fired == 2)


def test_a_shortcut_works_in_the_module_only(harness: Harness, panel: LoadedModule) -> None:
    harness.press("Ctrl+Shift+A")
    assert panel.widget.undone == 1
    harness.exit()
    harness.press("Ctrl+Shift+A")
    assert panel.widget.undone == 1


def test_the_slider_takes_a_typed_value_and_a_check_box_a_click(harness: Harness, panel: LoadedModule) -> None:
    values: list[float] = []
    panel.ui.thresholdSlider.connect("valueChanged(double)", values.append)
    harness.slide(panel.ui.thresholdSlider, 250)
    assert panel.ui.thresholdSlider.value == values[-1] == 250
    harness.click(panel.ui.autoCheck)
    assert not panel.ui.autoCheck.checked
    with pytest.raises(HarnessError, match="disabled"):
        harness.slide(panel.ui.thresholdSlider, 100)


def test_a_combo_box_gives_the_chosen_text_and_refuses_others(harness: Harness, panel: LoadedModule) -> None:
    chosen: list[str] = []
    panel.ui.modeCombo.connect("textActivated(QString)", chosen.append)
    harness.choose(panel.ui.modeCombo, "replace")
    assert panel.ui.modeCombo.currentText == "replace"
    assert chosen == ["replace"]
    with pytest.raises(HarnessError, match="no entry erase"):
        harness.choose(panel.ui.modeCombo, "erase")


def test_an_error_in_a_slot_fails_the_test(harness: Harness, panel: LoadedModule) -> None:
    add_volume()
    harness.choose(panel.ui.volumeSelector, "CT")
    with pytest.raises(PanelError, match="a segment needs a name"):
        harness.click(panel.ui.applyButton)
    with harness.errors_allowed() as errors:
        harness.click(panel.ui.applyButton)
    assert [str(error) for error in errors] == ["a segment needs a name"]


def test_an_error_in_a_scene_observer_fails_the_test(harness: Harness) -> None:
    import slicer

    def fail(caller: object, event: str) -> None:
        raise RuntimeError("observer")

    tag = slicer.mrmlScene.AddObserver(slicer.vtkMRMLScene.NodeAddedEvent, fail)
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode")
    slicer.mrmlScene.RemoveObserver(tag)
    with pytest.raises(PanelError, match="observer"):
        harness.pump()


def test_a_widget_touched_in_another_thread_fails_the_test(harness: Harness, panel: LoadedModule) -> None:
    thread = threading.Thread(target=lambda: setattr(panel.ui.resultLabel, "text", "from the worker"))
    thread.start()
    thread.join()
    with pytest.raises(PanelError, match="QLabel was touched in the thread"):
        harness.pump()


def test_a_node_changed_in_another_thread_fails_the_test(harness: Harness) -> None:
    volume = add_volume()
    thread = threading.Thread(target=lambda: volume.SetName("from the worker"))
    thread.start()
    thread.join()
    with pytest.raises(PanelError, match="vtkMRMLScalarVolumeNode .ModifiedEvent. was touched in the thread"):
        harness.pump()


def test_the_longest_block_of_the_user_interface_is_measured(harness: Harness, panel: LoadedModule) -> None:
    panel.ui.autoCheck.connect("toggled(bool)", lambda: time.sleep(0.05))
    harness.longest_block = 0.0
    harness.click(panel.ui.autoCheck)
    assert 0.05 <= harness.longest_block < 1.0


def test_the_module_hears_that_the_application_has_started(harness: Harness, panel: LoadedModule) -> None:
    assert panel.instance.started
    assert panel.instance.parent.title == "Panel demo"


def test_the_module_is_reached_as_in_slicer(harness: Harness, panel: LoadedModule) -> None:
    import slicer

    assert slicer.modules.PanelDemoWidget is panel.widget
    assert slicer.modules.paneldemo.widgetRepresentation().self() is panel.widget
    assert slicer.util.getModuleLogic("Segmentations") is slicer.modules.segmentations.logic()
    assert slicer.util.getModuleLogic("PanelDemo") is panel.logic
    harness.unload(panel)
    with pytest.raises(AttributeError, match="no module paneldemo"):
        slicer.modules.paneldemo  # noqa: B018


def test_a_closed_scene_leaves_singletons_views_and_no_nodes(harness: Harness, panel: LoadedModule) -> None:
    import slicer

    add_volume()
    harness.choose(panel.ui.volumeSelector, "CT")
    segment(harness, panel, "liver")
    closed: list[str] = []
    tag = slicer.mrmlScene.AddObserver(slicer.vtkMRMLScene.EndCloseEvent, lambda caller, event: closed.append(event))
    slicer.mrmlScene.Clear(0)
    slicer.mrmlScene.RemoveObserver(tag)
    assert len(closed) == 1
    assert panel.ui.volumeSelector.currentNode() is None
    assert panel.ui.segmentsTable.segmentCount == 0
    assert slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode") is None
    assert slicer.mrmlScene.GetNodeByID("vtkMRMLInteractionNodeSingleton") is harness.interaction_node
    assert slicer.app.layoutManager().sliceWidget("Green").mrmlSliceNode().GetOrientation() == "Coronal"


def test_a_saved_scene_comes_back(harness: Harness, panel: LoadedModule, tmp_path: Path) -> None:
    import slicer

    volume = add_volume()
    harness.choose(panel.ui.volumeSelector, "CT")
    segment(harness, panel, "liver")
    before = slicer.util.arrayFromVolume(volume).copy()
    path = harness.save_scene(tmp_path / "case.mrb")
    harness.restart_scene()
    harness.open_scene(path)
    assert np.array_equal(slicer.util.arrayFromVolume(slicer.util.getNode("CT")), before)
    assert panel.logic.getParameterNode().GetNodeReference("segmentation").GetSegmentation().GetNumberOfSegments() == 1
    assert panel.ui.volumeSelector.nodeCount() == 1
    assert slicer.mrmlScene.GetNodeByID("vtkMRMLInteractionNodeSingleton") is harness.interaction_node


def test_a_picture_of_the_panel_shows_the_theme(harness: Harness, panel: LoadedModule, tmp_path: Path) -> None:
    from PySide6 import QtGui

    light = QtGui.QImage(str(harness.grab(panel.representation, tmp_path / "light.png")))
    harness.set_theme("dark")
    dark = QtGui.QImage(str(harness.grab(panel.representation, tmp_path / "dark.png")))
    assert light.pixelColor(2, 2).lightness() > 200 > 100 > dark.pixelColor(2, 2).lightness()


def test_the_demo_source_passes_its_own_check(demo_module: Path) -> None:
    assert check_source(demo_module) == []
