"""The modules ``qt`` and ``ctk``, and the classes in them, as PythonQt shows them."""

from __future__ import annotations

import enum
import types
from collections.abc import Callable
from typing import Any

from PySide6 import QtCore, QtGui, QtNetwork, QtUiTools, QtWidgets

from . import dialogs, values
from .manifest import class_facts, is_slicer_class
from .object_proxy import ObjectProxy, keep
from .python_subclass import python_base
from .values import PythonQtEnum, unwrap, wrap

_QT_MODULES = (QtCore, QtGui, QtWidgets, QtNetwork, QtUiTools)


class ClassProxy:
    """``qt.QTimer``, ``ctk.ctkSliderWidget``: makes proxies, knows its enums and static methods."""

    def __init__(self, raw: type, name: str = "") -> None:
        self.__dict__.update(_raw=raw, __name__=name or raw.__name__)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        raw_named = {key: unwrap(value) for key, value in named.items()}
        made = self._raw(*(unwrap(argument) for argument in arguments), **raw_named)
        if isinstance(made, QtCore.QObject):
            keep(made)
        return wrap(made)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        modal = dialogs.modal_static(self.__name__, name)
        if modal is not None:
            return modal
        found = getattr(self._raw, name, None)
        if found is None or is_slicer_class(self.__name__):
            return self._enum_or_static(name, found)
        if isinstance(found, type):
            return ClassProxy(found)
        if isinstance(found, enum.Enum):
            return PythonQtEnum(found)
        return _static(found) if callable(found) else found

    def _enum_or_static(self, name: str, found: Any) -> Any:
        facts = class_facts(self.__name__)
        if name in facts.enums:
            return facts.enums[name]
        if isinstance(found, enum.Enum):
            return PythonQtEnum(found)
        if callable(found) and name in facts.methods:
            return _static(found)
        raise AttributeError(f"type object '{self.__name__}' has no attribute '{name}'")

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"'{name}' can not be set on the C++ class {self.__name__}")

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        return (python_base(self._raw),)

    def __instancecheck__(self, instance: Any) -> bool:
        return isinstance(getattr(instance, "_raw", instance), self._raw)

    def __repr__(self) -> str:
        return f"<class {self.__name__} of Qt>"


def _static(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any, **named: Any) -> Any:
        raw_named = {key: unwrap(value) for key, value in named.items()}
        return wrap(function(*(unwrap(argument) for argument in arguments), **raw_named))

    return call


class QtModule(types.ModuleType):
    """The flat module ``qt``: classes of Qt, the namespace ``Qt``, nothing that only PySide6 has."""

    def __getattr__(self, name: str) -> Any:
        if name == "QUiLoader":
            from .ui_loader import UiLoader

            return ClassProxy(UiLoader, name)
        if name.startswith("Q") and name.isidentifier():
            for module in _QT_MODULES:
                found = getattr(module, name, None)
                if isinstance(found, type):
                    proxy = ClassProxy(found, name)
                    self.__dict__[name] = proxy
                    return proxy
        raise AttributeError(f"module 'qt' has no attribute '{name}'")


class CtkModule(types.ModuleType):
    """The module ``ctk``: stand-ins for CTK's classes only."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("ctk") and is_slicer_class(name):
            return stand_in_proxy(name)
        raise AttributeError(f"module 'ctk' has no attribute '{name}'")


def stand_in_proxy(name: str) -> ClassProxy:
    """The Python-visible class of a stand-in.

    Raises:
        AttributeError: Neither Slicer nor CTK has such a class.
    """
    from .stand_ins import stand_in_class

    return ClassProxy(stand_in_class(name), name)


values.register(values._wrap_object, (ObjectProxy, ClassProxy))
