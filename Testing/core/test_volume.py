"""Volumes: what is read, what is refused, and that voxels stay where they are."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from MoESegLib.core.errors import GeometryError, OutputError, VolumeError
from MoESegLib.core.volume import Volume

angles = st.floats(-3.1, 3.1)
spacings = st.floats(0.3, 5.0)
offsets = st.floats(-500, 500)
quick = settings(max_examples=100, deadline=None, derandomize=True)  # a busy machine must not fail them


def matrix_of(angles, spacing, flips, origin) -> np.ndarray:
    x, y, z = angles
    turns = []
    for angle, (a, b) in ((x, (1, 2)), (y, (0, 2)), (z, (0, 1))):
        turn = np.eye(3)
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        turns.append(turn)
    matrix = np.eye(4)
    matrix[:3, :3] = turns[0] @ turns[1] @ turns[2] @ np.diag(np.array(spacing) * np.where(flips, -1, 1))
    matrix[:3, 3] = origin
    return matrix


matrices = st.builds(
    matrix_of,
    st.tuples(angles, angles, angles),
    st.tuples(spacings, spacings, spacings),
    st.tuples(st.booleans(), st.booleans(), st.booleans()),
    st.tuples(offsets, offsets, offsets),
)


@quick
@given(matrices, st.tuples(*[st.floats(0, 100)] * 3))
def test_ras_to_voxel_to_ras_comes_back(matrix: np.ndarray, ijk) -> None:
    volume = Volume(np.zeros((2, 3, 4)), matrix)
    assert np.allclose(volume.ras_to_ijk(volume.to_ras(ijk)), ijk, atol=1e-6)


@quick
@given(matrices)
def test_every_plane_has_its_own_axis_and_display_undoes_itself(matrix: np.ndarray) -> None:
    volume = Volume(np.arange(2 * 3 * 4).reshape(2, 3, 4), matrix)
    assert sorted(volume.axis_of(plane) for plane in ("axial", "coronal", "sagittal")) == [0, 1, 2]
    for axis in range(3):
        view = volume.view(axis)
        copy = np.zeros_like(volume.array)
        for index in range(view.count):
            image = view.extract(volume.array, index)
            assert image.shape == view.shape
            view.insert(copy, index, image)
            for row in range(view.shape[0]):
                for column in range(view.shape[1]):
                    i, j, k = view.to_ijk([column, row], index).astype(int)
                    assert volume.array[k, j, i] == image[row, column]
                    assert view.to_pixels([i, j, k]).tolist() == [column, row]
        assert np.array_equal(copy, volume.array)


def test_display_is_radiological() -> None:
    """Axial: anterior up, the patient's right on the left of the screen."""
    for flips in ((1, 1, 1), (-1, 1, 1), (1, -1, -1)):
        volume = Volume(np.zeros((5, 6, 7)), np.diag([*flips, 1.0]))
        view = volume.view(volume.axis_of("axial"))
        top, bottom = (volume.to_ras(view.to_ijk([0, row], 0)) for row in (0, 5))
        left, right = (volume.to_ras(view.to_ijk([column, 0], 0)) for column in (0, 6))
        assert top[1] > bottom[1]
        assert left[0] > right[0]


@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz", ".nii", ".mha"])
@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(matrix=matrices)
def test_a_written_mask_read_back_sits_on_the_same_voxels(suffix: str, matrix: np.ndarray, tmp_path: Path) -> None:
    mask = np.zeros((4, 5, 6), np.uint8)
    mask[1:3, 2, 3:5] = 1
    path = tmp_path / f"mask{suffix}"
    Volume(mask, matrix).write(path)
    again = Volume.read(path)
    assert np.array_equal(again.array, mask)
    corners = np.argwhere(mask)[:, ::-1]
    assert np.allclose(again.to_ras(corners), Volume(mask, matrix).to_ras(corners), atol=1e-2)  # NIfTI keeps float32


