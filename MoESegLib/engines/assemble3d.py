"""From low-resolution logits over the model grid to a mask on the voxels of the volume."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection

import numpy as np
from numpy.typing import NDArray

from ..core.geometry import EMPTY_EXTENT, Extent, extent_shape, extent_slices, is_empty, mask_extent
from ..core.results import Alternative, MaskPatch, Prediction, ProbabilityMap
from ..core.volume import Volume
from .canvas3d import CHOSEN, Canvas, Lattice
from .grid3d import ModelGrid, sample, to_block
from .placement import SliceKey
from .protocol import ExpertLogits

_NOWHERE = -20.0
"""Logit of cells that no crop has answered."""
_LEAST = -5.3
"""Logit of a probability that rounds to 0 percent; cells below it need no place in the result."""
NOTHING = "Nothing was found."
_AT_ONCE = 1 << 22
"""Voxels that are sampled before the next look whether to go on: 0.1 s, 0.4 s on oblique grids."""


class VolumeReader:
    """Reads canvases at the voxels of a volume.

    Linear interpolation of the logits, cut at 0, gives truer borders than the public inference, which cuts at the
    voxels of the model and takes the nearest one: with logits that know the answer, Dice 0.993 to 0.999 against 0.954
    to 0.963 for a ball of 12 mm radius, 0.998 against 0.974 for one of 20 mm (0.8 x 0.8 x 2.5 mm and an oblique grid).

    Args:
        slices: answer on these only, or None for everywhere.
        nearest: cut before sampling, as the public inference does.
        check: called every fraction of a second; what it raises ends the work.
    """

    def __init__(
        self,
        volume: Volume,
        grid: ModelGrid,
        lattice: Lattice,
        slices: Collection[SliceKey] | None = None,
        nearest: bool = False,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self.volume = volume
        self.grid = grid
        self.lattice = lattice
        self.slices = slices
        self.nearest = nearest
        self.check = check

    def prediction(self, canvas: Canvas, answers: tuple[ExpertLogits, ...], notes: list[str]) -> Prediction:
        """The canvas as the answer of an engine.

        Args:
            answers: of the latest crop that holds a prompt; they say who was chosen, and how sure everybody is.
        """
        patch, probability = self._read(canvas, CHOSEN)
        chosen = answers[0]
        known = {answer.expert: answer for answer in answers}
        others = [name for name in canvas.layers if name not in (CHOSEN, chosen.expert)]
        return Prediction(
            patch=patch,
            expert=chosen.expert,
            confidence=chosen.quality,
            gate_weight=chosen.gate_weight,
            notes=tuple(dict.fromkeys([*notes, *chosen.notes, *([] if patch.count else [NOTHING])])),
            alternatives=tuple(self._alternative(canvas, name, known.get(name)) for name in others),
            probability=probability,
        )

    def _alternative(self, canvas: Canvas, name: str, answer: ExpertLogits | None) -> Alternative:
        patch, _ = self._read(canvas, name)
        return Alternative(name, patch, answer and answer.quality, answer and answer.gate_weight)

    def _read(self, canvas: Canvas, name: str) -> tuple[MaskPatch, ProbabilityMap]:
        logits = np.nan_to_num(canvas.layers[name], nan=_NOWHERE)
        used = np.argwhere(logits > _LEAST)
        if not used.size:
            return MaskPatch(), ProbabilityMap()
        low, high = np.maximum(used.min(axis=0) - 1, 0), used.max(axis=0) + 2
        block = logits[tuple(slice(first, stop) for first, stop in zip(low, high, strict=True))]
        origin = self.lattice.origin(canvas.start) + self.lattice.stride * low
        to_ras = self.grid.block(origin, self.lattice.stride)
        extent = self._extent(to_ras, block.shape)
        if is_empty(extent):
            return MaskPatch(), ProbabilityMap()
        values = self._sample(block, to_ras, extent)
        percent = np.rint(100 / (1 + np.exp(-np.clip(values, -30, 30)))).astype(np.uint8)
        mask = self._cut(logits, canvas, extent) if self.nearest else values > 0
        if self.slices is not None:
            kept = self._on_slices(extent)
            mask, percent = mask & kept, percent * kept
        patch, sure = _trim(extent, mask), _trim(extent, percent)
        return patch, ProbabilityMap(sure.extent, sure.voxels)

    def _sample(self, block: NDArray, to_ras: NDArray[np.float64], extent: Extent, linear: bool = True) -> NDArray:
        depth, rows, columns = extent_shape(extent)
        result = np.empty((depth, rows, columns), np.float32)
        step = max(1, _AT_ONCE // (rows * columns))
        for first in range(0, depth, step):
            self.check()
            count = min(step, depth - first)
            matrix = to_block(self.volume, to_ras, (extent[4] + first, extent[2], extent[0]))
            part = sample(block, matrix, (count, rows, columns), linear=linear, outside=_NOWHERE)
            result[first : first + count] = part
        return result

    def _cut(self, logits: NDArray[np.float32], canvas: Canvas, extent: Extent) -> NDArray[np.bool_]:
        """Enlarged to the voxels of the model, cut, nearest voxel."""
        import torch
        import torch.nn.functional as F

        scale = self.lattice.stride
        large = F.interpolate(torch.from_numpy(logits)[None, None], scale_factor=scale, mode="trilinear")[0, 0].numpy()
        to_ras = self.grid.block(self.lattice.origin(canvas.start))
        return self._sample(np.where(large > 0, 1.0, -1.0).astype(np.float32), to_ras, extent, linear=False) > 0

    def _extent(self, to_ras: NDArray[np.float64], shape: tuple[int, ...]) -> Extent:
        """The voxels of the volume that a block of cells covers, or the prompted slices among them."""
        corners = np.array(list(itertools.product(*((-0.5, length - 0.5) for length in shape))))
        ijk = self.volume.ras_to_ijk(corners @ to_ras[:3, :3].T + to_ras[:3, 3])
        low = np.maximum(np.floor(ijk.min(axis=0)), 0).astype(int)
        high = np.minimum(np.ceil(ijk.max(axis=0)), np.array(self.volume.size) - 1).astype(int)
        axes = {axis for axis, _ in self.slices or ()}
        if len(axes) == 1:
            axis = axes.pop()
            indices = [index for _, index in self.slices or ()]
            low[axis], high[axis] = max(low[axis], min(indices)), min(high[axis], max(indices))
        if (low > high).any():
            return EMPTY_EXTENT
        return int(low[0]), int(high[0]), int(low[1]), int(high[1]), int(low[2]), int(high[2])

    def _on_slices(self, extent: Extent) -> NDArray[np.bool_]:
        kept = np.zeros(extent_shape(extent), bool)
        for axis, index in self.slices or ():
            if extent[2 * axis] <= index <= extent[2 * axis + 1]:
                selector: list[slice | int] = [slice(None)] * 3
                selector[2 - axis] = index - extent[2 * axis]
                kept[tuple(selector)] = True
        return kept


def _trim(extent: Extent, voxels: NDArray) -> MaskPatch:
    """Small numbers within an extent as the patch of those that are not 0."""
    inner = mask_extent(voxels)
    if is_empty(inner):
        return MaskPatch()
    i0, i1, j0, j1, k0, k1 = inner
    i, _, j, _, k, _ = extent
    placed = i + i0, i + i1, j + j0, j + j1, k + k0, k + k1
    return MaskPatch(placed, np.ascontiguousarray(voxels[extent_slices(inner)]).astype(np.uint8))
