"""Finished segments of the scene, as plain data to learn from."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import slicer

from ..core.errors import TrainingError
from ..core.results import MaskPatch
from ..core.volume import Volume
from .segmentations import fit_to_volume, locked_segments, segment_patch
from .volumes import volume_from_node


@dataclass(frozen=True)
class FinishedSegments:
    """The finished segments of one segmentation and the volume they were drawn on.

    Attributes:
        volume, segmentation: node IDs.
        title: names of both nodes.
        patient: the DICOM patient ID where the subject hierarchy knows it, else the name of the volume.
        classes: names of the finished segments, in alphabetic order.
    """

    volume: str
    segmentation: str
    title: str
    patient: str
    classes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class FinishedCase:
    """What :func:`read_finished` copied: name and voxels of every segment on the grid of the volume."""

    name: str
    patient: str
    volume: Volume
    segments: tuple[tuple[str, MaskPatch], ...]


def finished_segments(scene: slicer.vtkMRMLScene) -> list[FinishedSegments]:
    """Every segmentation with segments of the status "completed" and a volume; reads no voxels."""
    found = []
    for segmentation in _segmentations(scene):
        content = segmentation.GetSegmentation()
        names = {str(content.GetSegment(segment).GetName()) for segment in locked_segments(segmentation)}
        volume = segmentation.GetNodeReference(segmentation.GetReferenceImageGeometryReferenceRole())
        if names and volume is not None:
            title = f"{volume.GetName()} / {segmentation.GetName()}"
            ids = volume.GetID(), segmentation.GetID()
            found.append(FinishedSegments(*ids, title, patient_of(volume), tuple(sorted(names))))
    return found


def read_finished(scene: slicer.vtkMRMLScene, source: FinishedSegments) -> FinishedCase:
    """Copy a volume and its finished segments, so that what the user does next changes nothing in them.

    Raises:
        TrainingError: one of the nodes is gone, or no finished segment has voxels.
        VolumeError, GeometryError: the volume cannot be used, or the segments lie on another grid.
    """
    volume_node, segmentation = scene.GetNodeByID(source.volume), scene.GetNodeByID(source.segmentation)
    if volume_node is None or segmentation is None:
        raise TrainingError(f"{source.title} is no longer in the scene. Choose again what to learn from.")
    fit_to_volume(segmentation, volume_node)
    content = segmentation.GetSegmentation()
    segments = [
        (str(content.GetSegment(segment).GetName()), segment_patch(segmentation, segment))
        for segment in locked_segments(segmentation)
    ]
    filled = tuple(entry for entry in segments if entry[1].count)
    if not filled:
        raise TrainingError(
            f"The finished segments of {source.title} are empty. Segment the target, or leave them out."
        )
    shared = volume_from_node(volume_node)
    return FinishedCase(source.title, source.patient, dataclasses.replace(shared, array=shared.array.copy()), filled)


def patient_of(volume: slicer.vtkMRMLVolumeNode) -> str:
    """Whose image it is: the DICOM patient ID, or the name of the node."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(volume.GetScene())
    if hierarchy is None:
        return str(volume.GetName())
    item = hierarchy.GetItemByDataNode(volume)
    while item and item != hierarchy.GetSceneItemID():
        if hierarchy.GetItemLevel(item) == "Patient":
            found = hierarchy.GetItemAttribute(item, "DICOM.PatientID") or hierarchy.GetItemUID(item, "DICOM")
            return str(found or hierarchy.GetItemName(item))
        item = hierarchy.GetItemParent(item)
    return str(volume.GetName())


def _segmentations(scene: slicer.vtkMRMLScene) -> list[slicer.vtkMRMLSegmentationNode]:
    count = scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")
    return [scene.GetNthNodeByClass(number, "vtkMRMLSegmentationNode") for number in range(count)]
