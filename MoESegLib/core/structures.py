"""Structures that MoESeg knows by name: spellings, SNOMED CT codes and colors. Data in ``Resources/Structures``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from ..resources import resource_path


@dataclass(frozen=True)
class Code:
    """One coded concept, as in DICOM: coding scheme ("SCT" is SNOMED CT), value, and meaning for people."""

    scheme: str
    value: str
    meaning: str


@dataclass(frozen=True)
class Structure:
    """What a segment can be.

    Attributes:
        name: US English, lower case, as one would say it: "left kidney".
        synonyms: other ways to say it.
        category, type: SNOMED CT codes as in Slicer's terminologies.
        color: recommended (red, green, blue), 0 to 255.
        modifier: laterality of the type, or None.
        region, region_modifier: where a lesion lies and on which side, or None.
        terminology: name of the Slicer terminology that lists the type; codes that neither of Slicer's two default
            lists has carry the name of its general anatomy list.
        regions: name of the Slicer list of anatomic regions.
    """

    name: str
    synonyms: tuple[str, ...]
    category: Code
    type: Code
    color: tuple[int, int, int]
    modifier: Code | None = None
    region: Code | None = None
    region_modifier: Code | None = None
    terminology: str = "Segmentation category and type - 3D Slicer General Anatomy list"
    regions: str = "Anatomic codes - DICOM master list"

    @property
    def codes(self) -> tuple[str, ...]:
        """The code values alone, which tell two structures apart whatever their meanings are called."""
        parts = (self.category, self.type, self.modifier, self.region, self.region_modifier)
        return tuple(part.value if part is not None else "" for part in parts)


@cache
def known_structures() -> tuple[Structure, ...]:
    """All structures; a paired one stands there without a side, then left, then right."""
    path = resource_path("Structures", "structures.json")
    data = json.loads(path.read_text(encoding="utf-8"))
    return tuple(structure for entry in data["structures"] for structure in _structures_of(entry, data))


def find_structure(phrase: str) -> Structure | None:
    """The structure a phrase names, or None.

    Case, word order, plurals, punctuation and British spelling do not matter: "Left kidney", "kidney, left",
    "Kidney_L" and "LeftKidney" are the same. A side that the structure does not have makes it another one, so "left
    liver" is unknown; "both kidneys" is "kidney".
    """
    return _by_phrase().get(phrase_key(phrase))


def find_coded(structure: Structure) -> Structure | None:
    """The known structure with the same codes, or None."""
    return _by_codes().get(structure.codes)


def suggest(prefix: str, limit: int = 10) -> list[str]:
    """Names for a completer: every word typed starts a word of the name or of a synonym.

    Names that start as typed come first, then names, then structures of which only a synonym fits; otherwise the order
    is that of :func:`known_structures`. Nothing typed gives the first ones.
    """
    typed = _words(prefix)
    ranks = {structure.name: _rank(structure, typed) for structure in known_structures()}
    fitting = [name for name, rank in ranks.items() if rank is not None]
    return sorted(fitting, key=lambda name: ranks[name] or 0)[:limit]


def _rank(structure: Structure, typed: list[str]) -> int | None:
    """How well a structure fits the words typed so far, 0 the best; None if it does not."""
    name, *synonyms = (_words(text) for text in (structure.name, *structure.synonyms))
    if " ".join(name).startswith(" ".join(typed)):
        return 0
    if _starts(name, typed):
        return 1
    return 2 if any(_starts(synonym, typed) for synonym in synonyms) else None


def _starts(words: list[str], typed: list[str]) -> bool:
    return all(any(word.startswith(start) for word in words) for start in typed)


PhraseKey = tuple[str, tuple[str, ...]]

_SIDES = {"left": "left", "l": "left", "lt": "left", "right": "right", "r": "right", "rt": "right"}
_IGNORED = frozenset({"a", "an", "and", "both", "bilateral", "in", "of", "the"})
_US_SPELLING = {
    "anaemia": "anemia",
    "caecum": "cecum",
    "coeliac": "celiac",
    "disk": "disc",
    "faeces": "feces",
    "grey": "gray",
    "haematoma": "hematoma",
    "haemorrhage": "hemorrhage",
    "oedema": "edema",
    "oesophagus": "esophagus",
    "tumour": "tumor",
}
_PLURALS = {
    "atria": "atrium",
    "bronchi": "bronchus",
    "feet": "foot",
    "femora": "femur",
    "foveae": "fovea",
    "humeri": "humerus",
    "menisci": "meniscus",
    "metastases": "metastasis",
    "ova": "ovum",
    "retinae": "retina",
    "scapulae": "scapula",
    "testes": "testis",
    "tibiae": "tibia",
    "venae": "vena",
    "vertebrae": "vertebra",
}


def _words(phrase: str) -> list[str]:
    """Lower-case words; ``LeftKidney`` and ``kidney_left`` are two words each, ``L5`` is one."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", phrase)
    return re.findall(r"[^\W_]+", spaced.casefold())


def phrase_key(phrase: str) -> PhraseKey:
    """What a phrase is looked up by: its side ("left", "right" or "") and its other words, singular and sorted."""
    words = [_singular(word) for word in _words(phrase) if word not in _IGNORED]
    sides = {_SIDES[word] for word in words if word in _SIDES}
    rest = tuple(sorted(word for word in words if word not in _SIDES))
    return (sides.pop() if len(sides) == 1 else ""), rest


def without_side(phrase: str) -> str:
    """The words of a phrase as they were said, lower case and in US spelling, but for its side."""
    return " ".join(_US_SPELLING.get(word, word) for word in _words(phrase) if word not in _SIDES)


def _singular(word: str) -> str:
    # The same rule is applied to phrases and to the list, so a wrong singular ("pancrea") does no harm.
    word = _PLURALS.get(word, word)
    if word.endswith("ies"):
        word = word[:-3] + "y"
    elif word.endswith(("sses", "shes", "ches", "xes")):
        word = word[:-2]
    elif word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    return _US_SPELLING.get(word, word)


@cache
def _by_phrase() -> dict[PhraseKey, Structure]:
    # A name goes before another structure's synonym.
    found: dict[PhraseKey, Structure] = {}
    for structure in known_structures():
        found.setdefault(phrase_key(structure.name), structure)
    for structure in known_structures():
        for synonym in structure.synonyms:
            found.setdefault(phrase_key(synonym), structure)
    return found


@cache
def _by_codes() -> dict[tuple[str, ...], Structure]:
    return {structure.codes: structure for structure in known_structures()}


def _structures_of(entry: Mapping[str, Any], data: Mapping[str, Any]) -> list[Structure]:
    """One entry of the file: a structure, and its left and right ones if it is paired."""
    sides: list[str | None] = [None, "left", "right"] if entry.get("sides") else [None]
    return [_structure(entry, data, side) for side in sides]


def _structure(entry: Mapping[str, Any], data: Mapping[str, Any], side: str | None) -> Structure:
    laterality = Code("SCT", *data["sides"][side]) if side is not None else None
    region = Code("SCT", *entry["region"]) if "region" in entry else None
    red, green, blue = entry["color"]
    lead = "" if side is None else f"{side} "
    return Structure(
        name=lead + entry["name"],
        synonyms=tuple(lead + synonym for synonym in entry.get("synonyms", ())),
        category=Code("SCT", *data["categories"][entry["category"]]),
        type=Code("SCT", entry["code"], entry["meaning"]),
        color=(red, green, blue),
        modifier=laterality if region is None else None,
        region=region,
        region_modifier=laterality if region is not None else None,
        terminology=data["lists"][entry.get("list", "general")],
        regions=data["regions"],
    )
