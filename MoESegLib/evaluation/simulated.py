"""Simulated users: the prompts a careful person would give, made from the reference mask; deterministic.

All masks are bool ``[row, column]`` of one displayed slice, all places whole pixels (x, y). Where several pixels are
equally deep, the first one by rows is taken.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Pixel = tuple[int, int]
"""x, y"""

_WITH_DIAGONALS = np.ones((3, 3), bool)


def tight_box(mask: NDArray) -> tuple[int, int, int, int]:
    """The smallest box (x0, y0, x1, y1, inclusive pixels) around a 2D mask ``[row, column]`` that is not empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])


def center_click(mask: NDArray) -> Pixel:
    """The pixel (x, y) of a 2D mask that lies farthest from its border, the image border included."""
    return deepest_pixels(mask, 1)[0]


def deepest_pixels(mask: NDArray, count: int) -> list[Pixel]:
    """The ``count`` pixels of a mask that is not empty that lie farthest from its border, the deepest first."""
    x0, y0, x1, y1 = tight_box(mask)
    depth = depths(mask[y0 : y1 + 1, x0 : x1 + 1])
    if count == 1:
        places = [int(np.argmax(depth))]
    else:
        places = np.argsort(-depth, axis=None, kind="stable")[: min(count, int(np.count_nonzero(depth)))].tolist()
    return [(place % depth.shape[1] + x0, place // depth.shape[1] + y0) for place in places]


def depths(mask: NDArray) -> NDArray[np.float64]:
    """Distance of every pixel of a mask to the nearest pixel outside, the outside of the array included; 0 outside."""
    return np.asarray(ndimage.distance_transform_edt(np.pad(mask != 0, 1)), np.float64)[1:-1, 1:-1]


def error_click(mask: NDArray, target: NDArray, clicked: Collection[Pixel] = ()) -> tuple[Pixel, bool] | None:
    """Where a user clicks next: the deepest pixel of the largest connected error, and whether it is missed (positive).

    Missed and spurious pixels that touch are two errors; pixels that touch at a corner are connected. This is the user
    of the interactive segmentation literature (Xu et al., Deep Interactive Object Selection, CVPR 2016; Sofiiuk et al.,
    RITM, 2021), who, as there, never clicks on the same pixel twice.

    Args:
        mask: the answer so far.
        clicked: pixels clicked before.

    Returns:
        None when there is no error left to click on.
    """
    for error, missed in _largest_first(np.asarray(mask) != 0, np.asarray(target) != 0):
        pixel = next((place for place in deepest_pixels(error, len(clicked) + 1) if place not in clicked), None)
        if pixel is not None:
            return pixel, missed
    return None


def _largest_first(mask: NDArray[np.bool_], target: NDArray[np.bool_]) -> Iterator[tuple[NDArray[np.bool_], bool]]:
    """Connected errors by size; missed before spurious ones of the same size, then by rows."""
    found = []
    for error, missed in ((target & ~mask, True), (mask & ~target, False)):
        components = _components(error)
        sizes = np.bincount(components.ravel())
        found += [(-int(sizes[number]), not missed, number, components) for number in range(1, len(sizes))]
    for _, spurious, number, components in sorted(found, key=lambda entry: entry[:3]):
        yield components == number, not spurious


def largest_component(mask: NDArray) -> NDArray[np.bool_]:
    """The largest connected part of a mask that is not empty, corners connect."""
    components = _components(mask != 0)
    sizes = np.bincount(components.ravel())
    sizes[0] = 0
    return components == int(sizes.argmax())


def _components(mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Connected parts numbered from 1, by rows."""
    components = np.zeros(mask.shape, np.int32)
    ndimage.label(mask, _WITH_DIAGONALS, output=components)
    return components
