"""Stand-in widgets behave on real nodes as the widgets of Slicer do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from panel_harness import Harness, HarnessError
from panel_harness.segment_widgets import NAME, STATUS, VISIBLE


def add(class_name: str, name: str) -> Any:
    import slicer

    return slicer.mrmlScene.AddNewNodeByClass(class_name, name)


def show(harness: Harness, widget: Any) -> Any:
    """Put a widget where the user can click it."""
    harness.main_window.setCentralWidget(widget)
    harness.pump()
    return widget


def node_combo_box(**properties: Any) -> Any:
    import slicer

    combo = slicer.qMRMLNodeComboBox()
    combo.nodeTypes = ["vtkMRMLVolumeNode"]
    for name, value in properties.items():
        setattr(combo, name, value)
    combo.setMRMLScene(slicer.mrmlScene)
    return combo


@pytest.fixture
def segmentation(harness: Harness) -> Any:
    node = add("vtkMRMLSegmentationNode", "Segmentation")
    node.CreateDefaultDisplayNodes()
    for name in ("liver", "spleen", "tumor"):
        node.GetSegmentation().AddEmptySegment(name, name)
    return node


@pytest.fixture
def table(harness: Harness, segmentation: Any) -> Any:
    import slicer

    view = slicer.qMRMLSegmentsTableView()
    view.setMRMLScene(slicer.mrmlScene)
    view.setSegmentationNode(segmentation)
    return show(harness, view)


def test_a_node_combo_box_takes_the_first_node_unless_none_is_offered(harness: Harness) -> None:
    first, free = node_combo_box(), node_combo_box(noneEnabled=True)
    ct = add("vtkMRMLScalarVolumeNode", "CT")
    add("vtkMRMLTextNode", "Notes")
    assert first.currentNode() is ct
    assert free.currentNode() is None
    assert free.nodeCount() == 1
    free.setCurrentNode(ct)
    assert free.currentNodeID == ct.GetID()
    free.setCurrentNode(None)
    assert free.currentNode() is None


def test_a_node_combo_box_can_leave_out_child_classes(harness: Harness) -> None:
    combo = node_combo_box(nodeTypes=["vtkMRMLScalarVolumeNode"], showChildNodeTypes=False)
    add("vtkMRMLLabelMapVolumeNode", "Labels")
    assert combo.nodeCount() == 0
    combo.showChildNodeTypes = True
    assert combo.nodeCount() == 1
    combo.hideChildNodeTypes = ["vtkMRMLLabelMapVolumeNode"]
    assert combo.nodeCount() == 0


def test_a_node_combo_box_filters_by_attribute(harness: Harness) -> None:
    combo = node_combo_box()
    combo.addAttribute("vtkMRMLVolumeNode", "MoESeg", "1")
    node = add("vtkMRMLScalarVolumeNode", "CT")
    assert combo.nodeCount() == 0
    node.SetAttribute("MoESeg", "1")
    combo.addAttribute("vtkMRMLVolumeNode", "MoESeg")
    assert combo.nodeCount() == 1


def test_a_node_combo_box_follows_renaming_and_removal(harness: Harness) -> None:
    import slicer

    combo, renamed = show(harness, node_combo_box()), []
    combo.connect("currentNodeRenamed(QString)", renamed.append)
    node = add("vtkMRMLScalarVolumeNode", "CT")
    node.SetName("CT abdomen")
    assert renamed == ["CT abdomen"]
    harness.choose(combo, "CT abdomen")
    slicer.mrmlScene.RemoveNode(node)
    assert combo.currentNode() is None


def test_a_user_makes_a_node_from_the_combo_box(harness: Harness) -> None:
    combo = show(harness, node_combo_box(nodeTypes=["vtkMRMLTextNode"], noneEnabled=True, baseName="Note"))
    made: list[Any] = []
    combo.connect("nodeAddedByUser(vtkMRMLNode*)", made.append)
    harness.choose(combo, "Create new Text")
    assert combo.currentNode() is made[0]
    assert made[0].GetName() == "Note"


def test_a_checkable_combo_box_knows_the_checked_nodes(harness: Harness) -> None:
    import slicer

    combo, changes = slicer.qMRMLCheckableNodeComboBox(), []
    combo.nodeTypes = ["vtkMRMLTextNode"]
    combo.setMRMLScene(slicer.mrmlScene)
    combo.connect("checkedNodesChanged()", lambda: changes.append(1))
    first, second = add("vtkMRMLTextNode", "a"), add("vtkMRMLTextNode", "b")
    combo.check(first)
    assert combo.checkedNodes() == (first,)
    assert combo.uncheckedNodes() == (second,)
    assert len(changes) == 1


def test_the_segments_table_follows_the_segmentation(table: Any, segmentation: Any) -> None:
    table.setSelectedSegmentIDs(["spleen"])
    segmentation.GetSegmentation().GetSegment("spleen").SetName("milz")
    segmentation.GetSegmentation().AddEmptySegment("kidney", "kidney")
    segmentation.GetSegmentation().RemoveSegment("liver")
    assert [table.segmentIDForRow(row) for row in range(table.segmentCount)] == ["spleen", "tumor", "kidney"]
    assert table.tableWidget().item(0, NAME).text() == "milz"
    assert table.selectedSegmentIDs() == ("spleen",)


def test_a_click_selects_a_segment_and_tells_what_changed(harness: Harness, table: Any) -> None:
    changes: list[tuple[int, int]] = []
    table.connect(
        "selectionChanged(QItemSelection,QItemSelection)",
        lambda chosen, left: changes.append((len(chosen.indexes()), len(left.indexes()))),
    )
    harness.select_segment(table, "tumor")
    harness.select_segment(table, "liver")
    assert table.selectedSegmentIDs() == ("liver",)
    assert changes == [(4, 0), (4, 4)]
    with pytest.raises(HarnessError, match="no segment heart"):
        harness.select_segment(table, "heart")


def test_a_click_on_the_eye_hides_the_segment(harness: Harness, table: Any, segmentation: Any) -> None:
    display = segmentation.GetDisplayNode()
    harness.select_segment(table, "liver", VISIBLE)
    assert not display.GetSegmentVisibility("liver")
    table.readOnly = True
    harness.select_segment(table, "liver", VISIBLE)
    assert not display.GetSegmentVisibility("liver")


def test_a_click_on_the_status_moves_it_on(harness: Harness, table: Any, segmentation: Any) -> None:
    import vtk

    for expected in ("inprogress", "completed", "flagged", "notstarted"):
        harness.select_segment(table, "liver", STATUS)
        tag = vtk.reference("")
        assert segmentation.GetSegmentation().GetSegment("liver").GetTag("Segmentation.Status", tag)
        assert str(tag) == expected


def test_a_name_edited_in_the_table_renames_the_segment(table: Any, segmentation: Any) -> None:
    table.tableWidget().item(1, NAME).setText("Milz")
    assert segmentation.GetSegmentation().GetSegment("spleen").GetName() == "Milz"


def test_the_table_filters_by_name(table: Any) -> None:
    table.textFilter = "LIV"
    assert table.displayedSegmentIDs() == ("liver",)


def test_the_segment_selector_offers_the_segments_of_its_node(harness: Harness, segmentation: Any) -> None:
    import slicer

    selector, chosen = slicer.qMRMLSegmentSelectorWidget(), []
    selector.setMRMLScene(slicer.mrmlScene)
    selector.connect("currentSegmentChanged(QString)", chosen.append)
    selector.setCurrentNode(segmentation)
    show(harness, selector)
    harness.choose(selector, "tumor")
    assert selector.currentSegmentID() == "tumor"
    assert selector.segmentIDs() == ("liver", "spleen", "tumor")
    assert chosen == ["liver", "tumor"]


def test_a_slider_keeps_its_value_inside_its_limits(harness: Harness) -> None:
    import slicer

    slider, values = slicer.qMRMLSliderWidget(), []
    slider.connect("valueChanged(double)", values.append)
    slider.maximum = 10
    slider.value = 20
    slider.minimum = 2
    slider.setValue(0)
    assert slider.value == 2
    assert values == [10, 2]
    slider.decimals = 0
    slider.value = 3.4
    assert slider.value == 3


def test_a_double_slider_is_dragged(harness: Harness) -> None:
    import ctk

    slider, values = ctk.ctkDoubleSlider(), []
    slider.connect("valueChanged(double)", values.append)
    slider.maximum = 1
    show(harness, slider)
    harness.slide(slider, 0.25)
    assert values == [0.25]


def test_a_path_line_edit_says_when_its_path_is_there(harness: Harness, tmp_path: Path) -> None:
    import ctk

    edit, paths, valid = ctk.ctkPathLineEdit(), [], []
    edit.filters = ctk.ctkPathLineEdit.Files | ctk.ctkPathLineEdit.Readable
    edit.connect("currentPathChanged(QString)", paths.append)
    edit.connect("validInputChanged(bool)", valid.append)
    show(harness, edit)
    harness.type(edit, str(tmp_path))
    assert edit.currentPath == paths[-1] == str(tmp_path)
    assert valid[-1] is True
    edit.addCurrentPathToHistory()
    assert edit.comboBox().count == 1


def test_a_collapsible_group_box_folds(harness: Harness) -> None:
    import ctk
    import qt

    box = ctk.ctkCollapsibleGroupBox("More")
    assert box.title == "More"
    box.setLayout(qt.QVBoxLayout())
    button = qt.QPushButton("inside")
    box.layout().addWidget(button)
    show(harness, box)
    harness.click(button)
    box.collapsed = True
    harness.pump()
    assert box.collapsed
    with pytest.raises(HarnessError, match="folded away"):
        harness.click(button)


def test_the_layout_manager_gives_the_slice_views(harness: Harness) -> None:
    import slicer

    manager = slicer.app.layoutManager()
    assert manager.sliceViewNames() == ("Red", "Green", "Yellow")
    widget = manager.sliceWidget("Yellow")
    assert widget.mrmlSliceNode().GetID() == "vtkMRMLSliceNodeYellow"
    assert widget.sliceLogic().GetSliceNode().GetOrientation() == "Sagittal"
    volume = add("vtkMRMLScalarVolumeNode", "CT")
    slicer.util.updateVolumeFromArray(volume, np.zeros((4, 5, 6), np.uint8))
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    assert widget.mrmlSliceCompositeNode().GetBackgroundVolumeID() == volume.GetID()
    xyz = widget.sliceView().convertRASToXYZ((0.0, 5.0, -3.0))
    assert widget.sliceView().convertXYZToRAS(xyz) == pytest.approx((0.0, 5.0, -3.0))
