"""Small pictures of masks, for choosing between experts."""

from __future__ import annotations

import io

import numpy as np

from ..core.geometry import extent_slices, is_empty
from ..core.intensity import default_window, to_uint8
from ..core.prompts import Prompt
from ..core.results import MaskPatch
from ..core.volume import Volume

SIZE = (96, 72)
_TINT = np.array((0, 190, 240), np.float32)


def thumbnail(volume: Volume, patch: MaskPatch, prompt: Prompt | None) -> bytes:
    """A PNG of one slice, with the mask tinted, cut to its surroundings.

    Args:
        patch: the mask.
        prompt: the slice is the one it lies in; without one it is the middle slice of the mask.
    """
    from PIL import Image

    axis = volume.acquisition_axis if prompt is None or prompt.plane is None else volume.axis_of(prompt.plane)
    if prompt is not None and prompt.ras_points:
        index = round(float(volume.ras_to_ijk(prompt.ras_points).mean(axis=0)[axis]))
    else:
        index = (patch.extent[2 * axis] + patch.extent[2 * axis + 1]) // 2 if not is_empty(patch.extent) else 0
    index = min(max(index, 0), volume.size[axis] - 1)
    view = volume.view(axis)
    gray = to_uint8(view.extract(volume.array, index), None if volume.color else default_window(volume))
    picture = np.repeat(gray[..., None], 3, axis=2) if gray.ndim == 2 else gray
    picture = picture.astype(np.float32)
    inside = _displayed(volume, patch, axis, index)
    picture[inside] = 0.5 * picture[inside] + 0.5 * _TINT
    rows, columns = _surroundings(inside)
    image = Image.fromarray(picture[rows, columns].astype(np.uint8))
    image.thumbnail(SIZE, Image.Resampling.BILINEAR)
    stream = io.BytesIO()
    image.save(stream, format="PNG")
    return stream.getvalue()


def _displayed(volume: Volume, patch: MaskPatch, axis: int, index: int) -> np.ndarray:
    """The mask on a displayed slice, bool ``[row, column]``."""
    shape = list(volume.shape)
    shape[2 - axis] = 1
    slab = np.zeros(shape, np.uint8)
    if not is_empty(patch.extent) and patch.extent[2 * axis] <= index <= patch.extent[2 * axis + 1]:
        inside = np.take(patch.voxels, [index - patch.extent[2 * axis]], axis=2 - axis)
        flat = list(patch.extent)
        flat[2 * axis] = flat[2 * axis + 1] = 0
        slab[extent_slices(tuple(flat))] = inside  # type: ignore[arg-type]
    return volume.view(axis).extract(slab, 0) != 0


def _surroundings(inside: np.ndarray, margin: int = 24) -> tuple[slice, slice]:
    """Rows and columns around a mask; all of them without one."""
    if not inside.any():
        return slice(None), slice(None)
    found = []
    for axis in (1, 0):
        used = np.flatnonzero(inside.any(axis=axis))
        found.append(slice(max(0, int(used[0]) - margin), int(used[-1]) + margin + 1))
    return found[0], found[1]
