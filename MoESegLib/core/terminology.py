"""Terminology entries: how Slicer writes in one line of text what a segment is, also in ``.seg.nrrd`` files."""

from __future__ import annotations

from .structures import Code, Structure, find_coded

TERMINOLOGY_TAG = "TerminologyEntry"
"""Name of the segment tag that holds the entry."""


def terminology_entry(structure: Structure) -> str:
    """A structure as the string that Slicer keeps in a segment (``SerializeTerminologyEntry`` makes the same)."""
    parts = (
        structure.terminology,
        _triple(structure.category),
        _triple(structure.type),
        _triple(structure.modifier),
        structure.regions,
        _triple(structure.region),
        _triple(structure.region_modifier),
    )
    return "~".join(parts)


def structure_of_entry(entry: str, color: tuple[int, int, int]) -> Structure | None:
    """The structure of an entry, or None if it cannot be read.

    Codes that MoESeg does not know make a structure of their own, with the entry's meaning as its name and the given
    color, so that nothing Slicer says is lost.
    """
    parts = entry.split("~")
    if len(parts) != 7:
        return None
    category, kind, modifier, region, region_modifier = (_code(parts[index]) for index in (1, 2, 3, 5, 6))
    if category is None or kind is None:
        return None
    side = modifier or region_modifier
    words = [code.meaning for code in (side, region, kind) if code is not None]
    name = " ".join(words).lower()
    found = Structure(name, (), category, kind, color, modifier, region, region_modifier, parts[0], parts[4])
    return find_coded(found) or found


def _triple(code: Code | None) -> str:
    return "^^" if code is None else f"{code.scheme}^{code.value}^{code.meaning}"


def _code(triple: str) -> Code | None:
    parts = triple.split("^")
    return Code(*parts) if len(parts) == 3 and parts[1] else None
