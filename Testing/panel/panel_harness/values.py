"""Values on their way between Python and Qt, converted as PythonQt converts them.

Objects become proxies, lists become tuples, enums become ints. Converters for objects are registered by
``object_proxy`` to keep this file free of it.
"""

from __future__ import annotations

import enum
import inspect
from collections.abc import Callable
from typing import Any


class PythonQtEnum(int):
    """An enum value: an int for the module, the PySide6 member for Qt."""

    member: Any

    def __new__(cls, member: Any) -> PythonQtEnum:
        value = member.value if isinstance(member, enum.Enum) else member
        number = super().__new__(cls, int(value))
        number.member = member
        return number

    def __or__(self, other: int) -> PythonQtEnum:
        return PythonQtEnum(self.member | getattr(other, "member", other))

    def __and__(self, other: int) -> PythonQtEnum:
        return PythonQtEnum(self.member & getattr(other, "member", other))

    def __invert__(self) -> PythonQtEnum:
        return PythonQtEnum(~self.member)

    def __repr__(self) -> str:
        return f"{self.member!r} ({int(self)})"


def is_qt_value(value: Any) -> bool:
    """Whether a value is an object of PySide6, enums excepted."""
    return not isinstance(value, enum.Enum) and any(
        base.__module__.startswith("PySide6") for base in type(value).__mro__
    )


_wrap_object: Callable[[Any], Any] = lambda value: value  # noqa: E731 - replaced by object_proxy
_raw_types: tuple[type, ...] = ()


def register(wrap_object: Callable[[Any], Any], raw_types: tuple[type, ...]) -> None:
    """Tell this file how an object is wrapped, and which types carry a wrapped object in ``_raw``."""
    global _wrap_object, _raw_types
    _wrap_object, _raw_types = wrap_object, raw_types


def wrap(value: Any) -> Any:
    """A value of Qt as the module under test sees it."""
    if value is None or isinstance(value, _raw_types):
        return value
    if isinstance(value, enum.Enum):
        return PythonQtEnum(value)
    if isinstance(value, list | tuple):
        return tuple(wrap(item) for item in value)
    return _wrap_object(value) if is_qt_value(value) else value


def unwrap(value: Any) -> Any:
    """A value of the module under test as Qt wants it."""
    if isinstance(value, _raw_types):
        return value._raw
    if isinstance(value, PythonQtEnum):
        return value.member
    if isinstance(value, list | tuple):
        return type(value)(unwrap(item) for item in value)
    if isinstance(value, dict):
        return {key: unwrap(item) for key, item in value.items()}
    if inspect.isfunction(value) or inspect.ismethod(value):
        return slot_for(value)
    return value


def accepted_arguments(function: Callable[..., Any]) -> int | None:
    """How many arguments PythonQt passes to a slot; None means all that the signal carries.

    Only plain functions and bound methods are counted: a ``functools.partial`` or any other callable gets everything.
    """
    if not (inspect.isfunction(function) or inspect.ismethod(function)):
        return None
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return None
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(parameter.kind in positional for parameter in parameters)


def slot_for(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function PySide6 can call: arguments arrive wrapped and cut to what the function takes."""
    count = accepted_arguments(function)

    def slot(*arguments: Any) -> Any:
        return unwrap(function(*(wrap(argument) for argument in arguments[:count])))

    return slot
