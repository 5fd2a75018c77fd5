"""Our .seg.nrrd in Slicer's own reader, and Slicer's in ours."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from MoESegLib.core.errors import OutputError, VolumeError
from MoESegLib.core.results import MaskPatch
from MoESegLib.core.segmentation_file import SegmentRecord, read_segmentation, write_segmentation
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
from slicer.util import arrayFromSegmentBinaryLabelmap  # noqa: F401 - proves that it is there
scene = slicer.vtkMRMLScene()
logic = slicer.vtkSlicerSegmentationsModuleLogic()
logic.SetMRMLScene(scene)
node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
node.AddDefaultStorageNode()
storage = node.GetStorageNode()
storage.SetFileName(sys.argv[1])
assert storage.ReadData(node) == 1
segmentation = node.GetSegmentation()
result = {"layers": segmentation.GetNumberOfLayers(), "segments": []}
from vtk.util.numpy_support import vtk_to_numpy
for n in range(segmentation.GetNumberOfSegments()):
    segment = segmentation.GetNthSegment(n)
    image = slicer.vtkOrientedImageData()
    node.GetBinaryLabelmapRepresentation(segmentation.GetNthSegmentID(n), image)
    i, j, k = image.GetDimensions()
    voxels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(k, j, i) if i * j * k else np.zeros((0, 0, 0))
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    to_world = np.array([[matrix.GetElement(r, c) for c in range(4)] for r in range(4)])
    extent = image.GetExtent()
    points = np.argwhere(voxels)[:, ::-1] + [extent[0], extent[2], extent[4]]
    world = points @ to_world[:3, :3].T + to_world[:3, 3]
    tag = vtk.reference("")
    segment.GetTag("MoESeg.Expert", tag)
    result["segments"].append({
        "id": segmentation.GetNthSegmentID(n), "name": segment.GetName(), "color": segment.GetColor(),
        "expert": str(tag), "world": world.tolist(),
    })
if len(sys.argv) > 2:
    storage.SetFileName(sys.argv[2])
    assert storage.WriteData(node) == 1
print("RESULT" + json.dumps(result))
"""


def in_slicer(*paths: Path) -> dict:
    """Run Slicer's own MRML in a process of its own."""
    command = [sys.executable, "-c", READ_IN_SLICER, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
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


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("grid", MATRICES)
def test_slicer_reads_every_voxel_where_it_is_and_we_read_what_slicer_writes(
    grid: str, overlap: bool, tmp_path: Path
) -> None:
    volume = Volume(np.arange(6 * 7 * 8, dtype=np.int16).reshape(6, 7, 8), MATRICES[grid])
    written = records(overlap)
    path, again = tmp_path / "ours.seg.nrrd", tmp_path / "slicers.seg.nrrd"
    assert write_segmentation(path, volume, written) == []
    found = in_slicer(path, again)
    assert found["layers"] == (2 if overlap else 1)
    assert [segment["id"] for segment in found["segments"]] == [record.id for record in written]
    assert [segment["name"] for segment in found["segments"]] == ["liver", "tumor | odd:name", "nothing yet"]
    assert found["segments"][0]["color"] == pytest.approx([0.25, 0.5, 0.75])
    assert [segment["expert"] for segment in found["segments"][:2]] == ["base", "a/1"]
    for segment, record in zip(found["segments"], written, strict=True):
        expected = volume.to_ras(np.argwhere(record.patch.to_array(volume.shape))[:, ::-1])
        assert _sorted(segment["world"]) == pytest.approx(_sorted(expected), abs=1e-4)
    grid_back, records_back = read_segmentation(again)
    for record, expected in zip(records_back, written, strict=True):
        points = grid_back.to_ras(np.argwhere(record.patch.to_array(grid_back.shape))[:, ::-1])
        assert _sorted(points) == pytest.approx(
            _sorted(volume.to_ras(np.argwhere(expected.patch.to_array(volume.shape))[:, ::-1])), abs=1e-4
        )


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
    found = in_slicer(path, again)["segments"]
    assert [segment["name"] for segment in found] == names
    assert [segment["id"] for segment in found] == [f"{name}/1" for name in names]
    assert {segment["expert"] for segment in found} == {tag}
    for file in (path, again):
        assert [(record.name, record.tags["MoESeg.Expert"]) for record in read_segmentation(file)[1]] == [
            (name, tag) for name in names
        ]


@pytest.mark.parametrize(
    "damage", [(b"Segment0_Layer:=0", b"Segment0_Layer:=7"), (b"LabelValue:=1", b"LabelValue:=x"), (b"NRRD", b"NRRX")]
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


def test_an_unknown_file_type_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="seg.nrrd"):
        write_segmentation(tmp_path / "a.stl", Volume(np.zeros((6, 7, 8)), np.eye(4)), records(False))
    assert list(tmp_path.iterdir()) == []
