"""A Qt object as PythonQt shows it to Slicer's Python.

- A property comes before a method of the same name: ``label.text`` is a string, ``label.text()`` a TypeError.
- ``object.connect("signal(type)", function)``; an unknown signal raises (Slicer prints a line and goes on).
- An attribute that the real class lacks raises AttributeError, even where PySide6 has it.
- New attributes on a C++ object are refused.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable
from typing import Any

import shiboken6
from PySide6 import QtCore, QtWidgets

from . import dialogs, values
from .manifest import ClassFacts, class_entry, class_facts, normalize, signature_name, signature_types
from .thread_watch import require_main_thread
from .values import unwrap, wrap

_proxies: weakref.WeakValueDictionary[int, ObjectProxy] = weakref.WeakValueDictionary()
# PythonQt leaves a parented object alive when its wrapper goes; PySide6 may take it along. So all are kept.
_kept: dict[int, Any] = {}
_connections: dict[int, list[tuple[str, Any, Callable[..., Any]]]] = {}

_EVERY_OBJECT = frozenset(class_facts("QObject").methods) | {"objectName"}


def keep(raw: Any) -> Any:
    """Keep a Qt object alive as long as its C++ half lives."""
    _kept[id(raw)] = raw
    return raw


def forget_deleted() -> None:
    """Drop what is kept of objects that Qt has deleted."""
    for key in [key for key, raw in _kept.items() if not shiboken6.isValid(raw)]:
        del _kept[key]
        _connections.pop(key, None)


def forget_connections(raw: Any) -> None:
    """Undo all connections that Python made to the signals of an object."""
    for signature, _, deliver in _connections.pop(id(raw), []):
        find_signal(raw, signature).disconnect(deliver)


def mangled(signature: str) -> str:
    """The Python attribute under which a stand-in holds one overload of a signal."""
    text = normalize(signature)
    table = {"*": "_p", "(": "__", ",": "_", ")": ""}
    return "signal__" + re.sub(r"\W", lambda match: table.get(match.group(0), "_"), text)


def real_name(raw: Any) -> str:
    """The name of the real class an object stands for, or of the nearest one the manifest knows."""
    for base in type(raw).__mro__:
        name = base.__dict__.get("real_class", base.__name__)
        if class_entry(name) is not None:
            return name
    return type(raw).__name__


class BoundMethod:
    """A C++ method of an object, usable as a slot too."""

    def __init__(self, owner: ObjectProxy, name: str, function: Callable[..., Any]) -> None:
        self.owner, self.name, self.function = owner, name, function

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        raw_named = {key: unwrap(value) for key, value in named.items()}
        return wrap(self.function(*(unwrap(argument) for argument in arguments), **raw_named))

    def as_slot(self, available: int) -> Callable[..., Any]:
        arities = class_facts(real_name(self.owner._raw)).arities.get(self.name, frozenset({0}))
        count = max((arity for arity in arities if arity <= available), default=0)
        return lambda *arguments: self(*(wrap(argument) for argument in arguments[:count]))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BoundMethod) and other.owner == self.owner and other.name == self.name

    def __hash__(self) -> int:
        return hash((self.owner, self.name))

    def __repr__(self) -> str:
        return f"<method {self.name} of {self.owner!r}>"


class BoundSignal:
    """``button.clicked``: has connect, disconnect and emit, and emits when called."""

    def __init__(self, owner: ObjectProxy, name: str) -> None:
        self.owner, self.name = owner, name

    def _signature(self) -> str:
        # clicked() is only clicked(bool) with its default; the full one is meant.
        overloads = class_facts(real_name(self.owner._raw)).signals[self.name]
        return max(overloads, key=lambda signature: len(signature_types(signature)))

    def connect(self, slot: Callable[..., Any]) -> bool:
        return self.owner.connect(self._signature(), slot)

    def disconnect(self, *slot: Callable[..., Any]) -> bool:
        return self.owner.disconnect(self._signature(), *slot)

    def emit(self, *arguments: Any) -> None:
        find_signal(self.owner._raw, self._signature()).emit(*(unwrap(argument) for argument in arguments))

    __call__ = emit


def find_signal(raw: Any, signature: str) -> Any:
    """The PySide6 signal of one exact signature.

    Raises:
        ValueError: The real class has no such signal.
    """
    signature = normalize(signature)
    if hasattr(type(raw), mangled(signature)):
        return getattr(raw, mangled(signature))
    name = signature_name(signature)
    known = class_facts(real_name(raw)).signals.get(name, ())
    if signature not in known:
        raise ValueError(f"{real_name(raw)} has no signal {signature}; signals of that name: {list(known)}")
    # Not getattr: a Python subclass would answer with its own wrapper.
    signal = QtCore.QObject.__getattribute__(raw, name)
    types = signature_types(signature)
    if len(known) > 1 and types:
        return signal[tuple(_PYTHON_TYPES.get(type_name, type_name) for type_name in types)]
    return signal


_PYTHON_TYPES: dict[str, Any] = {"bool": bool, "int": int, "double": float, "QString": str}


class ObjectProxy:
    """One Qt object or value under PythonQt's rules."""

    __slots__ = ("_raw", "__weakref__")

    def __init__(self, raw: Any) -> None:
        object.__setattr__(self, "_raw", raw)

    # PythonQt's own additions
    def className(self) -> str:  # noqa: N802 - PythonQt's name
        return real_name(self._raw)

    def inherits(self, name: str) -> bool:
        return name in class_facts(self.className()).lineage

    def delete(self) -> None:
        shiboken6.delete(self._raw)

    def connect(self, signature: str, *target: Any) -> bool:
        """``connect(signal, callable)`` or ``connect(signal, receiver, slot signature)``."""
        slot = getattr(target[0], signature_name(target[1])) if len(target) == 2 else target[0]
        available = len(signature_types(signature))
        signal = find_signal(self._raw, signature)
        function = slot.as_slot(available) if isinstance(slot, BoundMethod) else values.slot_for(slot)

        def deliver(*arguments: Any) -> None:
            function(*arguments[:available])

        _connections.setdefault(id(keep(self._raw)), []).append((normalize(signature), slot, deliver))
        signal.connect(deliver)
        return True

    def disconnect(self, signature: str, *target: Any) -> bool:
        """Undo one connection of a signal, or all made from Python; False when there was none."""
        signal = find_signal(self._raw, signature)
        slot = getattr(target[0], signature_name(target[1])) if len(target) == 2 else (target or (None,))[0]
        made = _connections.get(id(self._raw), [])
        chosen = [entry for entry in made if entry[0] == normalize(signature) and (slot is None or entry[1] == slot)]
        for entry in chosen:
            signal.disconnect(entry[2])
            made.remove(entry)
        return bool(chosen)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raw = self._raw
        if not shiboken6.isValid(raw):
            raise ValueError(f"Trying to access {name} of a destroyed {real_name(raw)}")
        facts = class_facts(real_name(raw))
        is_object = isinstance(raw, QtCore.QObject)
        if is_object:
            require_main_thread(facts.name)
        if is_object and name == "name" and "name" not in facts.properties:
            return raw.objectName()
        if is_object and name in facts.properties:
            return _read_property(raw, name, facts)
        if is_object and name in _dynamic_properties(raw):
            return wrap(raw.property(name))
        if name in facts.signals:
            return BoundSignal(self, name)
        return _find_method_or_enum(self, raw, name, facts)

    def __setattr__(self, name: str, value: Any) -> None:
        raw = self._raw
        require_main_thread(real_name(raw))
        facts = class_facts(real_name(raw))
        if name == "name" and name not in facts.properties:
            raw.setObjectName(value)
        elif name in facts.properties:
            _write_property(raw, name, value, facts)
        elif isinstance(raw, QtCore.QObject) and name in _dynamic_properties(raw):
            raw.setProperty(name, unwrap(value))
        elif name in facts.methods or name in facts.signals:
            raise AttributeError(f"Method or signal '{name}' of {facts.name} can not be overwritten")
        else:
            raise AttributeError(
                f"'{name}' does not exist on {facts.name} and creating new attributes on C++ objects is not allowed"
            )

    def __dir__(self) -> list[str]:
        facts = class_facts(real_name(self._raw))
        return sorted({*facts.properties, *facts.signals, *facts.methods, *facts.enums})

    def __repr__(self) -> str:
        return f"{real_name(self._raw)} ({self._raw!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ObjectProxy):
            return False
        if isinstance(self._raw, QtCore.QObject):
            return other._raw is self._raw
        return bool(other._raw == self._raw)

    def __hash__(self) -> int:
        return hash(id(self._raw))

    def __len__(self) -> int:
        return len(self._raw)

    def __bool__(self) -> bool:
        return True


