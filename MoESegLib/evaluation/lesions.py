"""How many lesions were found, and how many that are none: what a mean Dice over voxels does not tell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core.geometry import extent_slices
from ..core.lesions import LEAST_MM3, split_lesions
from ..core.results import MaskPatch

FOUND = 0.1
"""Share of a lesion that must be covered for it to count as found; a touching voxel is no finding."""


@dataclass(frozen=True)
class LesionCounts:
    """One image.

    Attributes:
        found: lesions of the reference that were found.
        lesions: lesions of the reference.
        false_positives: separate parts of the answer that touch no lesion at all.
    """

    found: int
    lesions: int
    false_positives: int


def count_lesions(
    prediction: NDArray, reference: NDArray, voxel_volume: float, least_mm3: float = LEAST_MM3
) -> LesionCounts:
    """Lesions of two masks ``[k, j, i]`` of equal shape.

    Args:
        voxel_volume: cubic millimeters.
        least_mm3: smaller parts of either mask are not counted; an answer on a small lesion is no false one.
    """
    inside, expected = prediction != 0, reference != 0
    wanted = split_lesions(MaskPatch.of(expected), voxel_volume, least_mm3)
    given = split_lesions(MaskPatch.of(inside), voxel_volume, least_mm3)
    found = sum(_share_in(lesion, inside) >= FOUND for lesion in wanted)
    return LesionCounts(found, len(wanted), sum(_share_in(part, expected) == 0 for part in given))


def _share_in(part: MaskPatch, mask: NDArray[np.bool_]) -> float:
    voxels = part.voxels > 0
    return float(np.count_nonzero(mask[extent_slices(part.extent)] & voxels) / np.count_nonzero(voxels))
