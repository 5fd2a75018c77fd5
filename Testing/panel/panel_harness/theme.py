"""Light and dark application palettes, as Slicer's own styles have them."""

from __future__ import annotations

from PySide6 import QtGui, QtWidgets

_ROLES = QtGui.QPalette.ColorRole
_COLORS = {
    "light": {
        _ROLES.Window: "#efefef",
        _ROLES.Base: "#ffffff",
        _ROLES.AlternateBase: "#f7f7f7",
        _ROLES.Button: "#efefef",
        _ROLES.WindowText: "#000000",
        _ROLES.Text: "#000000",
        _ROLES.ButtonText: "#000000",
        _ROLES.ToolTipBase: "#ffffdc",
        _ROLES.ToolTipText: "#000000",
        _ROLES.Highlight: "#308cc6",
        _ROLES.HighlightedText: "#ffffff",
        _ROLES.PlaceholderText: "#80000000",
        _ROLES.Link: "#0000ff",
    },
    "dark": {
        _ROLES.Window: "#353535",
        _ROLES.Base: "#232323",
        _ROLES.AlternateBase: "#2d2d2d",
        _ROLES.Button: "#353535",
        _ROLES.WindowText: "#ffffff",
        _ROLES.Text: "#ffffff",
        _ROLES.ButtonText: "#ffffff",
        _ROLES.ToolTipBase: "#353535",
        _ROLES.ToolTipText: "#ffffff",
        _ROLES.Highlight: "#2a82da",
        _ROLES.HighlightedText: "#ffffff",
        _ROLES.PlaceholderText: "#80ffffff",
        _ROLES.Link: "#5aa9ff",
    },
}


def set_theme(name: str) -> None:
    """Give the application a light or dark palette.

    Raises:
        ValueError: There is no such theme.
    """
    if name not in _COLORS:
        raise ValueError(f"no theme {name}; there are {sorted(_COLORS)}")
    palette = QtGui.QPalette(QtGui.QColor(_COLORS[name][_ROLES.Button]))
    for role, color in _COLORS[name].items():
        palette.setColor(role, QtGui.QColor(color))
    gray = QtGui.QColor("#7f7f7f")
    for role in (_ROLES.WindowText, _ROLES.Text, _ROLES.ButtonText):
        palette.setColor(QtGui.QPalette.ColorGroup.Disabled, role, gray)
    QtWidgets.QApplication.setStyle("Fusion")
    QtWidgets.QApplication.setPalette(palette)
