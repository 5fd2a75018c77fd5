"""The shipped panel uses nothing that Slicer does not have, and shows no string that cannot be translated."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from panel_harness import check_source

MODULE = Path(__file__).resolve().parents[2] / "MoESeg"
SOURCES = sorted(MODULE.rglob("*.py"))
_SHOWN = {"say", "setHorizontalHeaderLabels", "confirmOkCancelDisplay", "setText", "QListWidgetItem", "enable"}


def test_the_module_uses_only_what_slicer_has():
    assert check_source(MODULE / "MoESeg.py") == []
    assert len(SOURCES) > 8


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_every_visible_string_can_be_translated(path: Path):
    """A literal that is shown (assigned to text or handed to a function that shows it) goes through _()."""
    bare = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Assign) and any(_is_text(target) for target in node.targets):
            bare += _bare_literals(node.value)
        if isinstance(node, ast.Call) and _name(node.func) in _SHOWN:
            for argument in node.args:
                bare += _bare_literals(argument)
    assert bare == []


def test_no_f_string_is_handed_to_the_translator():
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and _name(node.func) == "_":
                assert isinstance(node.args[0], ast.Constant), f"{path.name}:{node.lineno}"


def _is_text(target: ast.expr) -> bool:
    return isinstance(target, ast.Attribute) and target.attr in ("text", "toolTip", "title", "helpText")


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _bare_literals(value: ast.expr) -> list[str]:
    """Words in a literal that is not inside _()."""
    if isinstance(value, ast.Call):
        return []
    if isinstance(value, ast.Constant):
        return [value.value] if isinstance(value.value, str) and any(map(str.isalpha, value.value)) else []
    parts = [child for child in ast.iter_child_nodes(value) if isinstance(child, ast.expr)]
    return [found for part in parts for found in _bare_literals(part)]
