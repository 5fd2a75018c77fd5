"""Segmentation nodes: making them fit a volume, segments with status and tags, reading voxels."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import vtk_to_numpy  # type: ignore[import-untyped]

from ..core.errors import GeometryError, LockedError, PromptError
from ..core.geometry import Extent, extent_slices, is_empty, mask_extent, shared_extent
from ..core.results import MaskPatch
from .volumes import local_ijk_to_ras, to_array, world_from_local

STATUS_TAG = "Segmentation.Status"
IN_PROGRESS, COMPLETED = "inprogress", "completed"
"""Values of Slicer's own status tag, as the segments table writes them; a completed segment is locked for MoESeg."""

OWN_TAGS = ("Prompts", "Asked", "Settled", "Model", "Expert", "Confidence", "Extent", "Version", "Parts", "Certainty")
"""What MoESeg writes into the tags of a segment, see :func:`set_tags`."""

_GRID_TOLERANCE = 1e-3  # voxels


def create_segmentation(
    scene: slicer.vtkMRMLScene, volume: slicer.vtkMRMLVolumeNode, name: str = ""
) -> slicer.vtkMRMLSegmentationNode:
    """A new segmentation on the grid of a volume, under the same parent transform."""
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name or f"{volume.GetName()} segmentation")
    segmentation.CreateDefaultDisplayNodes()
    fit_to_volume(segmentation, volume)
    return segmentation


def fit_to_volume(segmentation: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLVolumeNode) -> None:
    """Make sure that voxels of the volume can be written into the segmentation without loss.

    A segmentation without voxels is put under the volume's transform and on its grid. One with voxels is only checked.

    Raises:
        GeometryError: it holds voxels under another transform, on another grid, or that are not binary label maps
            (with a different transform 1331 voxels were read back as 1342); nothing was changed.
    """
    content = segmentation.GetSegmentation()
    binary = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    if all(_is_blank(content.GetSegment(segment_id)) for segment_id in content.GetSegmentIDs()):
        # The order matters: the reference geometry is stored relative to the segmentation's own transform.
        segmentation.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
        segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        if content.GetSourceRepresentationName() != binary:
            content.SetSourceRepresentationName(binary)
        return
    if content.GetSourceRepresentationName() != binary:
        raise GeometryError(
            f"The segments of {segmentation.GetName()} are stored as {content.GetSourceRepresentationName()}, not as "
            "binary label maps. Make 'Binary labelmap' the source in the Segmentations module, or choose another "
            "segmentation."
        )
    if segmentation.GetParentTransformNode() is not volume.GetParentTransformNode():
        raise GeometryError(
            f"{segmentation.GetName()} and {volume.GetName()} are under different transforms, so voxels would be lost. "
            "Put both under the same transform (Data module) or choose a new segmentation."
        )
    _check_grids(segmentation, volume)
    if not segmentation.GetNodeReferenceID(segmentation.GetReferenceImageGeometryReferenceRole()):
        segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)


def _is_blank(segment: slicer.vtkSegment) -> bool:
    names: list[str] = []
    segment.GetContainedRepresentationNames(names)
    return all(
        isinstance(content, slicer.vtkOrientedImageData) and content.IsEmpty()
        for content in map(segment.GetRepresentation, names)
    )


def _check_grids(segmentation: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLVolumeNode) -> None:
    inverse = np.linalg.inv(local_ijk_to_ras(volume))
    for segment_id in segmentation.GetSegmentation().GetSegmentIDs():
        labelmap = _labelmap(segmentation, segment_id)
        if labelmap is None or labelmap.IsEmpty():
            continue
        matrix = vtk.vtkMatrix4x4()
        labelmap.GetImageToWorldMatrix(matrix)
        relative = inverse @ to_array(matrix)
        shift = relative[:3, 3]
        same = np.allclose(
            relative[:3, :3], np.eye(3), atol=_GRID_TOLERANCE / max(volume.GetImageData().GetDimensions())
        )
        if not same or np.abs(shift - np.rint(shift)).max() > _GRID_TOLERANCE or np.abs(shift).max() > 0.5:
            name = segmentation.GetSegmentation().GetSegment(segment_id).GetName()
            raise GeometryError(
                f"The segment {name} of {segmentation.GetName()} lies on another voxel grid than {volume.GetName()}. "
                "Choose the volume it was drawn on, a new segmentation, or resample it (Segment Editor, 'Specify "
                "geometry')."
            )


def add_segment(segmentation: slicer.vtkMRMLSegmentationNode, name: str = "") -> str:
    """A new empty segment with the next color of Slicer's table; returns its ID."""
    return str(segmentation.GetSegmentation().AddEmptySegment("", name))


def next_name(segmentation: slicer.vtkMRMLSegmentationNode, base: str) -> str:
    """The first of "base 1", "base 2" ... that no segment has yet."""
    names = {segment_of(segmentation, key).GetName() for key in segment_ids(segmentation)}
    return next(name for number in itertools.count(1) if (name := f"{base} {number}") not in names)


def segment_of(segmentation: slicer.vtkMRMLSegmentationNode, segment_id: str) -> slicer.vtkSegment:
    """One segment.

    Raises:
        PromptError: there is none of that ID.
    """
    segment = segmentation.GetSegmentation().GetSegment(segment_id)
    if segment is None:
        raise PromptError(f"{segmentation.GetName()} has no segment {segment_id!r}; it may have been removed.")
    return segment


def segment_ids(segmentation: slicer.vtkMRMLSegmentationNode) -> tuple[str, ...]:
    """All segments, in the order of the table."""
    return tuple(segmentation.GetSegmentation().GetSegmentIDs())


