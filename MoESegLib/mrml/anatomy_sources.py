"""Organs of a Slicer segmentation as anatomical prompts: known by their terminology, else by their names."""

from __future__ import annotations

import numpy as np
import slicer

from ..core.organs import organ_called
from ..core.prompts import DEFAULT_SEGMENT, MaskPrompt
from ..core.tumor_records import TumorRecord
from .segmentations import segment_ids, segment_ijk_to_ras, segment_of, segment_patch
from .terminology import structure_of


def anatomy_prompts(
    segmentation: slicer.vtkMRMLSegmentationNode,
    record: TumorRecord | None = None,
    segment: str = DEFAULT_SEGMENT,
) -> tuple[list[MaskPrompt], tuple[str, ...]]:
    """The organs of a segmentation as prompts, whatever grid and parent transforms it has.

    A segment is known by its terminology entry (SNOMED CT codes; TotalSegmentator writes them); where that is Slicer's
    "tissue", by its name ("kidney_left", "Left kidney"). A lesion in an organ is never taken for the organ.

    Args:
        record: only the organs of this tumor and the cysts that look like it; None takes all that are known.
        segment: ID of the segment that the prompts speak of, the one to be segmented.

    Returns:
        The prompts, with names that :func:`~MoESegLib.core.organs.organ_named` knows, and sentences for the user about
        organs that cannot be used.

    Raises:
        GeometryError: the segmentation is under a transform that is not linear.
    """
    prompts: list[MaskPrompt] = []
    notes: list[str] = []
    for segment_id in segment_ids(segmentation):
        source = segment_of(segmentation, segment_id)
        found = organ_called(source.GetName(), structure_of(source))
        if found is None or not (record is None or record.needs(found[0])):
            continue
        patch = segment_patch(segmentation, segment_id)
        if patch.count == 0:
            notes.append(
                f"The segment {source.GetName()} has no voxels, or is stored as a surface alone, so it is not used."
            )
            continue
        matrix = segment_ijk_to_ras(segmentation, segment_id)
        matrix[:3, 3] += matrix[:3, :3] @ np.asarray(patch.extent[::2], np.float64)
        prompts.append(
            MaskPrompt(mask=patch.voxels, ijk_to_ras=matrix, role="anatomy", structure=found[1], segment=segment)
        )
    return prompts, tuple(notes)
