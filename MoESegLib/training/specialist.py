"""Teach SAM-Med3D a task without changing it: a specialist, and a gate that asks it only where it is sure.

Three stages (SAM-Med3D-MoE, arXiv 2407.04938, which has no public code; protocol and numbers are ours):

1. a copy of the mask decoder learns the task (:mod:`.specialist_loop`);
2. the gate learns when to ask it, from targets of its task, of other specialists and unrelated ones
   (:mod:`.gate_stage`);
3. the threshold is chosen on held-out patients so that unrelated targets lose at most 0.2 points of Dice.
"""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from torch import Tensor

from ..core.cancel import CancelToken
from ..core.errors import TrainingError
from ..core.strict_json import FieldError
from ..engines.registry import load_engine
from ..engines.sam_med3d import SamMed3DModel
from ..evaluation.targets import evenly
from ..experts.card_rules import BaseModel
from ..experts.specialist_card import check_name
from ..weights import model_card
from ..weights.store import weights_id_of
from .cases import Case, split_cases
from .embeddings import EmbeddingStore
from .gate_records import GateRecord, has_both_sides, merge_records, read_records, records_file
from .gate_stage import TaughtGate, earlier_gate, teach_gate
from .loop import base_digest
from .progress import TeachProgress, part_of, silent
from .specialist_loop import Epoch3D, HeldOut3D, SpecialistLoop, SpecialistPlan
from .specialist_samples import Collecting3D, Sample3D, collect_samples3d
from .teach import teaching_folder

DEFAULT_EPOCHS = 20
LEARN_CASES, JUDGE_CASES = 120, 80
"""Targets of every sort that a gate is taught on, and that tau is chosen on."""
_MEASURED = 24
"""Held-out targets that are measured after each epoch."""
_JUDGE_SHARE = 0.4
"""Of the patients of unrelated cases: the bound on what they lose is as good as they are many."""
_ENCODED_UNRELATED, _ENCODED, _LEARNED = 0.2, 0.4, 0.85
"""Shares of the minutes after which nothing new is encoded, and after which the gate is taught."""


@dataclass(frozen=True, eq=False)
class Base3D:
    """The model that a specialist is taught on, and what identifies its weights."""

    model: SamMed3DModel
    identity: BaseModel


@dataclass(frozen=True, eq=False)
class SpecialistResult:
    """A taught specialist, its gate, and how they got there.

    Attributes:
        decoder: the best epoch's tensors, rounded as the file will hold them.
        history: the learning curve; its first entry is the base's own decoder.
        held_out: of the best epoch; it was chosen by this number.
        general: of the base on the same targets.
        gate: with the threshold and what the mixture does.
        records: what the gate was taught on, to be kept beside it.
        samples: crops that the specialist learned from.
        train_cases, held_out_cases: names.
    """

    name: str
    base: BaseModel
    decoder: dict[str, Tensor]
    history: tuple[Epoch3D, ...]
    held_out: HeldOut3D
    general: HeldOut3D
    gate: TaughtGate
    gate_name: str
    records: tuple[GateRecord, ...]
    classes: tuple[str, ...]
    samples: int
    train_cases: tuple[str, ...]
    held_out_cases: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Data:
    """Samples of every sort, by side: to learn from, and held out."""

    learn: list[Sample3D]
    held_out: list[Sample3D]
    records: list[GateRecord]


def base3d(name: str) -> Base3D:
    """A SAM-Med3D from the catalog, ready to be taught on.

    Raises:
        TrainingError: the model is no SAM-Med3D.
        UnknownModelError, WeightsMissingError, WeightsError: as :func:`~MoESegLib.engines.load_engine`.
    """
    if model_card(name).architecture != "sam_med3d":
        raise TrainingError(
            f"{name} is no SAM-Med3D, so it has no 3D mask decoder that could be taught. Choose sam-med3d, or teach an "
            "expert of slices with --method experts."
        )
    engine = load_engine(name)
    return Base3D(cast(SamMed3DModel, engine.model), BaseModel(engine.name, weights_id_of(engine.name)))


