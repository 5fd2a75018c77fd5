"""Behavior of the layout manager and the slice widgets: real slice nodes and logics, nothing drawn."""

from __future__ import annotations

from typing import Any

from .stand_ins import Behavior, behavior, stand_in_class

# ruff: noqa: N802 - Slicer's names


@behavior("qSlicerLayoutManager")
class LayoutManager(Behavior):
    """Knows the slice views of the scene; there is no 3D view."""

    def build(self: Any) -> None:
        self._layout = 3  # vtkMRMLLayoutNode::SlicerLayoutFourUpView
        self._slices: dict[str, Any] = {}

    def _add_slice(self: Any, logic: Any) -> None:
        widget = stand_in_class("qMRMLSliceWidget")()
        widget._use(logic)
        self._slices[logic.GetSliceNode().GetLayoutName()] = widget

    def sliceViewNames(self: Any) -> list[str]:
        return list(self._slices)

    def sliceWidget(self: Any, name: str) -> Any:
        return self._slices.get(name)

    def mrmlSliceLogics(self: Any) -> Any:
        import vtk

        logics = vtk.vtkCollection()
        for widget in self._slices.values():
            logics.AddItem(widget.sliceLogic())
        return logics

    def mrmlScene(self: Any) -> Any:
        import slicer

        return slicer.mrmlScene

    def resetSliceViews(self: Any) -> None:
        for widget in self._slices.values():
            widget.fitSliceToBackground()

    def resetThreeDViews(self: Any) -> None:
        """There is none."""

    def setLayout(self: Any, layout: int) -> None:
        if layout != self._layout:
            self._layout = layout
            self.send("layoutChanged(int)", layout)

    def get_layout(self: Any) -> int:
        return self._layout

    def set_layout(self: Any, layout: int) -> None:
        self.setLayout(layout)

    def get_threeDViewCount(self: Any) -> int:
        return 0

    def get_tableViewCount(self: Any) -> int:
        return 0

    def get_plotViewCount(self: Any) -> int:
        return 0

    def threeDWidget(self: Any, which: Any) -> None:
        return None

    def pauseRender(self: Any) -> None:
        """Nothing is drawn."""

    def resumeRender(self: Any) -> None:
        """Nothing is drawn."""


@behavior("qMRMLSliceWidget")
class SliceWidget(Behavior):
    """One slice view: its node, its logic, its (empty) view."""

    _logic: Any = None

    def _use(self: Any, logic: Any) -> None:
        self._logic = logic
        self._view = stand_in_class("qMRMLSliceView")(self)
        self._view.setMRMLSliceNode(logic.GetSliceNode())

    def sliceLogic(self: Any) -> Any:
        return self._logic

    def logic(self: Any) -> Any:
        return self._logic

    def mrmlSliceNode(self: Any) -> Any:
        return self._logic.GetSliceNode()

    def mrmlAbstractViewNode(self: Any) -> Any:
        return self._logic.GetSliceNode()

    def mrmlSliceCompositeNode(self: Any) -> Any:
        return self._logic.GetSliceCompositeNode()

    def sliceView(self: Any) -> Any:
        return self._view

    def get_sliceViewName(self: Any) -> str:
        return self._logic.GetSliceNode().GetLayoutName()

    def get_sliceOrientation(self: Any) -> str:
        return self._logic.GetSliceNode().GetOrientation()

    def set_sliceOrientation(self: Any, orientation: str) -> None:
        self._logic.GetSliceNode().SetOrientation(orientation)

    def setSliceOrientation(self: Any, orientation: str) -> None:
        self.set_sliceOrientation(orientation)

    def fitSliceToBackground(self: Any) -> None:
        self._logic.FitSliceToAll()


@behavior("qMRMLSliceView")
class SliceView(Behavior):
    """The area a slice is drawn in; converts positions, draws nothing."""

    _slice_node: Any = None

    def setMRMLSliceNode(self: Any, node: Any) -> None:
        self._slice_node = node

    def mrmlSliceNode(self: Any) -> Any:
        return self._slice_node

    def convertXYZToRAS(self: Any, xyz: Any) -> list[float]:
        return list(self._slice_node.GetXYToRAS().MultiplyPoint((*xyz, 1.0))[:3])

    def convertDeviceToXYZ(self: Any, device: Any) -> list[float]:
        return [float(device[0]), float(self.height() - device[1]), 0.0]

    def convertRASToXYZ(self: Any, ras: Any) -> list[float]:
        import vtk

        inverse = vtk.vtkMatrix4x4()
        vtk.vtkMatrix4x4.Invert(self._slice_node.GetXYToRAS(), inverse)
        return list(inverse.MultiplyPoint((*ras, 1.0))[:3])

    def set_cornerAnnotationText(self: Any, text: str) -> None:
        self._values["cornerAnnotationText"] = text

    def setCornerAnnotationText(self: Any, text: str) -> None:
        self.set_cornerAnnotationText(text)

    def setViewCursor(self: Any, cursor: Any) -> None:
        self.setCursor(cursor)

    def unsetViewCursor(self: Any) -> None:
        self.unsetCursor()

    def scheduleRender(self: Any) -> None:
        """Nothing is drawn."""

    def forceRender(self: Any) -> None:
        """Nothing is drawn."""
