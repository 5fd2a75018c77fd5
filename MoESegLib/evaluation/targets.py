"""What is asked for: structures on slices, as a user sees them in a slice view, or in whole volumes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..core.errors import VolumeError
from ..core.geometry import Plane, Point, SliceView, is_empty
from ..core.results import MaskPatch
from ..core.volume import Volume
from ..engines.protocol import Extent3D
from .datasets import LabeledCase, readable, structure_key

Item = TypeVar("Item")


@dataclass(frozen=True, eq=False)
class SliceImage:
    """One slice of a case.

    Attributes:
        axis, index: IJK axis normal to the slice, index along it.
    """

    case: LabeledCase
    volume: Volume
    axis: int
    index: int
    extent: ClassVar[Extent3D] = "slice"

    @property
    def spacing(self) -> tuple[float, ...]:
        """Between rows and columns; 1, 1 (pixels) where the size of the pixels is not known."""
        if self.case.is_picture:
            return 1.0, 1.0
        return self.volume.spacing[self.view.row_axis], self.volume.spacing[self.view.column_axis]

    @property
    def plane(self) -> Plane:
        return self.volume.plane_of(self.axis)

    @property
    def view(self) -> SliceView:
        return self.volume.view(self.axis)

    def ras(self, x: float, y: float) -> Point:
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
class VolumeImage:
    """A case as a whole."""

    case: LabeledCase
    volume: Volume
    index: ClassVar[None] = None
    plane: ClassVar[None] = None
    extent: ClassVar[Extent3D] = "volume"

    @property
    def spacing(self) -> tuple[float, ...]:
        """Millimeters between voxels along k, j, i."""
        return self.volume.spacing[::-1]

    def ras(self, i: float, j: float, k: float) -> Point:
        """A voxel in patient space."""
        r, a, s = self.volume.to_ras((i, j, k))
        return float(r), float(a), float(s)

    def mask_of(self, patch: MaskPatch) -> NDArray[np.bool_]:
        """A mask on all voxels, bool ``[k, j, i]``."""
        return patch.to_array(self.volume.shape) != 0


Image = SliceImage | VolumeImage
"""What one question is about."""


@dataclass(frozen=True, eq=False)
class Target:
    """One thing to segment on one slice or in one volume.

    Attributes:
        structure: its class, readable.
        instance: number of the object in a map of objects, 0 in a map of classes.
        mask: bool ``[row, column]`` as displayed, or ``[k, j, i]``.
    """

    image: Image
    structure: str
    instance: int
    mask: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Targets:
    """All targets of one slice or volume.

    Attributes:
        objects: what a box or a click can mean.
        classes: what a phrase can mean: all objects of a class together; the same as ``objects`` in a map of classes.
    """

    image: Image
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
    found = []
    for index in np.flatnonzero(labels.any(axis=tuple(other for other in range(3) if other != 2 - axis))):
        numbers = view.extract(labels, int(index))
        if _numbers(case, numbers, least_pixels):
            found.append((SliceImage(case, volume, axis, int(index)), numbers))
    return evenly(found, max_slices)


def labeled_volume(case: LabeledCase, least_voxels: int) -> list[tuple[VolumeImage, NDArray]]:
    """A case as a whole with its label numbers ``[k, j, i]``; nothing when it holds no target.

    Args:
        least_voxels: smaller structures do not count.

    Raises:
        VolumeError: it is a 2D image, or as :meth:`LabeledCase.load`.
        GeometryError: as there.
    """
    volume, labels = case.load()
    if min(volume.size) < 2:
        raise _flat(case)
    return [(VolumeImage(case, volume), labels)] if _numbers(case, labels, least_voxels) else []


def refuse_pictures(cases: Sequence[LabeledCase]) -> None:
    """Refuse, before any case is read, what engines for volumes cannot be measured on.

    Raises:
        VolumeError: a case is a picture.
    """
    for case in cases:
        if case.is_picture:
            raise _flat(case)


def _flat(case: LabeledCase) -> VolumeError:
    return VolumeError(
        f"{case.dataset}: {case.name} is a 2D image, and engines for volumes were asked. Choose sets of volumes, or "
        "2D engines such as lite-medsam."
    )


def targets_on(image: Image, numbers: NDArray, least_pixels: int, max_objects: int | None = None) -> Targets:
    """What to segment on a slice or in a volume.

    Args:
        numbers: its labels ``[row, column]`` as displayed, or ``[k, j, i]``.
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
        return Targets(image, objects, (Target(image, objects[0].structure, 0, numbers != 0),))
    return Targets(image, objects, objects)


def _numbers(case: LabeledCase, numbers: NDArray, least_pixels: int) -> list[int]:
    """The label numbers of a slice or volume that are asked for."""
    values, counts = np.unique(numbers, return_counts=True)
    wanted = None if case.classes is None else {structure_key(name) for name in case.classes}
    return [
        int(value)
        for value, count in zip(values.tolist(), counts.tolist(), strict=True)
        if value != 0 and count >= least_pixels
        if wanted is None or structure_key(case.label_of(int(value))) in wanted
    ]


def widest_slice(target: Target) -> Target:
    """The part of a target on the slice that holds most of it; a target on a slice as it is."""
    if isinstance(target.image, SliceImage):
        return target
    volume = target.image.volume
    axis = volume.acquisition_axis
    index = int(np.argmax(target.mask.sum(axis=tuple(other for other in range(3) if other != 2 - axis))))
    mask = np.ascontiguousarray(volume.view(axis).extract(target.mask, index))
    return Target(SliceImage(target.image.case, volume, axis, index), target.structure, target.instance, mask)


def evenly(items: Sequence[Item], at_most: int | None) -> list[Item]:
    """At most that many items, evenly spaced, both ends left out first."""
    if at_most is None or len(items) <= at_most:
        return list(items)
    positions = (np.arange(at_most) + 0.5) * len(items) / at_most
    return [items[int(position)] for position in positions]
