"""The answers of ``evaluate_mast_pro.py`` on disk.

What the same weights said about the same images is not asked again.
"""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from MoESegLib.core.files import atomic_path
from MoESegLib.training.tumor_held_out import HeldOutSpec


@dataclass(frozen=True)
class Answer:
    """One line of ``answers.csv``.

    Attributes:
        kind: "real" or "synthetic".
        dice, nsd: with the lesions of the type that was asked for.
        other_dice: with lesions of another type in the same image; None where there are none.
        found, lesions, false_positives: separate lesions (:mod:`~MoESegLib.evaluation.lesions`).
        voxels: of the reference; 0 where the tumor is absent.
        hits, misses: certainties (percent, :func:`~MoESegLib.core.lesions.certainty`) of the findings that touch a
            lesion of the type, and of those that do not, separated by blanks.
        refusal: why there is no answer.
    """

    model: str
    kind: str
    dataset: str
    case: str
    patient: str
    tumor: str
    dice: float
    nsd: float
    other_dice: float | None
    found: int
    lesions: int
    false_positives: int
    voxels: int
    answered: int
    hits: str = ""
    misses: str = ""
    refusal: str = ""


class AnswerFile:
    """``answers.csv``, and beside it, in ``answers.json``, which images and networks the answers are of.

    Answers to another list of images are forgotten, and those of a name that now stands for another network.

    Args:
        folder: of both files.
        images: the list of images, :func:`~MoESegLib.training.tumor_held_out.digest`.
        models: what identifies the network of each name.
    """

    def __init__(self, folder: Path, images: str, models: Mapping[str, str]) -> None:
        self._table, self._about = folder / "answers.csv", folder / "answers.json"
        self._images, self._models = images, dict(models)
        self._found: dict[tuple[str, str, str], list[Answer]] = {}  # a patient's CT, MR and PET have one name
        for answer in self._kept():
            self._found.setdefault((answer.model, answer.dataset, answer.case), []).append(answer)

    @property
    def all(self) -> list[Answer]:
        """Every answer so far."""
        return [answer for answers in self._found.values() for answer in answers]

    def has(self, model: str, spec: HeldOutSpec) -> bool:
        """Whether a network was asked about an image."""
        return (model, spec.dataset, spec.name) in self._found

    def add(self, model: str, spec: HeldOutSpec, answers: Sequence[Answer]) -> None:
        """Keep what a network said about an image."""
        self._found[model, spec.dataset, spec.name] = list(answers)

    def save(self) -> None:
        """Write both files; the one that says what the answers are of last."""
        with atomic_path(self._table) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, [field.name for field in dataclasses.fields(Answer)])
            writer.writeheader()
            writer.writerows(dataclasses.asdict(answer) for answer in self.all)
        with atomic_path(self._about) as temporary:
            about = {"images": self._images, "models": self._models}
            temporary.write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")

    def _kept(self) -> list[Answer]:
        if not (self._about.exists() and self._table.exists()):
            return []
        about = json.loads(self._about.read_text(encoding="utf-8"))
        if about["images"] != self._images:
            return []
        same = {name for name, identity in about["models"].items() if self._models.get(name) == identity}
        with self._table.open(newline="", encoding="utf-8") as stream:
            return [_read(row) for row in csv.DictReader(stream) if row["model"] in same]


def _read(row: Mapping[str, str]) -> Answer:
    """A line of the table. Types by name, since the annotations of this module are texts."""
    kinds = {"str": str, "float": float, "int": int, "float | None": lambda text: float(text) if text else None}
    return Answer(**{field.name: kinds[str(field.type)](row[field.name]) for field in dataclasses.fields(Answer)})
