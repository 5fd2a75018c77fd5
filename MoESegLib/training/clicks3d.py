"""Clicks of a simulated user into 3D masks, for training: drawn at random, the middle of the target more often."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

ANYWHERE = 0.25
"""How often a first click is anywhere inside its target, instead of at least half as deep as the deepest voxel."""
_WITH_DIAGONALS = np.ones((3, 3, 3), bool)

Voxel = tuple[int, int, int]
"""Index of a voxel in array order."""


def depth_of(mask: NDArray, spacing: Sequence[float] = (1, 1, 1)) -> NDArray[np.float64]:
    """Distance of every voxel of a 3D mask to the nearest one outside, beyond the array included; 0 outside.

    Args:
        spacing: distance between voxels along each axis, in array order.
    """
    padded = np.pad(np.asarray(mask) != 0, 1)
    return np.asarray(ndimage.distance_transform_edt(padded, sampling=spacing), np.float64)[1:-1, 1:-1, 1:-1]


def deepest(depth: NDArray[np.float64]) -> Voxel:
    """The deepest voxel, the first one in array order where several are as deep."""
    return _voxel(int(np.argmax(depth)), depth.shape)


def inner_voxel(depth: NDArray[np.float64], source: np.random.Generator, anywhere: float = ANYWHERE) -> Voxel:
    """A voxel of a mask with these depths, drawn at random.

    Args:
        anywhere: probability that it may lie anywhere inside; else it is at least half as deep as the deepest one.
    """
    least = depth.max() / 2 if source.random() >= anywhere else np.nextafter(0, 1)
    places = np.flatnonzero(depth >= least)
    return _voxel(int(places[source.integers(len(places))]), depth.shape)


def error_click(mask: NDArray, target: NDArray, source: np.random.Generator | None = None) -> tuple[Voxel, bool] | None:
    """A click into the largest connected error of a 3D mask, and whether it is missed (a positive click).

    Missed and spurious voxels that touch are two errors, as in :mod:`MoESegLib.evaluation.simulated`.

    Args:
        source: draws among the voxels that lie at least half as deep as the deepest one; None clicks that one.

    Returns:
        None where there is no error.
    """
    best, largest, positive = None, 0, True
    for missed in (True, False):
        error = (target != 0) & (mask == 0) if missed else (mask != 0) & (target == 0)
        parts, count = _components(error)
        if not count:
            continue
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        number = int(sizes.argmax())
        if sizes[number] > largest:
            best, largest, positive = parts == number, int(sizes[number]), missed
    if best is None:
        return None
    depth = depth_of(best)
    return (deepest(depth) if source is None else inner_voxel(depth, source, anywhere=0.0)), positive


def _components(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    parts = np.zeros(mask.shape, np.int32)
    count = ndimage.label(mask, _WITH_DIAGONALS, output=parts)
    return parts, int(count)  # pyright: ignore[reportArgumentType] - a number, since the output was given


def _voxel(place: int, shape: Sequence[int]) -> Voxel:
    i, j, k = np.unravel_index(place, tuple(shape))
    return int(i), int(j), int(k)
