"""From stored intensities to the 8-bit images that 2D models were trained on."""

from __future__ import annotations

import weakref

import numpy as np
from numpy.typing import NDArray

from .volume import Volume

Window = tuple[float, float]
"""Lowest and highest intensity, shown as black and white."""

CT_WINDOWS: dict[str, tuple[float, float]] = {
    "soft": (40, 400),
    "lung": (-600, 1500),
    "bone": (400, 1800),
    "brain": (40, 80),
    "mediastinum": (50, 350),
    "liver": (60, 160),
}
"""Presets as (level, width) in HU."""

_MAX_SAMPLES = 4_000_000
_windows: weakref.WeakKeyDictionary[Volume, Window] = weakref.WeakKeyDictionary()


def level_width(level: float, width: float) -> Window:
    """A window from its center and its width."""
    return level - width / 2, level + width / 2


def default_window(volume: Volume) -> Window | None:
    """The published preprocessing of LiteMedSAM: soft tissue for CT, robust percentiles for everything else.

    Percentiles 0.5 and 99.5 are taken over the positive voxels (source: MedSAM ``pre_CT_MR.py``); above four million
    voxels over a regular subsample, since a full sort of a large MR took over a second. None: 8-bit images stay as
    they are.
    """
    if volume.array.dtype == np.uint8:
        return None
    if volume not in _windows:
        _windows[volume] = level_width(*CT_WINDOWS["soft"]) if volume.modality == "CT" else _percentiles(volume.array)
    return _windows[volume]


def _percentiles(array: NDArray) -> Window:
    values = array.ravel()[:: max(1, array.size // _MAX_SAMPLES)]
    positive = values[values > 0]
    if positive.size == 0:
        positive = values
    low, high = np.percentile(positive, (0.5, 99.5))
    return float(low), float(high)


def to_uint8(image: NDArray, window: Window | None) -> NDArray[np.uint8]:
    """Clip an image to a window and scale it to 0..255; without a window it must be uint8 already."""
    if window is None:
        return np.asarray(image, dtype=np.uint8)
    low, high = window
    scaled = (np.clip(image.astype(np.float32), low, high) - low) * (255.0 / max(high - low, 1e-8))
    return scaled.astype(np.uint8)
