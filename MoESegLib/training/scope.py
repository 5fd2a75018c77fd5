"""Teaches a pack what it does not know: a linear judge of prompts, fitted after the pack itself was taught.

What it was taught on are its own samples; what it was not taught are other places of the same images, and prompts from
other kinds of images, which ship as features (:mod:`MoESegLib.engines.prompt_features`; no image can be made from
them). A weighted logistic regression with an L2 penalty, so the same samples give the same judge.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ..core.cancel import CancelToken
from ..core.structures import find_structure
from ..engines.prompt_features import prompt_features
from ..engines.protocol import ModelPrompt
from ..evaluation.simulated import center_click
from ..models.segmote.scope import Scope
from .embeddings import EmbeddingStore
from .familiarity import fit_familiarity
from .prompts import jittered_boxes
from .reference import ReferencePrompts
from .samples import Sample

_PENALTY = 0.02
_MOST_SAMPLES = 600
"""Enough for a judge with 672 weights; more only take longer (one sample reads 3 MB)."""
_STEPS = 80
_ELSEWHERE = 12
"""Mask pixels between a taught structure and a place that counts as none: a click near a border is no other thing."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """Features ``[N, F]`` of prompts, and whether the pack was taught what they ask for ``[N]``.

    Attributes:
        images: what describes the taught images themselves ``[M, W]``, the last W features of prompts on them.
        patients: of each image.
    """

    features: Tensor
    taught: NDArray[np.bool_]
    images: Tensor
    patients: Sequence[str]


def fit_scope(evidence: Evidence) -> Scope:
    """The judge that agrees best with the evidence, both sides weighing alike."""
    values, taught = evidence.features.double(), torch.from_numpy(evidence.taught.astype(np.float64))
    mean, scale = values.mean(0), values.std(0) + 1e-3
    standard = (values - mean) / scale
    weight = torch.zeros(standard.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    share = float(taught.mean())
    each = torch.where(taught > 0, 0.5 / max(share, 1e-6), 0.5 / max(1 - share, 1e-6))
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        errors = F.binary_cross_entropy_with_logits(standard @ weight + bias, taught, reduction="none")
        total = (errors * each).mean() + _PENALTY * (weight**2).sum()
        total.backward()
        return total

    optimizer.step(loss)  # pyright: ignore[reportArgumentType] - it takes a closure that returns a tensor
    scope = Scope(len(mean), evidence.images.shape[1])
    for name, value in (("mean", mean), ("scale", scale), ("weight", weight.detach()), ("bias", bias.detach())):
        getattr(scope, name).copy_(value.half())  # as the file of the pack holds it
    scope.familiarity = fit_familiarity(evidence.images, evidence.patients)
    return scope


def gather_evidence(
    samples: Sequence[Sample],
    store: EmbeddingStore,
    reference: ReferencePrompts,
    seed: int,
    cancel: CancelToken | None = None,
) -> Evidence:
    """Prompts at what was taught, at other places of the same images, and in other kinds of images.

    Args:
        reference: prompts on other data; those of a data set or a structure that is taught here are left out.

    Raises:
        Cancelled: ``cancel`` was set.
    """
    source = np.random.default_rng(seed)
    chosen = [samples[int(index)] for index in source.permutation(len(samples))[:_MOST_SAMPLES]]
    taught_here = _union_by_image(samples)
    rows: list[Tensor] = []
    taught: list[bool] = []
    images: dict[str, tuple[Tensor, str]] = {}
    for sample in chosen:
        if cancel is not None:
            cancel.check()
        embedding = store.get(sample.embedding)
        if embedding is None:
            continue
        for prompt, is_taught in _prompts(sample, taught_here[sample.embedding], source):
            rows.append(prompt_features(embedding, prompt, sample.grid))
            taught.append(is_taught)
        images[sample.embedding] = rows[-1][:, embedding["image"].shape[1] :], sample.patient
    others = reference.without({sample.dataset for sample in samples}, _same_names(s.structure for s in samples))
    features = torch.cat([*rows, torch.from_numpy(others)])
    return Evidence(
        features,
        np.array([*taught, *[False] * len(others)]),
        torch.cat([image for image, _ in images.values()]),
        [patient for _, patient in images.values()],
    )


def prompts_at(sample: Sample, store: EmbeddingStore, source: np.random.Generator) -> list[Tensor]:
    """Features ``[1, F]`` of the prompts at what a sample marks."""
    embedding = store.get(sample.embedding)
    if embedding is None:
        return []
    everything = np.ones_like(sample.target)
    return [prompt_features(embedding, prompt, sample.grid) for prompt, _ in _prompts(sample, everything, source)]


def _union_by_image(samples: Iterable[Sample]) -> dict[str, NDArray[np.bool_]]:
    """Everything taught on each image ``[G, G]``."""
    found: dict[str, NDArray[np.bool_]] = {}
    for sample in samples:
        found[sample.embedding] = found.get(sample.embedding, np.zeros((), bool)) | sample.target
    return found


def _prompts(
    sample: Sample, everything: NDArray[np.bool_], source: np.random.Generator
) -> list[tuple[ModelPrompt, bool]]:
    """A box, a click, and the image alone; a click and a box where nothing is taught."""
    target = sample.target
    x0, y0, x1, y1 = (float(edge) for edge in jittered_boxes(target[None], [source])[0])
    found = [(ModelPrompt(), True), (_click(center_click(target)), True), (ModelPrompt(box=(x0, y0, x1, y1)), True)]
    elsewhere = _elsewhere(everything, sample.used, source)
    if elsewhere is not None:
        x, y = elsewhere
        half = max(2.0, (x1 - x0) / 2), max(2.0, (y1 - y0) / 2)
        found.append((_click(elsewhere), False))
        found.append((ModelPrompt(box=(x - half[0], y - half[1], x + half[0], y + half[1])), False))
    return found


def _click(place: tuple[int, ...]) -> ModelPrompt:
    return ModelPrompt(np.array([place], np.float32), np.ones(1, np.int64))


def _elsewhere(
    everything: NDArray[np.bool_], used: tuple[int, int], source: np.random.Generator
) -> tuple[int, int] | None:
    """A pixel (x, y) of the image that is not near anything taught, or None if ten tries found none."""
    for _ in range(10):
        row, column = int(source.integers(used[0])), int(source.integers(used[1]))
        top, left = max(0, row - _ELSEWHERE), max(0, column - _ELSEWHERE)
        if not everything[top : row + _ELSEWHERE + 1, left : column + _ELSEWHERE + 1].any():
            return column, row
    return None


def _same_names(names: Iterable[str]) -> Collection[str]:
    """The names, and the names of the structures that they mean."""
    found = set(names)
    return found | {structure.name for name in found if (structure := find_structure(name)) is not None}
