"""Behavior of the embedded Segment Editor: its logic and undo stack are the real ones, its effects are buttons only."""

from __future__ import annotations

from typing import Any

from PySide6 import QtWidgets

from .stand_ins import Behavior, behavior
from .value_widgets import row_layout

# ruff: noqa: N802 - qMRML's names

_EFFECTS = ("None", "Paint", "Draw", "Erase", "Level tracing", "Grow from seeds", "Smoothing", "Scissors", "Islands")


@behavior(
    "qMRMLSegmentEditorWidget",
    kept=(
        "segmentationNodeSelectorVisible",
        "sourceVolumeNodeSelectorVisible",
        "maskingSectionVisible",
        "switchToSegmentationsButtonVisible",
        "addRemoveSegmentButtonsVisible",
        "show3DButtonVisible",
        "specifyGeometryButtonVisible",
        "undoEnabled",
    ),
)
class SegmentEditorWidget(Behavior):
    """Holds segmentation and volume in an editor node; a test paints with ``_logic`` as the Paint effect does."""

    def build(self: Any) -> None:
        import slicer

        self._logic = slicer.vtkSlicerSegmentEditorLogic()
        self._node: Any = None
        self._values.update(undoEnabled=True)
        layout = row_layout(self)
        for name in _EFFECTS:
            button = QtWidgets.QToolButton()
            button.setText(name)
            layout.addWidget(button)

    def setMRMLScene(self: Any, scene: Any) -> None:
        if scene is self._scene:
            return
        self._scene = scene
        self._logic.SetMRMLScene(scene)
        self.send("mrmlSceneChanged(vtkMRMLScene*)", scene)

    def setMRMLSegmentEditorNode(self: Any, node: Any) -> None:
        self._node = node
        self._logic.SetSegmentEditorNode(node)

    def mrmlSegmentEditorNode(self: Any) -> Any:
        return self._node

    def setSegmentationNode(self: Any, node: Any) -> None:
        self._logic.SetSegmentationNode(node)

    def segmentationNode(self: Any) -> Any:
        return self._logic.GetSegmentationNode()

    def setSourceVolumeNode(self: Any, node: Any) -> None:
        self._logic.SetSourceVolumeNode(node)

    def sourceVolumeNode(self: Any) -> Any:
        return self._logic.GetSourceVolumeNode()

    def setActiveEffect(self: Any, effect: Any) -> None:
        if effect is not None:
            raise NotImplementedError("the stand-in has no effects")

    def setupViewObservations(self: Any) -> None:
        """There are no views to observe."""

    def removeViewObservations(self: Any) -> None:
        """There are no views to observe."""

    def saveStateForUndo(self: Any) -> None:
        self._logic.SaveStateForUndo()

    def undo(self: Any) -> None:
        self._logic.Undo()

    def redo(self: Any) -> None:
        self._logic.Redo()

    def get_maximumNumberOfUndoStates(self: Any) -> int:
        return self._logic.GetMaximumNumberOfUndoStates()

    def set_maximumNumberOfUndoStates(self: Any, number: int) -> None:
        self._logic.SetMaximumNumberOfUndoStates(number)
