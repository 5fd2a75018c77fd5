"""Dataclasses from JSON that other people wrote: every field must be there, of its type, and no other."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from .errors import WeightsError

Data = TypeVar("Data")
_NAMES = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


class FieldError(WeightsError):
    """One field is wrong; the message begins with its name."""


def parse_json(text: str) -> Any:
    """JSON without its extensions: no NaN, no infinity, no field given twice.

    Raises:
        FieldError: it is none; the message says why.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        raise FieldError(f"it is not JSON ({error})") from error


def from_plain(kind: type[Data], data: Any, where: str = "") -> Data:
    """A dataclass from plain data.

    Args:
        kind: its fields are texts, numbers, dataclasses, tuples and mappings of those, or one of them or None.
        where: name of the field that holds the data, for messages.

    Raises:
        FieldError: naming the field, what was found and what was expected.
    """
    prefix = f"{where}." if where else ""
    if not isinstance(data, dict):
        raise FieldError(f"{where or 'it'} is {_shown(data)}; an object with named fields was expected")
    expected = typing.get_type_hints(kind)
    missing, unknown = [name for name in expected if name not in data], [name for name in data if name not in expected]
    if missing:
        raise FieldError(f"{prefix}{missing[0]} is missing")
    if unknown:
        raise FieldError(f"{prefix}{unknown[0]} is not a field of this version")
    return kind(**{name: _value(hint, data[name], f"{prefix}{name}") for name, hint in expected.items()})


def to_plain(value: Any) -> Any:
    """The inverse of :func:`from_plain`: objects, lists, texts and numbers."""
    if dataclasses.is_dataclass(value):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return [to_plain(item) for item in value]
    return dict(value) if isinstance(value, Mapping) else value


def _value(hint: Any, data: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return None if data is None else _value(next(kind for kind in arguments if kind is not type(None)), data, where)
    if origin is tuple:
        if not isinstance(data, list):
            raise FieldError(f"{where} is {_shown(data)}; a list was expected")
        return tuple(_value(arguments[0], item, f"{where}[{number}]") for number, item in enumerate(data))
    if origin is Mapping:
        if not isinstance(data, dict):
            raise FieldError(f"{where} is {_shown(data)}; an object was expected")
        return {key: _value(arguments[1], item, f"{where}.{key}") for key, item in data.items()}
    if dataclasses.is_dataclass(hint):
        return from_plain(typing.cast(type, hint), data, where)
    if hint is float and type(data) is int:
        return float(data)
    if type(data) is not hint:
        raise FieldError(f"{where} is {_shown(data)}; {_NAMES[hint]} was expected")
    return data


def _shown(data: Any) -> str:
    text = json.dumps(data)
    return text if len(text) <= 40 else f"{text[:40]}..."


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise ValueError(f"{repeated[0]} is given twice")
    return dict(pairs)
