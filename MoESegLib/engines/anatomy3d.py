"""Organs that were given as masks, on the voxels of a 3D model: where to look for a tumor, and how far it is.

Anatomical prompts are the published idea of MAST-Pro (arXiv 2503.14355); how they enter is not published. Here an organ
gives a region of interest, a dense channel with the signed distance to its surface, and a label map for organ tokens.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..core.errors import PromptError
from ..core.geometry import extent_slices, mask_extent
from ..core.organs import Organ, Side, organ_ids, organ_named, organ_of_id, side_of
from ..core.prompts import MaskPrompt
from ..core.tumor_records import TumorRecord
from ..core.volume import Volume
from .anatomy_notes import AnatomyNotes
from .grid3d import ModelGrid, from_block, sample
from .protocol3d import Triple

REACH_MM = 20.0
"""Millimeters around the organs that are searched, and at which the distance channel is cut off."""

Region = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class Anatomy3D:
    """The organs on a model grid; all arrays are ``[r, a, s]``.

    Attributes:
        labels: uint8, 1 + the place of the organ in :func:`~MoESegLib.core.organs.organ_ids`, 0 for none. Organs of the
            tumor on another side than asked for are left out.
        target: bool, all organs in which the tumor can lie, with the cysts in them: TotalSegmentator cuts these out.
        region: voxels of the box around ``target`` and :data:`REACH_MM` more; the whole grid where there is no target.
        present: IDs of the organs in ``labels``.
        notes: sentences for the user about what is missing, unknown or suspicious.
        is_absent: organs were given, but none in which the tumor lies, and it lies nowhere else: nothing to search.
    """

    labels: NDArray[np.uint8]
    target: NDArray[np.bool_]
    region: Region
    present: tuple[str, ...]
    notes: tuple[str, ...]
    is_absent: bool = False

    @property
    def is_known(self) -> bool:
        """Whether any organ of the tumor lies in the image."""
        return bool(self.target.any())


@dataclass(frozen=True, eq=False)
class PlacedOrgan:
    """One mask on a grid.

    Attributes:
        organ, side: what it is.
        mask: bool ``[r, a, s]`` of the part of the grid that begins at ``start``.
        low_ras, high_ras, center_ras: bounds and center of the mask as it was given, in RAS millimeters.
    """

    organ: Organ
    side: Side
    mask: NDArray[np.bool_]
    start: Triple
    low_ras: NDArray[np.float64]
    high_ras: NDArray[np.float64]
    center_ras: NDArray[np.float64]

    @property
    def place(self) -> Region:
        """The voxels of the grid that the mask covers."""
        first, *others = (slice(low, low + size) for low, size in zip(self.start, self.mask.shape, strict=True))
        return first, others[0], others[1]


def anatomy_on_grid(
    volume: Volume, grid: ModelGrid, prompts: Iterable[MaskPrompt], record: TumorRecord, side: Side = ""
) -> Anatomy3D:
    """Anatomical prompts on the voxels of a model.

    Args:
        volume: the image; a prompt without a matrix of its own lies on its voxels.
        prompts: those with the role "anatomy" are taken; ``structure`` is a name or code as
            :func:`~MoESegLib.core.organs.organ_named` knows it, "" stands for the first organ of the tumor.
        record: the tumor to look for.
        side: look on this side only.

    Raises:
        PromptError: a prompt without a matrix has another shape than the volume.
    """
    notes = AnatomyNotes(record, side)
    placed = [
        found
        for prompt in prompts
        if prompt.role == "anatomy"
        for found in [_placed(volume, grid, prompt, record, notes)]
        if found is not None
    ]
    notes.check_sides(placed, volume)
    kept = [found for found in placed if _is_on_side(found, record, side)]
    notes.check_complete(placed, kept)
    labels, target = np.zeros(grid.shape, np.uint8), np.zeros(grid.shape, np.bool_)
    numbers = {organ_id: number for number, organ_id in enumerate(organ_ids(), start=1)}
    # What is drawn last stays: a cyst lies in its organ, and the tumor's organ matters more than its neighbors.
    for found in sorted(kept, key=lambda item: (item.organ.is_look_alike, item.organ.id in record.organs)):
        labels[found.place][found.mask] = numbers[found.organ.id]
        if found.organ.id in record.organs or (record.needs(found.organ) and target.any()):
            target[found.place] |= found.mask
    counts = np.bincount(labels.ravel(), minlength=len(numbers) + 1)
    present = tuple(organ_id for organ_id, number in numbers.items() if counts[number])
    region = region_around(target, spacing_of(grid))
    is_absent = notes.says_absent and not target.any()
    return Anatomy3D(labels, target, region, present, tuple(notes.sentences), is_absent)


def dense_channels(target: NDArray[np.bool_], spacing: Sequence[float]) -> NDArray[np.float32]:
    """Mask and distance of the tumor's organs, as a model gets them.

    Args:
        target: three axes. Cut to :func:`region_around`, the numbers there are those of the whole.
        spacing: millimeters along each axis.

    Returns:
        float32 ``[2, ...]``: 1 in the organs and 0 elsewhere; and the distance to the nearest voxel across their
        surface in units of :data:`REACH_MM`, positive inside, negative outside, cut off at 1 and -1. Without any organ
        0 and -1: far from it. That is not what a model gets where no organ is known, which is zeros.
    """
    inside, outside = _distance(target, spacing), _distance(~target, spacing)
    signed = np.where(target, inside, -outside) / REACH_MM
    return np.stack([target.astype(np.float32), np.clip(signed, -1, 1).astype(np.float32)])


def region_around(target: NDArray[np.bool_], spacing: Sequence[float], margin: float = REACH_MM) -> Region:
    """The box around a mask and ``margin`` millimeters more, within the array; the whole array if it is empty."""
    if not target.any():
        return slice(0, target.shape[0]), slice(0, target.shape[1]), slice(0, target.shape[2])
    box = extent_slices(mask_extent(target))
    more = [int(np.ceil(margin / length)) for length in spacing]
    first, second, third = (
        slice(max(part.start - extra, 0), min(part.stop + extra, size))
        for part, extra, size in zip(box, more, target.shape, strict=True)
    )
    return first, second, third


def organ_masks(labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """One mask for each organ, bool ``[C, ...]`` in the order of the organ tokens, from (a patch of) a label map."""
    numbers = np.arange(1, len(organ_ids()) + 1, dtype=np.uint8)
    return labels[np.newaxis] == numbers.reshape(-1, *[1] * labels.ndim)


def spacing_of(grid: ModelGrid) -> tuple[float, float, float]:
    """Millimeters along r, a, s."""
    r, a, s = np.linalg.norm(grid.to_ras[:3, :3], axis=0)
    return float(r), float(a), float(s)


def _distance(mask: NDArray[np.bool_], spacing: Sequence[float]) -> NDArray[np.float64]:
    """Millimeters from each voxel of a mask to the nearest one out of it; far where there is none."""
    if not mask.any() or mask.all():  # scipy measures to nowhere where all is mask
        return np.full(mask.shape, REACH_MM)
    return np.asarray(ndimage.distance_transform_edt(mask, sampling=tuple(spacing)))


def _is_on_side(found: PlacedOrgan, record: TumorRecord, side: Side) -> bool:
    return not (record.needs(found.organ) and side and found.side and found.side != side)


def _placed(
    volume: Volume, grid: ModelGrid, prompt: MaskPrompt, record: TumorRecord, notes: AnatomyNotes
) -> PlacedOrgan | None:
    """A prompt on the grid, or None with a note."""
    organ = organ_named(prompt.structure) if prompt.structure else organ_of_id(record.organs[0])
    if organ is None:
        notes.unknown(prompt.structure)
        return None
    if not prompt.structure:
        notes.unnamed(organ)
    part = _cut(volume, prompt)
    corners = part.to_ras(list(itertools.product(*((-0.5, size - 0.5) for size in part.size))))
    cells = cells_within(grid, corners)
    mask = None if cells is None else _resampled(part, grid, *cells)
    if cells is None or mask is None:
        notes.outside(prompt.structure or organ.name)
        return None
    low, high, side = corners.min(axis=0), corners.max(axis=0), side_of(prompt.structure)
    return PlacedOrgan(organ, side, mask, cells[0], low, high, part.to_ras(_center(part.array)))


def _center(mask: NDArray) -> NDArray[np.float64]:
    """Mean index (i, j, k) of the voxels of a mask ``[k, j, i]``."""
    profiles = (mask.sum(axis=tuple({0, 1, 2} - {axis}), dtype=np.int64) for axis in (2, 1, 0))
    return np.array([np.average(np.arange(len(profile)), weights=profile) for profile in profiles])


def _cut(volume: Volume, prompt: MaskPrompt) -> Volume:
    """The box of a mask around its voxels, with its matrix."""
    if prompt.ijk_to_ras is None and prompt.mask.shape != volume.shape:
        raise PromptError(
            f"The mask of {prompt.structure or 'the organ'} has {prompt.mask.shape} voxels (k, j, i) and the image "
            f"{volume.shape}. Give the mask its own IJK-to-RAS matrix, or make it on the image's voxels."
        )
    matrix = np.array(volume.ijk_to_ras if prompt.ijk_to_ras is None else prompt.ijk_to_ras)
    extent = mask_extent(prompt.mask)
    matrix[:3, 3] += matrix[:3, :3] @ np.asarray(extent[::2], np.float64)
    return Volume(prompt.mask[extent_slices(extent)], matrix, modality="SEG", name=prompt.structure)


def cells_within(grid: ModelGrid, corners: NDArray[np.float64]) -> tuple[Triple, Triple] | None:
    """First voxel and number of voxels of the part of a grid that RAS corners reach into, or None."""
    inverse = np.linalg.inv(grid.to_ras)
    voxels = corners @ inverse[:3, :3].T + inverse[:3, 3]
    low = np.clip(np.floor(voxels.min(axis=0)), 0, None).astype(int)
    high = np.minimum(np.ceil(voxels.max(axis=0)).astype(int) + 1, grid.shape)
    if (high <= low).any():
        return None
    size = high - low
    return (int(low[0]), int(low[1]), int(low[2])), (int(size[0]), int(size[1]), int(size[2]))


def _resampled(part: Volume, grid: ModelGrid, start: Triple, shape: Triple) -> NDArray[np.bool_] | None:
    """A mask on a part of a grid; where it is too thin to be seen there, the voxels that hold its own."""
    # Half of linear interpolation: balls of 20 mm on 1 to 4 mm grids came out 5 % too small to 6 % too large, but
    # within 0.2 mm of their place; the nearest voxel keeps the size and moves them by up to 0.9 mm.
    mask = sample(part.array, from_block(part, grid.block(start)), shape) >= 0.5
    if not mask.any():
        stored = part.to_ras(np.argwhere(part.array)[:, ::-1])
        inverse = np.linalg.inv(grid.to_ras)
        voxels = np.rint(stored @ inverse[:3, :3].T + inverse[:3, 3]).astype(int) - start
        voxels = voxels[((voxels >= 0) & (voxels < shape)).all(axis=1)]
        mask[tuple(voxels.T)] = True
    return mask if mask.any() else None