def teach_specialist(
    cases: Sequence[Case],
    name: str,
    *,
    unrelated: Sequence[Case] = (),
    base: str | Base3D = "sam-med3d",
    minutes: float | None = None,
    epochs: int | None = None,
    seed: int = 0,
    output: Callable[[SpecialistResult], object] | None = None,
    progress: TeachProgress | None = None,
    cancel: CancelToken | None = None,
    plan: SpecialistPlan | None = None,
    cache: Path | None = None,
    held_out_share: float = 0.2,
    varied: int = 2,
    gate_name: str | None = None,
) -> SpecialistResult:
    """Teach a specialist and a gate on a frozen SAM-Med3D.

    A run that was killed or cancelled goes on where it was when it is called again with the same arguments; with
    ``epochs`` the result is then that of an undisturbed run, bit for bit on the same machine.

    Args:
        cases: of the task, of at least two patients; a share of the patients is held out.
        name: of the specialist: lower-case letters, digits and hyphens.
        unrelated: cases of other tasks, of at least two patients, where the base must not become worse. They may be
            left out where the gate that is there was taught with such.
        base: a model of the catalog, or one that was loaded.
        minutes, epochs: when to stop, whichever comes first; 20 epochs if neither is given.
        output: called once with the result, to write it (:func:`~.specialist_install.install_taught`).
        progress: called with fraction, message and metrics, from this thread.
        plan: other settings; its epochs, minutes and seed are replaced.
        cache: folder of embeddings and checkpoints, by default ``teaching`` where the models are.
        varied: copies of every crop in other positions, scales and contrasts.
        gate_name: of the gate that is written; by default one name for every base.

    Raises:
        TrainingError: nothing to learn from or to measure on, no unrelated cases, or nothing was learned; the message
            says what to do.
        VolumeError, GeometryError: a case is damaged, or its labels lie on another grid.
        OutputError: the disk is full, or the folder cannot be written; what is there stays usable.
        UnknownModelError, WeightsError: the base, the gate or a specialist that is there cannot be used.
        Cancelled: ``cancel`` was set.
    """
    started = time.monotonic()
    _check_arguments(name, minutes, epochs)
    progress, cancel = progress or silent, cancel or CancelToken()
    plan = _plan(plan or SpecialistPlan(), minutes, epochs, seed)
    base = base3d(base) if isinstance(base, str) else base
    model, base_sha256 = base.model, base.identity.sha256
    before = base_digest(model.network)
    folder = teaching_folder(cache)
    store = EmbeddingStore(folder / "embeddings")
    earlier = earlier_gate(base_sha256, without=name)
    known = read_records(records_file(earlier.card.name), store) if earlier.card is not None else []
    _check_unrelated(unrelated, known)
    train, held = split_cases(cases, held_out_share, seed)
    others = split_cases(unrelated, _JUDGE_SHARE, seed) if unrelated else ([], [])
    encoding = part_of(progress, 0, _ENCODED)
    data = _collect(model, (train, held), others, name, store, plan, varied, started, encoding, cancel)
    checkpoint = folder / f"{name}.specialist.safetensors"
    measured = evenly(data.held_out, _MEASURED)
    identity = _identity(base, name, () if plan.minutes is not None else data.learn, measured)
    loop = SpecialistLoop(model, data.learn, measured, store, plan, identity, checkpoint, started, _LEARNED)
    history = loop.run(part_of(progress, _ENCODED, _LEARNED), cancel)
    best = max((epoch.held_out for epoch in history), key=lambda held_out: held_out.score)
    _check_learned(history, best)
    records = merge_records(known, data.records, name)
    asking = part_of(progress, _LEARNED, 1)
    gate = teach_gate(model, base_sha256, name, loop.best, records, earlier, store, seed, asking, cancel)
    if base_digest(model.network) != before:
        raise RuntimeError("Teaching changed the base model; this must never happen. The specialist was not kept.")
    result = SpecialistResult(
        name=name,
        base=base.identity,
        decoder=loop.best,
        history=tuple(history),
        held_out=best,
        general=history[0].held_out,
        gate=gate,
        gate_name=gate_name or default_gate_name(base_sha256),
        records=tuple(records),
        classes=tuple(sorted({sample.structure for sample in data.learn})),
        samples=len(data.learn),
        train_cases=tuple(case.name for case in train),
        held_out_cases=tuple(case.name for case in held),
    )
    if output is not None:
        output(result)
    checkpoint.unlink(missing_ok=True)
    return result


def default_gate_name(base_sha256: str) -> str:
    """The name of the user's own gate for a base."""
    return f"mine-{base_sha256[:12]}"


