"""Pictures of a real scene: the right color at the right pixel, in every view."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")

import slicer
import vtk
from PIL import Image
from views import FourViews, render_four_views, why_no_rendering
from vtkmodules.util.numpy_support import numpy_to_vtk

pytestmark = pytest.mark.skipif(why_no_rendering() is not None, reason=str(why_no_rendering()))

SIZE = (480, 400)
SLICES = ("Red", "Green", "Yellow")
LPS = np.diag([-2.0, -2.0, 3.0, 1.0])
RAS = np.diag([2.0, 2.0, 3.0, 1.0])
SHAPE = (40, 60, 60)
GREEN, MAGENTA, ORANGE = (0.0, 1.0, 0.0), (1.0, 0.0, 1.0), (1.0, 0.6, 0.0)


@pytest.fixture
def host():
    """A scene with the application logic and the module logics that register its nodes."""
    scene, app_logic = slicer.vtkMRMLScene(), slicer.vtkSlicerApplicationLogic()
    app_logic.SetMRMLScene(scene)
    # Without the color logic a volume has no gray table, and its slices are noise.
    logics = {"Colors": slicer.vtkSlicerColorLogic(), "Segmentations": slicer.vtkSlicerSegmentationsModuleLogic()}
    logics["Markups"] = slicer.vtkSlicerMarkupsLogic()
    for name, logic in logics.items():
        logic.SetMRMLApplicationLogic(app_logic)
        app_logic.SetModuleLogic(name, logic)
        logic.SetMRMLScene(scene)
    app_logic.SetColorLogic(logics["Colors"])
    return SimpleNamespace(scene=scene, app_logic=app_logic, logics=logics)


@pytest.fixture
def views(host):
    with FourViews(host.scene, host.app_logic, SIZE) as views:
        yield views


def matrix4(array) -> vtk.vtkMatrix4x4:
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(np.asarray(array, float).ravel())
    return matrix


def centered(ijk_to_ras):
    """The same axes with the middle of the volume at RAS zero."""
    middle = np.append((np.array(SHAPE[::-1]) - 1) / 2, 1)
    shifted = np.array(ijk_to_ras)
    shifted[:3, 3] -= (shifted @ middle)[:3]
    return shifted


def ball_mask(ijk_to_ras, ras, radius: float = 12.0):
    """A ball ``[k, j, i]`` about a place in RAS millimeters."""
    k, j, i = np.indices(SHAPE)
    places = np.stack([i, j, k, np.ones(SHAPE)], axis=-1) @ ijk_to_ras.T
    return np.linalg.norm(places[..., :3] - ras, axis=-1) <= radius


def add_volume(host, array, ijk_to_ras, window=(400, 40)):
    node = host.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
    image = vtk.vtkImageData()
    image.SetDimensions(*array.shape[::-1])
    image.GetPointData().SetScalars(numpy_to_vtk(array.astype(np.int16).ravel(), deep=True))
    node.SetAndObserveImageData(image)
    node.SetIJKToRASMatrix(matrix4(ijk_to_ras))
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().AutoWindowLevelOff()
    node.GetDisplayNode().SetWindowLevel(*window)
    return node


def add_segmentation(host, masks, ijk_to_ras):
    """Opaque segments from {(red, green, blue): mask ``[k, j, i]``}."""
    node = host.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Segmentation")
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetOpacity2DFill(1.0)
    for color, mask in masks.items():
        image = slicer.vtkOrientedImageData()
        image.SetDimensions(*mask.shape[::-1])
        image.GetPointData().SetScalars(numpy_to_vtk(mask.astype(np.uint8).ravel(), deep=True))
        image.SetImageToWorldMatrix(matrix4(ijk_to_ras))
        segment = node.GetSegmentation().AddEmptySegment("", "", color)
        slicer.vtkSlicerSegmentationsModuleLogic.SetBinaryLabelmapToSegment(image, node, segment)
    return node


def add_points(host, class_name, places, color):
    node = host.scene.AddNewNodeByClass(class_name, "")
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetSelectedColor(*color)
    for place in places:
        node.AddControlPoint(*place)
    return node


def colored(picture, color, tolerance: int = 12):
    """Where a picture ``[row, column, 3]`` has a color."""
    return (np.abs(picture.astype(int) - np.multiply(color, 255)) <= tolerance).all(axis=-1)


def area(views, picture, name: str):
    """The part of the picture below one view's header."""
    left, top, width, height = views.area(name)
    return picture[top : top + height, left : left + width]


