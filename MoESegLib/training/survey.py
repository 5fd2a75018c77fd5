"""What there is to learn in cases, looked at before anything is taught."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ..core.cancel import CancelToken, ProgressCallback
from ..core.errors import MoESegError
from .cases import Case


@dataclass(frozen=True)
class Found:
    """One case and the names of the structures in it, in alphabetic order; its modality is that of the image."""

    patient: str
    classes: tuple[str, ...]
    case: Case | None = None


@dataclass(frozen=True)
class Survey:
    """Cases that can be learned from, and why others cannot."""

    found: tuple[Found, ...]
    problems: tuple[str, ...] = ()


def survey(cases: Sequence[Case], report: ProgressCallback, cancel: CancelToken) -> Survey:
    """Read every case once, one at a time; a damaged one becomes a problem instead of an error.

    Raises:
        Cancelled: ``cancel`` was set.
    """
    found, problems = [], []
    for number, case in enumerate(cases):
        cancel.check()
        report(number / len(cases), f"Reading {case.name}")
        try:
            image = case.load()
        except MoESegError as error:
            problems.append(str(error))
            continue
        names = tuple(sorted({structure.name for structure in image.structures}))
        modality = case.modality or image.volume.modality
        found.append(Found(case.patient, names, dataclasses.replace(case, modality=modality)))
    return Survey(tuple(found), tuple(problems))


def counts_of(found: Collection[Found]) -> dict[str, tuple[int, int]]:
    """Number of cases and of patients by class, in alphabetic order."""
    names = sorted({name for entry in found for name in entry.classes})
    mine = {name: [entry for entry in found if name in entry.classes] for name in names}
    return {name: (len(entries), len({entry.patient for entry in entries})) for name, entries in mine.items()}


def patients_of(found: Collection[Found], classes: Collection[str]) -> frozenset[str]:
    """The patients who have one of the classes."""
    return frozenset(entry.patient for entry in found if not set(classes).isdisjoint(entry.classes))
