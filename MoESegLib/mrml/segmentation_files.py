"""Segmentations as files, without the Slicer application: ``.seg.nrrd`` as Slicer writes it, and label maps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import slicer

from ..core.errors import GeometryError, OutputError, VolumeError
from ..core.files import atomic_path
from ..core.image_io import file_suffix
from ..core.results import MaskPatch
from ..core.segmentation_file import SegmentRecord, read_segmentation, write_segmentation
from ..core.volume import Volume
from .segmentations import (
    add_segment,
    create_segmentation,
    fit_to_volume,
    known_tags,
    segment_ids,
    segment_of,
    segment_patch,
)
from .views import remove_node
from .volumes import local_ijk_to_ras
from .writer import oriented_image

_GRID_TOLERANCE = 1e-3  # voxels


def save_segmentation(segmentation: slicer.vtkMRMLSegmentationNode, volume: Volume, path: Path) -> list[str]:
    """Write all segments; ``.seg.nrrd`` keeps names, colors, codes, prompts and status, label maps only numbers.

    Args:
        volume: the image they were drawn on, in the segmentation's own RAS.

    Returns:
        Warnings: what the chosen format could not keep.

    Raises:
        OutputError: unknown file type, no permission, no space; nothing was written.
    """
    if file_suffix(path) != ".seg.nrrd":
        return write_segmentation(path, volume, segment_records(segmentation))
    storage = slicer.vtkMRMLSegmentationStorageNode()
    with atomic_path(path, ".seg.nrrd") as temporary:
        storage.SetFileName(str(temporary))
        if not storage.WriteData(segmentation):
            raise OutputError(f"Cannot write {path}: Slicer's writer refused. Nothing was written.")
    return []


def load_segmentation(
    scene: slicer.vtkMRMLScene, volume_node: slicer.vtkMRMLVolumeNode, path: Path
) -> slicer.vtkMRMLSegmentationNode:
    """A new segmentation with the segments of a ``.seg.nrrd`` or a label map, on the grid of a volume.

    Raises:
        VolumeError: the file is missing, damaged, or no segmentation.
        GeometryError: it was drawn on another grid; the scene is as before.
    """
    if not path.is_file():
        raise VolumeError(f"There is no segmentation at {path}. Check the path.")
    segmentation = create_segmentation(scene, volume_node)
    try:
        if file_suffix(path) == ".seg.nrrd":
            _read_slicer(segmentation, path)
        else:
            _read_label_map(segmentation, volume_node, path)
        fit_to_volume(segmentation, volume_node)
    except (VolumeError, GeometryError):
        remove_node(scene, segmentation)
        raise
    return segmentation


def _read_slicer(segmentation: Any, path: Path) -> None:
    read_segmentation(path)  # first, because Slicer's reader ends the whole program when a file was cut off
    storage = slicer.vtkMRMLSegmentationStorageNode()
    storage.SetFileName(str(path))
    if not storage.ReadData(segmentation) or not segment_ids(segmentation):
        raise VolumeError(f"{path.name} cannot be read as a segmentation; save it again in Slicer or MoESeg.")


def _read_label_map(segmentation: Any, volume_node: Any, path: Path) -> None:
    grid, records = read_segmentation(path)
    matrix = local_ijk_to_ras(volume_node)
    relative = np.linalg.inv(matrix) @ grid.ijk_to_ras - np.eye(4)
    same_size = tuple(volume_node.GetImageData().GetDimensions()) == grid.size
    if not same_size or np.abs(relative @ np.array([*grid.size, 1])).max() > _GRID_TOLERANCE * max(grid.size):
        raise GeometryError(
            f"{path.name} lies on another voxel grid than {volume_node.GetName()}. Open the image it was drawn on, or "
            "resample it."
        )
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    for record in records:
        segment_id = add_segment(segmentation, record.name)
        image = oriented_image(record.patch, matrix)
        logic.SetBinaryLabelmapToSegment(image, segmentation, segment_id, logic.MODE_REPLACE, image.GetExtent())


def segment_records(
    segmentation: slicer.vtkMRMLSegmentationNode, patch_of: Callable[[str], MaskPatch] | None = None
) -> list[SegmentRecord]:
    """All segments as plain data, which another thread may write while the user goes on.

    Args:
        patch_of: gives the voxels of a segment where they are known already; by default they are read.
    """
    found = []
    for segment_id in segment_ids(segmentation):
        segment = segment_of(segmentation, segment_id)
        red, green, blue = segment.GetColor()
        patch = segment_patch(segmentation, segment_id) if patch_of is None else patch_of(segment_id)
        found.append(SegmentRecord(segment_id, segment.GetName(), patch, (red, green, blue), known_tags(segment)))
    return found