@pytest.mark.parametrize("axes", [LPS, RAS], ids=["LPS", "RAS"])
def test_a_segment_is_where_a_radiologist_expects_it_whatever_the_order_of_voxels(host, views, axes):
    axes, place = centered(axes), np.array([20.0, 24.0, 15.0])
    volume = add_volume(host, np.zeros(SHAPE), axes)
    add_segmentation(host, {GREEN: ball_mask(axes, place)}, axes)
    views.show(volume)
    views.jump_to(place)
    picture = views.image()
    for name in SLICES:
        assert colored(picture[views.pixel(name, place)], GREEN), name
        rows, columns = np.nonzero(colored(area(views, picture, name), GREEN))
        height, width = area(views, picture, name).shape[:2]
        # Right (axial, coronal) or anterior (sagittal) is at the left; anterior (axial) or superior is at the top.
        assert columns.mean() < 0.5 * width - 5, name
        assert rows.mean() < 0.5 * height - 5, name


def test_two_segments_keep_their_own_colors(host, views):
    axes = centered(LPS)
    right, left = np.array([25.0, 0.0, 0.0]), np.array([-25.0, 0.0, 0.0])
    volume = add_volume(host, np.zeros(SHAPE), axes)
    add_segmentation(host, {GREEN: ball_mask(axes, right), ORANGE: ball_mask(axes, left)}, axes)
    views.show(volume)
    views.jump_to(right)
    picture = views.image()
    for name in ("Red", "Green"):
        assert colored(picture[views.pixel(name, right)], GREEN)
        assert colored(picture[views.pixel(name, left)], ORANGE)


def test_the_gray_value_follows_the_window_and_level_of_the_volume(host, views):
    views.show(add_volume(host, np.full(SHAPE, 140), centered(LPS), window=(400, 40)))
    row, column = views.pixel("Red", (0, 0, 0))
    assert np.allclose(views.image()[row, column], 255 * (140 + 160) / 400, atol=2)


def test_a_hidden_segment_is_not_drawn(host, views):
    axes = centered(LPS)
    volume = add_volume(host, np.zeros(SHAPE), axes)
    node = add_segmentation(host, {GREEN: ball_mask(axes, np.zeros(3))}, axes)
    views.show(volume)
    assert colored(views.image(), GREEN).any()
    node.GetDisplayNode().SetVisibility(False)
    assert not colored(views.image(), GREEN).any()


def test_a_point_is_drawn_in_its_slice_and_not_in_another(host, views):
    views.show(add_volume(host, np.zeros(SHAPE), centered(LPS)))
    place = (10.0, -12.0, 6.0)
    add_points(host, "vtkMRMLMarkupsFiducialNode", [place], MAGENTA)
    views.jump_to(place)
    picture = views.image()
    assert all(colored(picture[views.pixel(name, place)], MAGENTA) for name in SLICES)
    views.jump_to((-40.0, 40.0, -30.0))
    picture = views.image()
    assert not any(colored(area(views, picture, name), MAGENTA).any() for name in SLICES)


def test_a_box_and_a_curve_are_drawn_along_their_outlines(host, views):
    views.show(add_volume(host, np.zeros(SHAPE), centered(LPS)))
    box = host.scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "")
    box.CreateDefaultDisplayNodes()
    box.SetSize(60, 40, 30)
    box.GetDisplayNode().SetSelectedColor(*ORANGE)
    box.GetDisplayNode().SetFillVisibility(False)
    corners = [(-10.0, -10.0, 0.0), (10.0, -10.0, 0.0), (10.0, 10.0, 0.0), (-10.0, 10.0, 0.0)]
    add_points(host, "vtkMRMLMarkupsClosedCurveNode", corners, MAGENTA)
    views.jump_to((0, 0, 0))
    picture = views.image()
    row, column = views.pixel("Red", (30.0, 12.0, 0.0))
    assert colored(picture[row, column - 2 : column + 3], ORANGE, tolerance=40).any()
    assert colored(picture[views.pixel("Red", corners[0])], MAGENTA)


