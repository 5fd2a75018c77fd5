"""Mouse and keyboard on Qt widgets; refuses what a user could not do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PySide6 import QtCore, QtGui, QtTest, QtWidgets

from .errors import HarnessError

_LEFT = QtCore.Qt.MouseButton.LeftButton
_NONE = QtCore.Qt.KeyboardModifier.NoModifier


def _name(widget: Any) -> str:
    return widget.objectName() or (widget.text() if hasattr(widget, "text") else "") or type(widget).__name__


def require_usable(widget: QtWidgets.QWidget) -> None:
    """Scroll a widget into sight.

    Raises:
        HarnessError: It is hidden, folded away or disabled.
    """
    if not widget.isVisible():
        raise HarnessError(f"{_name(widget)} is hidden")
    parent = widget.parentWidget()
    while parent is not None:
        if isinstance(parent, QtWidgets.QScrollArea):
            # Layouts only: a timer that fired here could disable what is about to be clicked.
            QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.Type.LayoutRequest.value)
            parent.ensureWidgetVisible(widget)
        parent = parent.parentWidget()
    if widget.visibleRegion().isEmpty():
        raise HarnessError(f"{_name(widget)} is folded away or out of sight")
    if not widget.isEnabled():
        raise HarnessError(f"{_name(widget)} is disabled: {widget.toolTip() or 'it does not say why'}")


def click(widget: QtWidgets.QWidget) -> None:
    require_usable(widget)
    middle = widget.rect().center()
    spots = [middle, QtCore.QPoint(10, middle.y()), QtCore.QPoint(middle.x(), 10), QtCore.QPoint(10, 10)]
    if isinstance(widget, QtWidgets.QAbstractButton):
        # The middle of a check box or of an opened section is not where it reacts.
        spots = [spot for spot in spots if widget.hitButton(spot)] or spots
    QtTest.QTest.mouseClick(widget, _LEFT, _NONE, spots[0])


def type_text(widget: QtWidgets.QWidget, text: str, enter: bool) -> None:
    require_usable(widget)
    inner: Any = widget.focusProxy() or widget
    inner = inner.lineEdit() if isinstance(inner, QtWidgets.QComboBox) else inner
    if getattr(inner, "isReadOnly", lambda: False)():
        raise HarnessError(f"{_name(widget)} is read only")
    inner.setFocus()
    inner.selectAll()
    QtTest.QTest.keyClick(inner, QtCore.Qt.Key.Key_Delete)
    if text.isascii():
        QtTest.QTest.keyClicks(inner, text)
    else:
        event = QtGui.QInputMethodEvent()
        event.setCommitString(text)
        QtWidgets.QApplication.sendEvent(inner, event)
    if enter:
        QtTest.QTest.keyClick(inner, QtCore.Qt.Key.Key_Return)


def _combo_box(widget: Any) -> QtWidgets.QComboBox:
    for candidate in (widget, getattr(widget, "_combo", None), getattr(widget, "_segments", None)):
        if isinstance(candidate, QtWidgets.QComboBox):
            return candidate
    raise HarnessError(f"{_name(widget)} is not a combo box")


def choose(widget: QtWidgets.QWidget, text: str) -> None:
    combo = _combo_box(widget)
    require_usable(combo)
    index = combo.findText(text)
    if index < 0:
        known = [combo.itemText(position) for position in range(combo.count())]
        raise HarnessError(f"{_name(widget)} has no entry {text}; it has {known}")
    flags = combo.model().index(index, combo.modelColumn()).flags()
    if not flags & QtCore.Qt.ItemFlag.ItemIsEnabled:
        raise HarnessError(f"the entry {text} of {_name(widget)} is disabled")
    combo.setFocus()
    combo.setCurrentIndex(index)
    # Only a user's choice makes these; setCurrentIndex does not.
    combo.activated.emit(index)
    combo.textActivated.emit(text)


def slide(widget: Any, value: float) -> None:
    spin_box: Any = getattr(widget, "_spin_box", None)
    if spin_box is None and isinstance(widget, QtWidgets.QAbstractSpinBox):
        spin_box = widget
    if spin_box is not None and not spin_box.isHidden():
        type_text(spin_box, f"{value:g}", enter=True)
        return
    require_usable(widget)
    if isinstance(widget, QtWidgets.QAbstractSlider):
        widget.setSliderDown(True)
        widget.setSliderPosition(round(value))
        widget.setSliderDown(False)
    else:
        widget.set_value(value)


def click_segment(table: Any, segment_id: str, column: int | None) -> None:
    row = table.rowForSegmentID(segment_id)
    if row < 0:
        raise HarnessError(f"the table shows no segment {segment_id}")
    inner = table.tableWidget()
    click_row(inner, row, inner.columnCount() - 1 if column is None else column)


def click_row(view: Any, row: int, column: int) -> None:
    require_usable(view)
    index = view.model().index(row, column)
    if not index.isValid():
        raise HarnessError(f"{_name(view)} has no row {row}")
    view.scrollTo(index)
    spot = view.visualRect(index).center()
    QtTest.QTest.mouseClick(view.viewport(), _LEFT, _NONE, spot)


def activate(window: QtWidgets.QWidget) -> None:
    """Make a window the active one; without a window manager only Qt itself can."""
    window.activateWindow()
    QtWidgets.QApplication.processEvents()
    if QtWidgets.QApplication.activeWindow() is not window:
        QtWidgets.QApplication.setActiveWindow(window)


def press(window: QtWidgets.QMainWindow, keys: str, on: QtWidgets.QWidget | None) -> None:
    sequence = QtGui.QKeySequence(keys)
    if sequence.isEmpty():
        raise HarnessError(f"{keys} is no key sequence")
    activate(window)
    focus = QtWidgets.QApplication.focusWidget()
    target = on or (focus if focus is not None and focus.window() is window else window)
    for position in range(sequence.count()):
        combination = sequence[position]
        QtTest.QTest.keyClick(target, combination.key(), combination.keyboardModifiers())


def grab(widget: QtWidgets.QWidget, path: Path) -> Path:
    if not widget.grab().save(str(path)):
        raise HarnessError(f"{path} could not be written")
    return path
