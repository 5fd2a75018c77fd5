"""The mouse and keys in Slicer's views, as Qt events to the widget that VTK draws into."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import qt
import slicer

NO_BUTTON, LEFT, RIGHT = "NoButton", "LeftButton", "RightButton"


def read(value: Any) -> Any:
    """A value that is a property in one binding and a method in another."""
    return value() if callable(value) else value


def slice_widget(view: str) -> Any:
    """The slice view of that name."""
    return slicer.app.layoutManager().sliceWidget(view)


def scroll_to(view: str, ras: Sequence[float]) -> None:
    """Show the slice that holds a point."""
    slice_widget(view).mrmlSliceNode().JumpSliceByOffsetting(*ras)
    slicer.util.forceRenderAllViews()


def place_in_view(view: str, ras: Sequence[float]) -> Any:
    """Where a point is drawn, in Qt's coordinates of the widget VTK draws into.

    MRML counts device pixels from the lower left corner, Qt logical pixels from the upper left one.
    """
    shown = slice_widget(view).sliceView()
    drawn = shown.VTKWidget()
    x, y = list(shown.convertRASToXYZ(list(ras)))[:2]
    ratio = float(read(drawn.devicePixelRatioF))
    return qt.QPointF(x / ratio, float(read(drawn.height)) - 1 - y / ratio)


def send(view: str, kind: int, point: Any, button: str = NO_BUTTON, held: str = NO_BUTTON) -> None:
    """One mouse event, delivered at once."""
    send_to(slice_widget(view).sliceView().VTKWidget(), kind, point, button, held)


def send_to(widget: Any, kind: int, point: Any, button: str = NO_BUTTON, held: str = NO_BUTTON) -> None:
    """One mouse event for a widget; this constructor exists in Qt 5 and in Qt 6."""
    inside = qt.QPoint(int(read(point.x)), int(read(point.y)))
    on_screen = qt.QPointF(widget.mapToGlobal(inside))
    buttons = getattr(qt.Qt, button), getattr(qt.Qt, held)
    event = qt.QMouseEvent(kind, point, on_screen, *buttons, qt.Qt.NoModifier)
    qt.QCoreApplication.sendEvent(widget, event)


def move(view: str, ras: Sequence[float]) -> None:
    """Hold the mouse over a point, coming from a few pixels away, as a hand would."""
    scroll_to(view, ras)
    target = place_in_view(view, ras)
    near = qt.QPointF(read(target.x) + 4, read(target.y) + 4)
    for point in (near, target):
        send(view, qt.QEvent.MouseMove, point)
        slicer.app.processEvents()


def click(view: str, ras: Sequence[float], button: str = LEFT) -> None:
    """Move there, press and release."""
    move(view, ras)
    target = place_in_view(view, ras)
    send(view, qt.QEvent.MouseButtonPress, target, button, button)
    send(view, qt.QEvent.MouseButtonRelease, target, button)
    slicer.app.processEvents()


def drag(view: str, start: Sequence[float], end: Sequence[float], steps: int = 5) -> None:
    """Press at one point of the slice and release at another."""
    move(view, start)
    first, last = place_in_view(view, start), place_in_view(view, end)
    send(view, qt.QEvent.MouseButtonPress, first, LEFT, LEFT)
    for step in range(1, steps + 1):
        x, y = (
            read(getattr(first, axis)) + step / steps * (read(getattr(last, axis)) - read(getattr(first, axis)))
            for axis in ("x", "y")
        )
        send(view, qt.QEvent.MouseMove, qt.QPointF(x, y), NO_BUTTON, LEFT)
        slicer.app.processEvents()
    send(view, qt.QEvent.MouseButtonRelease, last, LEFT)
    slicer.app.processEvents()


def press_key(view: str, key: str) -> None:
    """A key while the mouse is over a slice view, told to VTK directly: only what the view does with it is asked."""
    interactor = slice_widget(view).sliceView().interactor()
    interactor.SetKeyEventInformation(0, 0, key, 0, key)
    for event in ("KeyPressEvent", "CharEvent", "KeyReleaseEvent"):
        interactor.InvokeEvent(event)
    slicer.app.processEvents()
