"""Volume nodes as the engines see them: in the right place, with the voxels of the node itself."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import vtk
from fakes import blob_volume
from mrml_tools import LEFT_HANDED, MOVED, OBLIQUE, SHEARED, linear_transform, point, vtk_matrix
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from MoESegLib.core.errors import GeometryError, VolumeError
from MoESegLib.core.volume import Volume
from MoESegLib.mrml.segmentations import segment_mask
from MoESegLib.mrml.volumes import volume_from_node, world_from_local


def ras_by_slicer(node, ijk) -> np.ndarray:
    """Where Slicer itself puts a voxel in the world."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    local = matrix.MultiplyPoint((*ijk, 1.0))[:3]
    general = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(node.GetParentTransformNode(), None, general)
    return np.array(general.TransformPoint(local))


@pytest.mark.parametrize("grid", [None, OBLIQUE, LEFT_HANDED], ids=["plain", "oblique", "left-handed"])
@pytest.mark.parametrize("parent", [None, MOVED, SHEARED], ids=["no transform", "scaled", "sheared"])
def test_a_voxel_is_where_slicer_puts_it(add_volume, grid, parent) -> None:
    node = add_volume(blob_volume(ijk_to_ras=grid), transform=parent)
    volume = volume_from_node(node)
    for ijk in ((0, 0, 0), (47, 0, 3), (10, 39, 8)):
        assert volume.to_ras(ijk) == pytest.approx(ras_by_slicer(node, ijk), abs=1e-4)
    assert volume.name == "CT" and not volume.color


def test_nested_transforms_are_multiplied_in_slicers_order(scene, add_volume) -> None:
    node = add_volume(blob_volume(ijk_to_ras=OBLIQUE), transform=SHEARED)
    node.GetParentTransformNode().SetAndObserveTransformNodeID(linear_transform(scene, MOVED, "Outer").GetID())
    assert world_from_local(node) == pytest.approx(MOVED @ SHEARED)
    ijk = (7, 11, 5)
    assert volume_from_node(node).to_ras(ijk) == pytest.approx(ras_by_slicer(node, ijk), abs=1e-4)


@pytest.mark.parametrize("kind", ["BSpline", "Grid"])
@pytest.mark.parametrize("nested", [False, True], ids=["direct", "above a linear one"])
def test_a_transform_that_bends_is_refused_with_advice(scene, add_volume, kind: str, nested: bool) -> None:
    warp = scene.AddNewNodeByClass(f"vtkMRML{kind}TransformNode", "Warp")
    node = add_volume(blob_volume(), transform=MOVED if nested else None)
    (node.GetParentTransformNode() if nested else node).SetAndObserveTransformNodeID(warp.GetID())
    with pytest.raises(GeometryError, match=r"not linear.*Harden"):
        volume_from_node(node)


def test_a_transform_node_that_holds_a_linear_one_of_general_type_is_taken(scene, add_volume) -> None:
    node = add_volume(blob_volume())
    parent = scene.AddNewNodeByClass("vtkMRMLTransformNode", "Registration result")
    transform = vtk.vtkTransform()
    transform.SetMatrix(vtk_matrix(MOVED))
    parent.SetAndObserveTransformToParent(transform)
    node.SetAndObserveTransformNodeID(parent.GetID())
    assert world_from_local(node) == pytest.approx(MOVED)


def test_a_2d_image_is_a_volume_of_one_slice(add_volume) -> None:
    image = np.arange(30 * 40, dtype=np.uint8).reshape(1, 30, 40)
    volume = volume_from_node(add_volume(Volume(image, np.diag([-0.5, -0.5, 1, 1]))))
    assert volume.shape == (1, 30, 40)
    assert np.array_equal(volume.array, image)
    assert volume.acquisition_axis == 2


@pytest.mark.parametrize("components", [3, 4], ids=["RGB", "RGBA"])
def test_colors_are_taken_without_their_opacity(scene, components: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (2, 20, 30, components), np.uint8)
    node = scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "Photo")
    set_voxels(node, pixels)
    volume = volume_from_node(node)
    assert volume.color
    assert np.array_equal(volume.array, pixels[..., :3])


def set_voxels(node, array: np.ndarray) -> None:
    """Voxels [k, j, i, component]."""
    image = vtk.vtkImageData()
    image.SetDimensions(*array.shape[2::-1])
    image.GetPointData().SetScalars(numpy_to_vtk(array.reshape(-1, array.shape[3]), deep=True))
    node.SetAndObserveImageData(image)


@pytest.mark.parametrize(
    ("name", "components", "dtype"),
    [
        ("vtkMRMLVectorVolumeNode", 2, np.uint8),
        ("vtkMRMLVectorVolumeNode", 3, np.float32),
        ("vtkMRMLDiffusionWeightedVolumeNode", 7, np.int16),
    ],
    ids=["two values", "displacements", "diffusion"],
)
def test_voxels_of_several_values_that_are_no_colors_are_refused(scene, name: str, components: int, dtype) -> None:
    node = scene.AddNewNodeByClass(name, "Field")
    set_voxels(node, np.ones((2, 5, 6, components), dtype))
    with pytest.raises(VolumeError, match=rf"Field has {components} values.*Vector to Scalar"):
        volume_from_node(node)


