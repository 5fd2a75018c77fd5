"""Crops as SAM-Med3D was trained on them: isotropic, padded with 0, z-scored over the voxels above 0."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..core.volume import Volume
from .cache import content_key
from .grid3d import ModelGrid, from_block, sample
from .protocol3d import Crop, Triple

CT_RANGE = (-1000.0, 1000.0)
"""Hounsfield units that SAM-Med3D's training clamped CT to (upstream ``train.py``); its public inference does not."""

NO_POSITIVE = (
    "No voxel around the prompt is above 0, where this model takes its brightness statistics; all voxels there were "
    "used instead."
)
FLAT = "The image is flat around the prompt: there is nothing to see there."


def centered(low: NDArray, high: NDArray, size: int) -> NDArray[np.int64]:
    """Origin of the crop around the voxels ``low`` to ``high`` (inclusive).

    A single voxel comes to lie at index ``size // 2``, as with TorchIO's CropOrPad around a mask.
    """
    return (np.asarray(low) + np.asarray(high) + 1) // 2 - size // 2


def cut_crop(volume: Volume, grid: ModelGrid, origin: Triple, size: int, *, clamp: bool = True) -> Crop:
    """The crop that begins at grid voxel ``origin``, resampled linearly; what lies beyond the volume is 0.

    Args:
        clamp: limit CT to :data:`CT_RANGE` first, as in training.
    """
    to_ras = grid.block(origin)
    pixels = sample(volume.array, from_block(volume, to_ras), (size, size, size), outside=np.nan)
    inside = np.isfinite(pixels)
    pixels[~inside] = 0
    if clamp and volume.modality == "CT":
        np.clip(pixels, *CT_RANGE, out=pixels)
    normalized, note = z_score(pixels, inside)
    return Crop(normalized, to_ras, content_key(normalized.tobytes(), repr(normalized.shape)), note)


def z_score(pixels: NDArray[np.float32], inside: NDArray[np.bool_]) -> tuple[NDArray[np.float32], str]:
    """Mean and standard deviation of the voxels above 0, applied to all voxels, as TorchIO's ZNormalization does.

    The public code divides by nothing when no voxel is above 0 (dark CT, images centered on 0); then all voxels of the
    volume count.

    Args:
        inside: voxels of the crop that the volume covers.

    Returns:
        The normalized crop, and a note for the user or "".
    """
    note = ""
    values = pixels[pixels > 0].astype(np.float64)
    if values.size < 2 or values.std() == 0:
        values, note = pixels[inside].astype(np.float64), NO_POSITIVE
    spread = values.std(ddof=1) if values.size > 1 else 0.0
    if spread == 0:
        return np.zeros_like(pixels), FLAT
    return ((pixels - values.mean()) / spread).astype(np.float32), note
