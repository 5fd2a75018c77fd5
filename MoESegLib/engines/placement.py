"""From prompts in patient space to prompts on displayed slices: which slice, which pixels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core.errors import PromptError
from ..core.prompts import (
    AutomaticPrompt,
    BoxPrompt,
    MaskPrompt,
    PointPrompt,
    PolygonPrompt,
    Prompt,
    ScribblePrompt,
    TextPrompt,
    WholeSlicePrompt,
)
from ..core.resample import resample_nearest
from ..core.volume import Volume
from .protocol import Extent3D

SliceKey = tuple[int, int]
"""IJK axis normal to the slice, index along it."""

Box2D = tuple[float, float, float, float]
"""x0, y0, x1, y1 in displayed pixels."""

_FLAT = 0.5  # voxels: a shape thinner than this along an axis was drawn in one slice


@dataclass(frozen=True, eq=False)
class PixelPrompt:
    """One prompt on one displayed slice.

    Attributes:
        kind: of the prompt it came from.
        points: ``[N, 2]`` displayed pixels (x, y) of a point, scribble or polygon.
        box: of a box prompt.
        mask: bool ``[row, column]`` of a mask or polygon prompt.
        text: of a text prompt.
    """

    kind: str
    positive: bool = True
    points: NDArray[np.float64] | None = None
    box: Box2D | None = None
    mask: NDArray[np.bool_] | None = None
    text: str = ""


@dataclass(frozen=True)
class PlacedPrompts:
    """The prompts of one segment, slice by slice.

    Attributes:
        slices: prompts of every slice that is asked about, in the order they were given.
        text: phrases that belong to no slice: they say what the prompts on the slices are of.
        ranges: index ranges along an axis that 3D boxes allow: (axis, first, last).
        everywhere: every slice was asked about, so there is nothing to propagate.
    """

    slices: dict[SliceKey, list[PixelPrompt]]
    text: tuple[str, ...]
    ranges: tuple[tuple[int, int, int], ...]
    everywhere: bool = False


def place_prompts(volume: Volume, prompts: Sequence[Prompt], extent: Extent3D = "slice") -> PlacedPrompts:
    """Put every prompt on its slice, or on every slice.

    With ``extent="volume"`` (or a single slice), an automatic prompt without a slice asks about every slice, and so
    does a phrase without a slice that was given before anything was drawn; what is drawn then corrects the answer on
    its slice. A phrase given after something was drawn says what that is. Prompts that are not tied to a plane go to
    slices along the axis the volume was acquired along.

    Raises:
        PromptError: a prompt that names no slice where it must, a mask that lies on another grid and misses the volume,
            or a prompt of no extent.
    """
    default = volume.acquisition_axis
    slices: dict[SliceKey, list[PixelPrompt]] = {}
    asked: dict[int, list[PixelPrompt]] = {}
    texts: list[str] = []
    ranges: list[tuple[int, int, int]] = []
    drawn = False
    for prompt in prompts:
        if isinstance(prompt, WholeSlicePrompt):
            axis = default if prompt.plane is None else volume.axis_of(prompt.plane)
            if prompt.ras is not None:
                slices.setdefault(slice_of(volume, prompt, default), []).append(_without_place(prompt))
            elif _speaks_of_all(prompt, drawn) and (extent == "volume" or volume.size[axis] == 1):
                asked.setdefault(axis, []).append(_without_place(prompt))
            elif isinstance(prompt, TextPrompt):
                texts.append(prompt.text)
            else:
                raise PromptError(f"An automatic prompt that names no slice looks on all of them. {_NAME_A_SLICE}")
        elif isinstance(prompt, MaskPrompt):
            drawn = True
            for key, placed in _place_mask(volume, prompt, default).items():
                slices.setdefault(key, []).append(placed)
        else:
            drawn = True
            key = slice_of(volume, prompt, default)
            slices.setdefault(key, []).append(_on_slice(volume, prompt, key[0]))
            if isinstance(prompt, BoxPrompt) and (span := _box_span(volume, prompt, key[0])) is not None:
                ranges.append(span)
    if texts and not slices and not asked:
        raise PromptError(f"A phrase names no slice. {_NAME_A_SLICE}")
    for axis, first in asked.items():
        every = [(axis, index) for index in range(volume.size[axis])]
        slices = {**slices, **{key: [*first, *slices.get(key, [])] for key in every}}
    return PlacedPrompts(slices, tuple(texts), tuple(ranges), bool(asked))


_NAME_A_SLICE = "Choose the whole volume (extent='volume'), or give it a point on the slice that is meant (ras=...)."


def _speaks_of_all(prompt: WholeSlicePrompt, drawn: bool) -> bool:
    return isinstance(prompt, AutomaticPrompt) or not drawn


def _without_place(prompt: WholeSlicePrompt) -> PixelPrompt:
    return PixelPrompt(prompt.kind, text=prompt.text if isinstance(prompt, TextPrompt) else "")


def slice_of(volume: Volume, prompt: Prompt, default_axis: int) -> SliceKey:
    """The slice a drawn prompt lies in: its own plane's, else the one it is flat in, else the default axis."""
    ijk = volume.ras_to_ijk(prompt.ras_points)
    low, high = ijk.min(axis=0), ijk.max(axis=0)
    if prompt.plane is not None:
        axis = volume.axis_of(prompt.plane)
    elif isinstance(prompt, PointPrompt | WholeSlicePrompt) or high[default_axis] - low[default_axis] < _FLAT:
        axis = default_axis
    else:
        thinnest = int(np.argmin(high - low))
        axis = thinnest if (high - low)[thinnest] < _FLAT else default_axis
    middle = (low[axis] + high[axis]) / 2
    return axis, int(np.clip(np.floor(middle + 0.5), 0, volume.size[axis] - 1))


