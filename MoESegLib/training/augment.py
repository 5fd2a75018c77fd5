"""Varied copies of a slice, encoded once like the slice itself: turned, scaled, moved, mirrored, in other grays.

Published slices are often upside down or of another intensity window than the one that Slicer shows: an expert taught
on abdominal CT slices as published reached a Dice of 0.67 with a click on such slices, and 0.19 for the liver of a CT
volume. So half of the copies are turned upside down, and half are windowed around one of their structures.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_TURN_DEGREES = 20.0
_SCALE = (0.75, 1.35)
_SHIFT = 0.08
"""Of the side of the image."""
_GAMMA = (0.65, 1.5)
_WINDOW = (30.0, 200.0)
"""Width of a new intensity window in gray values; 400 HU of a slice scaled from its darkest to its brightest are 35."""
_NOISE = 6.0
"""Largest standard deviation of added noise, in gray values of 255."""


def vary(
    image: NDArray[np.uint8], masks: Sequence[NDArray[np.bool_]], source: np.random.Generator, *, mirror: bool
) -> tuple[NDArray[np.uint8], list[NDArray[np.bool_]]]:
    """A varied copy of a displayed slice ``[row, column]`` or ``[row, column, 3]`` and of masks ``[row, column]``.

    Args:
        mirror: whether left and right may be exchanged (not where a structure is named by its side).
    """
    place = _placement(image.shape[:2], source, mirror)
    channels = image[..., np.newaxis] if image.ndim == 2 else image
    moved = np.stack(
        [ndimage.affine_transform(channels[..., c], place, order=1) for c in range(channels.shape[2])], axis=-1
    )
    found = [ndimage.affine_transform(mask.astype(np.uint8), place, order=0) != 0 for mask in masks]
    center = _gray_of_one(moved, found, source) if source.random() < 0.5 else None
    return _regray(moved, center, source).reshape(image.shape), found


def _placement(shape: tuple[int, ...], source: np.random.Generator, mirror: bool) -> NDArray[np.float64]:
    """Affine (2, 3) matrix from pixels of the copy to pixels of the slice, about its center."""
    angle = np.deg2rad(source.uniform(-_TURN_DEGREES, _TURN_DEGREES))
    scale = np.exp(source.uniform(*np.log(_SCALE)))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / scale
    if source.random() < 0.5 and mirror:
        turn = turn @ np.diag([1.0, -1.0])
    if source.random() < 0.5:
        turn = turn @ np.diag([-1.0, 1.0])
    center = (np.array(shape) - 1) / 2
    shift = source.uniform(-_SHIFT, _SHIFT, 2) * shape
    return np.column_stack([turn, center - turn @ (center + shift)])


def _gray_of_one(image: NDArray, masks: Sequence[NDArray[np.bool_]], source: np.random.Generator) -> float | None:
    """Median gray of one of the structures, drawn at random; None if they were moved out of the image."""
    visible = [mask for mask in masks if mask.any()]
    if not visible:
        return None
    return float(np.median(image[visible[int(source.integers(len(visible)))]]))


def _regray(image: NDArray, center: float | None, source: np.random.Generator) -> NDArray[np.uint8]:
    """Other gray values; around ``center`` alone, where that is given."""
    width = float(np.exp(source.uniform(*np.log(_WINDOW))))
    gray = image.astype(np.float64)
    if center is not None:
        gray = np.clip((gray - center) / width + source.uniform(0.35, 0.65), 0, 1) * 255
    values = (gray / 255.0) ** np.exp(source.uniform(*np.log(_GAMMA))) * 255
    values = values + source.normal(0, source.uniform(0, _NOISE), image.shape[:2])[..., np.newaxis]
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
