"""A given mask as the low-resolution logits that a 3D model takes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..core.geometry import transform_points
from ..core.volume import Volume
from .canvas3d import Lattice
from .convert import MASK_LOGIT
from .grid3d import ModelGrid, from_block, sample, to_block
from .protocol3d import Triple


def mask_logits(
    volume: Volume, grid: ModelGrid, lattice: Lattice, start: Triple, shape: Triple, mask: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """A mask ``[k, j, i]`` on the voxels of a volume as logits over a block of cells; the share of a cell decides.

    Where the mask fills no cell, as a vessel or a single slice does, the cells it fills most stand for it.

    Args:
        start, shape: first cell and number of cells of the block.
    """
    to_ras, stride = grid.block(lattice.origin(start)), lattice.stride
    x, y, z = shape
    fine = sample(mask, from_block(volume, to_ras), (x * stride, y * stride, z * stride))
    share = fine.reshape(x, stride, y, stride, z, stride).mean(axis=(1, 3, 5))
    if share.max() < 1:
        share = np.maximum(share, _counted(volume, to_ras, stride, shape, mask))
    return ((2 * share / max(float(share.max()), 1e-6) - 1) * MASK_LOGIT).astype(np.float32)


def _counted(
    volume: Volume, to_ras: NDArray[np.float64], stride: int, shape: Triple, mask: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Share of each cell by counting the voxels of the mask in it: none is too thin to be seen."""
    stored = np.argwhere(mask)
    voxels = transform_points(to_block(volume, to_ras), stored)
    cells = np.floor((voxels + 0.5) / stride).astype(np.int64)
    cells = cells[((cells >= 0) & (cells < shape)).all(axis=1)]
    counts = np.bincount(np.ravel_multi_index(tuple(cells.T), shape), minlength=int(np.prod(shape))).reshape(shape)
    cell_volume = abs(np.linalg.det(to_ras[:3, :3])) * stride**3
    return np.minimum(counts * (volume.voxel_volume / cell_volume), 1.0)
