"""A click for a model that understands boxes only: the box is found from the image around the click."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Box = tuple[float, float, float, float]

_TOLERANCES = (4, 6, 8, 10, 13, 16, 20, 25, 32, 40)
"""Gray levels (of 255) around the clicked one that may belong to the target, tried in turn."""
_MAX_SHARE = 0.25
"""A region larger than this share of the image is the background, not a target."""
_LEAK = 2.0
"""A region that grows by this factor from one tolerance to the next has leaked into its surroundings."""
_MARGIN = 2.0
"""Model pixels around the region; LiteMedSAM was trained on boxes 0 to 5 pixels too large."""
_LEAST_RADIUS = 5.0
"""Half side of the box when the region is a speck of noise."""

NOTE = "This model understands boxes only: the click was turned into a box around the region of similar brightness."


def box_around_clicks(image: NDArray[np.uint8], points: NDArray) -> Box:
    """The box around the regions of similar brightness that hold the clicks.

    Args:
        image: the model image without padding, ``[row, column]`` or ``[row, column, 3]``.
        points: ``[N, 2]`` (x, y) pixels inside the target, N at least 1.

    Returns:
        x0, y0, x1, y1 in pixels of the image.
    """
    gray = image.mean(axis=2) if image.ndim == 3 else image.astype(np.float64)
    smooth = ndimage.gaussian_filter(gray, 1.0)
    boxes = np.array([_region_box(smooth, point) for point in points])
    x0, y0 = boxes[:, :2].min(axis=0)
    x1, y1 = boxes[:, 2:].max(axis=0)
    return float(x0), float(y0), float(x1), float(y1)


def _region_box(smooth: NDArray[np.float64], point: NDArray) -> Box:
    """The box of the largest region around one click that has not leaked yet."""
    rows, columns = smooth.shape
    column = int(np.clip(round(float(point[0])), 0, columns - 1))
    row = int(np.clip(round(float(point[1])), 0, rows - 1))
    seed = float(np.median(smooth[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]))
    chosen, area = None, 0
    for tolerance in _TOLERANCES:
        labels = _components(np.abs(smooth - seed) <= tolerance)
        if labels[row, column] == 0:
            continue
        region = labels == labels[row, column]
        size = int(region.sum())
        if size > _MAX_SHARE * smooth.size or (area > 60 and size > _LEAK * area):
            break
        chosen, area = region, size
    radius = _LEAST_RADIUS
    x0, y0, x1, y1 = column - radius, row - radius, column + radius, row + radius
    if chosen is not None:
        # Opening cuts the thin bridges through which a region leaks into a neighbor.
        body = _components(np.asarray(ndimage.binary_opening(chosen, iterations=2), dtype=np.bool_))
        if body[row, column]:
            chosen = body == body[row, column]
        used_rows, used_columns = np.flatnonzero(chosen.any(axis=1)), np.flatnonzero(chosen.any(axis=0))
        x0, x1 = min(x0, used_columns[0] - _MARGIN), max(x1, used_columns[-1] + _MARGIN)
        y0, y1 = min(y0, used_rows[0] - _MARGIN), max(y1, used_rows[-1] + _MARGIN)
    return max(0.0, x0), max(0.0, y0), min(columns - 1.0, x1), min(rows - 1.0, y1)


def _components(mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Connected components, numbered from 1."""
    labels = np.zeros(mask.shape, np.int32)
    ndimage.label(mask, output=labels)
    return labels
