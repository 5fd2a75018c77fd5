"""Our .seg.nrrd in Slicer's own reader, and Slicer's in ours."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from MoESegLib.core.errors import OutputError, VolumeError
from MoESegLib.core.results import MaskPatch
from MoESegLib.core.segmentation_file import COLORS, SegmentRecord, read_segmentation, write_segmentation
from MoESegLib.core.volume import Volume

MATRICES = {
    "plain": np.diag([-1.0, -1.0, 1.0, 1.0]),
    "anisotropic": np.diag([-0.7, -0.8, 2.5, 1.0]),
    "flipped": np.diag([1.0, -1.0, -1.0, 1.0]),
    "oblique": np.array([[0.6, -0.64, 0.96, 10], [0.8, 0.48, -0.72, -20], [0, 0.6, 1.6, 30], [0, 0, 0, 1]]),
}

READ_IN_SLICER = """
import json, sys
import numpy as np, vtk, slicer
from vtk.util.numpy_support import vtk_to_numpy

scene = slicer.vtkMRMLScene()
logic = slicer.vtkSlicerSegmentationsModuleLogic()
logic.SetMRMLScene(scene)


def described(node, number):
    segmentation = node.GetSegmentation()
    segment, identity = segmentation.GetNthSegment(number), segmentation.GetNthSegmentID(number)
    image = slicer.vtkOrientedImageData()
    node.GetBinaryLabelmapRepresentation(identity, image)
    i, j, k = image.GetDimensions()
    voxels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(k, j, i) if i * j * k else np.zeros((0, 0, 0))
    matrix, extent, tag = vtk.vtkMatrix4x4(), image.GetExtent(), vtk.reference("")
    image.GetImageToWorldMatrix(matrix)
    to_world = np.array([[matrix.GetElement(r, c) for c in range(4)] for r in range(4)])
    points = np.argwhere(voxels)[:, ::-1] + [extent[0], extent[2], extent[4]]
    segment.GetTag("MoESeg.Expert", tag)
    return {
        "id": identity, "name": segment.GetName(), "color": segment.GetColor(), "expert": str(tag),
        "world": (points @ to_world[:3, :3].T + to_world[:3, 3]).tolist(),
    }


results = []
for path, again in json.loads(sys.argv[1]):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    node.AddDefaultStorageNode()
    storage = node.GetStorageNode()
    storage.SetFileName(path)
    assert storage.ReadData(node) == 1, path
    segmentation = node.GetSegmentation()
    segments = [described(node, number) for number in range(segmentation.GetNumberOfSegments())]
    results.append({"layers": segmentation.GetNumberOfLayers(), "segments": segments})
    storage.SetFileName(again)
    assert storage.WriteData(node) == 1, again
print("RESULT" + json.dumps(results))
"""


def in_slicer(pairs: list[tuple[Path, Path]]) -> list[dict]:
    """Read the first file of every pair with Slicer's own MRML, in a process of its own, and write the second."""
    argument = json.dumps([[str(path) for path in pair] for pair in pairs])
    done = subprocess.run([sys.executable, "-c", READ_IN_SLICER, argument], capture_output=True, text=True, timeout=300)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
    assert lines, done.stderr[-2000:]
    return json.loads(lines[0][6:])


def records(overlap: bool) -> list[SegmentRecord]:
    first, second = np.zeros((6, 7, 8), np.uint8), np.zeros((6, 7, 8), np.uint8)
    first[1:4, 2:5, 3:6] = 1
    second[3 if overlap else 4 : 6, 1:4, 2:7] = 1
    return [
        SegmentRecord("Segment_1", "liver", MaskPatch.of(first), (0.25, 0.5, 0.75), {"MoESeg.Expert": "base"}),
        SegmentRecord("Segment_2", "tumor | odd:name", MaskPatch.of(second), tags={"MoESeg.Expert": "a/1"}),
        SegmentRecord("Segment_3", "nothing yet", MaskPatch()),
    ]


CASES = [(grid, overlap) for grid in MATRICES for overlap in (False, True)]


@pytest.fixture(scope="module")
def exchanged(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, bool], tuple[dict, Path]]:
    """For every case what Slicer saw in our file, and the file it wrote from it; one process, as it starts slowly."""
    folder = tmp_path_factory.mktemp("exchanged")
    pairs = [
        (folder / f"{grid}-{overlap}.seg.nrrd", folder / f"{grid}-{overlap}-again.seg.nrrd") for grid, overlap in CASES
    ]
    for (grid, overlap), (path, _) in zip(CASES, pairs, strict=True):
        assert write_segmentation(path, volume_on(grid), records(overlap)) == []
    seen = in_slicer(pairs)
    return {case: (found, again) for case, found, (_, again) in zip(CASES, seen, pairs, strict=True)}