def check_prompts(volume: Volume, prompts: Sequence[Prompt]) -> None:
    """Refuse prompts that make no sense on this volume, whatever the model.

    Raises:
        PromptError: outside the volume, of zero size, or contradictory.
    """
    for prompt in prompts:
        for point in prompt.ras_points:
            if not volume.contains(point):
                ijk = ", ".join(f"{value:.0f}" for value in volume.ras_to_ijk(point))
                raise PromptError(
                    f"The {prompt.kind} prompt at RAS {_text(point)} lies outside the volume (voxel {ijk}; the volume "
                    f"has {' x '.join(map(str, volume.size))} voxels). Place it inside the image."
                )
        if isinstance(prompt, BoxPrompt):
            _check_box(volume, prompt)
        if isinstance(prompt, PolygonPrompt):
            _check_polygon(volume, prompt)
    _check_contradictions(volume, prompts)


def check_one_axis(volume: Volume, keys: Iterable[SliceKey]) -> int | None:
    """The axis that all prompts of a volume prediction share, or None without prompts.

    Raises:
        PromptError: prompts drawn in planes of different orientation.
    """
    axes = sorted({axis for axis, _ in keys})
    if len(axes) > 1:
        planes = " and ".join(volume.plane_of(axis) for axis in axes)
        raise PromptError(
            f"Propagation runs through slices of one orientation, but the prompts were drawn in {planes} planes. "
            "Draw them in one orientation, or use extent='slice'."
        )
    return axes[0] if axes else None


def _check_box(volume: Volume, prompt: BoxPrompt) -> None:
    lengths = np.abs(np.diff(volume.ras_to_ijk([prompt.corner_a, prompt.corner_b]), axis=0))[0]
    usable = [axis for axis in range(3) if lengths[axis] >= 1]
    if len(usable) < 2:
        raise PromptError(
            f"The box from RAS {_text(prompt.corner_a)} to {_text(prompt.corner_b)} has no size: it spans "
            f"{' x '.join(f'{length:.1f}' for length in lengths)} voxels. Drag it over at least one voxel in two "
            "directions."
        )


def _check_polygon(volume: Volume, prompt: PolygonPrompt) -> None:
    axis, _ = slice_of(volume, prompt, volume.acquisition_axis)
    corners = volume.view(axis).to_pixels(volume.ras_to_ijk(prompt.points))
    x, y = corners.T
    if abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2 < 1:
        raise PromptError("The polygon encloses less than one voxel; draw it around the target.")


