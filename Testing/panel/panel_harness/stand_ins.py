"""Stand-ins for the widgets of Slicer and CTK, generated from the manifest.

Each gets every property and every signal of the real class. Behavior is written by hand in a class marked with
``@behavior("realClassName")``; a member there that the real class lacks is a TypeError at import. A property without
written behavior is kept when it is listed as ``kept`` (looks, mostly) and raises NotImplementedError otherwise.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from functools import cache
from typing import Any

from PySide6 import QtCore, QtWidgets

from .manifest import class_entry, class_facts, is_slicer_class, signature_types
from .object_proxy import find_signal, mangled

_TYPES: dict[str, Any] = {"bool": bool, "int": int, "double": float, "QString": str}
_DEFAULTS: dict[str, Any] = {"bool": False, "int": 0, "double": 0.0, "QString": "", "QStringList": []}
_VIRTUALS = frozenset(
    {"sizeHint", "minimumSizeHint", "paintEvent", "hitButton", "keyReleaseEvent", "resizeEvent", "eventFilter"}
)
_BEHAVIOR_FILES = (
    "value_widgets",
    "container_widgets",
    "node_widgets",
    "segment_widgets",
    "editor_widgets",
    "markups_widgets",
    "views",
    "application",
)

_behaviors: dict[str, type] = {}
_kept_properties: dict[str, frozenset[str]] = {}


class Behavior:
    """Base of hand-written behavior: ``build`` runs once, ``get_x``/``set_x`` serve property x."""

    _values: dict[str, Any]

    def build(self) -> None:
        """Make inner widgets and first values."""

    def send(self, signature: str, *arguments: Any) -> None:
        """Emit one overload of a signal."""
        find_signal(self, signature).emit(*arguments)


def behavior(name: str, kept: tuple[str, ...] = ()) -> Callable[[type], type]:
    """Mark a class as the behavior of one real class.

    Raises:
        TypeError: The real class has no such member or property.
    """
    facts = class_facts(name)
    if not is_slicer_class(name):
        raise TypeError(f"neither Slicer nor CTK has a class {name}")
    for property_name in kept:
        if property_name not in facts.properties:
            raise TypeError(f"stand-in {name}: the real class has no property {property_name}")

    def mark(written: type) -> type:
        inherited = written.__mro__[: written.__mro__.index(Behavior)]
        for member in {member for base in inherited for member in vars(base)}:
            base = re.sub("^[gs]et_", "", member)
            allowed = member.startswith("_") or member in _VIRTUALS or member == "build"
            known = base in facts.properties if base != member else member in facts.methods
            if not allowed and not known:
                raise TypeError(f"stand-in {name}.{member}: the real class has no such member")
        _behaviors[name] = written
        _kept_properties[name] = frozenset(kept)
        return written

    return mark


@cache
def stand_in_class(name: str) -> type:
    """The PySide6 class that stands for one class of Slicer or CTK.

    Raises:
        AttributeError: Neither has such a class.
    """
    _load_behaviors()
    entry = class_entry(name)
    if entry is None or not is_slicer_class(name):
        raise AttributeError(f"neither Slicer nor CTK has a class {name}")
    base = _base_class(entry)
    written = _behaviors.get(name, Behavior)
    members: dict[str, Any] = {"real_class": name, "__init__": _constructor(base, written)}
    for signal in entry.get("s", []):
        members[mangled(signal)] = QtCore.Signal(*[object] * len(signature_types(signal)))
    for property_name in entry.get("p", {}):
        members[property_name] = _property(name, property_name, written, base)
    bases = (base,) if issubclass(base, written) else (written, base)
    return type(base)(name, bases, members)


@cache
def _load_behaviors() -> None:
    for file in _BEHAVIOR_FILES:
        importlib.import_module(f".{file}", __package__)


def _base_class(entry: dict[str, Any]) -> type:
    name = re.sub(r"<.*", "", (entry.get("b") or ["QObject"])[0])
    if is_slicer_class(name):
        return stand_in_class(name)
    return getattr(QtWidgets, name, None) or getattr(QtCore, name, None) or QtWidgets.QWidget


def _constructor(base: type, written: type) -> Callable[..., None]:
    own_build = None if issubclass(base, written) else written.build

    def construct(self: Any, *arguments: Any) -> None:
        if issubclass(base, QtWidgets.QApplication):
            base.__init__(self, *arguments)
        else:
            parents = [argument for argument in arguments if isinstance(argument, QtCore.QObject)]
            base.__init__(self, *parents[:1])
        self.__dict__.setdefault("_values", {})
        texts = [argument for argument in arguments if isinstance(argument, str)]
        for setter in ("setText", "setTitle"):
            if texts and hasattr(self, setter):
                getattr(self, setter)(texts[0])
                break
        if own_build is not None:
            own_build(self)

    return construct


def _property(class_name: str, name: str, written: type, base: type) -> Any:
    facts = class_facts(class_name).properties[name]
    getter: Any = getattr(written, "get_" + name, None) or getattr(base, "get_" + name, None)
    setter: Any = getattr(written, "set_" + name, None) or getattr(base, "set_" + name, None)
    kept = name in _kept_properties.get(class_name, frozenset())

    def read(self: Any) -> Any:
        if getter is not None:
            return getter(self)
        if not kept and setter is None and name not in self._values:
            raise NotImplementedError(f"property {class_name}.{name} has no behavior in its stand-in yet")
        return self._values.get(name, _DEFAULTS.get(facts.type_name))

    def write(self: Any, value: Any) -> None:
        value = _converted(class_name, name, facts.type_name, value)
        if setter is not None:
            setter(self, value)
        elif kept:
            self._values[name] = value
        else:
            raise NotImplementedError(f"property {class_name}.{name} has no behavior in its stand-in yet")

    qt_type = _TYPES.get(facts.type_name, "QVariant")
    return QtCore.Property(qt_type, read, write) if facts.writable else QtCore.Property(qt_type, read)


def _converted(class_name: str, name: str, type_name: str, value: Any) -> Any:
    convert = _TYPES.get(type_name)
    if convert is None:
        return value
    try:
        return convert("" if value is None and convert is str else value)
    except (TypeError, ValueError) as error:
        got = f"{type(value).__name__} ({value})"
        raise AttributeError(f"Property '{class_name}.{name}' of type '{type_name}' does not accept {got}") from error