def volume_on(grid: str) -> Volume:
    return Volume(np.arange(6 * 7 * 8, dtype=np.int16).reshape(6, 7, 8), MATRICES[grid])


def ras_of(patch: MaskPatch, grid: Volume) -> np.ndarray:
    return _sorted(grid.to_ras(np.argwhere(patch.to_array(grid.shape))[:, ::-1]))


@pytest.mark.parametrize(("grid", "overlap"), CASES)
def test_slicer_reads_every_voxel_where_it_is(grid: str, overlap: bool, exchanged) -> None:
    found, _ = exchanged[grid, overlap]
    written = records(overlap)
    assert found["layers"] == (2 if overlap else 1)
    assert [segment["id"] for segment in found["segments"]] == [record.id for record in written]
    assert [segment["name"] for segment in found["segments"]] == ["liver", "tumor | odd:name", "nothing yet"]
    assert found["segments"][0]["color"] == pytest.approx([0.25, 0.5, 0.75])
    assert found["segments"][1]["color"] == pytest.approx(COLORS[1])
    assert [segment["expert"] for segment in found["segments"][:2]] == ["base", "a/1"]
    for segment, record in zip(found["segments"], written, strict=True):
        assert _sorted(segment["world"]) == pytest.approx(ras_of(record.patch, volume_on(grid)), abs=1e-4)


@pytest.mark.parametrize(("grid", "overlap"), CASES)
def test_we_read_what_slicer_writes(grid: str, overlap: bool, exchanged) -> None:
    _, again = exchanged[grid, overlap]
    grid_back, records_back = read_segmentation(again)
    for record, expected in zip(records_back, records(overlap), strict=True):
        assert (record.id, record.name) == (expected.id, expected.name)
        assert expected.tags.items() <= record.tags.items()
        assert ras_of(record.patch, grid_back) == pytest.approx(ras_of(expected.patch, volume_on(grid)), abs=1e-4)
    assert records_back[0].color == pytest.approx((0.25, 0.5, 0.75))


def _sorted(points) -> np.ndarray:
    array = np.round(np.reshape(points, (-1, 3)), 4)
    return array[np.lexsort(array.T)]


def test_names_and_tags_survive_whatever_they_hold(tmp_path: Path) -> None:
    volume = Volume(np.zeros((6, 7, 8), np.int16), np.eye(4))
    tag = json.dumps([{"kind": "text", "text": 'left "lobe": a\\nb ü'}])
    names = ["back\\slash", "not\\na line", "Nierenstück 肝", '"quoted" {x}:= y']
    patch = records(False)[0].patch
    path, again = tmp_path / "ours.seg.nrrd", tmp_path / "slicers.seg.nrrd"
    write_segmentation(
        path, volume, [SegmentRecord(f"{name}/1", name, patch, tags={"MoESeg.Expert": tag}) for name in names]
    )
    found = in_slicer([(path, again)])[0]["segments"]
    assert [segment["name"] for segment in found] == names
    assert [segment["id"] for segment in found] == [f"{name}/1" for name in names]
    assert {segment["expert"] for segment in found} == {tag}
    for file in (path, again):
        assert [(record.name, record.tags["MoESeg.Expert"]) for record in read_segmentation(file)[1]] == [
            (name, tag) for name in names
        ]


@pytest.mark.parametrize(
    "damage",
    [
        (b"Segment0_Layer:=0", b"Segment0_Layer:=7"),
        (b"Segment0_Layer:=0", b"Segment0_Layer:=-1"),
        (b"LabelValue:=1", b"LabelValue:=x"),
        (b"NRRD", b"NRRX"),
    ],
)
def test_a_damaged_segmentation_is_refused(damage: tuple[bytes, bytes], tmp_path: Path) -> None:
    path = tmp_path / "a.seg.nrrd"
    write_segmentation(path, Volume(np.zeros((6, 7, 8), np.int16), np.eye(4)), records(True))
    assert damage[0] in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(*damage))
    with pytest.raises(VolumeError, match="a.seg.nrrd"):
        read_segmentation(path)


