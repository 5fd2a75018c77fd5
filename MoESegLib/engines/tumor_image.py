"""What MAST-Pro sees of an image: two channels between 0 and 1 on an isotropic grid, in training and in use.

Hounsfield units: a soft tissue and a lung window, as ``windows`` of the network's configuration says. Everything else
has no units that mean the same in two images: the first channel is the brightness between robust percentiles of the
whole image, as in MedSAM's preprocessing; the second is its z-score over what is brighter than the background, which
stays comparable where a small bright object stretches the percentiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..core.errors import PromptError
from ..core.intensity import default_window, level_width
from ..core.volume import Volume
from ..models.mast_pro.config import COMPACT
from .grid3d import ModelGrid, from_block, sample

AIR = -1000.0
_MOST_SPREADS = 3.0
"""The second channel reaches from so many standard deviations below the mean to as many above."""
_COLORED, _MOST_COLORED = 30, 0.15
"""Gray levels between the channels of a colored pixel, and the share of these up to which an image counts as gray."""


@dataclass(frozen=True)
class Scale:
    """How the numbers of one image are read.

    Attributes:
        is_hounsfield: they are Hounsfield units; the rest does not count then.
        low, high: what is black and white.
        mean, spread: of what is not background.
    """

    is_hounsfield: bool
    low: float = 0.0
    high: float = 1.0
    mean: float = 0.0
    spread: float = 1.0

    @property
    def outside(self) -> float:
        """What to take where the image ends."""
        return AIR if self.is_hounsfield else self.low

    def units(self, values: NDArray) -> NDArray[np.float32]:
        """Hounsfield units, or shares of the way from black to white; fit for half precision."""
        if self.is_hounsfield:
            return np.clip(values, -1024, 3071).astype(np.float32)
        return np.clip((values.astype(np.float32) - self.low) / (self.high - self.low), -1, 4)

    def of_units(self) -> Scale:
        """The scale of an image that :meth:`units` made."""
        if self.is_hounsfield:
            return self
        width = self.high - self.low
        return Scale(False, 0.0, 1.0, (self.mean - self.low) / width, self.spread / width)

    def channels(
        self, values: NDArray[np.float32], windows: Sequence[tuple[float, float]] = COMPACT.windows
    ) -> NDArray[np.float32]:
        """Values ``[D, H, W]`` as ``[2, D, H, W]`` float32 between 0 and 1."""
        if self.is_hounsfield:
            ranges = [level_width(*window) for window in windows]
        else:
            reach = _MOST_SPREADS * self.spread
            ranges = [(self.low, self.high), (self.mean - reach, self.mean + reach)]
        return np.stack([np.clip((values - low) / (high - low), 0, 1) for low, high in ranges]).astype(np.float32)


def scale_of(volume: Volume) -> Scale:
    """How to read the numbers of a volume: Hounsfield units are those of CT that was not exported to 8 bit."""
    if volume.modality == "CT" and volume.array.dtype != np.uint8:
        return Scale(True)
    low, high = default_window(volume) or (0.0, 255.0)
    if high <= low:
        high = low + 1
    shown = volume.array[volume.array > max(low, 0)]
    shown = np.clip(shown if shown.size else volume.array.ravel(), low, high).astype(np.float32)
    return Scale(False, float(low), float(high), float(shown.mean()), max(float(shown.std()), 1e-3 * (high - low)))


def tumor_grid(volume: Volume, spacing: float) -> ModelGrid:
    """The grid ``[r, a, s]`` of a volume; a single slice stays one, however thick it is said to be."""
    matrix = volume.ijk_to_ras.copy()
    for axis in range(3):
        if volume.size[axis] == 1:
            matrix[:3, axis] *= spacing / volume.spacing[axis]
    return ModelGrid.of(replace(volume, ijk_to_ras=matrix), spacing)


def depth_first(shape: Sequence[int]) -> tuple[int, int, int]:
    """The order of the axes (r, a, s) in which the network sees a grid of a shape: (s, a, r), or a single slice first.

    ``array.transpose(order)`` is ``[D, H, W]``; ``transpose(numpy.argsort(order))`` goes back.
    """
    single = [axis for axis in range(3) if shape[axis] == 1]
    first = single[0] if len(single) == 1 else 2
    second, third = (axis for axis in (2, 1, 0) if axis != first)
    return first, second, third


def on_grid(volume: Volume, grid: ModelGrid, *, outside: float) -> NDArray[np.float32]:
    """A volume's values on a grid ``[r, a, s]``; finer voxels are averaged first, which lowers their noise.

    One slice taken for what lies beside it as well: read at its own place along the normal.
    """
    step = float(np.linalg.norm(grid.to_ras[:3, 0]))
    ratios = [step / own if size > 1 else 1.0 for own, size in zip(volume.spacing[::-1], volume.shape, strict=True)]
    sigma = [0.42 * float(np.sqrt(max(ratio**2 - 1, 0))) for ratio in ratios]
    array = volume.array.astype(np.float32)
    if max(sigma) > 0.2:
        array = ndimage.gaussian_filter(array, sigma, mode="nearest", truncate=2.5)
    return sample(array, _matrix(volume, grid), grid.shape, outside=outside)


def labels_on_grid(labels: NDArray, volume: Volume, grid: ModelGrid) -> NDArray[np.uint8]:
    """Labels ``[k, j, i]`` on the voxels of a volume, on a grid ``[r, a, s]`` (nearest voxel)."""
    return sample(labels, _matrix(volume, grid), grid.shape, linear=False).astype(np.uint8)


def _matrix(volume: Volume, grid: ModelGrid) -> NDArray[np.float64]:
    """From voxels of the grid to those (k, j, i) of the array; always within a slice that is the only one."""
    matrix = from_block(volume, grid.to_ras)
    for axis, size in enumerate(volume.shape):
        if size == 1:
            matrix[axis, 3] = 0.0
            matrix[axis, :3] *= 1e-3
    return matrix


def as_scalar(volume: Volume) -> tuple[Volume, str]:
    """A color image as gray, with a note for the user; any other as it is, with "".

    Ultrasound and scanned films are often stored in color without being colored. A Doppler box or a ruler in color is
    taken along as gray.

    Raises:
        PromptError: much of it is colored: a photograph, endoscopy or stained tissue.
    """
    if not volume.color:
        return volume, ""
    colored = float(np.mean(np.ptp(volume.array, axis=-1) > _COLORED))
    if colored > _MOST_COLORED:
        raise PromptError(
            f"This is a color picture ({colored:.0%} of it is colored), and tumors are looked for in gray images: CT, "
            "MR, PET, ultrasound, mammograms. For photographs choose segmote-lite."
        )
    gray = np.rint(volume.array.mean(axis=-1)).astype(np.uint8)
    note = f"{colored:.0%} of the image is colored; it was read as gray." if colored else ""
    return Volume(gray, volume.ijk_to_ras, volume.modality, volume.name), note