def test_the_3d_view_shows_the_closed_surface_and_the_points(host, views):
    axes = centered(LPS)
    volume = add_volume(host, np.zeros(SHAPE), axes)
    node = add_segmentation(host, {GREEN: ball_mask(axes, np.zeros(3), radius=25)}, axes)
    add_points(host, "vtkMRMLMarkupsFiducialNode", [(50.0, 40.0, 0.0)], MAGENTA)
    views.show(volume)
    background = views.image()[views.pixel("1", (0, 0, 0))]
    node.CreateClosedSurfaceRepresentation()
    views.three_d.look()
    picture = views.image()
    red, green, blue = picture[views.pixel("1", (0, 0, 0))].astype(int)
    assert green > red + 60
    assert green > blue + 60
    assert background[2] > background[1]
    assert colored(area(views, picture, "1"), MAGENTA, tolerance=60).any()


def test_the_camera_finds_what_lies_far_away_and_then_stays(host):
    axes = centered(LPS)
    axes[:3, 3] += 2000
    node = add_segmentation(host, {GREEN: ball_mask(axes, np.full(3, 2000.0))}, axes)
    node.CreateClosedSurfaceRepresentation()
    with FourViews(host.scene, host.app_logic, SIZE) as first:
        left, top, width, height = first.area("1")
        row, column = first.pixel("1", np.full(3, 2000.0))
        assert top < row < top + height
        assert left < column < left + width
        first.three_d.look(azimuth=30, elevation=40)
        picture = first.image()
    with FourViews(host.scene, host.app_logic, SIZE) as second:
        assert np.array_equal(second.image(), picture)


def test_an_empty_scene_gives_a_picture(host, tmp_path):
    path = render_four_views(host.scene, host.app_logic, tmp_path / "empty.png", size=(401, 303))
    picture = np.asarray(Image.open(path))
    assert picture.shape == (303, 401, 3)
    assert colored(picture[2, 100], host.scene.GetSingletonNode("Red", "vtkMRMLSliceNode").GetLayoutColor())


def test_render_four_views_shows_the_volume_of_the_scene(host, tmp_path):
    add_volume(host, np.full(SHAPE, 1000), centered(LPS))
    picture = np.asarray(Image.open(render_four_views(host.scene, host.app_logic, tmp_path / "ct.png", titles=False)))
    assert picture.shape == (900, 1200, 3)
    assert (picture[225, 300] == 255).all()


def test_a_slice_node_and_logic_that_exist_are_used_as_they_are(host):
    volume = add_volume(host, np.zeros(SHAPE), centered(LPS))
    with FourViews(host.scene, host.app_logic, SIZE) as first:
        first.show(volume)
        first.slices["Red"].node.SetOrientation("Coronal")
        first.jump_to((4.0, 6.0, 9.0))
        before = first.image()
    with FourViews(host.scene, host.app_logic, SIZE) as second:
        assert np.array_equal(area(second, second.image(), "Red"), area(second, before, "Red"))
    assert host.scene.GetNumberOfNodesByClass("vtkMRMLSliceNode") == 3
    assert host.app_logic.GetSliceLogics().GetNumberOfItems() == 3


def test_the_views_survive_a_closed_scene_and_show_the_next_one(host, views):
    axes = centered(LPS)
    views.show(add_volume(host, np.full(SHAPE, 1000), axes))
    row, column = views.pixel("Red", (0, 0, 0))
    assert views.image()[row, column].tolist() == [255, 255, 255]
    host.scene.Clear(0)
    assert views.image()[row, column].tolist() == [0, 0, 0]
    views.show(add_volume(host, np.full(SHAPE, 1000), axes))
    assert views.image()[row, column].tolist() == [255, 255, 255]


def test_the_demo_shows_the_liver_at_the_left_of_the_axial_picture_and_the_spleen_at_the_right(host, demo_volume):
    from MoESegLib.core.volume import Volume
    from MoESegLib.resources import resource_path

    labels = Volume.read(resource_path("Demo", "labels.nii.gz"))
    masks = {ORANGE: labels.array == 5, MAGENTA: labels.array == 1}
    # The label map is stored with rows from posterior to anterior, the CT the other way around.
    assert not np.allclose(labels.ijk_to_ras, demo_volume.ijk_to_ras)
    node = add_volume(host, demo_volume.array, demo_volume.ijk_to_ras)
    add_segmentation(host, masks, labels.ijk_to_ras)
    with FourViews(host.scene, host.app_logic, SIZE) as views:
        views.show(node)
        picture = area(views, views.image(), "Red")
    liver, spleen = (np.nonzero(colored(picture, color))[1] for color in masks)
    assert len(liver) > 1000
    assert len(spleen) > 300
    assert liver.mean() < picture.shape[1] / 2 < spleen.mean()