@pytest.mark.parametrize("overlap", [False, True])
def test_a_file_read_back_has_the_same_segments(overlap: bool, tmp_path: Path) -> None:
    volume = Volume(np.zeros((6, 7, 8), np.int16), MATRICES["oblique"])
    path = tmp_path / "a.seg.nrrd"
    write_segmentation(path, volume, records(overlap))
    grid, found = read_segmentation(path)
    assert grid.shape == volume.shape
    assert np.allclose(grid.ijk_to_ras, volume.ijk_to_ras, atol=1e-9)
    for record, expected in zip(found, records(overlap), strict=True):
        assert (record.id, record.name) == (expected.id, expected.name)
        assert expected.tags.items() <= record.tags.items()
        assert np.array_equal(record.patch.to_array(volume.shape), expected.patch.to_array(volume.shape))


@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz", ".mha"])
def test_a_label_map_numbers_the_segments_and_warns_of_overlap(suffix: str, tmp_path: Path) -> None:
    volume = Volume(np.zeros((6, 7, 8), np.int16), MATRICES["anisotropic"])
    (warning,) = write_segmentation(tmp_path / f"a{suffix}", volume, records(True))
    assert ".seg.nrrd" in warning
    labels = Volume.read(tmp_path / f"a{suffix}").array
    second = records(True)[1].patch.to_array(volume.shape) != 0
    assert (labels[second] == 2).all()
    assert write_segmentation(tmp_path / f"b{suffix}", volume, records(False)) == []


def test_a_label_map_is_read_by_its_labels_whatever_its_name(tmp_path: Path) -> None:
    labels = np.zeros((6, 7, 8), np.float32)
    labels[1, 2, 3:5], labels[4, 4, 4] = 3, 7
    for name in ("map.nii.gz", "map.seg.nrrd"):  # the second as other programs write it, without Slicer's metadata
        sitk.WriteImage(sitk.GetImageFromArray(labels.astype(np.uint8)), str(tmp_path / name))
        found = read_segmentation(tmp_path / name)[1]
        assert [(record.id, record.patch.count) for record in found] == [("Segment_3", 2), ("Segment_7", 1)]
    Volume(labels, np.eye(4)).write(tmp_path / "whole.nrrd")
    assert len(read_segmentation(tmp_path / "whole.nrrd")[1]) == 2


def test_an_image_is_not_taken_for_a_label_map(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(np.ones((4, 5, 3), np.uint8), isVector=True), str(tmp_path / "photo.png"))
    Volume(np.full((2, 3, 4), 0.5, np.float32), np.eye(4)).write(tmp_path / "fractions.nrrd")
    frames = [sitk.GetImageFromArray(np.ones((2, 3, 4), np.uint8))] * 2
    sitk.WriteImage(sitk.JoinSeries(frames), str(tmp_path / "4d.seg.nrrd"))
    for name, message in (("photo.png", "several values"), ("fractions.nrrd", "whole"), ("4d.seg.nrrd", "4 spatial")):
        with pytest.raises(VolumeError, match=message):
            read_segmentation(tmp_path / name)


@pytest.mark.parametrize("kept", [0.2, 0.6, 0.99])
def test_a_truncated_segmentation_is_refused(kept: float, tmp_path: Path) -> None:
    path = tmp_path / "a.seg.nrrd"
    write_segmentation(path, volume_on("oblique"), records(True))
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(VolumeError, match="a.seg.nrrd"):
        read_segmentation(path)


def test_one_layer_holds_255_segments_and_more_take_another(tmp_path: Path) -> None:
    volume, corner = Volume(np.zeros((7, 7, 7), np.int16), np.eye(4)), np.zeros((7, 7, 7), np.uint8)
    many = []
    for number in range(300):
        corner[...] = 0
        corner.flat[number] = 1
        many.append(SegmentRecord(f"Segment_{number}", "dot", MaskPatch.of(corner)))
    write_segmentation(tmp_path / "many.seg.nrrd", volume, many)
    found = read_segmentation(tmp_path / "many.seg.nrrd")[1]
    assert [np.flatnonzero(record.patch.to_array(volume.shape)).tolist() for record in found] == [
        [number] for number in range(300)
    ]
    write_segmentation(tmp_path / "many.nii.gz", volume, many)
    assert Volume.read(tmp_path / "many.nii.gz").array.max() == 300


def test_two_segments_of_one_id_are_refused_and_the_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.seg.nrrd"
    path.write_text("old")
    with pytest.raises(OutputError, match="'Segment_1'"):
        write_segmentation(path, volume_on("plain"), [records(False)[0]] * 2)
    assert path.read_text() == "old"


def test_an_unknown_file_type_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="seg.nrrd"):
        write_segmentation(tmp_path / "a.stl", Volume(np.zeros((6, 7, 8)), np.eye(4)), records(False))
    assert list(tmp_path.iterdir()) == []
