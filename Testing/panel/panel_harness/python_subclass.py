"""Python classes that derive from Qt classes: event filters, widgets that draw themselves, threads.

In PythonQt such an object is its own wrapper: the same rules hold for it, plus the attributes Python gave it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from PySide6 import QtCore

from .manifest import class_facts
from .object_proxy import ObjectProxy, keep, real_name
from .values import unwrap, wrap

_raw: set[int] = set()  # objects whose proxy is at work: it must see the plain PySide6 members


@contextmanager
def _raw_access(instance: Any) -> Iterator[None]:
    nested = id(instance) in _raw
    _raw.add(id(instance))
    try:
        yield
    finally:
        if not nested:
            _raw.discard(id(instance))


def _overridable(name: str) -> bool:
    return name == "event" or name == "eventFilter" or name.endswith("Event") or name in ("sizeHint", "run")


@cache
def python_base(raw_class: type) -> type:
    """The class that ``class Mine(qt.QWidget)`` really derives from."""

    def construct(self: Any, *arguments: Any) -> None:
        raw_class.__init__(self, *(unwrap(argument) for argument in arguments))
        keep(self)

    def prepare_subclass(cls: type, **named: Any) -> None:
        for name, function in list(vars(cls).items()):
            if inspect.isfunction(function) and _overridable(name):
                setattr(cls, name, _wrapping_override(function))

    def read(self: Any, name: str) -> Any:
        if id(self) not in _raw and not name.startswith("_") and not _defined_in_python(type(self), self, name):
            facts = class_facts(real_name(self))
            if facts.has(name) or name in ("connect", "disconnect", "className", "delete", "name"):
                with _raw_access(self):
                    return getattr(ObjectProxy(self), name)
        return raw_class.__getattribute__(self, name)

    def write(self: Any, name: str, value: Any) -> None:
        if name in class_facts(real_name(self)).properties:
            with _raw_access(self):
                setattr(ObjectProxy(self), name, value)
        else:
            raw_class.__setattr__(self, name, value)

    members: dict[str, Any] = {
        "__init__": construct,
        "__init_subclass__": classmethod(prepare_subclass),
        "__getattribute__": read,
        "__setattr__": write,
        "is_python_subclass": True,
    }
    for name in dir(raw_class):
        if _overridable(name) and callable(getattr(raw_class, name)):
            members[name] = _unwrapping_call(getattr(raw_class, name))
    return type(raw_class)(raw_class.__name__, (raw_class,), members)


def _defined_in_python(cls: type, instance: Any, name: str) -> bool:
    own = object.__getattribute__(instance, "__dict__")
    # PySide6 caches the signals it has handed out in the same dictionary.
    if name in own and not isinstance(own[name], QtCore.SignalInstance):
        return True
    subclasses = cls.__mro__[: next(i for i, base in enumerate(cls.__mro__) if "is_python_subclass" in vars(base))]
    return any(name in vars(base) for base in subclasses)


def _wrapping_override(function: Any) -> Any:
    @functools.wraps(function)
    def override(self: Any, *arguments: Any) -> Any:
        return unwrap(function(self, *(wrap(argument) for argument in arguments)))

    return override


def _unwrapping_call(function: Any) -> Any:
    @functools.wraps(function)
    def call(self: Any, *arguments: Any) -> Any:
        return wrap(function(self, *(unwrap(argument) for argument in arguments)))

    return call
