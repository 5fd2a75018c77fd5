"""Behavior of CTK's containers: collapsible sections, expandable frames."""

from __future__ import annotations

from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from .stand_ins import Behavior, behavior

# ruff: noqa: N802 - Qt's and CTK's names


@behavior(
    "ctkCollapsibleButton",
    kept=(
        "collapsedHeight",
        "flat",
        "contentsFrameShape",
        "contentsFrameShadow",
        "contentsLineWidth",
        "contentsMidLineWidth",
        "buttonTextAlignment",
        "indicatorAlignment",
    ),
)
class CollapsibleButton(Behavior):
    """A header that folds the widgets in its layout away.

    The folded widgets are clipped, not hidden one by one, so what the panel itself hides stays its own business.
    """

    def build(self: Any) -> None:
        self.setCheckable(True)
        self.setChecked(True)
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Preferred, QtWidgets.QSizePolicy.Policy.Preferred)
        self.setContentsMargins(2, self._header() + 2, 2, 2)
        self.toggled.connect(self._fold)

    def _header(self: Any) -> int:
        return self.fontMetrics().height() + 8

    def _fold(self: Any, opened: bool) -> None:
        self.setMaximumHeight(16777215 if opened else self._header())
        self.updateGeometry()
        self.send("contentsCollapsed(bool)", not opened)

    def get_collapsed(self: Any) -> bool:
        return not self.isChecked()

    def set_collapsed(self: Any, collapsed: bool) -> None:
        self.setChecked(not collapsed)

    def sizeHint(self: Any) -> QtCore.QSize:
        if self.layout() is None or not self.isChecked():
            return QtCore.QSize(120, self._header())
        return self.layout().totalSizeHint()

    def minimumSizeHint(self: Any) -> QtCore.QSize:
        return self.sizeHint()

    def hitButton(self: Any, position: QtCore.QPoint) -> bool:
        return position.y() <= self._header()

    def paintEvent(self: Any, event: QtGui.QPaintEvent) -> None:
        painter = QtWidgets.QStylePainter(self)
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        option.rect = QtCore.QRect(0, 0, self.width(), self._header())
        painter.drawControl(QtWidgets.QStyle.ControlElement.CE_PushButtonBevel, option)
        arrow = QtWidgets.QStyle.PrimitiveElement
        option.rect = QtCore.QRect(6, 0, 12, self._header())
        painter.drawPrimitive(arrow.PE_IndicatorArrowDown if self.isChecked() else arrow.PE_IndicatorArrowRight, option)
        text = QtCore.QRect(24, 0, self.width() - 24, self._header())
        alignment = QtCore.Qt.AlignmentFlag.AlignVCenter | QtCore.Qt.AlignmentFlag.AlignLeft
        painter.drawItemText(
            text,
            int(alignment.value),
            self.palette(),
            self.isEnabled(),
            self.text(),
            QtGui.QPalette.ColorRole.ButtonText,
        )


@behavior("ctkCollapsibleGroupBox", kept=("collapsedHeight",))
class CollapsibleGroupBox(Behavior):
    """A group box whose check mark folds it."""

    def build(self: Any) -> None:
        self.setCheckable(True)
        self.setChecked(True)
        self.toggled.connect(self._fold)

    def _fold(self: Any, opened: bool) -> None:
        self.setMaximumHeight(16777215 if opened else self.fontMetrics().height() + 8)
        # Qt disables the children of an unchecked group box; CTK folds them instead.
        for child in self.findChildren(QtWidgets.QWidget, options=QtCore.Qt.FindChildOption.FindDirectChildrenOnly):
            child.setEnabled(True)

    def get_collapsed(self: Any) -> bool:
        return not self.isChecked()

    def set_collapsed(self: Any, collapsed: bool) -> None:
        self.setChecked(not collapsed)

    def minimumSizeHint(self: Any) -> QtCore.QSize:
        if self.isChecked() and self.layout() is not None:
            return self.layout().totalMinimumSize()
        return QtCore.QSize(0, self.fontMetrics().height() + 8)


@behavior("ctkExpandableWidget", kept=("orientations", "sizeGripInside", "sizeGripMargins"))
class ExpandableWidget(Behavior):
    """A frame the user may drag taller."""

    def updateSizeHint(self: Any) -> None:
        self.updateGeometry()


@behavior("qMRMLWidget")
class MrmlWidget(Behavior):
    """Root of most panels: holds the scene and tells about a new one."""

    _scene: Any = None

    def setMRMLScene(self: Any, scene: Any) -> None:
        if scene is self._scene:
            return
        self._scene = scene
        self.send("mrmlSceneChanged(vtkMRMLScene*)", scene)

    def mrmlScene(self: Any) -> Any:
        return self._scene


@behavior("qSlicerWidget")
class SlicerWidget(Behavior):
    """Like qMRMLWidget, but Python cannot ask it for its scene."""

    _scene: Any = None

    def setMRMLScene(self: Any, scene: Any) -> None:
        if scene is self._scene:
            return
        self._scene = scene
        self.send("mrmlSceneChanged(vtkMRMLScene*)", scene)


@behavior("ctkFittedTextBrowser", kept=("disableMouseScroll", "showDetailsText", "hideDetailsText"))
class FittedTextBrowser(Behavior):
    """A text browser as tall as its text."""

    def build(self: Any) -> None:
        self.setFrameShape(QtWidgets.QFrame.Shape.NoFrame)

    def sizeHint(self: Any) -> QtCore.QSize:
        return QtCore.QSize(200, int(self.document().size().height()) + 4)

    def minimumSizeHint(self: Any) -> QtCore.QSize:
        return QtCore.QSize(50, self.sizeHint().height())
