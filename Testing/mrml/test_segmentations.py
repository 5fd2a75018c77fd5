"""Segmentations: made to fit a volume, refused when they do not, and read without loss."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import vtk
from fakes import blob_volume
from mrml_tools import LEFT_HANDED, MOVED, OBLIQUE, SHEARED, at, linear_transform, patch_of, vtk_matrix

from MoESegLib.core.errors import GeometryError, PromptError
from MoESegLib.core.results import MaskPatch
from MoESegLib.mrml.segmentations import (
    COMPLETED,
    IN_PROGRESS,
    STATUS_TAG,
    add_segment,
    create_segmentation,
    fit_to_volume,
    get_tag,
    is_locked,
    locked_segments,
    next_name,
    segment_ids,
    segment_mask,
    segment_of,
    segment_patch,
    set_status,
    set_tags,
)
from MoESegLib.mrml.writer import oriented_image

SHAPE = (9, 40, 48)


def fill(writer, segmentation, node, segment_id: str, mask: np.ndarray) -> None:
    writer.attach(segmentation, node)
    writer.write(segment_id, MaskPatch(), MaskPatch.of(mask))


def dump(segmentation) -> tuple:
    """Everything that a refusal must not change."""
    content = segmentation.GetSegmentation()
    voxels = [segment_patch(segmentation, key).voxels.tobytes() for key in segment_ids(segmentation)]
    geometry = content.GetConversionParameter(slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName())
    return (
        segment_ids(segmentation),
        voxels,
        segmentation.GetTransformNodeID(),
        geometry,
        content.GetSourceRepresentationName(),
        segmentation.GetNodeReferenceID(segmentation.GetReferenceImageGeometryReferenceRole()),
    )


@pytest.mark.parametrize("grid", [None, OBLIQUE, LEFT_HANDED], ids=["plain", "oblique", "left-handed"])
@pytest.mark.parametrize("parent", [None, MOVED, SHEARED], ids=["no transform", "scaled", "sheared"])
def test_random_voxels_come_back_exactly_on_every_grid(scene, add_volume, writer, grid, parent) -> None:
    node = add_volume(blob_volume(ijk_to_ras=grid), parent)
    segmentation = create_segmentation(scene, node)
    segment_id = add_segment(segmentation, "noise")
    mask = np.random.default_rng(1).random(SHAPE) < 0.4
    fill(writer, segmentation, node, segment_id, mask)
    assert np.array_equal(segment_mask(segmentation, segment_id, node), mask)
    assert segmentation.GetTransformNodeID() == node.GetTransformNodeID()
    assert segmentation.GetName() == "CT segmentation"


def test_slicer_reads_the_same_voxels_from_a_segment(scene, add_volume, writer) -> None:
    node = add_volume(blob_volume(ijk_to_ras=OBLIQUE), MOVED)
    segmentation = create_segmentation(scene, node)
    segment_id = add_segment(segmentation)
    mask = np.random.default_rng(1).random(SHAPE) < 0.4
    fill(writer, segmentation, node, segment_id, mask)
    labels = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    assert logic.ExportSegmentsToLabelmapNode(segmentation, [segment_id], labels, node)
    from vtk.util.numpy_support import vtk_to_numpy

    exported = vtk_to_numpy(labels.GetImageData().GetPointData().GetScalars()).reshape(SHAPE)
    assert np.array_equal(exported != 0, mask)


def test_an_empty_segmentation_is_moved_under_the_volumes_transform(scene, add_volume) -> None:
    node = add_volume(blob_volume(), MOVED)
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "New")
    fit_to_volume(segmentation, node)
    assert segmentation.GetTransformNodeID() == node.GetTransformNodeID()
    role = segmentation.GetReferenceImageGeometryReferenceRole()
    assert segmentation.GetNodeReference(role) is node


@pytest.mark.parametrize("where", ["volume moved", "segmentation moved"])
def test_another_transform_is_refused_and_nothing_changes(scene, add_volume, writer, where: str) -> None:
    node = add_volume(blob_volume())
    segmentation = create_segmentation(scene, node)
    fill(writer, segmentation, node, add_segment(segmentation), blob_volume().array > 200)
    parent = linear_transform(scene, MOVED)
    (node if where == "volume moved" else segmentation).SetAndObserveTransformNodeID(parent.GetID())
    before = dump(segmentation)
    with pytest.raises(GeometryError, match="different transforms"):
        fit_to_volume(segmentation, node)
    assert dump(segmentation) == before


OTHER_GRIDS = {
    "shifted by a third of a voxel": blob_volume(ijk_to_ras=at(0.3, 0, 0) @ np.diag([-1.0, -1, 2, 1])),
    "other spacing": blob_volume(ijk_to_ras=np.diag([-1.0, -1, 2.1, 1])),
    "turned": blob_volume(ijk_to_ras=OBLIQUE),
    "mirrored": blob_volume(ijk_to_ras=np.diag([1.0, -1, 2, 1])),
    "one tenth of a degree": blob_volume(
        ijk_to_ras=np.array([[-1, 0.00175, 0, 0], [-0.00175, -1, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]])
    ),
}


@pytest.mark.parametrize("name", OTHER_GRIDS)
@pytest.mark.parametrize("voxels", [True, False], ids=["with voxels", "empty segment"])
def test_another_grid_is_refused_and_nothing_changes(scene, add_volume, writer, name: str, voxels: bool) -> None:
    node = add_volume(blob_volume())
    segmentation = create_segmentation(scene, node)
    segment_id = add_segment(segmentation)
    if voxels:
        fill(writer, segmentation, node, segment_id, blob_volume().array > 200)
    other = add_volume(OTHER_GRIDS[name], name="other")
    before = dump(segmentation)
    if voxels:
        with pytest.raises(GeometryError, match="another voxel grid than other"):
            fit_to_volume(segmentation, other)
        assert dump(segmentation) == before
    else:  # without voxels nothing can be lost: the segments move to the new grid
        fit_to_volume(segmentation, other)
        mask = np.random.default_rng(1).random(SHAPE) < 0.4
        fill(writer, segmentation, other, segment_id, mask)
        assert np.array_equal(segment_mask(segmentation, segment_id, other), mask)
        role = segmentation.GetReferenceImageGeometryReferenceRole()
        assert segmentation.GetNodeReference(role) is other  # the brush paints on that grid too


def test_empty_segments_under_another_transform_follow_the_volume(scene, add_volume, writer) -> None:
    segmentation = create_segmentation(scene, add_volume(blob_volume()))
    segment_id = add_segment(segmentation)
    node = add_volume(blob_volume(ijk_to_ras=OBLIQUE), MOVED, name="moved")
    fit_to_volume(segmentation, node)
    mask = np.random.default_rng(1).random(SHAPE) < 0.4
    fill(writer, segmentation, node, segment_id, mask)
    assert np.array_equal(segment_mask(segmentation, segment_id, node), mask)


def test_a_second_volume_on_the_same_grid_is_taken(scene, add_volume, writer) -> None:
    node, contrast = add_volume(blob_volume()), add_volume(blob_volume(), name="contrast")
    segmentation = create_segmentation(scene, node)
    segment_id = add_segment(segmentation)
    fill(writer, segmentation, node, segment_id, blob_volume().array > 200)
    fit_to_volume(segmentation, contrast)
    writer.attach(segmentation, contrast)
    writer.write(segment_id, MaskPatch(), patch_of((0, 3, 0, 3, 0, 0)))
    assert segment_mask(segmentation, segment_id, contrast).sum() == (blob_volume().array > 200).sum() + 16


def test_segments_stored_as_surfaces_are_refused_with_advice(scene, add_volume) -> None:
    node = add_volume(blob_volume())
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Meshes")
    sphere = vtk.vtkSphereSource()
    sphere.SetRadius(8)
    sphere.Update()
    segmentation.GetSegmentation().SetSourceRepresentationName(
        slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
    )
    segmentation.AddSegmentFromClosedSurfaceRepresentation(sphere.GetOutput(), "ball", [1, 0, 0])
    before = segmentation.GetSegmentation().GetSourceRepresentationName()
    assert before == "Closed surface"
    with pytest.raises(GeometryError, match=r"Closed surface.*Binary labelmap"):
        fit_to_volume(segmentation, node)
    assert segmentation.GetSegmentation().GetSourceRepresentationName() == before


def test_a_label_map_imported_from_a_cropped_volume_is_refused_rather_than_shifted(scene, add_volume) -> None:
    node = add_volume(blob_volume())
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Imported")
    matrix = np.diag([-1.0, -1, 2, 1])
    matrix[:3, 3] = matrix[:3, :3] @ (5, 6, 1)
    image = oriented_image(patch_of((0, 9, 0, 9, 0, 3)), matrix)
    segmentation.AddSegmentFromBinaryLabelmapRepresentation(image, "organ", [1, 0, 0])
    with pytest.raises(GeometryError, match="organ of Imported lies on another voxel grid"):
        fit_to_volume(segmentation, node)


def test_an_imported_label_map_on_the_grid_is_edited_without_loss(scene, add_volume, writer) -> None:
    node = add_volume(blob_volume(ijk_to_ras=OBLIQUE))
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Imported")
    segmentation.CreateDefaultDisplayNodes()
    image = oriented_image(patch_of((5, 14, 6, 15, 1, 4)), OBLIQUE)
    segment_id = segmentation.AddSegmentFromBinaryLabelmapRepresentation(image, "organ", [1, 0, 0])
    fit_to_volume(segmentation, node)
    writer.attach(segmentation, node)
    writer.write(segment_id, MaskPatch(), patch_of((40, 47, 30, 39, 8, 8)))
    writer.write(segment_id, patch_of((5, 5, 6, 6, 1, 1)), MaskPatch())
    assert segment_patch(segmentation, segment_id).count == 400 + 80 - 1


# Segments and tags -----------------------------------------------------------------------------------------------


def test_tags_are_set_read_and_removed(segmentation) -> None:
    segment = segment_of(segmentation, add_segment(segmentation, "liver"))
    assert get_tag(segment, "MoESeg.Model") == ""
    set_tags(segment, Model="lite-medsam", Expert="organ")
    assert get_tag(segment, "MoESeg.Model") == "lite-medsam" and get_tag(segment, "MoESeg.Expert") == "organ"
    set_tags(segment, Model="")
    assert not segment.HasTag("MoESeg.Model") and get_tag(segment, "MoESeg.Expert") == "organ"


def test_the_status_is_the_one_of_slicers_segments_table(segmentation) -> None:
    first, second = (segment_of(segmentation, add_segment(segmentation, name)) for name in "ab")
    assert not is_locked(first)
    set_status(first, COMPLETED)
    assert is_locked(first) and get_tag(first, STATUS_TAG) == "completed"
    assert list(locked_segments(segmentation)) == [segment_ids(segmentation)[0]]
    assert list(locked_segments(segmentation, but=segment_ids(segmentation)[0])) == []
    second.SetTag(STATUS_TAG, "flagged")
    assert not is_locked(second)
    set_status(first, IN_PROGRESS)
    assert not is_locked(first)


def test_numbered_names_fill_gaps(segmentation) -> None:
    assert next_name(segmentation, "Lesion") == "Lesion 1"
    for name in ("Lesion 1", "Lesion 3", "Lesion"):
        add_segment(segmentation, name)
    assert next_name(segmentation, "Lesion") == "Lesion 2"


def test_a_segment_that_is_gone_is_named(segmentation) -> None:
    with pytest.raises(PromptError, match="Segmentation has no segment 'gone'"):
        segment_of(segmentation, "gone")


def test_segments_that_share_a_label_map_are_told_apart(scene, segmentation, volume_node, writer) -> None:
    first, second = add_segment(segmentation, "a"), add_segment(segmentation, "b")
    writer.attach(segmentation, volume_node)
    writer.write(first, MaskPatch(), patch_of((0, 9, 0, 9, 0, 0)))
    writer.write(second, MaskPatch(), patch_of((10, 19, 0, 9, 0, 0)))
    assert segmentation.GetSegmentation().GetNumberOfLayers() == 1
    assert segment_patch(segmentation, first).extent == (0, 9, 0, 9, 0, 0)
    assert segment_patch(segmentation, second).extent == (10, 19, 0, 9, 0, 0)


def test_the_identity_transform_is_still_another_transform_node(scene, add_volume, writer) -> None:
    node = add_volume(blob_volume())
    segmentation = create_segmentation(scene, node)
    fill(writer, segmentation, node, add_segment(segmentation), blob_volume().array > 200)
    parent = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Identity")
    parent.SetMatrixTransformToParent(vtk_matrix(np.eye(4)))
    node.SetAndObserveTransformNodeID(parent.GetID())
    segmentation.SetAndObserveTransformNodeID(parent.GetID())
    fit_to_volume(segmentation, node)
    assert segmentation.GetParentTransformNode() is parent
