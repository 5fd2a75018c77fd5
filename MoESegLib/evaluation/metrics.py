"""How good a mask is, and how sure one can be of a mean."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage


def dice(prediction: NDArray, reference: NDArray) -> float:
    """Dice coefficient of two masks of equal shape; 1 when both are empty, 0 when only one is."""
    inside, expected = _comparable(prediction, reference)
    total = int(inside.sum()) + int(expected.sum())
    return 1.0 if total == 0 else 2 * int((inside & expected).sum()) / total


def surface_dice(
    prediction: NDArray, reference: NDArray, tolerance: float, spacing: Sequence[float] | None = None
) -> float:
    """Normalized surface distance (NSD, also surface Dice) of two masks ``[row, column]`` or ``[k, j, i]``, 0 to 1.

    The share of both outlines (in volumes, surfaces) that lies within the tolerance of the other one:
    (border pixels of the prediction at most ``tolerance`` from the reference's border + the reverse) / (all border
    pixels of both). Source: Nikolov et al., Clinically applicable segmentation of head and neck anatomy for
    radiotherapy, arXiv 1809.04430 (2018), JMIR 2021;23(7):e26151. They weigh pieces of a surface between voxels by
    their area; here, as in MONAI's ``compute_surface_dice``, the outline is the mask's own pixels that touch the
    outside (by a side), each counted once.

    Args:
        tolerance: in the unit of ``spacing``.
        spacing: between neighbors along every axis of the masks, 1 by default.

    Returns:
        1 when both masks are empty, 0 when only one is.
    """
    inside, expected = _comparable(prediction, reference)
    both = inside | expected
    if not both.any():
        return 1.0
    (cut,) = ndimage.find_objects(both.view(np.uint8))
    borders = _border(inside[cut]), _border(expected[cut])
    if not borders[0].any() or not borders[1].any():
        return 0.0
    near = [
        np.count_nonzero(ndimage.distance_transform_edt(~other, sampling=spacing)[border] <= tolerance)  # type: ignore
        for border, other in (borders, borders[::-1])
    ]
    return sum(near) / int(borders[0].sum() + borders[1].sum())


def clicks_to_reach(dice_by_click: Sequence[float], threshold: float) -> int:
    """The first click (from 1) after which Dice is at least the threshold; one more than there are clicks if never."""
    return next((n for n, value in enumerate(dice_by_click, 1) if value >= threshold), len(dice_by_click) + 1)


def bootstrap_means(values: ArrayLike, groups: ArrayLike, samples: int = 2000, seed: int = 0) -> NDArray[np.float64]:
    """Means ``[samples]`` of values when whole groups (patients) are drawn with replacement; deterministic.

    Args:
        values: one number per mask.
        groups: the patient of each.
    """
    numbers, owners = np.asarray(values, dtype=float), np.asarray(groups)
    names, index = np.unique(owners, return_inverse=True)
    sums, counts = np.bincount(index, numbers), np.bincount(index)
    drawn = _times_drawn(len(names), samples, seed)
    return (drawn @ sums) / (drawn @ counts)


@lru_cache(maxsize=32)
def _times_drawn(groups: int, samples: int, seed: int) -> NDArray[np.float64]:
    """How often each group is drawn ``[samples, groups]``; kept, since a report asks for it a thousand times."""
    draws = np.random.default_rng(seed).integers(0, groups, (samples, groups))
    flat = (draws + groups * np.arange(samples)[:, None]).ravel()
    return np.bincount(flat, minlength=samples * groups).reshape(samples, groups).astype(float)


def interval(means: NDArray[np.float64], level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of bootstrap means."""
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap_interval(
    values: ArrayLike, groups: ArrayLike, samples: int = 2000, level: float = 0.95
) -> tuple[float, float]:
    """Percentile interval of the mean over patients, see :func:`bootstrap_means`."""
    return interval(bootstrap_means(values, groups, samples), level)


def _comparable(prediction: NDArray, reference: NDArray) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    if prediction.shape != reference.shape:
        raise ValueError(f"Masks of different shape cannot be compared: {prediction.shape} and {reference.shape}.")
    return prediction != 0, reference != 0


def _border(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels or voxels of a mask that touch the outside by a side; outside the array is outside the mask."""
    return mask & ~np.asarray(ndimage.binary_erosion(mask), bool)
