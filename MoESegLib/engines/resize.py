"""Resizing slices as the published pipelines do, without OpenCV."""

from __future__ import annotations

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
    result = _resize_axis(_resize_axis(image.astype(np.float64), size[0], 0), size[1], 1)
    halved = image.shape[0] == 2 * size[0] and image.shape[1] == 2 * size[1]
    # OpenCV rounds halves up in its integer path for exactly two to one, and to even everywhere else.
    rounded = np.floor(result + 0.5) if halved else np.rint(np.round(result, 6))
    return np.clip(rounded, 0, 255).astype(np.uint8)


def _resize_axis(image: NDArray[np.float64], new: int, axis: int) -> NDArray[np.float64]:
    """Resize one axis: means of the covered pixels when shrinking, linear interpolation when enlarging.

    Means are differences of a running sum, read between its entries. Matrix products would be shorter, but the threads
    of the BLAS library keep spinning afterwards and slowed the decoder that follows from 45 to 90 ms on two cores.
    """
    old = image.shape[axis]
    scale = old / new
    if old == new:
        return image
    if scale < 1:
        left, fraction = _linear_taps(old, new)
        shape = [-1 if other == axis else 1 for other in range(image.ndim)]
        weight = fraction.reshape(shape)
        right = np.minimum(left + 1, old - 1)
        return image.take(left, axis) * (1 - weight) + image.take(right, axis) * weight
    if old % new == 0:
        parts = [*image.shape[:axis], new, old // new, *image.shape[axis + 1 :]]
        return image.reshape(parts).mean(axis=axis + 1)
    total = np.cumsum(image, axis=axis)
    total = np.concatenate([np.zeros_like(total.take([0], axis)), total], axis=axis)
    edges = np.minimum(np.arange(new + 1) * scale, old)
    below = np.minimum(edges.astype(int), old - 1)
    fraction = (edges - below).reshape([-1 if other == axis else 1 for other in range(image.ndim)])
    at_edges = total.take(below, axis) * (1 - fraction) + total.take(below + 1, axis) * fraction
    return np.diff(at_edges, axis=axis) / scale


def _linear_taps(old: int, new: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Left neighbors and the weights of the right ones, as OpenCV's INTER_AREA chooses them when enlarging."""
    index = np.arange(new)
    left = np.floor(index * (old / new)).astype(int)
    fraction = (index + 1) - (left + 1) * (new / old)
    return left, np.where(fraction <= 0, 0.0, fraction - np.floor(fraction))