def _collect(
    model: SamMed3DModel,
    task: tuple[list[Case], list[Case]],
    unrelated: tuple[list[Case], list[Case]],
    name: str,
    store: EmbeddingStore,
    plan: SpecialistPlan,
    varied: int,
    started: float,
    progress: TeachProgress,
    cancel: CancelToken,
) -> _Data:
    """Encode everything: what is held out first, since without it nothing can be measured."""

    def until(share: float) -> float | None:
        return None if plan.minutes is None else started + 60 * plan.minutes * share

    def collect(cases: Sequence[Case], how: Collecting3D, first: float, last: float) -> list[Sample3D]:
        how = dataclasses.replace(how, seed=plan.seed)
        return collect_samples3d(model, cases, store, how, part_of(progress, first, last), cancel)

    held = collect(task[1], Collecting3D(2, at_most=JUDGE_CASES), 0, 0.1)
    if not held:
        raise TrainingError("No held-out case holds a target to measure on. Give more cases, or another --seed.")
    late = until(_ENCODED_UNRELATED)
    others = [
        collect(cases, Collecting3D(2, at_most=most, until=late), 0.1 + 0.2 * side, 0.3 + 0.2 * side)
        for side, (cases, most) in enumerate(zip(unrelated, (LEARN_CASES, JUDGE_CASES), strict=True))
    ]
    late = until(_ENCODED)
    learn = collect(task[0], Collecting3D(1, until=late), 0.5, 0.7)  # every case once, before any of them again
    learn = collect(task[0], Collecting3D(2, varied, until=late), 0.7, 1) or learn
    if not learn:
        raise TrainingError(
            "There is nothing to learn from: no case holds a structure of that class that a 3D model could see. Check "
            "the names of the classes."
        )
    records = [GateRecord(sample, name, True) for sample in evenly(learn, LEARN_CASES)]
    records += [GateRecord(sample, name, False) for sample in held]
    records += [GateRecord(sample, None, side == 0) for side, some in enumerate(others) for sample in some]
    return _Data(learn, held, records)


def _check_arguments(name: str, minutes: float | None, epochs: int | None) -> None:
    try:
        check_name(name)
    except FieldError as error:
        raise TrainingError(f"A specialist cannot have that name: {error}.") from error
    if (minutes is not None and minutes <= 0) or (epochs is not None and epochs < 1):
        raise TrainingError("A specialist needs some time: give more than 0 minutes, or 1 epoch or more.")


def _check_unrelated(unrelated: Sequence[Case], known: Sequence[GateRecord]) -> None:
    patients = len({case.patient for case in unrelated})
    if patients > 1 or (not unrelated and has_both_sides(known, None)):
        return
    raise TrainingError(
        f"{len(unrelated)} unrelated case{'s' * (len(unrelated) != 1)} of {patients} patient{'s' * (patients != 1)}: "
        "the gate must see targets that the specialist must not answer, of at least two patients. Name sets of other "
        "tasks with --unrelated."
    )


def _check_learned(history: Sequence[Epoch3D], best: HeldOut3D) -> None:
    last = history[-1]
    if last.steps == 0:
        raise TrainingError(
            "The time was over before anything was learned: it went into encoding and measuring. What was encoded "
            "stays, so start again, or give more minutes."
        )
    if best is history[0].held_out:
        raise TrainingError(
            f"After {last.steps} steps the specialist was no better than the base, whose Dice is {best.score:.3f} on "
            f"the {best.targets} held-out targets; nothing was installed. Give more cases, more time, or another task."
        )


def _plan(plan: SpecialistPlan, minutes: float | None, epochs: int | None, seed: int) -> SpecialistPlan:
    if minutes is None and epochs is None:
        epochs = DEFAULT_EPOCHS
    return dataclasses.replace(plan, minutes=minutes, epochs=epochs, seed=seed)


def _identity(base: Base3D, name: str, samples: Sequence[Sample3D], held_out: Sequence[Sample3D]) -> str:
    """Hash of everything that a run learns from; how many samples there are may depend on the machine."""
    keys = [sample.key for sample in (*samples, *held_out)]
    return hashlib.sha256("|".join([base.identity.sha256, base.model.encoder_id, name, *keys]).encode()).hexdigest()
