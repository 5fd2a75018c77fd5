"""Varied copies of 3D crops: turned, mirrored, scaled and shifted about the click, and with other contrast."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from .clicks3d import Voxel
from .crops3d import Target3D

_TURNED, _SHIFTED, _CONTRAST = 0.5, 0.3, 0.6
"""How often axes are exchanged or tilted, the click is not in the middle, and the contrast is another one."""
_LARGEST_SHIFT = 0.25
"""Of the side; the engine answers clicks up to an eighth of the side from the border."""
_TILT = 0.3  # radians
_SCALE = 0.12  # of the logarithm


def varied(target: Target3D, source: np.random.Generator) -> Target3D:
    """A copy that was varied by chance; it may be empty nowhere, since the click stays inside."""
    size = target.mask.shape[0]
    shift = source.uniform(-_LARGEST_SHIFT, _LARGEST_SHIFT, 3) * size * (source.random() < _SHIFTED)
    click = tuple(int(place) for place in np.rint(size // 2 + shift))
    pixels, mask = _moved(target, _matrix(source), (click[0], click[1], click[2]))
    if source.random() < _CONTRAST:
        pixels = _contrast(pixels, source)
    names = (target.structure, target.case, target.patient, target.dataset)
    return Target3D(pixels.astype(np.float16), mask, (click[0], click[1], click[2]), *names)


def _matrix(source: np.random.Generator) -> NDArray[np.float64]:
    """From places around the click in the copy to those in the original."""
    matrix = np.diag(source.choice([-1.0, 1.0], 3) * np.exp(source.normal(0, _SCALE, 3)))
    if source.random() < _TURNED:
        matrix = matrix[source.permutation(3)]
    if source.random() < _TURNED:
        axis, other = source.permutation(3)[:2]
        angle = source.uniform(-_TILT, _TILT)
        tilt = np.eye(3)
        tilt[axis, axis] = tilt[other, other] = np.cos(angle)
        tilt[axis, other], tilt[other, axis] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ tilt
    return matrix


def _moved(
    target: Target3D, matrix: NDArray[np.float64], click: Voxel
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Pixels and mask with the click elsewhere; the outermost voxels are repeated."""
    size = target.mask.shape[0]
    axis = torch.arange(size, dtype=torch.float32)
    places = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1) - torch.tensor(click)
    places = places @ torch.from_numpy(matrix).float().T + torch.tensor(target.click)
    # grid_sample wants the last axis first, and -1 to 1 from the first to the last voxel.
    grid = (2 * places / (size - 1) - 1).flip(-1)[None]
    pixels = torch.from_numpy(target.pixels.astype(np.float32))[None, None]
    mask = torch.from_numpy(target.mask.astype(np.float32))[None, None]
    moved = F.grid_sample(pixels, grid, "bilinear", "border", align_corners=True)
    inside = F.grid_sample(mask, grid, "nearest", "border", align_corners=True)
    return moved[0, 0].numpy(), inside[0, 0].numpy().astype(np.uint8)


def _contrast(pixels: NDArray[np.float32], source: np.random.Generator) -> NDArray[np.float32]:
    """Another gamma, gain and level, and some noise; all small against one standard deviation of the crop."""
    low, high = np.quantile(pixels[::2, ::2, ::2], (0.01, 0.99))
    if high > low:
        share = np.clip((pixels - low) / (high - low), 0, 1)
        bent = low + (high - low) * share ** np.exp(source.normal(0, 0.25))
        pixels = np.where((pixels > low) & (pixels < high), bent, pixels)
    pixels = pixels * np.exp(source.normal(0, 0.1)) + source.normal(0, 0.1)
    noise = source.uniform(0, 0.1) * source.standard_normal(pixels.shape, np.float32)
    return (pixels + noise).astype(np.float32)
