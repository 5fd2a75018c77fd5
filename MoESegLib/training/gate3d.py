"""Teach the gate of SAM-Med3D-MoE, and choose its threshold, on answers that were computed once.

Encoders and decoders are frozen, so an example is what the gate reads and what every decoder answered; teaching takes
seconds. That only the gate is trained is published; labels, losses and the choice of tau are ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..models.sam_med3d_moe.fusion import Fusion, fuse
from ..models.sam_med3d_moe.gate import Gate
from ..models.sam_med3d_moe.mixture import SamMed3DMoE
from ..models.segmote.mote import cv_squared

TAUS: tuple[float, ...] = tuple(round(0.30 + 0.05 * step, 2) for step in range(14))
MAY_LOSE = 0.002
"""Dice that unrelated targets may lose on average (0.2 points)."""
_AS_GOOD = 0.001


@dataclass(frozen=True, eq=False)
class GateCase:
    """One prompt on one image, encoded.

    Attributes:
        image_embedding: ``[1, C, *G]``.
        sparse, dense: the prompt, ``[1, T, C]`` and ``[1, C, *G]`` (for SAM-Med3D with a first mask prompt of zeros).
        target: mask of the target ``[*S]``, in the frame of the network's input or smaller.
        home: the specialist that was taught such targets, None for unrelated ones.
    """

    image_embedding: Tensor
    sparse: Tensor
    dense: Tensor
    target: Tensor
    home: str | None


@dataclass(frozen=True, eq=False)
class GateExamples:
    """What every decoder answered to N prompts.

    Attributes:
        experts: names of the E specialists.
        features: what the gate reads, ``[N, 3C]``.
        logits: of the general decoder and of every specialist, ``[N, 1 + E, *4G]`` in half precision.
        targets: masks ``[N, *S]``.
        dice: of every answer ``[N, 1 + E]``.
        homes: the specialist that was taught such targets, or None, N of them.
    """

    experts: tuple[str, ...]
    features: Tensor
    logits: Tensor
    targets: Tensor
    dice: Tensor
    homes: tuple[str | None, ...]

    @property
    def labels(self) -> Tensor:
        """The right class of every example ``[N]``: the specialist that was taught such targets, else 0 (general).

        It is not the one with the best answer. Where every answer is poor, the best is so by chance: with such labels,
        64 of 120 unrelated targets asked for one of the two specialists that ship, and the gate neither left those
        alone nor asked for the sarcoma specialist (on 0 of 24 held-out targets, instead of on 16 and more).
        """
        return torch.tensor([0 if home is None else 1 + self.experts.index(home) for home in self.homes])


@dataclass(frozen=True)
class GateSettings:
    """How a gate is taught.

    Attributes:
        smoothing: of the labels, so that weights near tau stay informative.
        mask, balance: weights of the loss of the fused mask, and of the unequal use of the classes.
    """

    epochs: int = 40
    batch: int = 16
    rate: float = 1e-3
    decay: float = 1e-2
    smoothing: float = 0.05
    mask: float = 0.5
    balance: float = 0.01


@dataclass(frozen=True)
class TauChoice:
    """A threshold and what it does, Dice 0 to 1. At 1 the general decoder answers alone.

    Attributes:
        in_task, general_in_task: of the mixture and of the general decoder on targets that a specialist was taught.
        unrelated, general_unrelated: the same on all others; None where there are none.
    """

    tau: float
    in_task: float
    general_in_task: float
    unrelated: float | None
    general_unrelated: float | None

    @property
    def is_harmless(self) -> bool:
        """Unrelated targets lose no more than they may."""
        if self.unrelated is None or self.general_unrelated is None:
            return True
        return self.unrelated >= self.general_unrelated - MAY_LOSE


@torch.no_grad()
def examples_of(model: SamMed3DMoE, cases: Iterable[GateCase]) -> GateExamples:
    """Ask every decoder of a mixture once for every case; the answers are on the CPU."""
    experts = model.gate.experts
    pe = cast(Any, model.prompt_encoder).get_dense_pe()
    rows: list[tuple[Tensor, Tensor, Tensor]] = []
    targets, homes = [], []
    for case in cases:
        prompt = {
            "image_embeddings": case.image_embedding,
            "image_pe": pe,
            "sparse_prompt_embeddings": case.sparse,
            "dense_prompt_embeddings": case.dense,
            "multimask_output": False,
        }
        decoders = [model.mask_decoder, *(model.specialists.decoder(name) for name in experts)]
        logits = torch.cat([decoder(**prompt)[0][:, 0] for decoder in decoders]).half()
        dice = dice_of(logits, case.target.expand(len(logits), *case.target.shape))
        features = model.features(case.image_embedding, pe, case.sparse)[0]
        rows.append((features.cpu(), logits.cpu(), dice.cpu()))
        targets.append((case.target > 0).cpu())
        homes.append(case.home)
    features, logits, dice = (torch.stack(part) for part in zip(*rows, strict=True))
    return GateExamples(experts, features, logits, torch.stack(targets), dice, tuple(homes))


def train_gate(
    gate: Gate, examples: GateExamples, settings: GateSettings | None = None, seed: int = 0, only: str | None = None
) -> list[float]:
    """Teach a gate in place; nothing else changes.

    Every example asks for the class in ``examples.labels`` (cross-entropy), for a good mask when all answers are mixed
    by the gate (Dice and cross-entropy), and for classes that are all used. Every home, and the unrelated targets, are
    drawn equally often: what a specialist must not answer counts as much as what it must.

    Args:
        only: train the row of this specialist alone, so that what the gate says of the others stays as it is.

    Returns:
        The mean loss of every epoch.
    """
    settings = settings or GateSettings()
    generator, draw = np.random.default_rng(seed), _equal_draw(examples.homes)
    parameters = list(gate.parameters() if only is None else gate.rows[only].parameters())
    optimizer = torch.optim.AdamW(parameters, lr=settings.rate, weight_decay=settings.decay)
    labels, history = examples.labels, []
    if only is None:
        gate.norm.fit(examples.features)
    gate.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # of the dropout
        for _ in range(settings.epochs):
            losses = []
            order = generator.choice(len(draw), size=len(draw), p=draw)
            for first in range(0, len(order), settings.batch):
                chosen = torch.from_numpy(order[first : first + settings.batch])
                loss = _gate_loss(gate, examples, labels, chosen, settings)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(float(loss.detach()))
            history.append(sum(losses) / len(losses))
    gate.eval()
    return history


@torch.inference_mode()
def choose_tau(
    gate: Gate, examples: GateExamples, fusion: Fusion = "weighted", taus: Sequence[float] = TAUS
) -> TauChoice:
    """The threshold for a gate and a fusion; see :func:`best_tau`.

    Args:
        examples: of validation cases, which nothing was trained on.
    """
    weight, mixed = _answers(gate, examples, fusion)
    return best_tau(weight, mixed, examples.dice[:, 0], [home is not None for home in examples.homes], taus)


def best_tau(
    weight: Tensor, mixed: Tensor, general: Tensor, at_home: Sequence[bool], taus: Sequence[float] = TAUS
) -> TauChoice:
    """The threshold with the highest Dice on what the specialists were taught, if unrelated targets lose little.

    Args:
        weight: of the best specialist ``[N]``, below 0 where "general" leads.
        mixed, general: Dice of the answer fused with that specialist, and of the general decoder alone, ``[N]``.
        at_home: which of the N targets a specialist was taught.

    Returns:
        Of thresholds that are as good (within 0.1 points) the middle one, which has most room on both sides; 1 where no
        threshold helps.
    """
    home = torch.tensor(at_home)
    tried = [_measured(tau, torch.where(weight > tau, mixed, general), general, home) for tau in taus]
    harmless = [choice for choice in tried if choice.is_harmless]
    best = max((choice.in_task for choice in harmless), default=0.0)
    alone = _measured(1.0, general, general, home)
    if best <= alone.in_task:
        return alone
    as_good = [choice for choice in harmless if choice.in_task >= best - _AS_GOOD]
    return as_good[len(as_good) // 2]


@torch.inference_mode()
def mixture_dice(gate: Gate, examples: GateExamples, tau: float, fusion: Fusion = "weighted") -> Tensor:
    """Dice of the mixture on every example ``[N]``, each taken as a first click."""
    weight, mixed = _answers(gate, examples, fusion)
    return torch.where(weight > tau, mixed, examples.dice[:, 0])


def dice_of(logits: Tensor, targets: Tensor) -> Tensor:
    """Dice of masks, ``[N]``: logits ``[N, *4G]`` are enlarged to the targets ``[N, *S]`` first."""
    size = targets.shape[1:]
    if logits.shape[1:] != size:
        mode = "trilinear" if len(size) == 3 else "bilinear"
        logits = F.interpolate(logits[:, None].float(), size=size, mode=mode)[:, 0]
    masks, targets = (logits > 0).flatten(1), (targets > 0).flatten(1)
    total = masks.sum(1) + targets.sum(1)
    return torch.where(total > 0, 2 * (masks & targets).sum(1) / total.clamp_min(1), 1.0)


def _answers(gate: Gate, examples: GateExamples, fusion: Fusion) -> tuple[Tensor, Tensor]:
    """Weight of the best specialist ``[N]``, below 0 where "general" leads, and Dice of the answer fused with it."""
    weights, mixed = [], []
    for row, features in enumerate(examples.features):
        reading = gate.read(features[None], examples.experts)
        best = max(reading.weights, key=reading.weights.__getitem__)
        weight = reading.weights[best]
        general, special = (
            examples.logits[row, 0].float(),
            examples.logits[row, 1 + examples.experts.index(best)].float(),
        )
        mixed.append(dice_of(fuse(general, special, weight, fusion)[None], examples.targets[row : row + 1]))
        weights.append(-1.0 if reading.general_leads else weight)
    return torch.tensor(weights), torch.cat(mixed)


def _measured(tau: float, dice: Tensor, general: Tensor, home: Tensor) -> TauChoice:
    others = ~home
    return TauChoice(
        tau=tau,
        in_task=float(dice[home].mean()),
        general_in_task=float(general[home].mean()),
        unrelated=float(dice[others].mean()) if bool(others.any()) else None,
        general_unrelated=float(general[others].mean()) if bool(others.any()) else None,
    )


def _equal_draw(homes: Sequence[str | None]) -> np.ndarray:
    """Probability of every example, such that all homes (and "unrelated") have the same."""
    counts = {home: homes.count(home) for home in homes}
    return np.array([1 / (counts[home] * len(counts)) for home in homes])


def _gate_loss(gate: Gate, examples: GateExamples, labels: Tensor, chosen: Tensor, settings: GateSettings) -> Tensor:
    logits = gate(examples.features[chosen])
    shares = logits.softmax(dim=-1)
    choice = F.cross_entropy(logits, labels[chosen], label_smoothing=settings.smoothing)
    answers = examples.logits[chosen].float().flatten(2)
    mixed = (shares[..., None] * answers).sum(dim=1)
    mask = mask_loss(mixed, _at_size(examples.targets[chosen], examples.logits.shape[2:]).flatten(1))
    return choice + settings.mask * mask + settings.balance * cv_squared(shares.mean(dim=0))


def mask_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """1 - soft Dice plus mean cross-entropy of ``[N, voxels]``."""
    probability = logits.sigmoid()
    total = probability.sum(1) + targets.sum(1)
    dice = (2 * (probability * targets).sum(1) + 1) / (total + 1)
    return (1 - dice).mean() + F.binary_cross_entropy_with_logits(logits, targets)


def target_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy over the targets alone, of ``[N, voxels]``; none of them is empty."""
    return ((F.softplus(-logits) * targets).sum(dim=1) / targets.sum(dim=1)).mean()


def _at_size(masks: Tensor, size: Sequence[int]) -> Tensor:
    """Masks ``[N, *S]`` as floats ``[N, *size]``: the covered share of every cell."""
    return F.interpolate(masks[:, None].float(), size=tuple(size), mode="area")[:, 0]
