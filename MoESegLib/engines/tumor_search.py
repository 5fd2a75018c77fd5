"""Where MAST-Pro looks in a volume, and what it is shown there; the same as in training (:mod:`.tumor_image`)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.errors import PromptError
from ..core.prompts import BoxPrompt, Prompt, TextPrompt
from ..core.volume import Volume
from ..models.mast_pro.config import MastProConfig
from .anatomy3d import REACH_MM, Anatomy3D, Region, cells_within, dense_channels, spacing_of
from .canvas3d import as_triple
from .grid3d import ModelGrid, from_block
from .placement import SliceKey, slice_of
from .protocol import Extent3D
from .protocol3d import Triple
from .tumor_image import Scale, depth_first, on_grid, scale_of

_SLAB = 8
"""Grid voxels that are read at a time: 0.2 s of a CT of 512 x 512, so that a search can be cancelled."""
_DISTANCE_SLAB = 32
_EDGE = 4
"""Stored voxels around a slab that its smoothing reaches, and some more."""
CHANNELS = 5
"""Image (2), organ mask and distance (2), organ labels (1)."""


@dataclass(frozen=True, eq=False)
class Search:
    """One region of a volume, on the voxels of the network.

    Attributes:
        volume: one value a voxel.
        grid: covers the volume.
        limit: voxels of the grid in which an answer may lie.
        start, shape: what the network sees (r, a, s): the limit, made as large as a window; it may begin before the
            first voxel of the grid and end after the last.
        window: voxels (r, a, s) of one.
        slices: the answer is on these slices of the volume only; None for everywhere.

    A window one voxel deep in a volume sees each axial slice of the grid as if there were no other, its organs too.
    """

    volume: Volume
    grid: ModelGrid
    limit: Region
    start: Triple
    shape: Triple
    window: Triple
    slices: frozenset[SliceKey] | None

    @property
    def order(self) -> tuple[int, int, int]:
        """How axes (r, a, s) are put into (D, H, W)."""
        return depth_first(self.grid.shape)

    @property
    def inner(self) -> Region:
        """The limit as a part of what the network sees."""
        r, a, s = (slice(part.start - low, part.stop - low) for part, low in zip(self.limit, self.start, strict=True))
        return r, a, s

    def read(self, anatomy: Anatomy3D, config: MastProConfig, check: Callable[[], None]) -> NDArray[np.float32]:
        """Everything that the network gets, float32 ``[5, D, H, W]``; see :data:`CHANNELS`.

        Args:
            check: called every fraction of a second; what it raises ends the work.
        """
        result = np.empty((CHANNELS, *self.shape), np.float32)
        scale = scale_of(self.volume)
        for part, values in self._slabs(scale, check):
            result[(slice(0, 2), *part)] = scale.channels(values, config.windows)
        flat = self.window[2] == 1
        for part, values in _distances(anatomy.target, spacing_of(self.grid), self.start, self.shape, flat, check):
            result[(slice(2, 4), *part)] = values
        result[4] = _padded(anatomy.labels, self.start, self.shape)
        return np.ascontiguousarray(result.transpose(0, *(1 + axis for axis in self.order)))

    def back(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Values ``[D, H, W]`` of the network on the voxels ``[r, a, s]`` of the limit."""
        return values.transpose(np.argsort(self.order))[self.inner]

    def _slabs(self, scale: Scale, check: Callable[[], None]) -> Iterator[tuple[Region, NDArray[np.float32]]]:
        """Parts of what the network sees, and the values there."""
        for first in range(0, self.shape[2], _SLAB):
            check()
            last = min(first + _SLAB, self.shape[2])
            size = (*self.shape[:2], last - first)
            block = ModelGrid(self.grid.block(np.add(self.start, (0, 0, first))), size)
            source = _part_under(self.volume, block)
            outside = np.full(size, scale.outside, np.float32)
            part = (slice(None), slice(None), slice(first, last))
            yield part, outside if source is None else on_grid(source, block, outside=scale.outside)


