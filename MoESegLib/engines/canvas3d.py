"""The answer of a 3D model as low-resolution logits, joined over the crops it looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from .protocol import ExpertLogits
from .protocol3d import Triple

CHOSEN = ""
"""Name of the layer that holds the chosen answers, whoever gave them."""


@dataclass(frozen=True)
class Lattice:
    """Where the cells of the low-resolution logits lie in the model grid.

    All crops of one answer begin on the same lattice, so that the logits of one are the mask prompt of the next without
    any interpolation.

    Attributes:
        anchor: grid voxel (r, a, s) at which cell (0, 0, 0) begins.
        stride: voxels per cell.
        cells: cells along each side of a crop.
        grid: voxels of the model grid along r, a, s.
    """

    anchor: Triple
    stride: int
    cells: int
    grid: Triple

    @property
    def size(self) -> int:
        """Voxels along each side of a crop."""
        return self.cells * self.stride

    def origin(self, window: Triple) -> NDArray[np.int64]:
        """First grid voxel of the crop that begins at a cell."""
        return np.array(self.anchor) + self.stride * np.array(window)

    def middle(self, window: Triple) -> NDArray:
        """The grid voxel in the middle of a crop."""
        return self.origin(window) + (self.size - 1) / 2

    def cell(self, voxel: NDArray[np.int64]) -> Triple:
        """The cell that holds a grid voxel."""
        return as_triple((voxel - np.array(self.anchor)) // self.stride)

    def nearest(self, origin: NDArray[np.int64]) -> Triple:
        """The cell at which a crop begins that should begin at a grid voxel."""
        return as_triple(np.floor((origin - np.array(self.anchor)) / self.stride + 0.5))

    def contains(self, window: Triple, low: NDArray, high: NDArray, margin: int = 0) -> bool:
        """Whether a crop holds the grid voxels ``low`` to ``high`` with a margin (none at the end of the volume)."""
        first, last = self.origin(window), self.origin(window) + self.size - 1
        start = np.where(first <= 0, first, first + margin)
        stop = np.where(last >= np.array(self.grid) - 1, last, last - margin)
        return bool((low >= start).all() and (high <= stop).all())

    def continues(self, window: Triple, axis: int, side: int) -> bool:
        """Whether the volume goes on beyond a face of a crop."""
        first = self.origin(window)[axis]
        return bool(first > 0 if side < 0 else first + self.size < self.grid[axis])


@dataclass(frozen=True, eq=False)
class Canvas:
    """Logits by layer over a block of cells, NaN where no crop has answered.

    Attributes:
        start: first cell of the block.
        layers: float32 ``[x, y, z]`` (r, a, s) by name: the chosen answer and one layer per expert.
    """

    start: Triple = (0, 0, 0)
    layers: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

    @property
    def chosen(self) -> NDArray[np.float32]:
        """The chosen answer over the block."""
        return self.layers.get(CHOSEN, np.full((0, 0, 0), np.nan, np.float32))

    def read(self, window: Triple, shape: Triple) -> NDArray[np.float32]:
        """The chosen answer over any block, NaN where there is none."""
        return _placed(self.chosen, self.start, window, shape)

    def write(self, window: Triple, answers: tuple[ExpertLogits, ...], *, over: bool) -> Canvas:
        """The canvas with the answers of one crop.

        Args:
            over: replace what is there, else fill only the cells nobody answered.
        """
        given = {CHOSEN: answers[0].logits, **{answer.expert: answer.logits for answer in answers}}
        return self._merge(window, given, over)

    def paint(self, window: Triple, logits: NDArray[np.float32]) -> Canvas:
        """The canvas with a given mask in all of its layers."""
        return self._merge(window, {CHOSEN: logits}, over=True)

    def _merge(self, window: Triple, given: Mapping[str, NDArray[np.float32]], over: bool) -> Canvas:
        shape = given[CHOSEN].shape
        empty = not self.layers
        low = np.array(window) if empty else np.minimum(self.start, window)
        end = np.array(window) + shape
        high = end if empty else np.maximum(np.array(self.start) + self.chosen.shape, end)
        start, size = as_triple(low), as_triple(high - low)
        inner = tuple(slice(w - s, w - s + n) for w, s, n in zip(window, start, shape, strict=True))
        layers = {}
        for name in dict.fromkeys([*self.layers, *given]):
            layer = _placed(self.layers.get(name, self.chosen), self.start, start, size)
            fresh = given.get(name, given[CHOSEN])
            layer[inner] = fresh if over else np.where(np.isnan(layer[inner]), fresh, layer[inner])
            layers[name] = layer
        return replace(self, start=start, layers=layers)


def next_window(canvas: Canvas, lattice: Lattice, windows: list[Triple]) -> Triple | None:
    """Where to look next: beyond the face of a crop that the mask touches most, or None.

    The new crop overlaps the old one by half and one cell, so that a click at the center of the old one stays visible
    (SAM-Med3D, section 4.3: overlapping crops that keep the prompt).
    """
    best, most = None, 0
    for window in windows:
        for axis in range(3):
            for side in (-1, 1):
                shift = [0, 0, 0]
                shift[axis] = side * (lattice.cells // 2 - 1)
                touching = _touching(canvas, lattice, window, axis, side)
                if touching > most:
                    best, most = as_triple(np.add(window, shift)), touching
    return best


def _touching(canvas: Canvas, lattice: Lattice, window: Triple, axis: int, side: int) -> int:
    """Cells of the mask at a face of a crop beyond which the volume goes on and nobody has looked."""
    if not lattice.continues(window, axis, side):
        return 0
    place, shape = list(window), [lattice.cells] * 3
    place[axis] += lattice.cells - 1 if side > 0 else 0
    shape[axis] = 1
    face = canvas.read(as_triple(place), as_triple(shape))
    place[axis] += side
    beyond = canvas.read(as_triple(place), as_triple(shape))
    return int(np.count_nonzero((face > 0) & np.isnan(beyond)))


def _placed(block: NDArray[np.float32], start: Triple, window: Triple, shape: Triple) -> NDArray[np.float32]:
    """A copy of the part of a block that lies in a window, NaN elsewhere."""
    result = np.full(shape, np.nan, np.float32)
    low = np.maximum(start, window)
    high = np.minimum(np.add(start, block.shape), np.add(window, shape))
    if (low < high).all():
        source = tuple(slice(a - s, b - s) for a, b, s in zip(low, high, start, strict=True))
        target = tuple(slice(a - w, b - w) for a, b, w in zip(low, high, window, strict=True))
        result[target] = block[source]
    return result


def as_triple(values: NDArray | list[int]) -> Triple:
    """Three whole numbers."""
    return int(values[0]), int(values[1]), int(values[2])
