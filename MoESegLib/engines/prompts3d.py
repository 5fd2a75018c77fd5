"""From prompts in patient space to what a 3D model is told, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..core.errors import PromptError
from ..core.geometry import mask_extent
from ..core.prompts import BoxPrompt, MaskPrompt, PointPrompt, PolygonPrompt, Prompt, ScribblePrompt
from ..core.volume import Volume
from .convert import SCRIBBLE_POINTS
from .grid3d import ModelGrid
from .placement import mask_on_grid, place_prompts

BOX_NOTE = "This model was never taught boxes: it got a click at the center of the box, and looks around it."
POLYGON_NOTE = "This model was never taught outlines: it got a click at the innermost point of the outline."


@dataclass(frozen=True, eq=False)
class Step:
    """What is new in one pass of the decoder.

    Attributes:
        points: int64 ``[N, 3]`` grid voxels (r, a, s).
        positive: whether the points lie inside the target; also True for a mask.
        low, high: first and last grid voxel (r, a, s) of what was drawn; a crop is centered between them.
        mask: a given mask, bool ``[k, j, i]`` on the grid of the volume, or None.
        note: what the user should know, or "".
    """

    points: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 3), np.int64))
    positive: bool = True
    low: NDArray[np.int64] = field(default_factory=lambda: np.zeros(3, np.int64))
    high: NDArray[np.int64] = field(default_factory=lambda: np.zeros(3, np.int64))
    mask: NDArray[np.bool_] | None = None
    note: str = ""


def understood_kinds(native: frozenset[str]) -> frozenset[str]:
    """The kinds of prompts a 3D model can be given, conversions included."""
    return frozenset({"point", "scribble", "box", "polygon"} | (native & {"mask"}))


def steps_of(volume: Volume, grid: ModelGrid, prompts: Sequence[Prompt], room: int) -> list[Step]:
    """The prompts one by one, in the order they were given, as the model was trained.

    Args:
        room: voxels a crop has between its margins; a scribble longer than that is taken point by point.
    """
    steps: list[Step] = []
    for prompt in prompts:
        if isinstance(prompt, MaskPrompt):
            steps.append(_mask_step(volume, grid, prompt))
        elif isinstance(prompt, ScribblePrompt):
            steps += _scribble_steps(grid, prompt, room)
        else:
            point, note = _click(volume, prompt)
            voxel = grid.voxels(point)
            positive = prompt.positive if isinstance(prompt, PointPrompt) else True
            steps.append(Step(voxel[np.newaxis], positive, voxel, voxel, note=note))
    return steps


def _click(volume: Volume, prompt: Prompt) -> tuple[Sequence[float] | NDArray[np.float64], str]:
    """The RAS point that a prompt becomes, and what to say about it."""
    if isinstance(prompt, PointPrompt):
        return prompt.ras, ""
    if isinstance(prompt, BoxPrompt):
        return np.mean(prompt.ras_points, axis=0), BOX_NOTE
    if isinstance(prompt, PolygonPrompt):
        return _innermost(volume, prompt), POLYGON_NOTE
    raise PromptError(f"Prompts of kind {prompt.kind!r} cannot be placed in a volume. Place a point instead.")


def _innermost(volume: Volume, prompt: PolygonPrompt) -> NDArray[np.float64]:
    """The point of an outline that is farthest from its border: unlike the center, it is inside a crescent, too."""
    [((axis, index), [placed])] = place_prompts(volume, [prompt]).slices.items()
    view = volume.view(axis)
    if placed.mask is None or not placed.mask.any():
        return np.mean(prompt.points, axis=0)
    spacing = volume.spacing[view.row_axis], volume.spacing[view.column_axis]
    depth = ndimage.distance_transform_edt(np.pad(placed.mask, 1), sampling=spacing)
    row, column = np.unravel_index(int(np.argmax(np.asarray(depth)[1:-1, 1:-1])), placed.mask.shape)
    return volume.to_ras(view.to_ijk([float(column), float(row)], index))


def _scribble_steps(grid: ModelGrid, prompt: ScribblePrompt, room: int) -> list[Step]:
    count = len(prompt.points)
    chosen = np.linspace(0, count - 1, min(count, SCRIBBLE_POINTS)).round().astype(int)
    voxels = grid.voxels([prompt.points[index] for index in chosen])
    low, high = voxels.min(axis=0), voxels.max(axis=0)
    if (high - low >= room).any():
        return [Step(voxel[np.newaxis], prompt.positive, voxel, voxel) for voxel in voxels]
    return [Step(voxels, prompt.positive, low, high)]


def _mask_step(volume: Volume, grid: ModelGrid, prompt: MaskPrompt) -> Step:
    mask = mask_on_grid(volume, prompt)
    extent = np.array(mask_extent(mask), float).reshape(3, 2)
    corners = np.stack(np.meshgrid(*extent, indexing="ij"), axis=-1).reshape(-1, 3)
    voxels = grid.voxels(volume.to_ras(corners))
    return Step(low=voxels.min(axis=0), high=voxels.max(axis=0), mask=mask)
