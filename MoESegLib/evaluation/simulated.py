"""Simulated users: the prompts a careful person would give, made from the reference mask; deterministic.

Masks are bool, ``[row, column]`` of one displayed slice or ``[k, j, i]`` of a volume. Places are whole pixels (x, y) or
voxels (i, j, k): array indices, the last axis first.

Where several places are equally deep, the first one in array order is taken on slices. In volumes it is the one nearest
to the mask's center of mass: an aorta is as deep near its end as in its middle, and a person clicks the middle.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Place = tuple[int, ...]
"""x, y or i, j, k"""
Spacing = Sequence[float]
"""Millimeters between neighbors along every axis of the array."""
_EQUAL = 1e-6
"""Distances in millimeters that differ by less are the same but for rounding."""


def tight_box(mask: NDArray) -> tuple[int, ...]:
    """The smallest box around a mask that is not empty: x0, y0, x1, y1 or i0, j0, k0, i1, j1, k1, both ends inside."""
    axes = range(mask.ndim - 1, -1, -1)
    used = [np.flatnonzero(mask.any(axis=tuple(other for other in axes if other != axis))) for axis in axes]
    return *(int(places[0]) for places in used), *(int(places[-1]) for places in used)


def center_click(mask: NDArray, spacing: Spacing | None = None) -> Place:
    """The place of a mask that lies farthest from its border, the border of the image included.

    Args:
        spacing: in a volume; on slices distances are counted in pixels, as in the literature.

    Raises:
        ValueError: the mask is empty.
    """
    place = deepest(mask, spacing)
    if place is None:
        raise ValueError("An empty mask has no center.")
    return place


def deepest(mask: NDArray, spacing: Spacing | None = None, without: Collection[Place] = ()) -> Place | None:
    """The place of a mask that lies farthest from its border, but for some; None when no other is left.

    Args:
        spacing: as in :func:`center_click`.
    """
    if not mask.any():
        return None
    box = tight_box(mask)
    low = np.array(box[mask.ndim - 1 :: -1])
    depth = depths(mask[_within(box)], spacing)
    for place in without:
        index = np.array(place[::-1]) - low
        if (index >= 0).all() and (index < depth.shape).all():
            depth[tuple(index)] = 0
    index = np.unravel_index(int(np.argmax(depth)), depth.shape)
    if spacing is not None:
        index = _most_central(depth, mask[_within(box)], spacing)
    return tuple(int(n) for n in (np.array(index) + low)[::-1]) if depth[index] > 0 else None


def _most_central(depth: NDArray[np.float64], mask: NDArray, spacing: Spacing) -> tuple[int, ...]:
    """Of the deepest places the one nearest to the center of mass, then the first in array order."""
    places = np.argwhere(depth > depth.max() - _EQUAL)
    middle = np.array(ndimage.center_of_mass(mask != 0))
    away = (((places - middle) * np.asarray(spacing)) ** 2).sum(axis=1)
    return tuple(places[int(np.argmax(away < away.min() + _EQUAL))])


def depths(mask: NDArray, spacing: Spacing | None = None) -> NDArray[np.float64]:
    """Distance of every place of a mask to the nearest one outside, the outside of the array included; 0 outside."""
    padded = ndimage.distance_transform_edt(np.pad(mask != 0, 1), sampling=spacing)
    return np.asarray(padded, np.float64)[(slice(1, -1),) * mask.ndim]


def error_click(
    mask: NDArray, target: NDArray, clicked: Collection[Place] = (), spacing: Spacing | None = None
) -> tuple[Place, bool] | None:
    """Where a user clicks next: the deepest place of the largest connected error, and whether it is missed (positive).

    Missed and spurious places that touch are two errors; those that touch at a corner are connected. This is the user
    of the interactive segmentation literature (Xu et al., Deep Interactive Object Selection, CVPR 2016; Sofiiuk et al.,
    RITM, 2021), who, as there, never clicks on the same place twice.

    Args:
        mask: the answer so far.
        clicked: places clicked before.
        spacing: as in :func:`center_click`.

    Returns:
        None when there is no error left to click on.
    """
    found, expected = np.asarray(mask) != 0, np.asarray(target) != 0
    either = found | expected
    if not either.any():
        return None
    # The rest of the image cannot hold an error, and is most of a volume.
    box = tight_box(either)
    low = box[: either.ndim]
    before = [tuple(n - first for n, first in zip(place, low, strict=True)) for place in clicked]
    for error, missed in _largest_first(found[_within(box)], expected[_within(box)]):
        place = deepest(error, spacing, before)
        if place is not None:
            return tuple(n + first for n, first in zip(place, low, strict=True)), missed
    return None


def _largest_first(mask: NDArray[np.bool_], target: NDArray[np.bool_]) -> Iterator[tuple[NDArray[np.bool_], bool]]:
    """Connected errors by size; missed before spurious ones of the same size, then in array order."""
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
    """Connected parts numbered from 1, in array order."""
    components = np.zeros(mask.shape, np.int32)
    ndimage.label(mask, np.ones((3,) * mask.ndim, bool), output=components)
    return components


def _within(box: tuple[int, ...]) -> tuple[slice, ...]:
    """A tight box as slices of the array."""
    axes = len(box) // 2
    return tuple(slice(low, high + 1) for low, high in zip(box[axes - 1 :: -1], box[: axes - 1 : -1], strict=True))
