"""Organs of a Slicer segmentation as anatomical prompts: known by their terminology, else by their names."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import slicer

from ..core.organs import Organ, organ_called
from ..core.prompts import DEFAULT_SEGMENT, MaskPrompt
from ..core.tumor_records import TumorRecord
from .segmentations import segment_ids, segment_ijk_to_ras, segment_of, segment_patch
from .terminology import structure_of


def organs_of(segmentation: slicer.vtkMRMLSegmentationNode) -> Iterator[tuple[str, Organ, str]]:
    """ID, organ, and a name that says organ and side, of every segment that is an organ; reads no voxels.

    A segment is known by its terminology entry (SNOMED CT codes; TotalSegmentator writes them); where that is Slicer's
    "tissue", by its name ("kidney_left", "Left kidney"). A lesion in an organ is never taken for the organ.
    """
    for segment_id in segment_ids(segmentation):
        source = segment_of(segmentation, segment_id)
        found = organ_called(source.GetName(), structure_of(source))
        if found is not None:
            yield segment_id, *found


def segmentations_with_organs(
    scene: slicer.vtkMRMLScene,
) -> list[tuple[slicer.vtkMRMLSegmentationNode, tuple[str, ...]]]:
    """The segmentations of a scene that hold organs, with the names of these; reads no voxels."""
    count = scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")
    nodes = [scene.GetNthNodeByClass(number, "vtkMRMLSegmentationNode") for number in range(count)]
    found = [(node, tuple(sorted({name for _, _, name in organs_of(node)}))) for node in nodes]
    return [(node, names) for node, names in found if names]


def anatomy_prompts(
    segmentation: slicer.vtkMRMLSegmentationNode,
    record: TumorRecord | None = None,
    segment: str = DEFAULT_SEGMENT,
) -> tuple[list[MaskPrompt], tuple[str, ...]]:
    """The organs of a segmentation as prompts (:func:`organs_of`), whatever grid and parent transforms it has.

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
    for segment_id, organ, name in organs_of(segmentation):
        if not (record is None or record.needs(organ)):
            continue
        prompt = organ_prompt(segmentation, segment_id, name, segment)
        if prompt is None:
            called = segment_of(segmentation, segment_id).GetName()
            notes.append(f"The segment {called} has no voxels, or is stored as a surface alone, so it is not used.")
        else:
            prompts.append(prompt)
    return prompts, tuple(notes)


def organ_prompt(
    segmentation: slicer.vtkMRMLSegmentationNode, segment_id: str, organ: str, segment: str = DEFAULT_SEGMENT
) -> MaskPrompt | None:
    """One segment as the organ of that name, or None if it has no voxels.

    Raises:
        GeometryError: the segmentation is under a transform that is not linear.
    """
    patch = segment_patch(segmentation, segment_id)
    if patch.count == 0:
        return None
    matrix = segment_ijk_to_ras(segmentation, segment_id)
    matrix[:3, 3] += matrix[:3, :3] @ np.asarray(patch.extent[::2], np.float64)
    return MaskPrompt(mask=patch.voxels, ijk_to_ras=matrix, role="anatomy", structure=organ, segment=segment)
