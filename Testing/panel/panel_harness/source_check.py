"""A module's Python source, checked for what works here and fails in Slicer.

- ``slicer.<name>`` and ``slicer.util.<name>`` that real Slicer lacks (slicer-core leaks names into ``slicer``);
- third-party imports at file scope, which break the module before its packages are installed;
- ``ui.<widget>.<member>`` and ``ui.<widget>.connect("signal()")`` against the class in the ``.ui`` file.
"""

from __future__ import annotations

import ast
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

from .manifest import MANIFEST, class_entry, class_facts, is_slicer_class, normalize, signature_name
from .ui_files import check_ui, ui_classes

_SLICER_MODULES = frozenset(name.split(".")[1] for name in MANIFEST["python"] if name.startswith("slicer."))
_SLICER_OBJECTS = frozenset({"app", "modules", "mrmlScene", "util"}) | _SLICER_MODULES
_FILE_SCOPE = frozenset({"slicer", "vtk", "qt", "ctk", "numpy", "__future__"})
_PROXY_MEMBERS = frozenset({"connect", "disconnect", "name", "className", "delete", "inherits", "self"})


def is_slicer_name(name: str) -> bool:
    """Whether real Slicer has ``slicer.<name>``."""
    import slicer

    is_vtk = name.startswith("vtk") and hasattr(slicer, name)
    return name in _SLICER_OBJECTS or is_vtk or is_slicer_class(name)


def check_source(path: Path, own_packages: tuple[str, ...] = ("MoESeg", "MoESegLib")) -> list[str]:
    """Everything Slicer would refuse in a ``.ui`` file, or in a Python file and the ``.ui`` files of its module."""
    path = Path(path)
    if path.suffix == ".ui":
        return check_ui(path)
    tree = ast.parse(path.read_text("utf-8"))
    found = [*_slicer_names(tree), *_file_scope_imports(tree, own_packages)]
    classes: dict[str, str] = {}
    for ui in _ui_files(path):
        found += [(0, problem) for problem in check_ui(ui)]
        classes |= ui_classes(ET.fromstring(ui.read_text("utf-8")))
    if classes:
        found += _ui_members(tree, classes)
    return [f"{path.name}:{line}: {problem}" if line else problem for line, problem in sorted(set(found))]


def _ui_files(path: Path) -> list[Path]:
    """The ``.ui`` files of a module's file, or of a file in a package beside the module."""
    folders = [folder / "Resources" / "UI" for folder in path.resolve().parents[:2]]
    return next((sorted(folder.glob("*.ui")) for folder in folders if folder.is_dir()), [])


def _slicer_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id="slicer"), attr=name) if not is_slicer_name(name):
                yield node.lineno, f"Slicer has no slicer.{name}"
            case ast.Attribute(value=ast.Attribute(value=ast.Name(id="slicer"), attr="util"), attr=name):
                if name not in MANIFEST["python"]["slicer.util"]:
                    yield node.lineno, f"Slicer has no slicer.util.{name}"
            case ast.Import(names=aliases):
                for alias in aliases:
                    parts = alias.name.split(".")
                    if parts[0] == "slicer" and len(parts) > 1 and not is_slicer_name(parts[1]):
                        yield node.lineno, f"Slicer has no module {alias.name}"
            case ast.ImportFrom(module=module, names=aliases) if module:
                yield from ((node.lineno, problem) for problem in _imported_names(module, aliases))


def _imported_names(module: str, aliases: list[ast.alias]) -> Iterator[str]:
    if module == "slicer":
        yield from (f"Slicer has no slicer.{alias.name}" for alias in aliases if not is_slicer_name(alias.name))
    elif module.startswith("slicer.") and module.split(".")[1] not in _SLICER_MODULES:
        yield f"Slicer has no module {module}"
    elif module in MANIFEST["python"]:
        known = MANIFEST["python"][module]
        for alias in aliases:
            if alias.name != "*" and alias.name not in known:
                yield f"Slicer has no {module}.{alias.name}"


def _file_scope_imports(tree: ast.Module, own_packages: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    allowed = _FILE_SCOPE | set(sys.stdlib_module_names) | set(own_packages)
    for node in _file_scope(tree.body):
        modules = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            modules = [node.module or ""]
        for module in modules:
            if module.split(".")[0] not in allowed:
                yield node.lineno, f"{module} is imported at file scope; import it where it is used"


def _file_scope(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements run on import: function bodies and ``if TYPE_CHECKING`` are left out."""
    for node in body:
        yield node
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            yield from _file_scope(node.orelse)
            continue
        for name in ("body", "orelse", "finalbody"):
            yield from _file_scope(getattr(node, name, []))
        for handler in getattr(node, "handlers", []):
            yield from _file_scope(handler.body)


def _ui_members(tree: ast.AST, classes: dict[str, str]) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and _is_ui(node.value) and node.attr not in classes:
            yield node.lineno, f"no .ui file has a widget {node.attr}"
        widget = _ui_widget(getattr(node, "value", None), classes)
        if isinstance(node, ast.Attribute) and widget and class_entry(classes[widget]) is not None:
            facts = class_facts(classes[widget])
            if not facts.has(node.attr.removesuffix("_")) and node.attr not in _PROXY_MEMBERS:
                yield node.lineno, f"{widget} ({facts.name}) has no {node.attr}"
        if isinstance(node, ast.Call):
            yield from _ui_connection(node, classes)


def _ui_connection(call: ast.Call, classes: dict[str, str]) -> Iterator[tuple[int, str]]:
    if not isinstance(call.func, ast.Attribute) or call.func.attr not in ("connect", "disconnect") or not call.args:
        return
    widget = _ui_widget(call.func.value, classes)
    signal = call.args[0]
    if widget and isinstance(signal, ast.Constant) and isinstance(signal.value, str):
        facts = class_facts(classes[widget])
        if normalize(signal.value) not in facts.signals.get(signature_name(signal.value), ()):
            yield call.lineno, f"{widget} ({facts.name}) has no signal {signal.value}"


def _is_ui(node: ast.AST | None) -> bool:
    """Whether an expression is ``ui`` or ``<anything>.ui``, as scripted modules call it."""
    return (isinstance(node, ast.Name) and node.id == "ui") or (isinstance(node, ast.Attribute) and node.attr == "ui")


def _ui_widget(node: ast.AST | None, classes: dict[str, str]) -> str:
    if isinstance(node, ast.Attribute) and _is_ui(node.value) and node.attr in classes:
        return node.attr
    return ""