def _dynamic_properties(raw: QtCore.QObject) -> set[str]:
    return {bytes(name.data()).decode() for name in raw.dynamicPropertyNames()}


def _is_python_property(raw: QtCore.QObject, name: str) -> bool:
    return isinstance(getattr(type(raw), name, None), QtCore.Property)


def _read_property(raw: QtCore.QObject, name: str, facts: ClassFacts) -> Any:
    if not facts.properties[name].readable:
        raise AttributeError(f"Property '{name}' of {facts.name} can not be read")
    # Through Qt an error in a stand-in's getter would only be printed.
    return wrap(getattr(raw, name) if _is_python_property(raw, name) else raw.property(name))


def _write_property(raw: QtCore.QObject, name: str, value: Any, facts: ClassFacts) -> None:
    if not facts.properties[name].writable:
        raise AttributeError(f"Property '{name}' of {facts.name} is not writable")
    if _is_python_property(raw, name):
        setattr(raw, name, unwrap(value))
    elif not raw.setProperty(name, unwrap(value)):
        wanted = facts.properties[name].type_name
        raise AttributeError(f"Property '{name}' of type '{wanted}' does not accept {type(value).__name__} ({value})")


def _find_method_or_enum(owner: ObjectProxy, raw: Any, name: str, facts: ClassFacts) -> Any:
    base = name.removesuffix("_") if name in ("exec_", "print_") else name
    known = class_entry(facts.name) is not None
    if base in facts.methods or not known or (isinstance(raw, QtCore.QObject) and base in _EVERY_OBJECT):
        modal = dialogs.modal_method(owner, base)
        function = modal or getattr(raw, base, None)
        if function is None:
            if known:
                raise NotImplementedError(f"{facts.name}.{name} exists in Slicer, but its stand-in has no behavior yet")
            raise AttributeError(f"{facts.name} has no attribute named '{name}'")
        return BoundMethod(owner, base, function) if callable(function) else wrap(function)
    if name in facts.enums:
        return facts.enums[name]
    raise AttributeError(f"{facts.name} has no attribute named '{name}'")


def _wrap_object(raw: Any) -> Any:
    if getattr(type(raw), "is_python_subclass", False):
        return raw
    proxy = _proxies.get(id(raw))
    if proxy is None or proxy._raw is not raw:
        proxy = ObjectProxy(raw)
        _proxies[id(raw)] = proxy
    if isinstance(raw, QtWidgets.QWidget):
        keep(raw)
    return proxy


values.register(_wrap_object, (ObjectProxy,))
