"""Simulated users: the prompts a careful person would give, made from the reference mask; deterministic."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


def tight_box(mask: NDArray) -> tuple[int, int, int, int]:
    """The smallest box (x0, y0, x1, y1, inclusive pixels) around a 2D mask ``[row, column]`` that is not empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])


def center_click(mask: NDArray) -> tuple[int, int]:
    """The pixel (x, y) of a 2D mask that lies farthest from its border, the image border included."""
    distance = np.asarray(ndimage.distance_transform_edt(np.pad(mask != 0, 1)))[1:-1, 1:-1]
    row, column = np.unravel_index(int(np.argmax(distance)), distance.shape)
    return int(column), int(row)
