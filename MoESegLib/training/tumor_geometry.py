"""Patches of prepared images: cut, turned, scaled and mirrored in one interpolation; slabs made of single slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from .tumor_shapes import Millimeters, smooth_field

_MIRRORED = (0.15, 0.15, 0.5)
"""How often D, H and W are mirrored; left and right most often, since organs lie upright but tumors on either side."""
_TURN, _TILT, _SCALE = 0.3, 0.12, 0.12
"""Radians around D, and around the other axes; standard deviation of the logarithm of the size (within 2 of them)."""

_QUIET = 0.8
"""Voxels over which a slice is smoothed before it is continued."""


@dataclass(frozen=True, eq=False)
class Pose:
    """Where a patch lies in an image.

    Attributes:
        center: voxel (d, h, w) of the image that comes into the middle.
        matrix: (3, 3) from voxels of the patch, counted from its middle, to those of the image.
    """

    center: NDArray[np.float64]
    matrix: NDArray[np.float64]

    @classmethod
    def straight(cls, center: ArrayLike) -> Pose:
        """Cut as it is."""
        return cls(np.asarray(center, np.float64), np.eye(3))

    @classmethod
    def drawn(cls, center: ArrayLike, rng: np.random.Generator, is_slice: bool) -> Pose:
        """Mirrored, turned and scaled by chance; a slice stays in its plane."""
        mirror = np.where(rng.random(3) < _MIRRORED, -1.0, 1.0)
        angles = rng.normal(0, (_TURN, _TILT, _TILT))
        size = np.exp(np.clip(rng.normal(0, _SCALE), -2 * _SCALE, 2 * _SCALE))
        if is_slice:
            mirror[0], angles[1:] = 1.0, 0.0
        matrix = np.diag(mirror)
        for axis, angle in enumerate(angles):
            matrix = matrix @ _rotation(axis, float(angle))
        return cls(np.asarray(center, np.float64), matrix * np.array([1.0 if is_slice else size, size, size])[:, None])


def _rotation(axis: int, angle: float) -> NDArray[np.float64]:
    first, second = (other for other in range(3) if other != axis)
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = np.cos(angle)
    matrix[first, second], matrix[second, first] = -np.sin(angle), np.sin(angle)
    return matrix


def cut(array: NDArray, pose: Pose, shape: Sequence[int], *, linear: bool, outside: float = 0.0) -> NDArray[np.float32]:
    """A patch of an array ``[D, H, W]`` as float32 of ``shape``; only the part that it needs is read.

    Args:
        outside: value where the image ends.
    """
    half = np.abs(pose.matrix) @ (np.asarray(shape) / 2) + 2
    low = np.clip(np.floor(pose.center - half), 0, np.asarray(array.shape) - 1).astype(int)
    high = np.clip(np.ceil(pose.center + half) + 1, low + 1, array.shape).astype(int)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    part = np.asarray(array[box], np.float32) - np.float32(outside)
    axes = [torch.arange(size, dtype=torch.float32) - size // 2 for size in shape]
    places = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1) @ torch.from_numpy(pose.matrix.T).float()
    places += torch.from_numpy(pose.center - low).float()
    return _sampled(part, places, linear) + np.float32(outside)


def slab(
    image: NDArray[np.float32], organs: NDArray[np.uint8], spacing: Millimeters, depth: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """A slice ``[1, H, W]`` and its organs continued to both sides, ``[depth, H, W]``.

    Organs and vessels become tubes that wander and widen: no anatomy, but the borders, vessels and noise around a
    lesion that is bounded in all three directions. The noise of the slice itself would run through the slab as streaks:
    it is smoothed away and drawn anew for every voxel.
    """
    height, width = image.shape[1:]
    shift = smooth_field((depth, height, width), spacing, float(rng.uniform(40, 80)), rng, channels=2)
    shift *= np.float32(rng.uniform(4, 9) / spacing[1])
    shift -= shift[:, depth // 2 : depth // 2 + 1]
    away = np.abs(np.arange(depth) - depth // 2) / max(depth / 2, 1)
    size = 1 + np.float32(rng.uniform(-0.1, 0.25)) * away.astype(np.float32) ** 2
    places = np.zeros((depth, height, width, 2), np.float32)  # columns first, as torch wants them, from -1 to 1
    for axis, length in enumerate((height, width), start=1):
        line = (np.arange(length, dtype=np.float32) - length // 2).reshape((1, -1, 1) if axis == 1 else (1, 1, -1))
        where = line * size[:, None, None] + shift[axis - 1]
        places[..., 2 - axis] = (where + length // 2) * np.float32(2 / (length - 1)) - 1
    quiet = ndimage.gaussian_filter(image, (0, _QUIET, _QUIET))
    body = organs > 0
    noise = 1.4826 * float(np.median(np.abs(image - quiet)[body])) if body.any() else 8.0
    drawn = ndimage.gaussian_filter(rng.standard_normal((depth, height, width), np.float32), 0.5, truncate=2.0)
    drawn = np.asarray(drawn * (1.2 * noise / float(drawn.std())), np.float32)
    parts = [
        F.grid_sample(
            torch.from_numpy(part.astype(np.float32))[None].expand(depth, 1, height, width),
            torch.from_numpy(places), mode, "border", align_corners=True,
        )[:, 0].numpy()
        for part, mode in ((quiet, "bilinear"), (organs, "nearest"))
    ]  # fmt: skip
    return parts[0] + drawn, parts[1].astype(np.uint8)


def _sampled(part: NDArray[np.float32], places: torch.Tensor, linear: bool) -> NDArray[np.float32]:
    """Values at voxels ``[D, H, W, 3]``, 0 outside."""
    sizes = torch.tensor(part.shape, dtype=torch.float32)
    # grid_sample wants the last axis first, and -1 to 1 from the first to the last voxel; a single slice lies at 0.
    is_one = sizes == 1
    grid = places * torch.where(is_one, 0.0, 2 / (sizes - 1).clamp(min=1)) - torch.where(is_one, 0.0, 1.0)
    image = torch.from_numpy(np.ascontiguousarray(part))[None, None]
    mode = "bilinear" if linear else "nearest"
    return F.grid_sample(image, grid.flip(-1)[None], mode, "zeros", align_corners=True)[0, 0].numpy()
