"""Shapes of lesions: deformed ellipsoids on the grid of an image, measured in millimeters.

Ellipsoids that are deformed elastically are the shapes of the published recipe for synthetic tumors (Hu et al.,
"Label-free liver tumor segmentation", CVPR 2023, arXiv 2303.14869).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

Millimeters = tuple[float, float, float]
"""Along the axes of an array ``[D, H, W]``."""
_REACH = 1.5
"""A deformed ellipsoid stays within so many radii, and this box also holds the border that it pushes away."""
_BORDER = 8.0


@dataclass(frozen=True, eq=False)
class Blob:
    """One shape within its box.

    Attributes:
        box: where the box lies in the image.
        depth: millimeters from the surface, about; positive inside; float32, as large as the box.
        outward: unit vectors away from the center, float32 ``[3, d, h, w]``.
        radius: mean of the half axes in millimeters.
    """

    box: tuple[slice, slice, slice]
    depth: NDArray[np.float32]
    outward: NDArray[np.float32]
    radius: float

    @property
    def inside(self) -> NDArray[np.bool_]:
        """The voxels of the shape within the box."""
        return self.depth > 0


def deformed_ellipsoid(
    shape: Sequence[int],
    spacing: Millimeters,
    center: Sequence[float],
    radius: float,
    rng: np.random.Generator,
    *,
    elongation: float = 0.25,
    roughness: float = 0.15,
) -> Blob:
    """An ellipsoid, turned by chance and deformed; its cross-section where the image is one slice.

    Args:
        center: voxel (d, h, w) of the image.
        radius: of a ball of the same size, in millimeters.
        elongation: standard deviation of the logarithm of the half axes.
        roughness: displacements as a share of the radius, one standard deviation.
    """
    reach = _REACH * radius * np.exp(elongation) + _BORDER
    middle, steps = np.asarray(center, np.float64), np.asarray(spacing)
    low = np.maximum(np.floor(middle - reach / steps), 0).astype(int)
    high = np.minimum(np.ceil(middle + reach / steps) + 1, shape).astype(int)
    axes = [((np.arange(a, b) - c) * s).astype(np.float32) for a, b, c, s in zip(low, high, middle, steps, strict=True)]
    places = np.stack(np.meshgrid(*axes, indexing="ij"))
    distance = np.linalg.norm(places, axis=0)
    outward = places / np.maximum(distance, 1e-3)
    extent = places.shape[1:]
    bend = smooth_field(extent, spacing, 1.1 * radius, rng, channels=3) + 0.4 * smooth_field(
        extent, spacing, 0.45 * radius, rng, channels=3
    )
    places = places + np.float32(roughness * radius) * bend
    half_axes = np.exp(rng.normal(0, elongation, 3))
    half_axes *= radius / np.prod(half_axes) ** (1 / 3)
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    matrix = (turn / half_axes[:, None]).astype(np.float32)
    share = np.linalg.norm(matrix @ places.reshape(3, -1), axis=0).reshape(extent)
    box = (slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2]))
    return Blob(box, np.float32(radius) * (1 - share), outward, float(radius))


def smooth_field(
    shape: Sequence[int], spacing: Millimeters, cell: float, rng: np.random.Generator, channels: int = 1
) -> NDArray[np.float32]:
    """Normal noise that varies over ``cell`` millimeters: ``[*shape]``, or ``[channels, *shape]``.

    Drawn on a coarse grid that is shifted by chance, and enlarged linearly; one standard deviation is about 1.
    """
    cells = [int(np.ceil(n * s / cell)) + 2 if n > 1 else 1 for n, s in zip(shape, spacing, strict=True)]
    drawn = torch.from_numpy(rng.standard_normal((1, channels, *cells), np.float32))
    field = F.interpolate(drawn, size=tuple(shape), mode="trilinear", align_corners=True)[0].numpy()
    # Linear interpolation averages neighbors: between the nodes 2/3 of the variance is left along each axis.
    field *= np.float32(1.5 ** (sum(n > 1 for n in shape) / 2))
    return field[0] if channels == 1 else field