def test_a_tensor_volume_is_refused(scene) -> None:
    node = scene.AddNewNodeByClass("vtkMRMLDiffusionTensorVolumeNode", "Tensors")
    image = vtk.vtkImageData()
    image.SetDimensions(4, 4, 2)
    image.GetPointData().SetTensors(numpy_to_vtk(np.ones((32, 9), np.float32), deep=True))
    node.SetAndObserveImageData(image)
    with pytest.raises(VolumeError, match="Tensors"):
        volume_from_node(node)


def test_a_label_map_is_refused_with_advice(scene) -> None:
    node = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Organs")
    set_voxels(node, np.ones((2, 5, 6, 1), np.int16))
    with pytest.raises(VolumeError, match=r"label map.*Import/export"):
        volume_from_node(node)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_voxels_that_are_not_finite_are_refused(scene, bad: float) -> None:
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Broken")
    array = np.zeros((2, 5, 6, 1), np.float32)
    array[1, 2, 3] = bad
    set_voxels(node, array)
    with pytest.raises(VolumeError, match="Broken holds 1 voxels that are NaN or infinite"):
        volume_from_node(node)


def test_a_node_without_voxels_is_refused(scene) -> None:
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Nothing")
    with pytest.raises(VolumeError, match="Nothing holds no voxels"):
        volume_from_node(node)
    node.SetAndObserveImageData(vtk.vtkImageData())
    with pytest.raises(VolumeError, match="Nothing holds no voxels"):
        volume_from_node(node)


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int16, np.int32, np.float32, np.float64])
def test_every_type_of_number_keeps_its_values(scene, dtype) -> None:
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Numbers")
    array = np.arange(-30, 30).astype(dtype).reshape(2, 5, 6, 1)
    set_voxels(node, array)
    volume = volume_from_node(node)
    assert volume.array.dtype == dtype
    assert np.array_equal(volume.array, array[..., 0])


def test_voxels_are_shared_with_the_node_and_outlive_it(scene, add_volume) -> None:
    node = add_volume(blob_volume())
    volume = volume_from_node(node)
    voxels = vtk_to_numpy(node.GetImageData().GetPointData().GetScalars())
    assert np.shares_memory(volume.array, voxels)
    total = int(volume.array.sum())
    del voxels
    scene.RemoveNode(node)
    del node
    assert int(volume.array.sum()) == total


def test_the_modality_comes_from_the_subject_hierarchy(scene, add_volume) -> None:
    node = add_volume(blob_volume())
    assert volume_from_node(node).modality == ""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    assert volume_from_node(node).modality == ""
    item = hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)
    hierarchy.SetItemAttribute(item, "DICOM.Modality", "MR")
    assert volume_from_node(node).modality == "MR"


# Frames of a sequence --------------------------------------------------------------------------------------------


@pytest.fixture
def sequence(scene, add_volume):
    """A browser whose proxy node shows a ball that moves from frame to frame."""
    logic = slicer.vtkSlicerSequencesLogic()
    logic.SetMRMLScene(scene)
    frames = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "Frames")
    for index, center in enumerate(((4, 20, 16), (4, 20, 31))):
        frame = add_volume(blob_volume(center=center), name=f"frame {index}")
        frames.SetDataNodeAtValue(frame, str(index))
        scene.RemoveNode(frame)
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "Browser")
    browser.SetAndObserveMasterSequenceNodeID(frames.GetID())
    browser.SetSelectedItemNumber(0)
    logic.UpdateProxyNodesFromSequences(browser)
    yield browser, browser.GetProxyNode(frames), logic
    scene.RemoveNode(browser)


def test_the_frame_that_is_shown_is_the_image(sequence) -> None:
    browser, proxy, logic = sequence
    for index, center in enumerate((16, 31)):
        browser.SetSelectedItemNumber(index)
        logic.UpdateProxyNodesFromSequences(browser)
        array = volume_from_node(proxy).array
        assert array[4, 20, center] == 220 and array[4, 20, 47 - center] < 100


def test_another_frame_is_asked_when_the_browser_moves_on(scene, sequence, open_session, settle) -> None:
    from MoESegLib.mrml.segmentations import create_segmentation

    browser, proxy, logic = sequence
    segmentation = create_segmentation(scene, proxy, "Moving")
    session = open_session(proxy, segmentation)
    ball = session.add_segment("ball")
    session.add(point(session.volume, (16, 20, 4), ball))
    settle(session)
    first = segment_mask(segmentation, ball, proxy)
    assert first.sum() > 0
    browser.SetSelectedItemNumber(1)
    logic.UpdateProxyNodesFromSequences(browser)
    messages = settle(session)["messages"]
    assert not session.closed and messages == []
    assert session.volume.array[4, 20, 31] == 220
    assert np.array_equal(segment_mask(segmentation, ball, proxy), first)  # frames alone change no voxel
    second = session.add_segment("second")
    session.add(point(session.volume, (31, 20, 4), second))
    settle(session)
    assert segment_mask(segmentation, second, proxy)[4, 20, 31] == 1
    session.add(point(session.volume, (30, 22, 4), ball))
    settle(session)
    assert session.is_settled(ball)
    assert segment_mask(segmentation, ball, proxy)[4, 22, 30] == 1