def _check_contradictions(volume: Volume, prompts: Sequence[Prompt]) -> None:
    signs: dict[tuple[str, tuple[int, ...]], bool] = {}
    for prompt in prompts:
        if not isinstance(prompt, PointPrompt):
            continue
        voxel = tuple(int(value) for value in np.floor(volume.ras_to_ijk(prompt.ras) + 0.5))
        if signs.setdefault((prompt.segment, voxel), prompt.positive) != prompt.positive:
            raise PromptError(
                f"Contradictory points: voxel {voxel} (RAS {_text(prompt.ras)}) is marked both inside and outside "
                f"{prompt.segment}. Remove one of them or move it."
            )


def _place_mask(volume: Volume, prompt: MaskPrompt, axis: int) -> dict[SliceKey, PixelPrompt]:
    mask = mask_on_grid(volume, prompt)
    axis = axis if prompt.plane is None else volume.axis_of(prompt.plane)
    view = volume.view(axis)
    used = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != 2 - axis)))
    return {
        (axis, int(index)): PixelPrompt("mask", mask=np.ascontiguousarray(view.extract(mask, int(index))))
        for index in used
    }


def mask_on_grid(volume: Volume, prompt: MaskPrompt) -> NDArray[np.bool_]:
    """A mask prompt as bool ``[k, j, i]`` on the grid of the volume (nearest voxel).

    Raises:
        PromptError: another shape without a matrix, or no overlap with the volume.
    """
    matrix = prompt.ijk_to_ras
    if matrix is None or (prompt.mask.shape == volume.shape and np.allclose(matrix, volume.ijk_to_ras)):
        if prompt.mask.shape != volume.shape:
            raise PromptError(
                f"The mask prompt has shape {prompt.mask.shape}, the volume {volume.shape} (k, j, i). Give the mask's "
                "ijk_to_ras so that it can be resampled."
            )
        return prompt.mask != 0
    resampled = resample_nearest(prompt.mask, matrix, volume)
    if not resampled.any():
        raise PromptError("The mask prompt does not overlap the volume; check that both are of the same patient.")
    return resampled != 0


def _on_slice(volume: Volume, prompt: Prompt, axis: int) -> PixelPrompt:
    view = volume.view(axis)
    pixels = view.to_pixels(volume.ras_to_ijk(prompt.ras_points))
    if isinstance(prompt, BoxPrompt):
        (x0, y0), (x1, y1) = pixels.min(axis=0), pixels.max(axis=0)
        if x1 - x0 < 1 or y1 - y0 < 1:
            raise PromptError(
                f"The box from RAS {_text(prompt.corner_a)} to {_text(prompt.corner_b)} is flat seen from the "
                f"{volume.plane_of(axis)} direction. Draw it in that plane, or set its plane."
            )
        return PixelPrompt("box", box=(float(x0), float(y0), float(x1), float(y1)))
    if isinstance(prompt, PolygonPrompt):
        return PixelPrompt("polygon", points=pixels, mask=_fill(pixels, view.shape))
    if isinstance(prompt, PointPrompt | ScribblePrompt):
        return PixelPrompt(prompt.kind, positive=prompt.positive, points=pixels)
    raise PromptError(f"Prompts of kind {prompt.kind!r} cannot be placed on a slice.")


def _fill(corners: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Pixels whose centers a closed polygon holds (even-odd rule)."""
    from PIL import Image, ImageDraw

    image = Image.new("1", (shape[1], shape[0]))
    ImageDraw.Draw(image).polygon([(float(x), float(y)) for x, y in corners], fill=1, outline=1)
    return np.array(image, dtype=bool)


def _box_span(volume: Volume, prompt: BoxPrompt, axis: int) -> tuple[int, int, int] | None:
    """The slices a 3D box allows, or None for a flat one."""
    along = volume.ras_to_ijk([prompt.corner_a, prompt.corner_b])[:, axis]
    low, high = float(along.min()), float(along.max())
    if high - low < _FLAT:
        return None
    last = volume.size[axis] - 1
    return axis, int(np.clip(np.ceil(low - 0.5), 0, last)), int(np.clip(np.floor(high + 0.5), 0, last))


def _text(point: Sequence[float]) -> str:
    return "(" + ", ".join(f"{value:.1f}" for value in point) + ")"
