"""The order of the samples in an epoch, and a batch of them as tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core.errors import TrainingError
from .embeddings import EmbeddingStore
from .samples import Sample


@dataclass(frozen=True, eq=False)
class Batch:
    """Samples for one step.

    Attributes:
        image, early: embeddings ``[B, C, G/4, G/4]`` and ``[B, C', G/4, G/4]`` float32.
        targets: bool ``[B, G, G]`` for the simulated user.
        target, valid: float32 ``[B, 1, G, G]``.
        indices: of the samples.
        text: phrase embeddings ``[B, W]``, None where one of the structures has none.
        automatic: whether these are samples to be found without a prompt; a batch holds one sort only.
    """

    image: Tensor
    early: Tensor
    targets: NDArray[np.bool_]
    target: Tensor
    valid: Tensor
    indices: tuple[int, ...]
    text: Tensor | None = None
    automatic: bool = False


def epoch_order(samples: Sequence[Sample], batch: int, steps: int, seed: int, epoch: int) -> list[tuple[int, ...]]:
    """Sample numbers of every step of an epoch, drawn by :func:`fair_weights`.

    None comes twice before all have come once, and a step holds either prompts or samples without prompt.
    """
    source, weights = np.random.default_rng((seed, epoch)), fair_weights(samples)
    order: list[int] = []
    while len(order) < steps * batch:
        count = min(len(samples), steps * batch - len(order))
        order += source.choice(len(samples), count, replace=False, p=weights).tolist()
    order.sort(key=lambda index: samples[index].automatic)
    cut = [order[step * batch : (step + 1) * batch] for step in range(steps)]
    alike = [[index for index in one if samples[index].automatic == samples[one[0]].automatic] for one in cut]
    return [tuple(alike[int(step)]) for step in source.permutation(steps)]


def fair_weights(samples: Sequence[Sample]) -> NDArray[np.float64]:
    """How often each sample is drawn: a structure of a data set as often as the square root of its samples.

    Half way between every sample alike, where cells by the thousand would leave no time for anything else, and every
    structure alike.
    """
    groups = [(sample.dataset, sample.structure, sample.automatic) for sample in samples]
    counts = Counter(groups)
    weights = np.array([counts[group] ** -0.5 for group in groups])
    return weights / weights.sum()


def load_batch(
    samples: Sequence[Sample],
    indices: Sequence[int],
    store: EmbeddingStore,
    device: torch.device,
    phrases: Mapping[str, NDArray[np.float32]],
) -> Batch:
    """Read the embeddings of a batch from the store.

    Args:
        phrases: embedding of the name of each structure that has one.

    Raises:
        TrainingError: an embedding was removed while training ran.
    """
    chosen = [samples[index] for index in indices]
    embeddings = []
    for sample in chosen:
        found = store.get(sample.embedding)
        if found is None:
            raise TrainingError(
                f"An embedding of {sample.case} has gone from {store.folder}. Start again: what is missing is encoded, "
                "and training goes on where it was."
            )
        embeddings.append(found)
    targets = np.stack([sample.target for sample in chosen])
    valid = np.zeros((len(chosen), 1, *targets.shape[1:]), np.float32)
    for row, sample in enumerate(chosen):
        valid[row, :, : sample.used[0], : sample.used[1]] = 1
    image, early = (
        torch.cat([found[name] for found in embeddings]).to(device, torch.float32, memory_format=torch.channels_last)
        for name in ("image", "early")
    )
    target = torch.from_numpy(targets[:, None].astype(np.float32)).to(device)
    found = [phrases.get(sample.structure) for sample in chosen]
    text = None
    if not any(vector is None for vector in found):
        text = torch.from_numpy(np.stack(cast("list[NDArray]", found))).to(device)
    return Batch(
        image, early, targets, target, torch.from_numpy(valid).to(device), tuple(indices), text, chosen[0].automatic
    )
