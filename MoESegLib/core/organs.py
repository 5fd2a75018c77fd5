"""The organs that tell a model where to look for tumors, and what other programs call them (``Resources/Tumors``)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..resources import resource_path
from .strict_json import from_plain, parse_json
from .structures import Code, PhraseKey, Structure, find_structure, phrase_key

Side = Literal["", "left", "right"]
Task = Literal["total", "total_mr", "btcv"]
TASKS: tuple[Task, ...] = ("total", "total_mr", "btcv")
"""Label numbers that are known: two tasks of TotalSegmentator (version 2; Wasserthal 2023), and BTCV's."""

_ANATOMY, _TISSUE = "123037004", "85756007"
_CODE = re.compile(r"^(?:SCT[:\s^]*)?(\d{6,18})$", re.IGNORECASE)


@dataclass(frozen=True)
class Organ:
    """An organ, or what may be taken for a tumor in it.

    Attributes:
        id: for files and code: "kidney".
        name: for people: "kidney".
        is_look_alike: it holds no tumor but may be taken for one: a cyst.
        structures: names of coded structures it consists of.
        names: more ways to call it.
        total, total_mr, btcv: names by label number, as text, in the tasks of :data:`TASKS`.
    """

    id: str
    name: str
    is_look_alike: bool
    structures: tuple[str, ...]
    names: tuple[str, ...]
    total: Mapping[str, str]
    total_mr: Mapping[str, str]
    btcv: Mapping[str, str]

    @property
    def sides(self) -> tuple[Side, ...]:
        """("left", "right") of an organ that is there twice, else nothing."""
        paired = any(find_structure(f"left {name}") is not None for name in self.structures)
        return ("left", "right") if paired else ()

    @property
    def codes(self) -> tuple[Code, ...]:
        """SNOMED CT codes of what it consists of; of a look-alike, of the change and of its place."""
        coded = [structure for name in self.structures if (structure := find_structure(name)) is not None]
        found = [code for structure in coded for code in (structure.type, structure.region) if code is not None]
        return tuple(dict.fromkeys(found))

    def labels(self, task: Task) -> Mapping[int, str]:
        """Names by label number in a task."""
        return {int(number): name for number, name in getattr(self, task).items()}


@dataclass(frozen=True)
class _File:
    about: str
    organs: tuple[Organ, ...]


@cache
def organs() -> tuple[Organ, ...]:
    """All organs; their order is that of a model's organ tokens and never changes."""
    text = resource_path("Tumors", "organs.json").read_text(encoding="utf-8")
    return from_plain(_File, parse_json(text)).organs


@cache
def organ_ids() -> tuple[str, ...]:
    """The IDs of :func:`organs`; the number in an organ label map is the place here, counted from 1."""
    return tuple(organ.id for organ in organs())


def organ_numbers(ids: Iterable[str]) -> list[int]:
    """The numbers of some organs in an organ label map.

    Raises:
        ValueError: an ID that no organ has.
    """
    return [1 + organ_ids().index(organ_id) for organ_id in ids]


def organ_of_id(organ_id: str) -> Organ:
    """The organ of an ID.

    Raises:
        KeyError: there is none.
    """
    return {organ.id: organ for organ in organs()}[organ_id]


def organ_named(text: str) -> Organ | None:
    """The organ that a name or SNOMED CT code stands for, or None.

    Names are taken as :func:`~.structures.find_structure` takes them, with or without a side: "Left kidney",
    "kidney_left", "lung_upper_lobe_left" (the lung), "vertebrae_L5" (bone), "64033007", "SCT:64033007". A lesion in an
    organ is not the organ: "liver_tumor" is None.
    """
    code = _CODE.match(text.strip())
    return _by_code().get(code.group(1)) if code else _by_key().get(phrase_key(text))


def organ_of_structure(structure: Structure) -> Organ | None:
    """The organ that a coded structure belongs to, or None; codes go before the name."""
    known = _by_key().get(phrase_key(structure.name))
    if known is not None or structure.category.value != _ANATOMY:
        return known
    return _by_code().get(structure.type.value)


def organ_called(name: str, structure: Structure | None) -> tuple[Organ, str] | None:
    """Which organ a segment is, and a name with its side that says so; None for everything else.

    Args:
        name: of the segment; it decides where the terminology says nothing, or Slicer's "tissue" for a new segment.
        structure: what the terminology says. A lesion in an organ is never the organ, whatever its name.
    """
    if structure is None or structure.type.value == _TISSUE:
        organ = organ_named(name)
        return None if organ is None else (organ, name)
    organ = organ_of_structure(structure)
    if organ is None:
        return None
    fitting = [text for text in (structure.name, name) if organ_named(text) is organ]
    return organ, next((text for text in fitting if side_of(text)), fitting[0] if fitting else organ.name)


def side_of(text: str) -> Side:
    """The side that a name says: "left", "right", or "" if none or both."""
    return {"left": "left", "right": "right"}.get(phrase_key(text)[0], "")  # type: ignore[return-value]


def organ_labels(labels: NDArray, task: Task, side: Side = "") -> NDArray[np.uint8]:
    """A label map with the numbers of a task as one with the organs' numbers, 1 + the place in :func:`organ_ids`.

    Args:
        labels: whole numbers from 0, any shape.
        side: leave out what lies on the other side.
    """
    table = np.zeros(max(int(labels.max(initial=0)), 255) + 1, np.uint8)
    for number, organ in enumerate(organs(), start=1):
        for label, name in organ.labels(task).items():
            if not side or side_of(name) in ("", side):
                table[label] = number
    return table[labels]


@cache
def _by_key() -> dict[PhraseKey, Organ]:
    found: dict[PhraseKey, Organ] = {}
    for organ in organs():
        for name in organ.structures:
            for side in ("", "left ", "right "):
                structure = find_structure(side + name)
                if structure is not None:
                    for phrase in (structure.name, *structure.synonyms):
                        found.setdefault(phrase_key(phrase), organ)
        said = [f"{side} {name}" for name in organ.names for side in ("", *organ.sides)]
        foreign = [name for task in TASKS for name in organ.labels(task).values()]
        for phrase in (*said, *foreign):
            found.setdefault(phrase_key(phrase), organ)
    return found


@cache
def _by_code() -> dict[str, Organ]:
    found: dict[str, Organ] = {}
    for organ in organs():
        for structure in filter(None, map(find_structure, organ.structures)):
            if structure.category.value == _ANATOMY or structure.region is None:
                found.setdefault(structure.type.value, organ)
    return found
