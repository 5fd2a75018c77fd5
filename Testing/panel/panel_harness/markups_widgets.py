"""Behavior of the widget that starts and stops placing markups."""

from __future__ import annotations

from typing import Any

from PySide6 import QtGui, QtWidgets

from .node_widgets import Observations
from .stand_ins import Behavior, behavior
from .value_widgets import row_layout

# ruff: noqa: N802 - Slicer's names

_FORCE_SINGLE, _FORCE_MULTIPLE = 2, 3  # qSlicerMarkupsPlaceWidget::PlaceMultipleMarkupsType


@behavior(
    "qSlicerMarkupsPlaceWidget",
    kept=(
        "deleteAllControlPointsOptionVisible",
        "unsetLastControlPointOptionVisible",
        "unsetAllControlPointsOptionVisible",
        "deleteAllMarkupsOptionVisible",
    ),
)
class MarkupsPlaceWidget(Behavior):
    """Buttons for one markups node; the state lives in the selection and interaction nodes, as in Slicer."""

    def build(self: Any) -> None:
        self._values.update(placeMultipleMarkups=0, buttonsVisible=True, placeModePersistency=False)
        self._values.update(nodeColor=QtGui.QColor(), defaultNodeColor=QtGui.QColor())
        self._node: Any = None
        self._selection: Any = None
        self._interaction: Any = None
        self._was_placing = False
        self._events = Observations(self)
        self._place, self._delete = QtWidgets.QToolButton(), QtWidgets.QToolButton()
        self._place.setText("Place")
        self._place.setCheckable(True)
        self._delete.setText("Delete")
        layout = row_layout(self)
        for button in (self._place, self._delete):
            button.setEnabled(False)
            layout.addWidget(button)
        self._place.toggled.connect(self.set_placeModeEnabled)
        self._delete.clicked.connect(self.deleteAllPoints)

    # nodes
    def setMRMLScene(self: Any, scene: Any) -> None:
        self._scene = scene
        self._selection = self._interaction = None
        if scene is not None:
            self._selection = scene.GetNodeByID("vtkMRMLSelectionNodeSingleton")
            self._interaction = scene.GetNodeByID("vtkMRMLInteractionNodeSingleton")
        self._events.clear()
        for node in (self._selection, self._interaction):
            if node is not None:
                self._events.add(node, "ModifiedEvent", lambda caller, event: self._follow())
        if self._interaction is not None:
            self._events.add(
                self._interaction,
                self._interaction.InteractionModeChangedEvent,
                lambda caller, event: self._follow(),
            )
        self._follow()

    def interactionNode(self: Any) -> Any:
        return self._interaction

    def selectionNode(self: Any) -> Any:
        return self._selection

    def setCurrentNode(self: Any, node: Any) -> None:
        if node is not None and not node.IsA("vtkMRMLMarkupsNode"):
            node = None
        if node is self._node:
            return
        if self._node is not None and self.get_placeModeEnabled():
            self.set_placeModeEnabled(False)
        self._node = node
        for button in (self._place, self._delete):
            button.setEnabled(node is not None)
        self._follow()

    def currentNode(self: Any) -> Any:
        return self._node

    def currentMarkupsNode(self: Any) -> Any:
        return self._node

    def currentMarkupsFiducialNode(self: Any) -> Any:
        return self._node

    # place mode
    def get_currentNodeActive(self: Any) -> bool:
        return (
            self._node is not None
            and self._selection is not None
            and self._selection.GetActivePlaceNodeID() == self._node.GetID()
            and self._selection.GetActivePlaceNodeClassName() == self._node.GetClassName()
        )

    def set_currentNodeActive(self: Any, active: bool) -> None:
        if self._node is None or self._selection is None:
            return
        if active:
            self._selection.SetReferenceActivePlaceNodeClassName(self._node.GetClassName())
            self._selection.SetActivePlaceNodeID(self._node.GetID())
        elif self.get_currentNodeActive():
            self._selection.SetActivePlaceNodeID(None)

    def setCurrentNodeActive(self: Any, active: bool) -> None:
        self.set_currentNodeActive(active)

    def get_placeModeEnabled(self: Any) -> bool:
        return bool(
            self.get_currentNodeActive() and self._interaction.GetCurrentInteractionMode() == self._interaction.Place
        )

    def set_placeModeEnabled(self: Any, enabled: bool) -> None:
        if self._interaction is None or self._node is None or enabled == self.get_placeModeEnabled():
            return
        if not enabled:
            self._interaction.SetCurrentInteractionMode(self._interaction.ViewTransform)
            return
        self.set_currentNodeActive(True)
        kind = int(self._values["placeMultipleMarkups"])
        if kind in (_FORCE_SINGLE, _FORCE_MULTIPLE):
            self._interaction.SetPlaceModePersistence(int(kind == _FORCE_MULTIPLE))
        self._interaction.SetCurrentInteractionMode(self._interaction.Place)

    def setPlaceModeEnabled(self: Any, enabled: bool) -> None:
        self.set_placeModeEnabled(enabled)

    def get_placeModePersistency(self: Any) -> bool:
        return self._interaction is not None and bool(self._interaction.GetPlaceModePersistence())

    def set_placeModePersistency(self: Any, persistent: bool) -> None:
        if self._interaction is not None:
            self._interaction.SetPlaceModePersistence(int(persistent))

    def setPlaceModePersistency(self: Any, persistent: bool) -> None:
        self.set_placeModePersistency(persistent)

    def set_placeMultipleMarkups(self: Any, kind: int) -> None:
        self._values["placeMultipleMarkups"] = int(getattr(kind, "value", kind))

    def setPlaceMultipleMarkups(self: Any, kind: int) -> None:
        self.set_placeMultipleMarkups(kind)

    def _follow(self: Any) -> None:
        placing = self._node is not None and self._interaction is not None and self.get_placeModeEnabled()
        self._place.blockSignals(True)
        self._place.setChecked(placing)
        self._place.blockSignals(False)
        if placing != self._was_placing:
            self._was_placing = placing
            self.send("activeMarkupsPlaceModeChanged(bool)", placing)
            self.send("activeMarkupsFiducialPlaceModeChanged(bool)", placing)

    # points
    def deleteAllPoints(self: Any) -> None:
        if self._node is not None:
            self._node.RemoveAllControlPoints()

    def deleteLastPoint(self: Any) -> None:
        if self._node is not None and self._node.GetNumberOfControlPoints():
            self._node.RemoveNthControlPoint(self._node.GetNumberOfControlPoints() - 1)

    # looks
    def placeButton(self: Any) -> QtWidgets.QToolButton:
        return self._place

    def deleteButton(self: Any) -> QtWidgets.QToolButton:
        return self._delete

    def set_buttonsVisible(self: Any, visible: bool) -> None:
        self._values["buttonsVisible"] = visible
        for button in (self._place, self._delete):
            button.setVisible(visible)

    def setButtonsVisible(self: Any, visible: bool) -> None:
        self.set_buttonsVisible(visible)

    def set_nodeColor(self: Any, color: Any) -> None:
        self._values["nodeColor"] = color

    def setNodeColor(self: Any, color: Any) -> None:
        self.set_nodeColor(color)

    def set_defaultNodeColor(self: Any, color: Any) -> None:
        self._values["defaultNodeColor"] = color

    def setDefaultNodeColor(self: Any, color: Any) -> None:
        self.set_defaultNodeColor(color)
