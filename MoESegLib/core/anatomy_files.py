"""Organs from files as anatomical prompts: a Slicer segmentation, a label map, or a folder of TotalSegmentator's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .errors import VolumeError
from .image_io import file_suffix
from .organs import Organ, Task, organ_called, organs
from .prompts import DEFAULT_SEGMENT, MaskPrompt
from .results import MaskPatch
from .segmentation_file import SegmentRecord, read_segmentation
from .terminology import TERMINOLOGY_TAG, structure_of_entry
from .tumor_records import TumorRecord

_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")
_GRAY = (128, 128, 128)

Source = tuple[Organ, str, MaskPatch, NDArray[np.float64]]
"""An organ, its name with a side, its voxels, and the matrix (4, 4) of their grid."""


def read_anatomy(
    path: Path, record: TumorRecord | None = None, task: Task = "total", segment: str = DEFAULT_SEGMENT
) -> list[MaskPrompt]:
    """The organs in a file or folder as prompts; what is no known organ is passed over.

    Args:
        path: ``.seg.nrrd`` with named or coded segments; a label map with the numbers of a task; or a folder with one
            mask an organ, as TotalSegmentator writes it: ``liver.nii.gz``, ``kidney_left.nii.gz``.
        record: only the organs that this tumor needs; None takes all.
        task: what the numbers of a label map mean.
        segment: ID of the segment that the prompts speak of.

    Raises:
        VolumeError: the file is missing or damaged, or holds no organ that is known.
    """
    if path.is_dir():
        sources = _in_folder(path, record)
    elif file_suffix(path) == ".seg.nrrd":
        sources = _in_segmentation(path)
    else:
        sources = _in_label_map(path, task)
    found, prompts = [], []
    for organ, name, patch, matrix in sources:
        found.append(organ.name)
        if patch.count and (record is None or record.needs(organ)):
            placed = matrix.copy()
            placed[:3, 3] += matrix[:3, :3] @ np.asarray(patch.extent[::2], np.float64)
            prompts.append(
                MaskPrompt(mask=patch.voxels, ijk_to_ras=placed, role="anatomy", structure=name, segment=segment)
            )
    if not found:
        raise VolumeError(
            f"{path} holds no organ that MoESeg knows. Expected a .seg.nrrd whose segments are named or coded as "
            f"organs, a label map with TotalSegmentator's numbers (task {task}), or its folder of masks."
        )
    return prompts


def _in_segmentation(path: Path) -> Iterator[Source]:
    grid, segments = read_segmentation(path)
    for segment in segments:
        called = organ_called(segment.name, structure_of_entry(segment.tags.get(TERMINOLOGY_TAG, ""), _GRAY))
        if called is not None:
            yield (*called, segment.patch, grid.ijk_to_ras)


def _in_label_map(path: Path, task: Task) -> Iterator[Source]:
    grid, segments = read_segmentation(path)
    known = {label: (organ, name) for organ in organs() for label, name in organ.labels(task).items()}
    for segment in segments:
        called = known.get(_number(segment))
        if called is not None:
            yield (*called, segment.patch, grid.ijk_to_ras)


def _in_folder(path: Path, record: TumorRecord | None) -> Iterator[Source]:
    """Masks of a folder; those that the tumor does not need are not read."""
    for file in sorted(path.iterdir()):
        suffix = file_suffix(file)
        called = organ_called(file.name.removesuffix(suffix), None) if suffix in _SUFFIXES else None
        if called is None:
            continue
        organ, name = called
        if record is not None and not record.needs(organ):
            yield organ, name, MaskPatch(), np.eye(4)
            continue
        grid, segments = read_segmentation(file)
        for segment in segments:
            yield organ, name, segment.patch, grid.ijk_to_ras


def _number(segment: SegmentRecord) -> int:
    """The number of a label, as :func:`~.segmentation_file.read_segmentation` names it."""
    return int(segment.id.rpartition("_")[2])
