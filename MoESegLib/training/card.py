"""The card of an expert that was just taught: what it learned from and how it did on the held-out cases."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from ..experts.card import BaseModel, ExpertCard, ExpertClass, Measurement, TrainingData
from ..experts.pack_file import sizes_of
from ..weights.store import weights_id_of
from .cases import Case
from .lesson import BASE
from .teach import TeachResult

NOT_STATED = "not stated"


def card_of(
    result: TeachResult, cases: Sequence[Case], command: str, license_name: str = NOT_STATED, *, general: bool = False
) -> ExpertCard:
    """The card of a taught pack.

    Args:
        cases: all that :func:`~.teach.teach` was given.
        command: what makes the numbers again.
        license_name: of the pack.
        general: it answers clicks where no other expert knows.
    """
    held, base = result.held_out, result.base
    found: list[tuple[str, float, float | None]] = [
        ("box", held.box, base.box),
        ("click", held.click, base.click),
    ]
    if held.automatic is not None:
        found.append(("auto", held.automatic, None))
    measured = tuple(
        Measurement("held-out patients of the training data", prompt, dice, without, held.patients, command)
        for prompt, dice, without in found
    )
    title = ", ".join(result.classes[:4]) + (" ..." if len(result.classes) > 4 else "")
    return ExpertCard(
        name=result.name,
        title=title,
        description=f"Taught on {len(result.train_cases)} images ({result.samples} structures on slices).",
        base=BaseModel(BASE, weights_id_of(BASE)),
        sizes=sizes_of(result.pack),
        classes=tuple(ExpertClass.named(name) for name in result.classes),
        modalities=tuple(sorted({case.modality for case in cases if case.modality})),
        prompts=tuple(sorted(result.prompts)),
        training=training_data([case for case in cases if case.name in set(result.train_cases)]),
        measured=measured,
        license=license_name,
        created=datetime.date.today().isoformat(),
        general=general,
    )


def training_data(cases: Sequence[Case]) -> tuple[TrainingData, ...]:
    """The data sets of some cases."""
    names = dict.fromkeys(case.dataset for case in cases)
    return tuple(
        TrainingData(
            name or "own cases",
            next((case.license for case in cases if case.dataset == name and case.license), NOT_STATED),
            "train",
            len({case.patient for case in cases if case.dataset == name}),
        )
        for name in names
    )
