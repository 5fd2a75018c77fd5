"""The one place that converts between patient space and voxel indices.

Orders used everywhere in MoESeg:

* **RAS** points are ``(right, anterior, superior)`` in millimeters, Slicer's world.
* **IJK** points are continuous voxel indices; integers are voxel centers. ``i`` is the fastest axis.
* **arrays** are indexed ``[k, j, i]``, as in Slicer and in ``SimpleITK.GetArrayFromImage``.
* **extents** are inclusive ``(i_min, i_max, j_min, j_max, k_min, k_max)``, as in VTK; ``EMPTY_EXTENT`` holds nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import GeometryError

Plane = Literal["axial", "coronal", "sagittal"]
PLANES: tuple[Plane, ...] = ("axial", "coronal", "sagittal")
Point = tuple[float, float, float]
Extent = tuple[int, int, int, int, int, int]
EMPTY_EXTENT: Extent = (0, -1, 0, -1, 0, -1)

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

# For each plane: the RAS axis it is normal to, and the RAS directions in which displayed rows and columns grow
# (radiological display, the orientation in which the published 2D models saw their training slices).
_DISPLAY: dict[Plane, tuple[int, tuple[float, float, float], tuple[float, float, float]]] = {
    "axial": (2, (0, -1, 0), (-1, 0, 0)),
    "coronal": (1, (0, 0, -1), (-1, 0, 0)),
    "sagittal": (0, (0, 0, -1), (0, -1, 0)),
}


def as_matrix(matrix: ArrayLike) -> NDArray[np.float64]:
    """A checked copy of an affine IJK-to-RAS matrix, shape (4, 4), read-only.

    Raises:
        GeometryError: wrong shape, not finite, not affine, or not invertible.
    """
    result = np.array(matrix, dtype=np.float64)
    if result.shape != (4, 4):
        raise GeometryError(f"An IJK-to-RAS matrix has shape (4, 4); this one has {result.shape}.")
    if not np.isfinite(result).all():
        raise GeometryError("The IJK-to-RAS matrix holds values that are not finite; check the image header.")
    if not np.allclose(result[3], (0, 0, 0, 1)):
        raise GeometryError(f"The last row of an IJK-to-RAS matrix is 0 0 0 1; this one is {result[3].tolist()}.")
    lengths = np.linalg.norm(result[:3, :3], axis=0)
    if (lengths < 1e-9).any() or abs(np.linalg.det(result[:3, :3] / lengths)) < 1e-6:
        raise GeometryError("The IJK-to-RAS matrix is not invertible (a spacing of zero or parallel axes).")
    result.setflags(write=False)
    return result


def transform_points(matrix: NDArray[np.float64], points: ArrayLike) -> NDArray[np.float64]:
    """Apply an affine (4, 4) matrix to points of shape (..., 3)."""
    array = np.asarray(points, dtype=np.float64)
    return array @ matrix[:3, :3].T + matrix[:3, 3]


def nearest_axes(ijk_to_ras: NDArray[np.float64]) -> tuple[int, int, int]:
    """For R, A and S the IJK axis (0, 1 or 2) that runs most nearly along it; each axis is used once."""
    directions = np.abs(ijk_to_ras[:3, :3] / np.linalg.norm(ijk_to_ras[:3, :3], axis=0))
    best = max(itertools.permutations(range(3)), key=lambda axes: sum(directions[ras, axes[ras]] for ras in range(3)))
    return cast(tuple[int, int, int], best)


def plane_axis(ijk_to_ras: NDArray[np.float64], plane: Plane) -> int:
    """The IJK axis (0, 1 or 2) that is normal to an anatomical plane (nearest one on an oblique grid)."""
    return nearest_axes(ijk_to_ras)[_DISPLAY[plane][0]]


def axis_plane(ijk_to_ras: NDArray[np.float64], axis: int) -> Plane:
    """The anatomical plane whose normal is nearest to an IJK axis."""
    return next(plane for plane in PLANES if plane_axis(ijk_to_ras, plane) == axis)


@dataclass(frozen=True)
class SliceView:
    """How the slices normal to one IJK axis are shown: rows and columns in radiological display order.

    A model therefore sees a patient the same way round however the voxels are stored.

    Attributes:
        axis: IJK axis normal to the slice.
        row_axis, column_axis: IJK axes along displayed rows (downward) and columns (to the right).
        row_flip, column_flip: the displayed index runs against the stored one.
        size: voxels of the volume along i, j, k.
    """

    axis: int
    row_axis: int
    column_axis: int
    row_flip: bool
    column_flip: bool
    size: tuple[int, int, int]

    @classmethod
    def of(cls, ijk_to_ras: NDArray[np.float64], size: Sequence[int], axis: int) -> SliceView:
        """The view of slices normal to IJK ``axis`` of a grid with ``size`` (i, j, k) voxels."""
        _, down, right = _DISPLAY[axis_plane(ijk_to_ras, axis)]
        directions = ijk_to_ras[:3, :3] / np.linalg.norm(ijk_to_ras[:3, :3], axis=0)
        along_down, along_right = directions.T @ np.asarray(down), directions.T @ np.asarray(right)
        others = [other for other in range(3) if other != axis]
        row_axis = max(others, key=lambda other: abs(along_down[other]) - abs(along_right[other]))
        column_axis = others[1 - others.index(row_axis)]
        flips = bool(along_down[row_axis] < 0), bool(along_right[column_axis] < 0)
        return cls(axis, row_axis, column_axis, *flips, size=(int(size[0]), int(size[1]), int(size[2])))

    @property
    def shape(self) -> tuple[int, int]:
        """Displayed (rows, columns)."""
        return self.size[self.row_axis], self.size[self.column_axis]

    @property
    def count(self) -> int:
        """Number of slices."""
        return self.size[self.axis]

    def extract(self, array: NDArray, index: int) -> NDArray:
        """Slice ``index`` of a ``[k, j, i, ...]`` array as a displayed ``[row, column, ...]`` view (no copy)."""
        plane = array[self._selector(index)]
        if self.row_axis < self.column_axis:  # stored order is slowest axis first, that is, highest IJK axis first
            plane = plane.swapaxes(0, 1)
        rows = slice(None, None, -1) if self.row_flip else slice(None)
        columns = slice(None, None, -1) if self.column_flip else slice(None)
        return plane[rows, columns]

    def insert(self, array: NDArray, index: int, image: NDArray) -> None:
        """Write a displayed ``[row, column]`` image into slice ``index`` of a ``[k, j, i]`` array."""
        self.extract(array, index)[...] = image

    def _selector(self, index: int) -> tuple[slice | int, ...]:
        selector: list[slice | int] = [slice(None)] * 3
        selector[2 - self.axis] = index
        return tuple(selector)

    def to_pixels(self, ijk: ArrayLike) -> NDArray[np.float64]:
        """IJK points (..., 3) to displayed pixel centers (..., 2) as (x = column, y = row)."""
        points = np.asarray(ijk, dtype=np.float64)
        x, y = points[..., self.column_axis], points[..., self.row_axis]
        if self.column_flip:
            x = self.size[self.column_axis] - 1 - x
        if self.row_flip:
            y = self.size[self.row_axis] - 1 - y
        return np.stack([x, y], axis=-1)

    def to_ijk(self, pixels: ArrayLike, index: int) -> NDArray[np.float64]:
        """Displayed pixels (..., 2) as (x, y) of slice ``index`` to IJK points (..., 3)."""
        points = np.asarray(pixels, dtype=np.float64)
        x, y = points[..., 0], points[..., 1]
        result = np.empty((*points.shape[:-1], 3))
        result[..., self.axis] = index
        result[..., self.column_axis] = self.size[self.column_axis] - 1 - x if self.column_flip else x
        result[..., self.row_axis] = self.size[self.row_axis] - 1 - y if self.row_flip else y
        return result


def mask_extent(mask: NDArray) -> Extent:
    """Inclusive extent (i, j, k order) of the voxels that are not zero in a ``[k, j, i]`` array."""
    bounds: list[int] = []
    for axis in (2, 1, 0):
        used = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        if used.size == 0:
            return EMPTY_EXTENT
        bounds += [int(used[0]), int(used[-1])]
    return cast(Extent, tuple(bounds))


def extent_slices(extent: Extent) -> tuple[slice, slice, slice]:
    """An inclusive extent as ``[k, j, i]`` slices."""
    i0, i1, j0, j1, k0, k1 = extent
    return slice(k0, k1 + 1), slice(j0, j1 + 1), slice(i0, i1 + 1)


def extent_shape(extent: Extent) -> tuple[int, int, int]:
    """Number of voxels of an inclusive extent along k, j, i."""
    i0, i1, j0, j1, k0, k1 = extent
    return k1 - k0 + 1, j1 - j0 + 1, i1 - i0 + 1


def union_extent(first: Extent, second: Extent) -> Extent:
    """The smallest extent that holds both."""
    if is_empty(first):
        return second
    if is_empty(second):
        return first
    low = (min(a, b) for a, b in zip(first[::2], second[::2], strict=True))
    high = (max(a, b) for a, b in zip(first[1::2], second[1::2], strict=True))
    return cast(Extent, tuple(value for pair in zip(low, high, strict=True) for value in pair))


def shared_extent(first: Extent, second: Extent) -> Extent:
    """The extent that lies in both; ``EMPTY_EXTENT`` where they do not meet."""
    i0, j0, k0 = (max(a, b) for a, b in zip(first[::2], second[::2], strict=True))
    i1, j1, k1 = (min(a, b) for a, b in zip(first[1::2], second[1::2], strict=True))
    shared = (i0, i1, j0, j1, k0, k1)
    return EMPTY_EXTENT if is_empty(shared) else shared


def is_empty(extent: Extent) -> bool:
    """Whether an inclusive extent holds no voxel."""
    return any(extent[2 * axis] > extent[2 * axis + 1] for axis in range(3))