def get_tag(segment: slicer.vtkSegment, name: str) -> str:
    """The value of a tag, "" when it is not set."""
    value = vtk.reference("")
    return str(value) if segment.GetTag(name, value) else ""


def known_tags(segment: slicer.vtkSegment) -> dict[str, str]:
    """All tags that MoESeg knows, its own and Slicer's status and codes. Python cannot list the others."""
    names = (*(f"MoESeg.{name}" for name in OWN_TAGS), STATUS_TAG, slicer.vtkSegment.GetTerminologyEntryTagName())
    return {name: value for name in names if (value := get_tag(segment, name))}


def set_tags(segment: slicer.vtkSegment, **tags: str) -> None:
    """Set tags (``MoESeg.`` is put before their names); an empty value removes the tag."""
    for name, value in tags.items():
        full = f"MoESeg.{name}"
        if value:
            segment.SetTag(full, value)
        elif segment.HasTag(full):
            segment.RemoveTag(full)


def is_locked(segment: slicer.vtkSegment) -> bool:
    """Whether the status says that the segment is finished."""
    return get_tag(segment, STATUS_TAG) == COMPLETED


def check_unlocked(segmentation: slicer.vtkMRMLSegmentationNode, segment_id: str) -> None:
    """Refuse to change a finished segment.

    Raises:
        LockedError: it is finished.
        PromptError: there is no such segment.
    """
    segment = segment_of(segmentation, segment_id)
    if is_locked(segment):
        raise LockedError(
            f"{segment.GetName()} is accepted and locked. Set its status back to 'in progress' to change it."
        )


def set_status(segment: slicer.vtkSegment, status: str) -> None:
    """One of :data:`IN_PROGRESS`, :data:`COMPLETED`."""
    segment.SetTag(STATUS_TAG, status)


def segment_patch(
    segmentation: slicer.vtkMRMLSegmentationNode, segment_id: str, extent: Extent | None = None
) -> MaskPatch:
    """The voxels of a segment on the grid of its volume, only those within an extent if one is given."""
    labelmap = _labelmap(segmentation, segment_id)
    if labelmap is None or labelmap.IsEmpty():
        return MaskPatch()
    whole: Extent = labelmap.GetExtent()
    wanted = whole if extent is None else shared_extent(whole, extent)
    if is_empty(wanted):
        return MaskPatch()
    offset = whole[::2]
    local = tuple(bound - offset[index // 2] for index, bound in enumerate(wanted))
    label = segment_of(segmentation, segment_id).GetLabelValue()
    voxels = _labelmap_array(labelmap)[extent_slices(local)] == label  # type: ignore[arg-type]
    inner = mask_extent(voxels)
    if is_empty(inner):
        return MaskPatch()
    low = wanted[::2]
    placed = tuple(bound + low[index // 2] for index, bound in enumerate(inner))
    return MaskPatch(placed, voxels[extent_slices(inner)].astype(np.uint8))  # type: ignore[arg-type]


def segment_ijk_to_ras(segmentation: slicer.vtkMRMLSegmentationNode, segment_id: str) -> NDArray[np.float64]:
    """(4, 4) matrix from the voxels (i, j, k) of a segment, as :func:`segment_patch` counts them, to world RAS.

    Raises:
        GeometryError: the segmentation is under a transform that is not linear.
        PromptError: the segment is not stored as a binary label map.
    """
    labelmap = _labelmap(segmentation, segment_id)
    if labelmap is None:
        raise PromptError(
            f"The segment {segment_of(segmentation, segment_id).GetName()} has no binary label map. Create one in the "
            "Segmentations module (Representations)."
        )
    matrix = vtk.vtkMatrix4x4()
    labelmap.GetImageToWorldMatrix(matrix)
    return world_from_local(segmentation) @ to_array(matrix)


def voxels_changed(segmentation: slicer.vtkMRMLSegmentationNode, segment_id: str) -> int:
    """A number that is larger after the voxels of a segment (or of another one in the same layer) changed."""
    labelmap = _labelmap(segmentation, segment_id)
    return 0 if labelmap is None else int(labelmap.GetMTime())


def segment_mask(
    segmentation: slicer.vtkMRMLSegmentationNode, segment_id: str, volume: slicer.vtkMRMLVolumeNode
) -> NDArray[np.uint8]:
    """A segment as uint8 0/1 ``[k, j, i]`` on the grid of the volume it was drawn on."""
    shape = volume.GetImageData().GetDimensions()[::-1]
    whole = (0, shape[2] - 1, 0, shape[1] - 1, 0, shape[0] - 1)
    return segment_patch(segmentation, segment_id, whole).to_array(shape)


def locked_segments(segmentation: slicer.vtkMRMLSegmentationNode, but: str = "") -> Iterator[str]:
    """IDs of the finished segments."""
    content = segmentation.GetSegmentation()
    for segment_id in content.GetSegmentIDs():
        if segment_id != but and is_locked(content.GetSegment(segment_id)):
            yield segment_id


def _labelmap(segmentation: slicer.vtkMRMLSegmentationNode, segment_id: str) -> slicer.vtkOrientedImageData | None:
    return segmentation.GetBinaryLabelmapInternalRepresentation(segment_id)


def _labelmap_array(labelmap: slicer.vtkOrientedImageData) -> NDArray:
    """``[k, j, i]`` within the label map's extent; shared with it."""
    return vtk_to_numpy(labelmap.GetPointData().GetScalars()).reshape(labelmap.GetDimensions()[::-1])
