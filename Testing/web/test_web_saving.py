"""Saving in other formats: what Slicer's own reader and a DICOM reader find in the files."""

from __future__ import annotations

import asyncio
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fakes import blob_volume
from web_tools import FakeModels, need, settle

need("slicer")

import slicer  # noqa: E402

from MoESegLib.core.errors import OutputError  # noqa: E402
from MoESegLib.core.volume import Volume  # noqa: E402
from MoESegLib.mrml.headless import HeadlessScene  # noqa: E402
from MoESegLib.mrml.prompt_store import stored_prompts  # noqa: E402
from MoESegLib.mrml.segmentations import is_locked, segment_ids, segment_mask, segment_of  # noqa: E402
from MoESegLib.mrml.volumes import volume_from_node  # noqa: E402
from MoESegLib.resources import resource_path  # noqa: E402
from MoESegLib.web import commands  # noqa: E402
from MoESegLib.web.desk import Case, Desk  # noqa: E402
from MoESegLib.web.saving import save  # noqa: E402

OBLIQUE = np.array([[-0.8, 0.2, 0.1, 30], [0.1, -0.9, 0.3, 12], [0.1, 0.2, 2.4, -5], [0, 0, 0, 1]])
SERIES = resource_path("Demo", "ct")


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk(FakeModels())
    yield desk
    desk.close()


def worked_on(desk: Desk, volume: Volume, source: Path | None = None) -> Case:
    """An image with an accepted liver, an overlapping left kidney, and an empty segment."""
    case = desk.show(volume, source)
    settle(desk)
    columns, rows = volume.size[0], volume.size[1]
    commands.run(desk, {"do": "overlap", "value": "none"})
    for name, left in (("liver", 0.2), ("left kidney", 0.4)):
        commands.run(desk, {"do": "add_segment", "name": name})
        corners = [[left * columns, 0.2 * rows], [(left + 0.4) * columns, 0.8 * rows]]
        commands.run(desk, {"do": "prompt", "kind": "box", "plane": "axial", "index": 4, "xy": corners})
        settle(desk)
    commands.run(desk, {"do": "select_segment", "id": segment_ids(case.segmentation)[0]})
    commands.run(desk, {"do": "accept"})
    commands.run(desk, {"do": "add_segment", "name": "nothing yet"})
    return case


def written(case: Case, path: Path) -> list[str]:
    return asyncio.run(save(case, path))


@pytest.mark.parametrize("matrix", [None, OBLIQUE])
def test_slicer_finds_image_segments_prompts_and_locks_in_a_saved_scene(desk: Desk, tmp_path: Path, matrix) -> None:
    case = worked_on(desk, blob_volume(ijk_to_ras=matrix))
    path = tmp_path / "ball.mrb"
    assert written(case, path) == []
    names = zipfile.ZipFile(path).namelist()
    assert sorted(Path(name).suffix for name in names) == [".mrml", ".nrrd", ".nrrd"]
    scene = HeadlessScene().scene
    manager, logic, cache = slicer.vtkDataIOManager(), slicer.vtkDataIOManagerLogic(), slicer.vtkCacheManager()
    cache.SetRemoteCacheDirectory(str(tmp_path / "cache"))  # bundles are unpacked beside it
    scene.SetCacheManager(cache)
    manager.SetCacheManager(cache)
    scene.SetDataIOManager(manager)
    logic.SetMRMLScene(scene)
    logic.SetAndObserveDataIOManager(manager)
    assert scene.ReadFromMRB(str(path), True)
    image = scene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
    segmentation = scene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    assert np.array_equal(volume_from_node(image).array, case.volume.array)
    assert np.allclose(volume_from_node(image).ijk_to_ras, case.volume.ijk_to_ras)
    ids = segment_ids(segmentation)
    assert ids == segment_ids(case.segmentation)
    assert [segment_of(segmentation, key).GetName() for key in ids] == ["liver", "left kidney", "nothing yet"]
    assert [is_locked(segment_of(segmentation, key)) for key in ids] == [True, False, False]
    for key in ids:
        assert np.array_equal(segment_mask(segmentation, key, image), segment_mask(case.segmentation, key, case.node))
    assert segment_mask(segmentation, ids[0], image).any()
    [prompt] = stored_prompts(segment_of(segmentation, ids[1]), ids[1], np.eye(4)).prompts
    assert prompt.kind == "box"
    scene.Clear(1)


def test_a_dicom_reader_finds_the_segments_on_their_images(desk: Desk, tmp_path: Path) -> None:
    need("highdicom")
    import highdicom
    import pydicom

    case = worked_on(desk, Volume.read(SERIES), SERIES)
    path = tmp_path / "ct.seg.dcm"
    warnings = written(case, path)
    assert warnings == ["Left out, because nothing is drawn: nothing yet."]
    found = highdicom.seg.segread(path)
    first = pydicom.dcmread(next(SERIES.iterdir()), stop_before_pixels=True)
    assert (found.PatientID, found.StudyInstanceUID) == (first.PatientID, first.StudyInstanceUID)
    assert found.FrameOfReferenceUID == first.FrameOfReferenceUID
    liver, kidney = (found.get_segment_description(number) for number in (1, 2))
    assert liver.segmented_property_type.meaning == "Liver"
    assert kidney.segmented_property_type.meaning == "Kidney"
    modifier = kidney.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence[0]
    assert modifier.CodeMeaning == "Left"
    uids = _uids_in_order()
    for number, key in enumerate(segment_ids(case.segmentation)[:2], start=1):
        mask = segment_mask(case.segmentation, key, case.node)
        drawn = [index for index in range(len(mask)) if mask[index].any()]
        frames = found.get_pixels_by_source_instance(
            [uids[index] for index in drawn], segment_numbers=[number], assert_missing_frames_are_empty=True
        )
        assert drawn and np.array_equal(frames[..., 0], mask[drawn])


def _uids_in_order() -> list[str]:
    """Of the slices, by position, foot to head."""
    import pydicom

    headers = [pydicom.dcmread(file, stop_before_pixels=True) for file in SERIES.iterdir()]
    headers.sort(key=lambda header: header.ImagePositionPatient[2])
    return [header.SOPInstanceUID for header in headers]


def test_without_dicom_images_there_is_no_dicom_segmentation(desk: Desk, tmp_path: Path) -> None:
    blob_volume().write(tmp_path / "ball.nrrd")
    case = worked_on(desk, Volume.read(tmp_path / "ball.nrrd"), tmp_path / "ball.nrrd")
    with pytest.raises(OutputError, match=r"there are none for this image"):
        written(case, tmp_path / "ball.dcm")
    assert not (tmp_path / "ball.dcm").exists()


def test_images_that_were_moved_or_changed_are_not_referred_to(desk: Desk, tmp_path: Path) -> None:
    need("highdicom")
    folder = tmp_path / "ct"
    folder.mkdir()
    for file in SERIES.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    case = worked_on(desk, Volume.read(folder), folder)
    next(folder.iterdir()).unlink()
    with pytest.raises(OutputError, match=r"\.seg\.nrrd"):
        written(case, tmp_path / "ct.dcm")
    for file in folder.iterdir():
        file.unlink()
    with pytest.raises(OutputError, match="not there any more"):
        written(case, tmp_path / "ct.dcm")


def test_nothing_drawn_gives_no_dicom_segmentation(desk: Desk, tmp_path: Path) -> None:
    need("highdicom")
    case = desk.show(Volume.read(SERIES), SERIES)
    with pytest.raises(OutputError, match="nothing to save"):
        written(case, tmp_path / "ct.dcm")
