"""What the panel's source asks of the widgets of its .ui file. Needs neither Slicer nor Qt."""

from __future__ import annotations

import ast
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

ALIASES = {"_editor": "segmentEditor"}
"""Attributes of the panel's classes that hold a widget under another name."""


def widgets_of(ui_file: Path) -> dict[str, str]:
    """Name and class of every widget in a .ui file."""
    return {item.get("name", ""): item.get("class", "") for item in ET.parse(ui_file).iter("widget")}


def members_used(sources: Path, widgets: dict[str, str]) -> set[tuple[str, str]]:
    """(widget, attribute) for every ``ui.<widget>.<attribute>``, also through a local name or one of ALIASES."""
    found = set()
    for scope in _scopes(sources):
        local = _local_names(scope, widgets)
        for node in ast.walk(scope):
            if isinstance(node, ast.Attribute):
                widget = _widget(node.value, widgets, local)
                if widget and node.attr not in ("connect", "disconnect"):
                    found.add((widget, node.attr))
    return found


def signals_used(sources: Path, widgets: dict[str, str]) -> set[tuple[str, str]]:
    """(widget, signal) for every ``connect(ui.<widget>, "signal", slot)``."""
    found = set()
    for scope in _scopes(sources):
        for node in ast.walk(scope):
            if not isinstance(node, ast.Call) or ast.unparse(node.func) != "connect" or len(node.args) < 2:
                continue
            widget, signal = _widget(node.args[0], widgets, {}), node.args[1]
            if widget and isinstance(signal, ast.Constant):
                found.add((widget, str(signal.value)))
    return found


def _scopes(sources: Path) -> Iterator[ast.AST]:
    for path in sorted(sources.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                yield node


def _local_names(scope: ast.AST, widgets: dict[str, str]) -> dict[str, str]:
    """Local names that stand for one widget: ``table = self.ui.segmentsTable``."""
    names = {}
    for node in ast.walk(scope):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            widget = _widget(node.value, widgets, {})
            if widget:
                names[node.targets[0].id] = widget
    return names


def _widget(node: ast.AST, widgets: dict[str, str], local: dict[str, str]) -> str:
    if isinstance(node, ast.Name):
        return local.get(node.id, "")
    if not isinstance(node, ast.Attribute):
        return ""
    if node.attr in ALIASES and isinstance(node.value, ast.Name) and node.value.id == "self":
        return ALIASES[node.attr]
    is_ui = ast.unparse(node.value).split(".")[-1] == "ui"
    return node.attr if is_ui and node.attr in widgets else ""
