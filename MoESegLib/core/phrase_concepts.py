"""What phrases can mean: the coded structures, and what data sets label beside them (``Resources/Text``)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from ..resources import resource_path
from .structures import Structure, known_structures, phrase_key, without_side

SIDES = ("", "left", "right")
"""A structure without a side comes first, as in :func:`~.structures.known_structures`."""

_ABBREVIATION = re.compile(r"\b[A-Z]{2,4}\b")


@dataclass(frozen=True)
class Concept:
    """One thing that can be segmented.

    Attributes:
        name: canonical, lower-case US English: "left kidney".
        synonyms: other ways to say it.
        structure: the coded structure of that name, or None for a class of a data set that has no code.
    """

    name: str
    synonyms: tuple[str, ...]
    structure: Structure | None

    @property
    def phrases(self) -> tuple[str, ...]:
        """The name and the synonyms."""
        return (self.name, *self.synonyms)


@dataclass(frozen=True)
class Family:
    """A concept with its sides: what is compared with a phrase from which the side was taken.

    Attributes:
        name: without a side: "kidney".
        by_side: name of the concept by side ("", "left", "right"), as far as there is one.
        stems: how it is said, without side: "kidney", "ren".
    """

    name: str
    by_side: Mapping[str, str]
    stems: tuple[str, ...]


@cache
def known_concepts() -> Mapping[str, Concept]:
    """All concepts by name: the coded structures in their order, then the others."""
    data = _data()
    found: dict[str, Concept] = {}
    for structure in known_structures():
        side, base = phrase_key(structure.name)[0], without_side(structure.name)
        said = data["synonyms"].get(structure.name, ())
        if not said and side:
            said = [f"{side} {phrase}" for phrase in data["synonyms"].get(base, ())]
        found[structure.name] = Concept(structure.name, (*structure.synonyms, *said), structure)
    for entry in data["concepts"]:
        found[entry["name"]] = Concept(entry["name"], tuple(entry.get("synonyms", ())), None)
    return found


@cache
def known_families() -> Mapping[str, Family]:
    """All families by the name of their concepts: "kidney", "left kidney" and "right kidney" give the same one."""
    shared = {name: entry["name"] for entry in _data()["concepts"] for name in entry.get("sides", {}).values()}
    members: dict[str, list[Concept]] = {}
    for concept in known_concepts().values():
        members.setdefault(shared.get(concept.name, without_side(concept.name)), []).append(concept)
    return {concept.name: family for family in map(_family, members.values()) for concept in members_of(family)}


def members_of(family: Family) -> tuple[Concept, ...]:
    """The concepts of a family, the one without a side first."""
    names = dict.fromkeys(family.by_side[side] for side in SIDES if side in family.by_side)
    return tuple(known_concepts()[name] for name in names)


def answered_by(name: str) -> tuple[str, ...]:
    """What else answers a phrase that means ``name``, the best first; never the other side of it."""
    family = known_families()[name]
    others = _data()["answered_by"].get(family.name, ())
    if family.by_side.get("") == name:  # no side was said, so every side answers
        return tuple(
            concept.name for other in (family.name, *others) for concept in members_of(known_families()[other])
        )
    side = next(side for side, member in family.by_side.items() if member == name)
    same_side = (known_families()[other].by_side.get(side) for other in others)
    return tuple(member for member in same_side if member is not None)


def phrases_to_embed() -> list[str]:
    """What the phrase book holds embeddings of: the canonical names, and what families are called without a side."""
    families = known_families().values()
    return list(
        dict.fromkeys([*known_concepts(), *(stem for family in families for stem in (family.name, *family.stems))])
    )


def has_abbreviation(phrase: str) -> bool:
    """Whether a phrase holds an abbreviation, which means something else to a text model: "IVC", "LV cavity"."""
    return _ABBREVIATION.search(phrase) is not None


def _family(concepts: Sequence[Concept]) -> Family:
    by_side = {phrase_key(concept.name)[0]: concept.name for concept in concepts}
    for concept in concepts:
        for phrase in concept.synonyms:  # "left ventricular wall" is the myocardium, which itself has no side
            side = phrase_key(phrase)[0]
            if side:
                by_side.setdefault(side, concept.name)
    said = [phrase for concept in concepts for phrase in concept.phrases if not has_abbreviation(phrase)]
    name = by_side.get("") or without_side(concepts[0].name)
    return Family(name, by_side, tuple(dict.fromkeys(filter(None, map(without_side, said)))))


@cache
def _data() -> Mapping[str, Any]:
    return json.loads(resource_path("Text", "concepts.json").read_text(encoding="utf-8"))
