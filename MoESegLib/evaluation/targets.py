"""What is asked for: structures on slices, as a user sees them in a slice view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ..core.geometry import SliceView, is_empty
from ..core.results import MaskPatch
from ..core.volume import Volume
from .datasets import LabeledCase, readable, structure_key

Item = TypeVar("Item")


@dataclass(frozen=True, eq=False)
class SliceImage:
    """One slice of a case.

    Attributes:
        axis, index: IJK axis normal to the slice, index along it.
        spacing: between rows and columns; 1, 1 (pixels) where the size of the pixels is not known.
    """

    case: LabeledCase
    volume: Volume
    axis: int
    index: int
    spacing: tuple[float, float]

    @property
    def view(self) -> SliceView:
        return self.volume.view(self.axis)

    def ras(self, x: float, y: float) -> tuple[float, float, float]:
        """A displayed pixel in patient space."""
        r, a, s = self.volume.to_ras(self.view.to_ijk((x, y), self.index))
        return float(r), float(a), float(s)

    def mask_of(self, patch: MaskPatch) -> NDArray[np.bool_]:
        """The part of a mask on this slice, bool ``[row, column]`` as displayed."""
        shape = list(self.volume.shape)
        shape[2 - self.axis] = 1
        slab = np.zeros(shape, bool)
        first, last = patch.extent[2 * self.axis : 2 * self.axis + 2]
        if not is_empty(patch.extent) and first <= self.index <= last:
            bounds = [slice(patch.extent[2 * axis], patch.extent[2 * axis + 1] + 1) for axis in (2, 1, 0)]
            bounds[2 - self.axis] = slice(0, 1)
            slab[tuple(bounds)] = patch.voxels.take([self.index - first], axis=2 - self.axis) != 0
        return np.ascontiguousarray(self.view.extract(slab, 0))


@dataclass(frozen=True, eq=False)
class Target:
    """One thing to segment on one slice.

    Attributes:
        structure: its class, readable.
        instance: number of the object in a map of objects, 0 in a map of classes.
        mask: bool ``[row, column]`` as displayed.
    """

    image: SliceImage
    structure: str
    instance: int
    mask: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class SliceTargets:
    """All targets of one slice.

    Attributes:
        objects: what a box or a click can mean.
        classes: what a phrase can mean: all objects of a class together; the same as ``objects`` in a map of classes.
    """

    image: SliceImage
    objects: tuple[Target, ...]
    classes: tuple[Target, ...]


def labeled_slices(
    case: LabeledCase, least_pixels: int, max_slices: int | None = None
) -> list[tuple[SliceImage, NDArray]]:
    """The slices of a case, along the axis it was acquired along, that hold targets, each with its label numbers.

    Args:
        least_pixels: smaller structures do not count.
        max_slices: so many of the slices, evenly spaced.

    Returns:
        slices in order, with their numbers ``[row, column]`` as displayed.

    Raises:
        VolumeError, GeometryError: as :meth:`LabeledCase.load`.
    """
    volume, labels = case.load()
    axis = volume.acquisition_axis
    view = volume.view(axis)
    spacing = (1.0, 1.0) if case.is_picture else (volume.spacing[view.row_axis], volume.spacing[view.column_axis])
    found = []
    for index in np.flatnonzero(labels.any(axis=tuple(other for other in range(3) if other != 2 - axis))):
        numbers = view.extract(labels, int(index))
        if _numbers(case, numbers, least_pixels):
            found.append((SliceImage(case, volume, axis, int(index), spacing), numbers))
    return evenly(found, max_slices)


def targets_on(image: SliceImage, numbers: NDArray, least_pixels: int, max_objects: int | None = None) -> SliceTargets:
    """What to segment on a slice.

    Args:
        numbers: its labels ``[row, column]`` as displayed.
        max_objects: so many of the objects in a map of objects, evenly spaced in the order of their numbers.
    """
    case = image.case
    chosen = _numbers(case, numbers, least_pixels)
    bounded = evenly(chosen, max_objects) if case.instances else chosen
    objects = tuple(
        Target(image, readable(case.label_of(number)), number if case.instances else 0, numbers == number)
        for number in bounded
    )
    if case.instances and objects:
        return SliceTargets(image, objects, (Target(image, objects[0].structure, 0, numbers != 0),))
    return SliceTargets(image, objects, objects)


def _numbers(case: LabeledCase, numbers: NDArray, least_pixels: int) -> list[int]:
    """The label numbers of a slice that are asked for."""
    values, counts = np.unique(numbers, return_counts=True)
    wanted = None if case.classes is None else {structure_key(name) for name in case.classes}
    return [
        int(value)
        for value, count in zip(values.tolist(), counts.tolist(), strict=True)
        if value != 0 and count >= least_pixels
        if wanted is None or structure_key(case.label_of(int(value))) in wanted
    ]


def evenly(items: Sequence[Item], at_most: int | None) -> list[Item]:
    """At most that many items, evenly spaced, both ends left out first."""
    if at_most is None or len(items) <= at_most:
        return list(items)
    positions = (np.arange(at_most) + 0.5) * len(items) / at_most
    return [items[int(position)] for position in positions]