def test_the_demo_series_and_its_labels_lie_on_the_same_anatomy(demo_volume: Volume) -> None:
    from MoESegLib.core.resample import resample_nearest
    from MoESegLib.resources import resource_path

    labels = Volume.read(resource_path("Demo", "labels.nii.gz"))
    assert demo_volume.modality == "CT"
    assert demo_volume.shape == (20, 512, 512)
    assert demo_volume.spacing == pytest.approx((0.9765625, 0.9765625, 2.0))
    assert np.sign(labels.ijk_to_ras[1, 1]) != np.sign(demo_volume.ijk_to_ras[1, 1])
    liver = resample_nearest(labels.array, labels.ijk_to_ras, demo_volume) == 5
    assert liver.sum() == (labels.array == 5).sum()
    assert 60 < demo_volume.array[liver].mean() < 120  # Hounsfield units of enhanced liver


def test_a_photo_is_read_in_color(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(rgb, isVector=True), str(tmp_path / "photo.png"))
    volume = Volume.read(tmp_path / "photo.png")
    assert volume.color
    assert volume.shape == (1, 7, 9)
    assert np.array_equal(volume.array[0], rgb)


def test_a_gray_png_becomes_one_slice(tmp_path: Path) -> None:
    gray = np.arange(63, dtype=np.uint8).reshape(7, 9)
    Volume(gray, np.diag([-1.0, -1.0, 1.0, 1.0])).write(tmp_path / "gray.png")
    volume = Volume.read(tmp_path / "gray.png")
    assert not volume.color
    assert np.array_equal(volume.array, gray[None])
    assert volume.acquisition_axis == 2


def test_4d_is_refused_with_advice_and_a_frame_can_be_picked(tmp_path: Path) -> None:
    data = np.random.default_rng(0).integers(0, 99, (3, 4, 5, 6)).astype(np.int16)
    path = tmp_path / "cine.nii.gz"
    sitk.WriteImage(sitk.JoinSeries([sitk.GetImageFromArray(frame) for frame in data]), str(path))
    with pytest.raises(VolumeError, match="frame=0"):
        Volume.read(path)
    with pytest.raises(VolumeError, match="frames 0 to 2"):
        Volume.read(path, frame=3)
    assert np.array_equal(Volume.read(path, frame=1).array, data[1])


def test_a_slicer_sequence_is_4d_too(tmp_path: Path) -> None:
    """Slicer writes sequences as NRRD with a list axis, which ITK reads as components."""
    data = np.random.default_rng(0).integers(0, 99, (4, 5, 6, 5)).astype(np.int16)
    path = tmp_path / "cine.seq.nrrd"
    sitk.WriteImage(sitk.GetImageFromArray(data, isVector=True), str(path))
    with pytest.raises(VolumeError, match="5 frames"):
        Volume.read(path)
    assert np.array_equal(Volume.read(path, frame=2).array, data[..., 2])


