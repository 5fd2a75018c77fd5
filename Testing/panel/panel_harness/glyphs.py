"""The small pictures of the segments table, drawn here because fonts do not have them everywhere."""

from __future__ import annotations

from PySide6 import QtCore, QtGui, QtWidgets

_SIDE = 16


def eye(opened: bool, color: str = "") -> QtGui.QIcon:
    """An eye, or a closed one, in the color of texts unless another is given."""
    pixmap, painter = _canvas()
    if color:
        painter.setPen(QtGui.QPen(QtGui.QColor(color), 1.4))
    lid = QtGui.QPainterPath(QtCore.QPointF(1, 8))
    lid.quadTo(8, 15, 15, 8)
    if opened:
        lid.quadTo(8, 1, 1, 8)
    painter.drawPath(lid)
    if opened:
        painter.setBrush(painter.pen().color())
        painter.drawEllipse(QtCore.QPointF(8, 8), 2.2, 2.2)
    painter.end()
    return QtGui.QIcon(pixmap)


def swatches(*colors: str | QtGui.QColor) -> QtGui.QIcon:
    """A square with the colors side by side."""
    pixmap, painter = _canvas()
    width = 14 / len(colors)
    for position, color in enumerate(colors):
        painter.fillRect(QtCore.QRectF(1 + width * position, 1, width, 14), QtGui.QColor(color))
    painter.end()
    return QtGui.QIcon(pixmap)


def _canvas() -> tuple[QtGui.QPixmap, QtGui.QPainter]:
    pixmap = QtGui.QPixmap(_SIDE, _SIDE)
    pixmap.fill(QtCore.Qt.GlobalColor.transparent)
    painter = QtGui.QPainter(pixmap)
    painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
    painter.setPen(QtGui.QPen(QtWidgets.QApplication.palette().color(QtGui.QPalette.ColorRole.Text), 1.4))
    return pixmap, painter
