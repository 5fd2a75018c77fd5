"""Stages 2 and 3 of SAM-Med3D-MoE: the gate learns when to ask a new specialist, and tau is chosen.

Where the cases of all specialists are at hand, a new gate is taught over all of them. Otherwise the row of the new
specialist alone is taught, which changes nothing that the gate says of the others, and tau may rise but not fall.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.cancel import CancelToken
from ..core.errors import TrainingError
from ..engines.sam_med3d import SamMed3DModel
from ..experts.gate_store import gate_for
from ..experts.specialist_gate import GateCard, GateExpert, read_gate, specialist_from
from ..experts.specialist_store import InstalledSpecialist, list_specialists
from ..models.sam_med3d_moe.gate import Gate
from ..models.sam_med3d_moe.mixture import SamMed3DMoE
from ..models.sam_med3d_moe.shelf import Specialist
from .embeddings import EmbeddingStore
from .gate3d import (
    TAUS,
    GateCase,
    GateExamples,
    GateSettings,
    TauChoice,
    choose_tau,
    examples_of,
    mixture_dice,
    train_gate,
)
from .gate_records import GateRecord, has_both_sides
from .progress import TeachProgress
from .rounds3d import first_question
from .specialist_samples import load_samples
from .specialist_step import prompt_inputs

_LARGEST = 64
"""Side of the targets that answers are compared on; those of larger crops are halved, which takes an eighth of the
memory: 128 voxels are 2 MB a target, and there are hundreds."""
_LEAST_STEPS = 300
NEVER = 1.0
"""The tau at which no specialist is asked."""


@dataclass(frozen=True)
class GateRow:
    """Dice after one click on the cases that tau was chosen on.

    Attributes:
        home: the specialist that was taught such targets, "" for unrelated ones.
        specialist: of that specialist alone; of the new one on unrelated targets.
        mixture: what the user gets.
    """

    home: str
    targets: int
    general: float
    specialist: float
    mixture: float


@dataclass(frozen=True, eq=False)
class TaughtGate:
    """A gate with a new specialist.

    Attributes:
        tau: the threshold and what it does.
        known: the earlier specialists in the gate.
        rows: what it does for every home and for unrelated targets.
        over_all: it was taught over all specialists, not the new row alone.
        asks: it asks the new specialist by itself. If not, an earlier gate stays as it was.
    """

    gate: Gate
    tau: TauChoice
    known: tuple[GateExpert, ...]
    rows: tuple[GateRow, ...]
    over_all: bool
    asks: bool


@dataclass(frozen=True, eq=False)
class Earlier:
    """The gate and the specialists of a base before a new one is taught.

    Attributes:
        card, gate: None where there is no gate, or none of its specialists is here.
        specialists: those of the gate that are here as it was taught them.
    """

    card: GateCard | None
    gate: Gate | None
    specialists: tuple[InstalledSpecialist, ...]


def earlier_gate(base_sha256: str, without: str) -> Earlier:
    """What is there for a base, but for the specialist that is taught anew.

    Raises:
        WeightsError: the gate is damaged.
    """
    found = gate_for(base_sha256)
    if found is None:
        return Earlier(None, None, ())
    card, gate = read_gate(found.path, base_sha256)
    taught = {expert.name: expert.sha256 for expert in card.experts if expert.name != without}
    here = [item for item in list_specialists(base_sha256) if item.card and taught.get(item.name) == item.card.sha256]
    if not here:
        return Earlier(None, None, ())
    names = {item.name for item in here}
    for name in gate.experts:
        if name not in names:
            del gate.rows[name]
    order = {name: number for number, name in enumerate(gate.experts)}
    return Earlier(card, gate, tuple(sorted(here, key=lambda item: order[item.name])))


def teach_gate(
    model: SamMed3DModel,
    base_sha256: str,
    name: str,
    decoder: Mapping[str, Tensor],
    records: Sequence[GateRecord],
    earlier: Earlier,
    store: EmbeddingStore,
    seed: int,
    progress: TeachProgress,
    cancel: CancelToken,
) -> TaughtGate:
    """Teach a gate the specialist ``name`` beside those that it knows.

    Args:
        decoder: of the new specialist, rounded as in its file.
        records: with cases of the new specialist and unrelated ones, on both sides.

    Raises:
        TrainingError: an embedding has gone.
        WeightsError: an earlier specialist is damaged.
        Cancelled: ``cancel`` was set.
    """
    others = [item.name for item in earlier.specialists]
    over_all = all(has_both_sides(records, other) for other in others)
    homes = {name, None, *(others if over_all else ())}
    records = [record for record in records if record.home in homes]
    gate = _new_gate(model, [*others, name], seed) if over_all else _with_row(earlier, name)
    shelf = [
        *(specialist_from(item.path, model.network, base_sha256) for item in earlier.specialists),
        Specialist(name, lambda: decoder),
    ]
    mixture = SamMed3DMoE(model.network, shelf, gate)
    learn, judge = (
        examples_of(mixture, _cases(model, some, store, partial(_report, progress, first), cancel))
        for first, some in enumerate(([r for r in records if r.learn], [r for r in records if not r.learn]))
    )
    settings = GateSettings()
    epochs = max(settings.epochs, math.ceil(_LEAST_STEPS * settings.batch / len(learn.homes)))
    train_gate(gate, learn, replace(settings, epochs=epochs), seed, only=None if over_all else name)
    taus = TAUS if over_all or earlier.card is None else [tau for tau in TAUS if tau >= earlier.card.tau]
    choice = choose_tau(gate, judge, taus=taus)
    known = tuple(GateExpert(item.name, item.card.sha256) for item in earlier.specialists if item.card)
    if choice.tau == NEVER and earlier.card is not None and earlier.gate is not None:
        kept = replace(choice, tau=earlier.card.tau)
        return TaughtGate(earlier.gate, kept, known, _rows(earlier.gate, judge, kept.tau, name), over_all, asks=False)
    rows = _rows(gate, judge, choice.tau, name)
    return TaughtGate(gate, choice, known, rows, over_all, asks=choice.tau < NEVER)


def _report(progress: TeachProgress, half: int, done: float) -> None:
    progress((half + done) / 2, "teaching the gate", {})


def _new_gate(model: SamMed3DModel, names: Sequence[str], seed: int) -> Gate:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Gate(model.network.config.prompt_width, names)


def _with_row(earlier: Earlier, name: str) -> Gate:
    if earlier.gate is None:
        raise TrainingError(f"There is no gate to add {name} to. Teach one over all specialists.")
    gate = copy.deepcopy(earlier.gate)
    gate.add(name)
    return gate


def _cases(
    model: SamMed3DModel,
    records: Sequence[GateRecord],
    store: EmbeddingStore,
    progress: Callable[[float], None],
    cancel: CancelToken,
) -> Iterator[GateCase]:
    """Every record after its first click.

    The gate is asked at no other (:func:`~MoESegLib.models.sam_med3d_moe.selector.select`). While it was asked after
    every click it was taught the third one, too, since taught first clicks alone it let go of the right specialist
    later (hippocampi: 2.0 points below the specialist after three clicks). Taught both, it still did so for 41 % of
    the sarcomas after ten.
    """
    for number, record in enumerate(records):
        cancel.check()
        progress(number / len(records))
        image, batch = load_samples(model, store, [record.sample])
        target = _smaller(batch.masks[0] > 0).to(model.device)
        inputs = prompt_inputs(model, image, first_question(batch))
        sparse, dense = inputs["sparse_prompt_embeddings"], inputs["dense_prompt_embeddings"]
        yield GateCase(image, sparse, dense, target, record.home)


def _smaller(target: Tensor) -> Tensor:
    while target.shape[0] > _LARGEST and target.shape[0] % 2 == 0:
        target = F.avg_pool3d(target[None, None].float(), 2)[0, 0] >= 0.5
    return target


def _rows(gate: Gate, judge: GateExamples, tau: float, name: str) -> tuple[GateRow, ...]:
    """One line for every home, the new one first, then unrelated targets."""
    mixed = mixture_dice(gate, judge, tau)
    rows = []
    for home in sorted(set(judge.homes), key=lambda home: (home is None, home != name, home or "")):
        mine = torch.tensor([other == home for other in judge.homes])
        alone = judge.dice[mine, 1 + judge.experts.index(home or name)]
        means = (float(values.mean()) for values in (judge.dice[mine, 0], alone, mixed[mine]))
        rows.append(GateRow(home or "", int(mine.sum()), *means))
    return tuple(rows)