@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz", ".nii", ".mha"])
def test_a_truncated_image_is_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"scan{suffix}"
    Volume(np.random.default_rng(0).integers(0, 999, (9, 30, 30)).astype(np.int16), np.eye(4)).write(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(VolumeError, match="truncated"):
        Volume.read(path)


@pytest.mark.parametrize("damage", ["missing", "half", "empty"])
def test_a_series_with_a_gap_is_refused_rather_than_stretched(damage: str, tmp_path: Path) -> None:
    from MoESegLib.resources import resource_path

    for path in sorted(resource_path("Demo", "ct").glob("*.dcm"))[:6]:
        shutil.copy(path, tmp_path / path.name)
    broken = tmp_path / "IM0003.dcm"
    if damage == "missing":
        broken.unlink()
    else:
        broken.write_bytes(broken.read_bytes()[: broken.stat().st_size // 2] if damage == "half" else b"")
    with pytest.raises(VolumeError, match=r"gap of 4 mm after slice \d, where 2 mm"):
        Volume.read(tmp_path)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp"])
def test_a_truncated_picture_is_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"photo{suffix}"
    pixels = np.random.default_rng(0).integers(0, 255, (60, 70), dtype=np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(pixels), str(path))
    assert Volume.read(path).shape == (1, 60, 70)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(VolumeError, match="truncated"):
        Volume.read(path)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nii", ".nii.gz"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_file_with_a_voxel_that_is_not_finite_is_refused(suffix: str, bad: float, tmp_path: Path) -> None:
    array = np.zeros((3, 4, 5), np.float32)
    array[1, 2, 3] = bad
    path = tmp_path / f"scan{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
    with pytest.raises(VolumeError, match="1 voxels that are NaN or infinite"):
        Volume.read(path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "nothing.nrrd", "no image at"),
        (lambda folder: folder, "no DICOM images"),
        (lambda folder: _touch(folder / "empty.nrrd"), "empty file"),
        (lambda folder: _touch(folder / "text.nrrd", b"hello"), "cannot be read"),
    ],
)
def test_what_is_no_image_is_refused(make, message: str, tmp_path: Path) -> None:
    with pytest.raises(VolumeError, match=message):
        Volume.read(make(tmp_path))


def _touch(path: Path, content: bytes = b"") -> Path:
    path.write_bytes(content)
    return path


def test_two_dicom_series_in_a_folder_must_be_told_apart(tmp_path: Path) -> None:
    from MoESegLib.resources import resource_path

    for number, uid in ((1, "1.2.3"), (2, "1.2.4")):
        image = sitk.GetImageFromArray(np.full((4, 4), number, np.int16))
        image.SetMetaData("0020|000e", uid)
        image.SetMetaData("0020|000d", "1.2")
        image.SetMetaData("0008|0060", "MR")
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(str(tmp_path / f"{number}.dcm"))
        writer.Execute(image)
    with pytest.raises(VolumeError, match="2 DICOM series"):
        Volume.read(tmp_path)
    chosen = Volume.read(tmp_path, series=sitk.ImageSeriesReader().GetGDCMSeriesIDs(str(tmp_path))[0])
    assert chosen.modality == "MR"
    shutil.copy(resource_path("Demo", "ct") / "IM0001.dcm", tmp_path / "one.dcm")
    assert Volume.read(tmp_path / "one.dcm").shape == (1, 512, 512)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((2, 2, 2), np.nan), "NaN"),
        (np.array([[[1.0, np.inf]]]), "infinite"),
        (np.zeros((0, 4, 4)), "no voxels"),
        (np.zeros((2, 2, 2, 2)), "4 array dimensions"),
        (np.zeros((2, 2, 2), complex), "complex"),
    ],
)
def test_voxels_that_cannot_be_used_are_refused(array: np.ndarray, message: str) -> None:
    with pytest.raises(VolumeError, match=message):
        Volume(array, np.eye(4))


@pytest.mark.parametrize("matrix", [np.zeros((4, 4)), np.eye(3), np.full((4, 4), np.nan), np.diag([1, 1, 0, 1.0])])
def test_matrices_that_cannot_place_voxels_are_refused(matrix: np.ndarray) -> None:
    with pytest.raises(GeometryError):
        Volume(np.zeros((2, 2, 2)), matrix)


def test_writing_replaces_whole_files_or_nothing(tmp_path: Path) -> None:
    volume = Volume(np.zeros((2, 3, 4), np.uint8), np.eye(4))
    for path in (tmp_path / "missing" / "a.nrrd", tmp_path / "a.xyz", tmp_path / "a.png"):
        with pytest.raises(OutputError):
            volume.write(path)
    assert list(tmp_path.iterdir()) == []


def test_equal_content_has_an_equal_id() -> None:
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    first, second = Volume(array, np.eye(4)), Volume(array.copy(order="F"), np.eye(4), name="other")
    assert first.content_id == second.content_id
    assert Volume(array + 1, np.eye(4)).content_id != first.content_id
    assert Volume(array, np.diag([2.0, 1, 1, 1])).content_id != first.content_id
