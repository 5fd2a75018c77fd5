"""Resizing slices as the published pipelines do, without OpenCV."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


def fit_longest_side(
    shape: tuple[int, int], spacing: tuple[float, float], side: int
) -> tuple[tuple[int, int], tuple[float, float]]:
    """Size of a slice whose longest physical side becomes ``side`` pixels, with square pixels.

    Args:
        shape: rows, columns.
        spacing: millimeters between rows, between columns; equal spacings give exactly the published pixel formula.

    Returns:
        (rows, columns) of the resized slice and its scale in model pixels per pixel along (x, y).
    """
    row_spacing, column_spacing = spacing
    if abs(row_spacing / column_spacing - 1) < 1e-3:
        row_spacing = column_spacing = 1.0
    scale = side / max(shape[0] * row_spacing, shape[1] * column_spacing)
    rows = max(1, int(shape[0] * row_spacing * scale + 0.5))
    columns = max(1, int(shape[1] * column_spacing * scale + 0.5))
    return (rows, columns), (column_spacing * scale, row_spacing * scale)


def resize_area(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Area-averaging resize of ``[row, column]`` or ``[row, column, channel]`` uint8, as OpenCV's INTER_AREA.

    Shrinking matches OpenCV to the last bit or one gray level (the test says how often); enlarging is linear.

    Args:
        size: rows, columns of the result.
    """
    if image.shape[:2] == size:
        return image
    rows, columns = _weights(image.shape[0], size[0]), _weights(image.shape[1], size[1])
    flat = image.reshape(image.shape[0], -1).astype(np.float32)
    partial = (rows @ flat).reshape(size[0], *image.shape[1:])
    result = np.einsum("rc...,oc->ro...", partial, columns, optimize=True)
    halved = image.shape[0] == 2 * size[0] and image.shape[1] == 2 * size[1]
    # OpenCV rounds halves up in its integer path for exactly two to one, and to even everywhere else.
    rounded = np.floor(result + 0.5) if halved else np.rint(result)
    return np.clip(rounded, 0, 255).astype(np.uint8)


@lru_cache(maxsize=64)
def _weights(old: int, new: int) -> NDArray[np.float32]:
    """Row-stochastic ``[new, old]`` matrix: shares of the covered pixels, or linear weights when enlarging."""
    weights = np.zeros((new, old), np.float32)
    scale = old / new
    for row in range(new):
        start, stop = row * scale, (row + 1) * scale
        if scale >= 1:
            covered = np.arange(int(start), min(old, int(np.ceil(stop - 1e-9))))
            share = np.minimum(covered + 1, stop) - np.maximum(covered, start)
            weights[row, covered] = share / share.sum()
        else:
            left = int(np.floor(start))
            fraction = max(0.0, (row + 1) - (left + 1) * (new / old))
            fraction = fraction - np.floor(fraction)
            weights[row, left] += 1 - fraction
            weights[row, min(left + 1, old - 1)] += fraction
    return weights