def plan_search(
    volume: Volume,
    grid: ModelGrid,
    anatomy: Anatomy3D,
    prompts: Sequence[Prompt],
    config: MastProConfig,
    extent: Extent3D,
    in_slices: bool = False,
) -> Search:
    """Where to look: in the boxes, else around the organs, else everywhere; on slices that were pointed at, only there.

    A box that is flat along an axis says nothing about that axis, unless only its slice is asked for.

    Args:
        in_slices: single slices can be answered too. They are where the volume is thinner than a window: filled up with
            air, 20 slices of 2 mm made a network mark its windows instead of the lesion (``docs/results.md``).

    Raises:
        PromptError: boxes and slices leave nothing.
    """
    boxes = [prompt for prompt in prompts if isinstance(prompt, BoxPrompt)]
    limit = _box_region(volume, grid, boxes) if boxes else anatomy.region
    slices = _slices(volume, prompts, extent)
    if slices is not None:
        limit = _intersection(limit, _region_of(grid, _corners_of_slices(volume, slices)))
    if any(part.stop <= part.start for part in limit):
        raise PromptError(
            "The slice that was pointed at lies outside the box, or away from the organs that were given. Draw the box "
            "on that slice, or leave one of the two out."
        )
    window = _window_of(grid.shape, config, in_slices)
    low = np.array([part.start for part in limit])
    size = np.array([part.stop - part.start for part in limit])
    shape = np.maximum(size, window)
    start = low - (shape - size) // 2
    room = np.array(grid.shape) - shape  # negative where the grid is smaller than a window
    start = np.clip(start, np.minimum(room, 0), np.maximum(room, 0))
    return Search(volume, grid, limit, as_triple(start), as_triple(shape), window, slices)


def _window_of(shape: Triple, config: MastProConfig, in_slices: bool) -> Triple:
    """Voxels of a window along r, a, s."""
    order = depth_first(shape)
    depth = shape[order[0]]
    by_slices = depth == 1 or (in_slices and depth < config.patch[0])
    patch = (1, *config.slice_patch) if by_slices else config.patch
    r, a, s = (patch[order.index(axis)] for axis in range(3))
    return r, a, s


def _box_region(volume: Volume, grid: ModelGrid, boxes: Sequence[BoxPrompt]) -> Region:
    """The smallest region that holds all boxes."""
    corners = []
    for box in boxes:
        ijk = volume.ras_to_ijk(box.ras_points)
        low, high = ijk.min(axis=0), ijk.max(axis=0)
        flat = high - low < 0.5
        low[flat], high[flat] = -0.5, (np.array(volume.size) - 0.5)[flat]
        corners += [volume.to_ras(corner) for corner in itertools.product(*zip(low, high, strict=True))]
    return _region_of(grid, np.array(corners))


def _slices(volume: Volume, prompts: Sequence[Prompt], extent: Extent3D) -> frozenset[SliceKey] | None:
    """The slices that were pointed at; flat boxes only count where slices are asked for."""
    pointing = [prompt for prompt in prompts if isinstance(prompt, TextPrompt) and prompt.ras is not None]
    if extent == "slice":
        pointing += [prompt for prompt in prompts if isinstance(prompt, BoxPrompt) and _is_flat(volume, prompt)]
    if not pointing or 1 in volume.size:
        return None
    return frozenset(slice_of(volume, prompt, volume.acquisition_axis) for prompt in pointing)


def _is_flat(volume: Volume, box: BoxPrompt) -> bool:
    return bool(np.ptp(volume.ras_to_ijk(box.ras_points), axis=0).min() < 0.5)


def _corners_of_slices(volume: Volume, slices: frozenset[SliceKey]) -> NDArray[np.float64]:
    corners = []
    for axis, index in slices:
        bounds = [(-0.5, size - 0.5) for size in volume.size]
        bounds[axis] = (index - 0.5, index + 0.5)
        corners += [volume.to_ras(corner) for corner in itertools.product(*bounds)]
    return np.array(corners)


