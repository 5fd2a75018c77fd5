"""The voxels a 3D model sees: isotropic, along the axes nearest to right, anterior and superior."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from ..core.geometry import as_matrix, nearest_axes, transform_points
from ..core.volume import Volume
from .protocol3d import Triple

_ROUNDING = 1e-6
_KJI_TO_IJK = np.array([[0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]], dtype=np.float64)


@dataclass(frozen=True, eq=False)
class ModelGrid:
    """An isotropic grid that covers a volume, with indices (r, a, s) and arrays ``[r, a, s]``.

    The axes follow the volume's own ones, sorted and turned so that they run nearest to +R, +A and +S. That is what
    nibabel and TorchIO call canonical, and how the published 3D models saw oblique scans; no interpolation over
    rotated axes is needed. A sheared volume (a parent transform with unequal scales) gets the nearest right-angled
    axes.

    Attributes:
        to_ras: (4, 4) matrix from grid voxels to RAS millimeters.
        shape: voxels along r, a, s.
    """

    to_ras: NDArray[np.float64]
    shape: Triple

    @classmethod
    def of(cls, volume: Volume, spacing: float, as_stored: bool = False) -> ModelGrid:
        """The grid of a volume.

        Args:
            spacing: millimeters between its voxels.
            as_stored: begin at the corner of the first stored voxel, as the public SAM-Med3D code does; otherwise at
                the left-posterior-inferior end, so that the answer does not depend on how the voxels are stored.
        """
        directions = volume.ijk_to_ras[:3, :3] / np.linalg.norm(volume.ijk_to_ras[:3, :3], axis=0)
        left, _, right = np.linalg.svd(directions)
        sorted_axes = (left @ right)[:, list(nearest_axes(volume.ijk_to_ras))]
        signs = np.where(np.diag(sorted_axes) < 0, -1.0, 1.0)
        frame = sorted_axes * signs
        corners = volume.to_ras(list(itertools.product(*((-0.5, size - 0.5) for size in volume.size))))
        low, high = (corners @ frame).min(axis=0), (corners @ frame).max(axis=0)
        count = np.maximum(np.ceil((high - low) / spacing - _ROUNDING), 1)
        first = low + spacing / 2
        if as_stored:
            first = np.where(signs < 0, high - (count - 0.5) * spacing, first)
        to_ras = np.eye(4)
        to_ras[:3, :3], to_ras[:3, 3] = frame * spacing, frame @ first
        return cls(to_ras, (int(count[0]), int(count[1]), int(count[2])))

    def voxels(self, ras: ArrayLike) -> NDArray[np.int64]:
        """The voxels that hold RAS points (..., 3), moved into the grid where they lie outside."""
        continuous = transform_points(as_matrix(np.linalg.inv(self.to_ras)), ras)
        return np.clip(np.floor(continuous + 0.5 + _ROUNDING), 0, np.array(self.shape) - 1).astype(np.int64)

    def block(self, origin: ArrayLike, step: float = 1) -> NDArray[np.float64]:
        """(4, 4) matrix to RAS of a block that begins at voxel ``origin``, with cells of ``step`` voxels."""
        matrix = self.to_ras.copy()
        matrix[:3, :3] *= step
        matrix[:3, 3] = transform_points(self.to_ras, np.asarray(origin) + (step - 1) / 2)
        return matrix


def from_block(volume: Volume, block_to_ras: NDArray[np.float64]) -> NDArray[np.float64]:
    """(4, 4) matrix from the voxels (r, a, s) of a block to those (k, j, i) of a volume's array."""
    return _KJI_TO_IJK @ volume.ras_to_ijk_matrix @ block_to_ras


def to_block(
    volume: Volume, block_to_ras: NDArray[np.float64], first: Sequence[int] = (0, 0, 0)
) -> NDArray[np.float64]:
    """(4, 4) matrix from voxels (k, j, i) of a volume's array, counted from ``first``, to a block's (r, a, s)."""
    shift = np.eye(4)
    shift[:3, 3] = first
    return np.linalg.inv(from_block(volume, block_to_ras)) @ shift


def sample(
    array: NDArray, matrix: NDArray[np.float64], shape: Sequence[int], *, linear: bool = True, outside: float = 0
) -> NDArray[np.float32]:
    """An array read at the voxels of another grid.

    As in ITK, the outermost voxels reach half a voxel beyond their centers; further out is ``outside``. Grids with
    parallel axes are read one axis at a time: SAM-Med3D's crop out of a 400 x 400 x 200 CT takes 0.06 s instead of
    0.28 s, and its answer over 256 x 256 x 192 voxels on the way back 0.17 s instead of 0.95 s (one core).

    Args:
        array: three axes, any numeric type.
        matrix: (4, 4) from the voxels of the result to those of ``array``, both in array order.
        shape: of the result.
        linear: linear interpolation, else the nearest voxel.

    Returns:
        float32 of that shape.
    """
    linear_part = np.abs(matrix[:3, :3])
    partner = linear_part.argmax(axis=1)
    beside = linear_part.copy()
    beside[range(3), partner] = 0
    if len(set(partner.tolist())) < 3 or (beside @ np.asarray(shape, float)).max() > 1e-3:
        return _sample_oblique(array, matrix, shape, linear, outside)
    result = array
    positions = [matrix[axis, partner[axis]] * np.arange(shape[partner[axis]]) + matrix[axis, 3] for axis in range(3)]
    for axis in sorted(range(3), key=lambda axis: len(positions[axis]) / array.shape[axis]):
        result = _sample_axis(result, axis, positions[axis], linear, outside)
    return np.ascontiguousarray(result.transpose(np.argsort(partner)), dtype=np.float32)


def _sample_axis(
    array: NDArray, axis: int, positions: NDArray[np.float64], linear: bool, outside: float
) -> NDArray[np.float32]:
    last = array.shape[axis] - 1
    clipped = np.clip(positions, 0, last)
    column = [1, 1, 1]
    column[axis] = len(positions)
    if linear:
        low = np.floor(clipped).astype(np.int64)
        share = (clipped - low).astype(np.float32).reshape(column)
        below = array.take(low, axis).astype(np.float32)
        above = array.take(np.minimum(low + 1, last), axis).astype(np.float32)
        above -= below
        above *= share
        result = np.add(below, above, out=above)
    else:
        result = array.take(np.floor(clipped + 0.5).astype(np.int64), axis).astype(np.float32)
    beyond = (positions < -0.5 - _ROUNDING) | (positions > last + 0.5 + _ROUNDING)
    selector: list[slice | NDArray[np.bool_]] = [slice(None)] * 3
    selector[axis] = beyond
    result[tuple(selector)] = outside
    return result


def _sample_oblique(
    array: NDArray, matrix: NDArray[np.float64], shape: Sequence[int], linear: bool, outside: float
) -> NDArray[np.float32]:
    size = (int(shape[0]), int(shape[1]), int(shape[2]))
    result = np.empty(size, np.float32)
    # A (4, 4) matrix is taken as homogeneous coordinates.
    ndimage.affine_transform(array, matrix, output_shape=size, output=result, order=int(linear), mode="nearest")
    index = np.ogrid[tuple(slice(0, length) for length in size)]
    for axis in range(3):
        position = sum(matrix[axis, other] * index[other] for other in range(3)) + matrix[axis, 3]
        result[(position < -0.5 - _ROUNDING) | (position > array.shape[axis] - 0.5 + _ROUNDING)] = outside
    return result
