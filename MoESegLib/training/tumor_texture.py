"""The inside of synthetic lesions: density, patches, necrosis, capsule and calcium, in Hounsfield units."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, special

from .tumor_kinds import LesionKind
from .tumor_shapes import Blob, Millimeters, smooth_field

_PATCHES = (3.0, 9.0)
"""Millimeters over which the density of a tumor varies."""


def drawn_level(kind: LesionKind, organ_level: float, rng: np.random.Generator) -> float:
    """The mean density of one lesion.

    Args:
        organ_level: median of the organ around it.
    """
    density = kind.density
    if rng.random() < density.enhancing:
        return organ_level + float(rng.uniform(*density.bright))
    level = float(rng.uniform(*density.level))
    return level if density.is_absolute else max(organ_level + level, 8.0)  # solid tissue is not below water


def filled(
    kind: LesionKind, blob: Blob, spacing: Millimeters, level: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Densities within the box of a shape, without the noise of the scanner."""
    shape = blob.depth.shape
    patches = smooth_field(shape, spacing, float(rng.uniform(*_PATCHES)), rng)
    levels = np.float32(level) + np.float32(kind.density.texture) * patches
    size = float(blob.depth.max())
    if rng.random() < kind.necrosis and size > 5:
        levels = _with_core(levels, blob, spacing, min(level - 15, float(rng.uniform(12, 32))), rng)
    if rng.random() < kind.rim and size > 4:
        thickness = float(rng.uniform(1.2, 2.5))
        levels = levels + np.float32(rng.uniform(15, 45)) * np.exp(-((blob.depth / thickness) ** 2))
    if rng.random() < kind.calcium:
        levels = _with_calcium(levels, blob, spacing, rng)
    return levels.astype(np.float32)


def _with_core(
    levels: NDArray[np.float32], blob: Blob, spacing: Millimeters, core: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """An irregular center that does not take up contrast medium."""
    border = float(rng.uniform(0.3, 0.6)) * float(blob.depth.max())
    uneven = 0.35 * blob.radius * smooth_field(levels.shape, spacing, 0.6 * blob.radius, rng)
    share = special.expit((blob.depth - border + uneven) / 1.5)
    return (levels + share * (core - levels)).astype(np.float32)


def _with_calcium(
    levels: NDArray[np.float32], blob: Blob, spacing: Millimeters, rng: np.random.Generator
) -> NDArray[np.float32]:
    """A few specks, blurred as the scanner blurs them."""
    inside = np.argwhere(blob.depth > 1.5)
    if not len(inside):
        return levels
    specks = np.zeros(levels.shape, np.float32)
    chosen = inside[rng.integers(len(inside), size=int(rng.integers(1, 5)))]
    specks[tuple(chosen.T)] = 1
    specks = ndimage.gaussian_filter(specks, [1.0 / step for step in spacing])
    return np.asarray(levels + rng.uniform(80, 400) / max(float(specks.max()), 1e-6) * specks, np.float32)
