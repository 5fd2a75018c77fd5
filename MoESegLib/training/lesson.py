"""What the user asked to be taught, kept on disk while it is taught and until the expert is kept or discarded."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..core.files import atomic_path
from ..experts.card_rules import RESERVED_NAMES, is_name

BASE = "lite-medsam"
"""The model that experts of slices are taught for."""
GENERAL_EXPERT = "click"
"""The shipped expert that was taught a bit of everything; others start from it."""


@dataclass(frozen=True)
class Lesson:
    """Settings of a run; the same settings on the same cases go on where an interrupted run stopped.

    Attributes:
        start_from: name of the expert to go on from, "" for none.
        automatic: also teach it to answer without a prompt.
        folder: where files were taken from, "" when only the scene was.
    """

    name: str = ""
    classes: tuple[str, ...] = ()
    minutes: float = 8.0
    start_from: str = ""
    automatic: bool = False
    folder: str = ""


@dataclass(frozen=True)
class CurvePoint:
    """Held-out Dice after an epoch; epoch 0 is what it started from. "automatic" is without a prompt, where taught."""

    epoch: int
    box: float
    click: float
    automatic: float | None = None


@dataclass(frozen=True)
class Notes:
    """What is written down about a lesson.

    Attributes:
        base: the model without experts; its epoch means nothing. None until it is known.
    """

    lesson: Lesson
    curve: tuple[CurvePoint, ...] = ()
    base: CurvePoint | None = None

    def with_point(self, point: CurvePoint) -> Notes:
        """A run that starts over begins its curve over."""
        kept = tuple(earlier for earlier in self.curve if earlier.epoch < point.epoch)
        return dataclasses.replace(self, curve=(*kept, point))


def name_problem(name: str, taken: Collection[str]) -> str:
    """Why an expert cannot have this name, "" if it can."""
    if not name:
        return "Give the expert a name, for example liver-mine."
    if not is_name(name):
        return f"{name!r} cannot be a name: up to 48 lower-case letters, digits and hyphens are allowed."
    if name in RESERVED_NAMES:
        return f"{name!r} is taken by MoESeg itself. Choose another name, such as {name}-mine."
    return f"There is an expert {name} already. Choose another name, or remove it first." if name in taken else ""


def write_notes(path: Path, notes: Notes) -> None:
    """Replace the notes.

    Raises:
        OutputError: no space or no permission.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(dataclasses.asdict(notes), indent=2) + "\n", encoding="utf-8")


def read_notes(path: Path) -> Notes | None:
    """The notes, or None if there are none or they cannot be read: then nothing is gone on from."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        lesson = Lesson(**{**data["lesson"], "classes": tuple(data["lesson"]["classes"])})
        curve = tuple(_point(entry) for entry in data["curve"])
        return Notes(lesson, curve, _point(data["base"]) if data["base"] else None)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _point(data: Mapping[str, float]) -> CurvePoint:
    automatic = None if data["automatic"] is None else float(data["automatic"])
    return CurvePoint(int(data["epoch"]), float(data["box"]), float(data["click"]), automatic)
