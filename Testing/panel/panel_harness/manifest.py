"""What Slicer, CTK and Qt really offer to Python, looked up by class name.

The names come from ``slicer_api_manifest.json`` (see ``README.md`` beside it).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

MANIFEST: dict[str, Any] = json.loads((Path(__file__).parent / "slicer_api_manifest.json").read_text("utf-8"))

# The extraction read no header of these bases; the names are those of Slicer's documented scripting interface.
_UNREAD_BASES: dict[str, dict[str, Any]] = {
    "qSlicerAbstractCoreModule": {
        "b": ["QObject"],
        "p": {
            "name": "QString r",
            "path": "QString r",
            "title": "QString r",
            "categories": "QStringList r",
            "contributors": "QStringList r",
            "dependencies": "QStringList r",
            "helpText": "QString r",
            "acknowledgementText": "QString r",
            "hidden": "bool r",
            "index": "int r",
        },
        "i": ["logic()"],
    },
}

# Methods that PySide6 gives every object and PythonQt does not.
_PYSIDE_ONLY = frozenset(
    {"emit", "isQmlExposed", "isQuickItemType", "receivers", "senderSignalIndex", "connectNotify", "disconnectNotify"}
)

# Flags have no 0, 1, 2, ... values; the manifest lists names only.
_FLAG_VALUES: dict[str, dict[str, int]] = {
    "UnitAwareProperty": {
        "None": 0,
        "Prefix": 1,
        "Suffix": 2,
        "Precision": 4,
        "MinimumValue": 8,
        "MaximumValue": 16,
        "Scaling": 32,
        "All": 63,
    },
    "Filter": {
        "Dirs": 0x001,
        "Files": 0x002,
        "Drives": 0x004,
        "NoSymLinks": 0x008,
        "AllEntries": 0x007,
        "Readable": 0x010,
        "Writable": 0x020,
        "Executable": 0x040,
        "Modified": 0x080,
        "Hidden": 0x100,
        "System": 0x200,
        "AllDirs": 0x400,
        "CaseSensitive": 0x800,
        "NoDot": 0x2000,
        "NoDotDot": 0x4000,
        "NoDotAndDotDot": 0x6000,
        "NoFilter": -1,
    },
}


def normalize(signature: str) -> str:
    """A Qt signature as Qt compares it: no spaces, no ``const``, no ``&``, no default marks."""
    return re.sub(r"\s+|&|=", "", signature.replace("const ", ""))


def signature_name(signature: str) -> str:
    return signature.removeprefix("static ").split("(")[0]


def signature_types(signature: str) -> tuple[str, ...]:
    inside = normalize(signature).split("(", 1)[1].rsplit(")", 1)[0]
    return tuple(part for part in inside.split(",") if part)


@dataclass(frozen=True)
class PropertyFacts:
    """A Qt property: C++ type, and whether it can be read and written."""

    type_name: str
    readable: bool
    writable: bool


@dataclass(frozen=True)
class ClassFacts:
    """Everything Python may touch on an object of one class, inherited members included."""

    name: str
    lineage: tuple[str, ...]
    properties: dict[str, PropertyFacts]
    signals: dict[str, tuple[str, ...]]
    methods: frozenset[str]
    slots: frozenset[str]
    arities: dict[str, frozenset[int]]
    enums: dict[str, int]

    def has(self, member: str) -> bool:
        return any(member in names for names in (self.properties, self.signals, self.methods, self.enums))


# PythonQt wraps these Qt classes, but the extraction took widgets and values only; names as in Qt's documentation.
_MORE_QT: dict[str, dict[str, Any]] = {
    "QClipboard": {"b": ["QObject"], "s": ["dataChanged()"], "m": ["clear", "setText", "text"]},
}


def class_entry(name: str) -> dict[str, Any] | None:
    """The manifest's own entry of one class, or None when nothing is known of it."""
    return MANIFEST["classes"].get(name) or _UNREAD_BASES.get(name) or MANIFEST["qt"].get(name) or _MORE_QT.get(name)


def is_slicer_class(name: str) -> bool:
    """Whether the class is Slicer's or CTK's, that is, one that needs a stand-in."""
    return name in MANIFEST["classes"] or name in _UNREAD_BASES


@cache
def lineage(name: str) -> tuple[str, ...]:
    """The class and its bases, nearest first; template arguments dropped."""
    found: list[str] = []
    todo = [name]
    while todo:
        current = todo.pop(0)
        if current not in found:
            found.append(current)
            todo += [re.sub(r"<.*", "", base) for base in (class_entry(current) or {}).get("b", [])]
    return tuple(found)


def _enum_values(entry: dict[str, Any]) -> dict[str, int]:
    values: dict[str, int] = {}
    for enum_name, names in entry.get("e", {}).items():
        flags = _FLAG_VALUES.get(enum_name.rstrip("!"), {})
        for position, value in enumerate(names):
            values.setdefault(value, flags.get(value, position))
    return values


@cache
def class_facts(name: str) -> ClassFacts:
    """All members of a class; empty for a class the manifest does not know."""
    properties: dict[str, PropertyFacts] = {}
    signals: dict[str, list[str]] = {}
    methods: set[str] = set()
    slots: set[str] = set()
    arities: dict[str, set[int]] = {}
    enums: dict[str, int] = {}
    for ancestor in lineage(name):
        entry = class_entry(ancestor) or {}
        for property_name, described in entry.get("p", {}).items():
            type_name, flags = described.rsplit(" ", 1)
            properties.setdefault(property_name, PropertyFacts(type_name, "r" in flags, "w" in flags))
        for signal in entry.get("s", []):
            signals.setdefault(signature_name(signal), []).append(normalize(signal))
        for signature in [s for key in "lid" for s in entry.get(key, [])]:
            signature = signature.removeprefix("static ")
            slots.add(normalize(signature))
            most = len(signature_types(signature))
            least = most - signature.count("=")
            arities.setdefault(signature_name(signature), set()).update(range(least, most + 1))
        methods |= set(entry.get("m", [])) | {signature_name(slot) for slot in slots}
        enums = {**_enum_values(entry), **enums}
    return ClassFacts(
        name,
        lineage(name),
        properties,
        {key: tuple(dict.fromkeys(value)) for key, value in signals.items()},
        frozenset(methods - _PYSIDE_ONLY),
        frozenset(slots),
        {key: frozenset(value) for key, value in arities.items()},
        enums,
    )
