"""Labels on the voxels of their image."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from ..core.errors import GeometryError
from ..core.geometry import transform_points
from ..core.results import MaskPatch
from ..core.volume import Volume

_TOLERANCE = 0.1
"""Voxels by which the centers of two grids may miss each other; file formats round origins and directions."""


def onto_image(patch: MaskPatch, grid: Volume, image: Volume, name: str) -> MaskPatch:
    """A mask on the voxels of an image, where its own grid runs through the same voxel centers.

    Slicer stores segments cropped, and other tools with flipped axes; no voxel changes its place in the patient.

    Args:
        grid: where the mask lies.
        name: of the case, for the message.

    Raises:
        GeometryError: the voxels of the two do not coincide, or the mask reaches out of the image.
    """
    to_image = image.ras_to_ijk_matrix @ grid.ijk_to_ras
    if grid.shape == image.shape and np.abs(to_image - np.eye(4)).max() < 1e-3 / max(image.size):
        return patch
    corners = np.array(list(itertools.product(*((0, length - 1) for length in grid.size))), float)
    placed = transform_points(to_image, corners)
    permutation = np.abs(np.rint(to_image[:3, :3]))
    coincide = (
        np.abs(placed - np.rint(placed)).max() < _TOLERANCE
        and np.abs(np.abs(to_image[:3, :3]) - permutation).max() < _TOLERANCE
        and (permutation.sum(axis=0) == 1).all()
    )
    if not coincide:
        raise GeometryError(
            f"{name}: the labels lie on another grid than the image ({_text(grid)} against {_text(image)}). Resample "
            "them onto the image, in Slicer with Segmentations > Specify geometry."
        )
    return _moved(patch, to_image, image, name)


def _moved(patch: MaskPatch, to_image: NDArray[np.float64], image: Volume, name: str) -> MaskPatch:
    if not patch.count:
        return MaskPatch()
    first = np.array(patch.extent[::2])
    ijk = np.rint(transform_points(to_image, np.argwhere(patch.voxels)[:, ::-1] + first)).astype(int)
    outside = ((ijk < 0) | (ijk >= image.size)).any(axis=1)
    if outside.any():
        raise GeometryError(
            f"{name}: {int(outside.sum())} labeled voxels lie outside the image ({_text(image)}). Check that image and "
            "labels are of the same patient and scan."
        )
    mask = np.zeros(image.shape, np.uint8)
    mask[ijk[:, 2], ijk[:, 1], ijk[:, 0]] = 1
    return MaskPatch.of(mask)


def _text(grid: Volume) -> str:
    size, spacing = " x ".join(map(str, grid.size)), " x ".join(f"{length:.4g}" for length in grid.spacing)
    return f"{size} voxels of {spacing} mm"
