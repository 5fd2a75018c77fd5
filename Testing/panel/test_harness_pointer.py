"""Clicks in the slice views reach the markups nodes in the order Slicer tells them."""

from __future__ import annotations

from typing import Any

import pytest
from panel_harness import Harness, HarnessError


def add(class_name: str) -> Any:
    import slicer

    return slicer.mrmlScene.AddNewNodeByClass(class_name)


def place_with(harness: Harness, node: Any, several: bool = False) -> Any:
    """A place widget in place mode for a node."""
    import slicer

    widget = slicer.qSlicerMarkupsPlaceWidget()
    kind = "ForcePlaceMultipleMarkups" if several else "ForcePlaceSingleMarkup"
    widget.placeMultipleMarkups = getattr(slicer.qSlicerMarkupsPlaceWidget, kind)
    widget.setMRMLScene(slicer.mrmlScene)
    widget.setCurrentNode(node)
    harness.main_window.setCentralWidget(widget)
    harness.pump()
    harness.click(widget.placeButton())
    return widget


def heard(node: Any) -> list[str]:
    """The names of the point events of a node, as they come."""
    names: list[str] = []
    for name in ("PointAdded", "PointPositionDefined", "PointStartInteraction", "PointEndInteraction", "PointModified"):
        node.AddObserver(getattr(node, name + "Event"), lambda caller, event, name=name: names.append(name))
    return names


def position(node: Any, index: int) -> list[float]:
    place = [0.0, 0.0, 0.0]
    node.GetNthControlPointPositionWorld(index, place)
    return place


def test_a_click_outside_place_mode_is_refused(harness: Harness) -> None:
    with pytest.raises(HarnessError, match="not in place mode"):
        harness.place_point((0, 0, 0))


def test_a_click_adds_one_point_after_its_preview(harness: Harness) -> None:
    node = add("vtkMRMLMarkupsFiducialNode")
    widget = place_with(harness, node)
    assert widget.placeModeEnabled
    names, previews = heard(node), []
    node.AddObserver(node.PointAddedEvent, lambda caller, event: previews.append(caller.GetNumberOfControlPoints()))
    harness.place_point((10, -20, 30), view="Green")
    assert names[0] == "PointAdded"
    assert names.count("PointPositionDefined") == 1
    assert previews == [1]
    assert position(node, 0) == [10, -20, 30]
    assert node.GetNumberOfDefinedControlPoints() == 1
    assert not widget.placeModeEnabled


def test_the_crosshair_and_the_view_are_where_the_mouse_is(harness: Harness) -> None:
    import slicer

    place_with(harness, add("vtkMRMLMarkupsFiducialNode"))
    harness.place_point((10, -20, 30), view="Green")
    crosshair = slicer.mrmlScene.GetNodeByID("vtkMRMLCrosshairNodedefault")
    ras = [0.0, 0.0, 0.0]
    assert crosshair.GetCursorPositionRAS(ras)
    assert ras == [10, -20, 30]
    assert harness.slice_logics["Green"].GetSliceOffset() == pytest.approx(-20)


def test_persistent_place_mode_takes_click_after_click(harness: Harness) -> None:
    node = add("vtkMRMLMarkupsFiducialNode")
    widget, states = place_with(harness, node, several=True), []
    widget.connect("activeMarkupsPlaceModeChanged(bool)", states.append)
    harness.place_point((1, 2, 3))
    harness.place_point((4, 5, 6))
    assert node.GetNumberOfDefinedControlPoints() == 2
    assert widget.placeModeEnabled
    widget.placeModeEnabled = False
    assert states == [False]


def test_a_preview_follows_the_mouse_and_goes_when_the_mouse_leaves(harness: Harness) -> None:
    import qt

    node = add("vtkMRMLMarkupsFiducialNode")
    widget = place_with(harness, node, several=True)
    names = heard(node)
    harness.hover((1, 2, 3))
    harness.hover((2, 2, 3))
    assert (node.GetNumberOfControlPoints(), node.GetNumberOfDefinedControlPoints()) == (1, 0)
    assert "PointPositionDefined" not in names
    harness.place_point((4, 5, 6))
    assert (node.GetNumberOfControlPoints(), node.GetNumberOfDefinedControlPoints()) == (2, 1)
    harness.press("F5")
    assert node.GetNumberOfControlPoints() == 2
    button = qt.QPushButton("elsewhere", widget)
    button.show()
    harness.click(button)
    assert node.GetNumberOfControlPoints() == 1
    harness.hover((7, 8, 9))
    widget.placeModeEnabled = False
    assert node.GetNumberOfControlPoints() == node.GetNumberOfDefinedControlPoints() == 1


def test_without_an_active_node_a_click_makes_one_of_the_active_class(harness: Harness) -> None:
    harness.selection_node.SetReferenceActivePlaceNodeClassName("vtkMRMLMarkupsFiducialNode")
    harness.interaction_node.SetCurrentInteractionMode(harness.interaction_node.Place)
    node = harness.place_point((1, 2, 3))
    assert node.GetNumberOfDefinedControlPoints() == 1
    assert node.GetDisplayNode() is not None
    assert harness.selection_node.GetActivePlaceNodeID() == node.GetID()


def test_a_box_is_placed_by_two_corners(harness: Harness) -> None:
    node = add("vtkMRMLMarkupsROINode")
    widget = place_with(harness, node)
    assert harness.place_box((-10, 0, 5), (10, 40, 25)) is node
    assert tuple(node.GetCenter()) == (0, 20, 15)
    assert tuple(node.GetSize()) == (20, 40, 20)
    assert not widget.placeModeEnabled
    with pytest.raises(HarnessError):
        harness.place_box((0, 0, 0), (1, 1, 1))


def test_a_curve_ends_with_a_right_click(harness: Harness) -> None:
    node = add("vtkMRMLMarkupsClosedCurveNode")
    widget = place_with(harness, node)
    harness.place_curve([(0, 0, 0), (10, 0, 0), (10, 10, 0), (0, 10, 0)])
    assert node.GetNumberOfDefinedControlPoints() == 4
    assert not widget.placeModeEnabled


def test_dragging_a_point_starts_moves_and_ends(harness: Harness) -> None:
    import vtk

    node = add("vtkMRMLMarkupsFiducialNode")
    node.AddControlPoint(0, 0, 0)
    node.AddControlPoint(5, 5, 5)
    indices: list[int] = []
    names = heard(node)

    @vtk.calldata_type(vtk.VTK_INT)
    def moved(caller: Any, event: str, index: int) -> None:
        indices.append(index)

    node.AddObserver(node.PointModifiedEvent, moved)
    harness.drag_point(node, 1, (9, 5, 5))
    assert names[0] == "PointStartInteraction"
    assert names[-1] == "PointEndInteraction"
    assert names.count("PointModified") == 4
    assert set(indices) == {1}
    assert position(node, 1) == [9, 5, 5]
    node.SetNthControlPointLocked(1, True)
    with pytest.raises(HarnessError, match="locked"):
        harness.drag_point(node, 1, (0, 0, 0))


def test_a_box_is_resized_by_its_handles(harness: Harness) -> None:
    node = add("vtkMRMLMarkupsROINode")
    names = heard(node)
    harness.drag_box(node, (1, 2, 3), (10, 20, 30))
    assert tuple(node.GetSize()) == (10, 20, 30)
    assert names[0] == "PointStartInteraction"
    assert names[-1] == "PointEndInteraction"