def _region_of(grid: ModelGrid, corners: NDArray[np.float64]) -> Region:
    """The voxels of a grid that RAS corners reach into; empty where they lie outside."""
    found = cells_within(grid, corners)
    start, size = ((0, 0, 0), (0, 0, 0)) if found is None else found
    r, a, s = (slice(first, first + length) for first, length in zip(start, size, strict=True))
    return r, a, s


def _intersection(first: Region, second: Region) -> Region:
    r, a, s = (slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(first, second, strict=True))
    return r, a, s


def _part_under(volume: Volume, block: ModelGrid) -> Volume | None:
    """The stored voxels that a block is made from, with their neighbors; None where it lies outside the volume.

    Only single slices may be one voxel thick: :func:`.tumor_image.on_grid` takes these for what lies beside them.
    """
    corners = np.array(list(itertools.product(*((-0.5, size - 0.5) for size in block.shape))))
    kji = corners @ from_block(volume, block.to_ras)[:3, :3].T + from_block(volume, block.to_ras)[:3, 3]
    last = np.array(volume.shape) - 1
    step = np.linalg.norm(block.to_ras[:3, 0]) / np.array(volume.spacing[::-1])
    edge = _EDGE + np.ceil(1.1 * step).astype(int)
    low = np.maximum(np.floor(kji.min(axis=0)).astype(int) - edge, 0)
    high = np.minimum(np.ceil(kji.max(axis=0)).astype(int) + edge, last)
    single = last == 0
    low[single] = high[single] = 0
    if (low > high).any():
        return None
    high = np.where(single, high, np.maximum(high, np.minimum(low + 1, last)))
    low = np.where(single, low, np.minimum(low, high - 1))
    matrix = volume.ijk_to_ras.copy()
    matrix[:3, 3] = volume.to_ras(low[::-1])
    k, j, i = (slice(int(first), int(stop) + 1) for first, stop in zip(low, high, strict=True))
    return replace(volume, array=volume.array[k, j, i], ijk_to_ras=matrix)


def _padded(array: NDArray, start: ArrayLike, shape: ArrayLike) -> NDArray:
    """A block of an array that may reach over its ends, where it is 0."""
    result = np.zeros(np.asarray(shape).tolist(), array.dtype)
    first = np.asarray(start)
    low = np.maximum(first, 0)
    high = np.minimum(np.add(first, shape), array.shape)
    if (low < high).all():
        source = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        target = tuple(slice(int(a - s), int(b - s)) for a, b, s in zip(low, high, first, strict=True))
        result[target] = array[source]
    return result


def _distances(
    target: NDArray[np.bool_],
    spacing: tuple[float, float, float],
    start: Triple,
    shape: Triple,
    flat: bool,
    check: Callable[[], None],
) -> Iterator[tuple[Region, NDArray[np.float32]]]:
    """Parts of a block, and the organ mask and distance there ``[2, r, a, s]``; the distance within a slice if flat.

    The distance is cut off at :data:`REACH_MM`: no more than that around a part decides its numbers. The border of the
    image is no surface of an organ.
    """
    reach = np.ceil(REACH_MM / np.array(spacing)).astype(int) + 1
    slab = _DISTANCE_SLAB
    if flat:
        reach[2], slab = 0, 1
    first, stop = np.minimum(start, 0), np.maximum(np.add(start, shape), target.shape)
    for begin in range(0, shape[2], slab):
        check()
        end = min(begin + slab, shape[2])
        low = np.add(start, (0, 0, begin))
        high = np.add(start, (*shape[:2], end))
        around = np.maximum(low - reach, first)
        values = dense_channels(_padded(target, around, np.minimum(high + reach, stop) - around), spacing)
        r, a, s = (slice(int(b), int(e)) for b, e in zip(low - around, high - around, strict=True))
        yield (slice(None), slice(None), slice(begin, end)), values[:, r, a, s]
