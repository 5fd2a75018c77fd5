"""The order of the samples in an epoch, and a batch of them as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
    """

    image: Tensor
    early: Tensor
    targets: NDArray[np.bool_]
    target: Tensor
    valid: Tensor
    indices: tuple[int, ...]


def epoch_order(samples: int, batch: int, least_steps: int, seed: int, epoch: int) -> list[tuple[int, ...]]:
    """Sample numbers of every step of an epoch: every sample once, and again until there are ``least_steps`` steps."""
    source = np.random.default_rng((seed, epoch))
    passes = max(1, -(-least_steps * batch // samples))
    order = np.concatenate([source.permutation(samples) for _ in range(passes)])
    steps = max(least_steps, -(-samples // batch))
    return [tuple(int(n) for n in order[step * batch : (step + 1) * batch]) for step in range(steps)]


def load_batch(samples: Sequence[Sample], indices: Sequence[int], store: EmbeddingStore, device: torch.device) -> Batch:
    """Read the embeddings of a batch from the store.

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
    return Batch(image, early, targets, target, torch.from_numpy(valid).to(device), tuple(indices))
