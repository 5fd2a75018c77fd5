"""Finished segments as cases to learn from: out of the open scene, and out of saved ones without Slicer."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import slicer
from fakes import blob_volume
from mrml_tools import OBLIQUE, linear_transform, patch_of

from MoESegLib.core.errors import GeometryError, TrainingError
from MoESegLib.core.results import MaskPatch
from MoESegLib.mrml.finished_cases import finished_segments, read_finished
from MoESegLib.mrml.segmentations import COMPLETED, create_segmentation, set_status
from MoESegLib.mrml.volumes import local_ijk_to_ras, volume_from_node
from MoESegLib.mrml.writer import oriented_image
from MoESegLib.training.case_files import find_cases

BALL = (10, 20, 8, 17, 2, 6)
CUBE = (30, 33, 30, 33, 3, 4)


def add_segment(segmentation, volume, name: str, patch: MaskPatch | None, finished: bool = True) -> str:
    segment_id = segmentation.GetSegmentation().AddEmptySegment("", name)
    segment = segmentation.GetSegmentation().GetSegment(segment_id)
    if patch is not None:
        image = oriented_image(patch, local_ijk_to_ras(volume))
        segment.AddRepresentation(
            slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName(), image
        )
    if finished:
        set_status(segment, COMPLETED)
    return segment_id


@pytest.fixture
def finished(segmentation, volume_node):
    add_segment(segmentation, volume_node, "liver", patch_of(BALL))
    add_segment(segmentation, volume_node, "draft", patch_of(CUBE), finished=False)
    return segmentation


def test_only_finished_segments_with_an_image_are_found(scene, finished, volume_node, add_volume):
    create_segmentation(scene, add_volume(blob_volume(), name="other"))
    scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "alone")
    [source] = finished_segments(scene)
    assert source.classes == ("liver",)
    assert (source.volume, source.segmentation) == (volume_node.GetID(), finished.GetID())
    assert source.patient == "CT" and "CT / Segmentation" in source.title


def test_what_is_read_is_a_copy_that_later_edits_do_not_change(scene, finished, volume_node):
    case = read_finished(scene, finished_segments(scene)[0])
    expected = volume_from_node(volume_node).array.copy()
    [(name, patch)] = case.segments
    assert name == "liver" and patch.extent == BALL and patch.voxels.all()
    volume_from_node(volume_node).array[:] = 0
    finished.GetSegmentation().RemoveAllSegments()
    assert np.array_equal(case.volume.array, expected) and patch.count == 11 * 10 * 5


def test_the_patient_is_that_of_dicom(scene, finished, volume_node):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Doe^Jane")
    study = hierarchy.CreateStudyItem(patient, "Abdomen")
    hierarchy.SetItemUID(patient, "DICOM", "P-0042")
    hierarchy.CreateItem(study, volume_node)
    assert finished_segments(scene)[0].patient == "P-0042"
    hierarchy.SetItemAttribute(patient, "DICOM.PatientID", "P-1")
    assert finished_segments(scene)[0].patient == "P-1"


def test_empty_segments_and_vanished_nodes_are_refused(scene, segmentation, volume_node):
    add_segment(segmentation, volume_node, "liver", None)
    [source] = finished_segments(scene)
    with pytest.raises(TrainingError, match="are empty"):
        read_finished(scene, source)
    scene.RemoveNode(volume_node)
    with pytest.raises(TrainingError, match="no longer in the scene"):
        read_finished(scene, source)


def test_segments_on_another_grid_are_refused(scene, finished, volume_node):
    volume_node.SetSpacing(3, 3, 3)
    with pytest.raises(GeometryError, match="another voxel grid"):
        read_finished(scene, finished_segments(scene)[0])


# Saved scenes


@pytest.fixture
def bundle(scene, finished, tmp_path: Path) -> Path:
    path = tmp_path / "data" / "jane.mrb"
    path.parent.mkdir()
    scene.SetRootDirectory(str(tmp_path))
    assert scene.WriteToMRB(str(path))
    return path


def test_a_saved_scene_gives_the_image_and_the_finished_segments(bundle: Path, volume_node):
    [case] = find_cases(bundle.parent)
    assert case.patient == "jane" and case.dataset == "data"
    image = case.load()
    assert np.array_equal(image.volume.array, volume_from_node(volume_node).array)
    assert np.allclose(image.volume.ijk_to_ras, volume_from_node(volume_node).ijk_to_ras)
    [liver] = image.structures
    expected = np.zeros(image.volume.shape, np.uint8)
    expected[2:7, 8:18, 10:21] = 1
    assert liver.name == "liver" and np.array_equal(liver.patch.to_array(image.volume.shape), expected)


def test_an_oblique_image_under_a_transform_keeps_its_voxels(scene, add_volume, tmp_path: Path):
    node = add_volume(blob_volume(ijk_to_ras=OBLIQUE), name="MR")
    node.SetAndObserveTransformNodeID(linear_transform(scene, OBLIQUE).GetID())
    segmentation = create_segmentation(scene, node)
    add_segment(segmentation, node, "lesion", patch_of(CUBE), finished=False)
    assert scene.WriteToMRB(str(tmp_path / "joe.mrb"))
    [case] = find_cases(tmp_path)
    image = case.load()
    [lesion] = image.structures  # nobody used the status, so all segments count
    assert lesion.patch.extent == CUBE
    assert np.array_equal(image.volume.array, volume_from_node(node).array)
    segmentation.SetAndObserveTransformNodeID(None)
    assert scene.WriteToMRB(str(tmp_path / "joe.mrb"))
    with pytest.raises(TrainingError, match="different transforms"):
        find_cases(tmp_path)


def test_scenes_in_a_subfolder_are_of_one_patient(bundle: Path):
    for name in ("before.mrb", "after.mrb"):
        target = bundle.parent / "john" / name
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(bundle.read_bytes())
    assert sorted(case.patient for case in find_cases(bundle.parent)) == ["jane", "john", "john"]


def test_damaged_bundles_are_refused_by_name(bundle: Path):
    whole = bundle.read_bytes()
    for content in (b"", b"no zip", whole[: len(whole) // 2]):
        bundle.write_bytes(content)
        with pytest.raises(TrainingError, match=r"jane\.mrb"):
            find_cases(bundle.parent)
    with zipfile.ZipFile(bundle, "w") as archive:
        archive.writestr("x/x.mrml", "<MRML><Volume></MRML>")
    with pytest.raises(TrainingError, match=r"jane\.mrb"):
        find_cases(bundle.parent)


def test_a_bundle_cannot_write_outside_its_folder(bundle: Path, tmp_path: Path):
    with zipfile.ZipFile(bundle) as archive:
        members = {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}
    with zipfile.ZipFile(bundle, "w") as archive:
        for name, data in members.items():
            if name.endswith(".mrml"):
                data = data.replace(b'fileName="Data/CT.nrrd"', b'fileName="../../../../../../evil.nrrd"')
            archive.writestr(name.replace("Data/CT.nrrd", "../../../../../../evil.nrrd"), data)
    [case] = find_cases(bundle.parent)
    assert case.load().structures
    assert not list(tmp_path.rglob("evil.nrrd"))
