"""From any volume to the crop a 3D model sees, and back."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from fakes3d import field_volume, rotation
from hypothesis import given, settings
from hypothesis import strategies as st

from MoESegLib.core.geometry import LPS_TO_RAS, transform_points
from MoESegLib.core.volume import Volume
from MoESegLib.engines.crop3d import FLAT, NO_POSITIVE, centered, cut_crop
from MoESegLib.engines.grid3d import ModelGrid, from_block, sample, to_block

angles = st.floats(-3.1, 3.1)
spacings = st.floats(0.6, 4.0)
shears = st.floats(-0.3, 0.3)


@st.composite
def matrices(draw, sheared: bool = True) -> np.ndarray:
    """Oblique, anisotropic, flipped, and under a parent transform with unequal scales also sheared."""
    matrix = np.eye(4)
    flips = np.where(draw(st.tuples(*[st.booleans()] * 3)), -1, 1)
    matrix[:3, :3] = rotation(*draw(st.tuples(angles, angles, angles))) @ np.diag(
        np.array(draw(st.tuples(spacings, spacings, spacings))) * flips
    )
    matrix[:3, 3] = draw(st.tuples(*[st.floats(-200, 200)] * 3))
    parent = np.eye(4)
    if sheared:
        parent[0, 1], parent[1, 2] = draw(shears), draw(shears)
    return parent @ matrix


def ramp(points: np.ndarray) -> np.ndarray:
    """Linear interpolation leaves a linear function as it is, on every grid."""
    return 5000 + points @ np.array([3.0, -2.0, 5.0])


@settings(max_examples=40, deadline=None)
@given(matrices(), st.tuples(*[st.floats(0.1, 0.9)] * 3))
def test_a_click_shows_the_anatomy_it_was_placed_on(matrix: np.ndarray, place: tuple[float, float, float]) -> None:
    volume = field_volume((14, 18, 22), matrix, ramp)
    click = volume.to_ras(np.array(place) * (np.array(volume.size) - 1))
    grid = ModelGrid.of(volume, 2.0)
    voxel = grid.voxels(click)
    offset = np.linalg.norm(transform_points(grid.to_ras, voxel) - click)
    assert offset <= np.sqrt(3) + 1e-4  # half a voxel of 2 mm along each axis
    crop = cut_crop(volume, grid, tuple(int(value) for value in centered(voxel, voxel, 24)), 24)
    assert np.allclose(transform_points(crop.to_ras, [12, 12, 12]), transform_points(grid.to_ras, voxel))
    index = np.stack(np.meshgrid(*[np.arange(24)] * 3, indexing="ij"), axis=-1)
    stored = volume.ras_to_ijk(transform_points(crop.to_ras, index))
    inside = ((stored >= 0) & (stored <= np.array(volume.size) - 1)).all(axis=-1)
    truth = ramp(transform_points(crop.to_ras, index))[inside]
    slope, constant = np.polyfit(truth, crop.pixels[inside], 1)  # the z-score is one scale and one shift
    assert slope > 0
    assert np.abs(crop.pixels[inside] - (slope * truth + constant)).max() < 2e-2


@settings(max_examples=25, deadline=None)
@given(matrices())
def test_the_axes_of_a_crop_run_right_anterior_and_superior(matrix: np.ndarray) -> None:
    grid = ModelGrid.of(field_volume((6, 7, 8), matrix, ramp), 1.5)
    directions = grid.to_ras[:3, :3] / 1.5
    assert np.allclose(directions.T @ directions, np.eye(3), atol=1e-9)
    assert (np.diag(directions) >= -1e-9).all()


@settings(max_examples=25, deadline=None)
@given(matrices(), st.booleans())
def test_a_grid_covers_its_volume(matrix: np.ndarray, as_stored: bool) -> None:
    volume = field_volume((6, 7, 8), matrix, ramp)
    grid = ModelGrid.of(volume, 1.5, as_stored)
    corners = np.array([[i, j, k] for i in (0, 7) for j in (0, 6) for k in (0, 5)], float)
    index = transform_points(np.linalg.inv(grid.to_ras), volume.to_ras(corners))
    assert (index >= -0.5).all()
    assert (index <= np.array(grid.shape) - 0.5).all()


@pytest.mark.parametrize("axes", [(0,), (1, 2), (0, 1, 2)])
def test_how_the_voxels_are_stored_does_not_change_a_crop(axes: tuple[int, ...]) -> None:
    volume = field_volume((14, 18, 22), np.diag([0.9, 1.1, 2.3, 1]), lambda p: 100 + 50 * np.sin(p).sum(axis=-1))
    array, matrix = volume.array, volume.ijk_to_ras.copy()
    for axis in axes:
        array = np.flip(array, 2 - axis)
        matrix[:3, 3] += matrix[:3, axis] * (volume.size[axis] - 1)
        matrix[:3, axis] *= -1
    flipped = Volume(np.ascontiguousarray(array.transpose(2, 1, 0)), matrix[:, [2, 1, 0, 3]], modality="MR")
    crops = [cut_crop(one, ModelGrid.of(one, 1.5), (-2, 1, 3), 16) for one in (volume, flipped)]
    assert np.allclose(crops[0].to_ras, crops[1].to_ras)
    assert np.allclose(crops[0].pixels, crops[1].pixels, atol=1e-4)


@pytest.mark.parametrize("linear", [True, False])
def test_resampling_is_that_of_itk(linear: bool) -> None:
    """The public pipeline resamples with SimpleITK: corner to corner, the outermost half voxel repeated, 0 beyond."""
    rng = np.random.default_rng(0)
    matrix = np.eye(4)
    matrix[:3, :3] = rotation(0.2, -0.1, 0.3) @ np.diag([-0.8, 1.7, 2.4])
    volume = Volume(rng.normal(size=(9, 11, 13)).astype(np.float32), matrix, modality="MR")
    grid = ModelGrid.of(volume, 1.5, as_stored=True)
    assert grid.shape == tuple(int(np.ceil(n * s / 1.5)) for n, s in zip(volume.size, volume.spacing, strict=True))
    ours = sample(volume.array, from_block(volume, grid.to_ras), grid.shape, linear=linear)
    image = sitk.GetImageFromArray(volume.array)
    _place(image, volume.ijk_to_ras)
    reference = sitk.Image(*grid.shape, sitk.sitkFloat32)
    _place(reference, grid.to_ras)
    kind = sitk.sitkLinear if linear else sitk.sitkNearestNeighbor
    theirs = sitk.GetArrayFromImage(sitk.Resample(image, reference, sitk.Transform(), kind, 0.0))
    assert np.abs(ours - theirs.transpose(2, 1, 0)).max() < 1e-5


def _place(image: sitk.Image, to_ras: np.ndarray) -> None:
    lps = LPS_TO_RAS @ to_ras
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())


@settings(max_examples=20, deadline=None)
@given(matrices(sheared=False), st.booleans())
def test_reading_axis_by_axis_is_reading_at_once(matrix: np.ndarray, linear: bool) -> None:
    from MoESegLib.engines.grid3d import _sample_oblique

    volume = Volume(np.random.default_rng(1).normal(size=(6, 7, 8)).astype(np.float32), matrix, modality="MR")
    to_array = from_block(volume, ModelGrid.of(volume, 1.7).block((-2, 1, 0)))
    fast = sample(volume.array, to_array, (9, 8, 7), linear=linear, outside=-3)
    assert np.isclose(fast, _sample_oblique(volume.array, to_array, (9, 8, 7), linear, -3), atol=1e-4).mean() > 0.999


def test_the_way_back_is_the_inverse() -> None:
    volume = field_volume((6, 7, 8), np.diag([-0.9, 1.3, 2.5, 1]), ramp)
    to_ras = ModelGrid.of(volume, 1.5).block((3, -2, 1), 4)
    k, j, i = 4, 2, 5
    cell = transform_points(to_block(volume, to_ras, (1, 0, 2)), [k - 1, j, i - 2])
    assert np.allclose(transform_points(to_ras, cell), volume.to_ras([i, j, k]))


def test_a_cell_lies_over_its_voxels() -> None:
    grid = ModelGrid.of(field_volume((20, 20, 20), np.eye(4), ramp), 1.5)
    voxels = np.array([[x, y, z] for x in range(4) for y in range(4) for z in range(4)]) + [8, 4, 0]
    center = transform_points(grid.to_ras, voxels).mean(axis=0)
    assert np.allclose(transform_points(grid.block((0, 0, 0), 4), [2, 1, 0]), center)


def test_a_clicked_voxel_comes_to_the_middle_as_in_the_public_code() -> None:
    assert (np.array([70, 3, 64]) - centered(np.array([70, 3, 64]), np.array([70, 3, 64]), 128) == 64).all()
    # A mask from voxel 10 to 13: TorchIO's bounds are 10 and 14, its center 12, so the crop begins 64 before that.
    assert (centered(np.full(3, 10), np.full(3, 13), 128) == 12 - 64).all()


def test_the_brightness_statistics_are_of_the_voxels_above_0() -> None:
    array = np.random.default_rng(0).normal(20, 50, size=(12, 12, 12)).astype(np.float32)
    volume = Volume(array, np.eye(4), modality="MR")
    crop = cut_crop(volume, ModelGrid.of(volume, 1.0), (0, 0, 0), 12)
    positive = array[array > 0]
    expected = (array - positive.mean()) / positive.std(ddof=1)
    assert np.abs(crop.pixels - expected.transpose(2, 1, 0)).max() < 1e-5
    assert crop.note == ""


def test_a_volume_smaller_than_the_crop_is_padded_with_0() -> None:
    array = np.random.default_rng(0).uniform(50, 90, size=(6, 8, 10)).astype(np.float32)
    volume = Volume(array, np.eye(4), modality="MR")
    pixels = cut_crop(volume, ModelGrid.of(volume, 1.0), (-3, -4, -5), 16).pixels
    scale = array.std(ddof=1)
    assert np.allclose(pixels[3:13, 4:12, 5:11] * scale + array.mean(), array.transpose(2, 1, 0), atol=1e-3)
    pixels = pixels.copy()
    pixels[3:13, 4:12, 5:11] = pixels[0, 0, 0]
    assert np.allclose(pixels, -array.mean() / scale)


def test_a_crop_without_a_voxel_above_0_is_normalized_over_the_volume_and_says_so() -> None:
    array = np.random.default_rng(0).uniform(-900, -500, size=(6, 8, 10)).astype(np.float32)
    volume = Volume(array, np.eye(4), modality="MR")
    crop = cut_crop(volume, ModelGrid.of(volume, 1.0), (-3, -4, -5), 16)
    inside = crop.pixels[3:13, 4:12, 5:11]
    assert abs(inside.mean()) < 1e-5
    assert abs(inside.std(ddof=1) - 1) < 1e-5
    assert crop.note == NO_POSITIVE


def test_a_flat_crop_is_all_0_and_says_so() -> None:
    volume = Volume(np.zeros((6, 8, 10), np.int16), np.eye(4), modality="MR")
    crop = cut_crop(volume, ModelGrid.of(volume, 1.0), (0, 0, 0), 4)
    assert not crop.pixels.any()
    assert crop.note == FLAT


def test_ct_is_clamped_as_in_training_unless_the_public_inference_is_wanted() -> None:
    array = np.random.default_rng(0).uniform(-1000, 900, size=(8, 8, 8))
    metal, air = array.copy(), array.copy()
    metal[2, 3, 4] = 30000
    air[2, 3, 4] = 1000
    crops = {}
    for name, voxels in (("metal", metal), ("air", air)):
        volume = Volume(voxels, np.eye(4), modality="CT")
        for clamp in (True, False):
            crops[name, clamp] = cut_crop(volume, ModelGrid.of(volume, 1.0), (0, 0, 0), 8, clamp=clamp).pixels
    assert np.array_equal(crops["metal", True], crops["air", True])
    assert not np.allclose(crops["metal", False], crops["air", False], atol=0.5)


def test_equal_crops_have_equal_keys_wherever_they_come_from() -> None:
    array = np.random.default_rng(0).integers(1, 99, size=(8, 8, 16)).astype(np.int16)
    volume = Volume(array, np.eye(4), modality="MR")
    again = Volume(np.roll(array, 5, axis=2).astype(np.float32), np.eye(4), modality="MR")
    first, second, other = (
        cut_crop(one, ModelGrid.of(one, 1.0), origin, 8).key
        for one, origin in ((volume, (2, 0, 0)), (again, (7, 0, 0)), (volume, (3, 0, 0)))
    )
    assert first == second
    assert first != other
