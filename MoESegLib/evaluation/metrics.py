"""How good a mask is."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def dice(prediction: NDArray, reference: NDArray) -> float:
    """Dice coefficient of two masks of equal shape; 1 when both are empty, 0 when only one is."""
    if prediction.shape != reference.shape:
        raise ValueError(f"Masks of different shape cannot be compared: {prediction.shape} and {reference.shape}.")
    inside, expected = prediction != 0, reference != 0
    total = int(inside.sum()) + int(expected.sum())
    return 1.0 if total == 0 else 2 * int((inside & expected).sum()) / total


def bootstrap_interval(
    values: ArrayLike, groups: ArrayLike, samples: int = 2000, level: float = 0.95
) -> tuple[float, float]:
    """Percentile interval of the mean when whole groups (patients) are drawn with replacement; deterministic.

    Args:
        values: one number per mask.
        groups: the patient of each.
    """
    numbers, owners = np.asarray(values, dtype=float), np.asarray(groups)
    names, index = np.unique(owners, return_inverse=True)
    sums, counts = np.bincount(index, numbers), np.bincount(index)
    draws = np.random.default_rng(0).integers(0, len(names), (samples, len(names)))
    means = sums[draws].sum(axis=1) / counts[draws].sum(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
