"""Everything that would stop a user with a window: recorded and answered, never shown.

Covers the functions of ``slicer.util``, the static functions of Qt's dialogs, and ``exec_()`` of dialogs and menus.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from PySide6 import QtWidgets


@dataclass(frozen=True)
class Shown:
    """One window a user would have seen: which function, the text, the title, and the other arguments."""

    kind: str
    text: str
    title: str = ""
    details: dict[str, Any] = field(default_factory=dict)


# What each call gives back until a test says otherwise; file and text dialogs are canceled.
_DEFAULT_ANSWERS: dict[str, Any] = {
    "confirmOkCancelDisplay": True,
    "confirmYesNoDisplay": True,
    "confirmRetryCloseDisplay": False,
    "messageBox": int(QtWidgets.QMessageBox.StandardButton.Ok.value),
    "question": int(QtWidgets.QMessageBox.StandardButton.Yes.value),
    "information": int(QtWidgets.QMessageBox.StandardButton.Ok.value),
    "warning": int(QtWidgets.QMessageBox.StandardButton.Ok.value),
    "critical": int(QtWidgets.QMessageBox.StandardButton.Ok.value),
    "getOpenFileName": "",
    "getSaveFileName": "",
    "getExistingDirectory": "",
    "getOpenFileNames": (),
    "getText": "",
    "getItem": "",
    "getMultiLineText": "",
    "exec": 0,
}

_MODAL_STATICS: dict[str, tuple[str, ...]] = {
    "QMessageBox": ("question", "information", "warning", "critical", "about"),
    "ctkMessageBox": ("question", "information", "warning", "critical", "about"),
    "QFileDialog": ("getOpenFileName", "getSaveFileName", "getExistingDirectory", "getOpenFileNames"),
    "QInputDialog": ("getText", "getItem", "getInt", "getDouble", "getMultiLineText"),
}


class DialogRecorder:
    """What was shown to the user, and what the user answers."""

    def __init__(self) -> None:
        self.shown: list[Shown] = []
        self.status: list[str] = []
        self.progress: list[Any] = []
        self._answers: dict[str, Any] = {}

    def reset(self) -> None:
        self.shown.clear()
        self.status.clear()
        self.progress.clear()
        self._answers.clear()

    def answer(self, kind: str, reply: Any) -> None:
        """Choose the reply of one kind of window; a callable is asked with the ``Shown``."""
        if kind not in _DEFAULT_ANSWERS and not any(kind in names for names in _MODAL_STATICS.values()):
            raise ValueError(f"no window of the kind {kind}; there are {sorted(_DEFAULT_ANSWERS)}")
        self._answers[kind] = reply

    def show(self, kind: str, text: str = "", title: str = "", **details: Any) -> Any:
        shown = Shown(kind, str(text), str(title or ""), details)
        self.shown.append(shown)
        reply = self._answers.get(kind, _DEFAULT_ANSWERS.get(kind))
        return reply(shown) if callable(reply) else reply

    def texts(self, kind: str = "") -> list[str]:
        """The texts shown so far, of one kind or of all."""
        return [shown.text for shown in self.shown if kind in ("", shown.kind)]

    def assert_none(self) -> None:
        """Fail when the user was interrupted by any window."""
        assert not self.shown, f"the user was interrupted by {self.shown}"


recorder = DialogRecorder()


def modal_static(class_name: str, function: str) -> Callable[..., Any] | None:
    """The recorded form of a static function that would open a window, or None for any other."""
    if function not in _MODAL_STATICS.get(class_name, ()):
        return None

    def ask(*arguments: Any, **named: Any) -> Any:
        words = [argument for argument in arguments if isinstance(argument, str)]
        title, text = (*words, "", "")[:2]
        return recorder.show(function, text, title, arguments=arguments, **named)

    return ask


def modal_method(owner: Any, method: str) -> Callable[..., Any] | None:
    """The recorded form of ``dialog.exec_()`` or ``menu.exec_()``, or None for any other method."""
    raw = owner._raw
    if method != "exec" or not isinstance(raw, QtWidgets.QDialog | QtWidgets.QMenu):
        return None

    def execute(*arguments: Any) -> Any:
        text = raw.text() if isinstance(raw, QtWidgets.QMessageBox) else raw.windowTitle()
        reply = recorder.show("exec", text, raw.windowTitle(), dialog=owner)
        return None if isinstance(raw, QtWidgets.QMenu) else reply

    return execute


# The stand-ins for slicer.util's functions; their signatures equal the real ones, which a test compares.
# ruff: noqa: N802


def confirmOkCancelDisplay(text: str, windowTitle: str | None = None, parent: Any = None, **kwargs: Any) -> bool:
    return recorder.show("confirmOkCancelDisplay", text, windowTitle or "", **kwargs)


def confirmYesNoDisplay(text: str, windowTitle: str | None = None, parent: Any = None, **kwargs: Any) -> bool:
    return recorder.show("confirmYesNoDisplay", text, windowTitle or "", **kwargs)


def confirmRetryCloseDisplay(text: str, windowTitle: str | None = None, parent: Any = None, **kwargs: Any) -> bool:
    return recorder.show("confirmRetryCloseDisplay", text, windowTitle or "", **kwargs)


def errorDisplay(
    text: str, windowTitle: str | None = None, parent: Any = None, standardButtons: Any = None, **kwargs: Any
) -> None:
    recorder.show("errorDisplay", text, windowTitle or "", **kwargs)


def warningDisplay(
    text: str, windowTitle: str | None = None, parent: Any = None, standardButtons: Any = None, **kwargs: Any
) -> None:
    recorder.show("warningDisplay", text, windowTitle or "", **kwargs)


def infoDisplay(
    text: str, windowTitle: str | None = None, parent: Any = None, standardButtons: Any = None, **kwargs: Any
) -> None:
    recorder.show("infoDisplay", text, windowTitle or "", **kwargs)


def messageBox(text: str, parent: Any = None, **kwargs: Any) -> int:
    return recorder.show("messageBox", text, kwargs.get("windowTitle", ""), **kwargs)


def delayDisplay(message: str, autoCloseMsec: int = 1000, parent: Any = None, **kwargs: Any) -> None:
    logging.info(message)
    if autoCloseMsec >= 400 or autoCloseMsec < 0:
        recorder.show("delayDisplay", message, **kwargs)


@contextlib.contextmanager
def tryWithErrorDisplay(message: str | None = None, show: bool = True, waitCursor: bool = False) -> Iterator[None]:
    import slicer.util

    try:
        yield
    except Exception as error:
        if show:
            slicer.util.errorDisplay(str(error) if message is None else f"{message}\n\n{error}")
        raise


_PATCHED = (
    confirmOkCancelDisplay,
    confirmYesNoDisplay,
    confirmRetryCloseDisplay,
    errorDisplay,
    warningDisplay,
    infoDisplay,
    messageBox,
    delayDisplay,
    tryWithErrorDisplay,
)


def install() -> None:
    """Put the recorded functions into the genuine ``slicer.util``.

    Raises:
        TypeError: The genuine function does not exist or has another signature.
    """
    import slicer.util

    for function in _PATCHED:
        genuine = getattr(slicer.util, function.__name__, None)
        if genuine is None:
            raise TypeError(f"slicer.util has no {function.__name__}")
        wanted, got = (list(inspect.signature(f).parameters) for f in (genuine, function))
        if wanted != got:
            raise TypeError(f"{function.__name__} takes {wanted} in slicer.util, {got} here")
        setattr(slicer.util, function.__name__, function)
    _record_progress_and_status(slicer.util)


def _record_progress_and_status(util: Any) -> None:
    if getattr(util.showStatusMessage, "recorded", False):
        return
    genuine_status, genuine_progress = util.showStatusMessage, util.createProgressDialog

    def showStatusMessage(message: str, duration: int = 0) -> Any:
        recorder.status.append(message)
        return genuine_status(message, duration)

    def createProgressDialog(*arguments: Any, **named: Any) -> Any:
        dialog = genuine_progress(*arguments, **named)
        recorder.progress.append(dialog)
        return dialog

    showStatusMessage.recorded = True  # type: ignore[attr-defined]
    util.showStatusMessage, util.createProgressDialog = showStatusMessage, createProgressDialog
