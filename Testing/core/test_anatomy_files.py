"""Organs from files: Slicer segmentations, label maps of TotalSegmentator, its folder of masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from MoESegLib.core.anatomy_files import read_anatomy
from MoESegLib.core.errors import VolumeError
from MoESegLib.core.prompts import MaskPrompt
from MoESegLib.core.results import MaskPatch
from MoESegLib.core.segmentation_file import SegmentRecord, write_segmentation
from MoESegLib.core.structures import find_structure
from MoESegLib.core.terminology import TERMINOLOGY_TAG, terminology_entry
from MoESegLib.core.tumor_records import TumorRecord, tumor_records
from MoESegLib.core.volume import Volume

MATRIX = np.array([[-1.5, 0, 0, 40], [0, 0, 2, -30], [0, -1.2, 0, 10], [0, 0, 0, 1]], float)
SHAPE = (6, 8, 10)


@pytest.fixture
def labels() -> Volume:
    """Liver 5, left kidney 3, right kidney 2, trachea 16 and a cyst 23, with TotalSegmentator's numbers."""
    array = np.zeros(SHAPE, np.int16)
    array[1:4, 1:5, 1:4], array[2:5, 5:7, 6:9], array[2:5, 1:3, 6:9] = 5, 3, 2
    array[5, 7, 9], array[4, 5, 6] = 16, 23
    return Volume(array, MATRIX, modality="SEG")


def record_of(tumor: str) -> TumorRecord:
    return next(record for record in tumor_records() if record.id == tumor)


def on_grid(prompt: MaskPrompt) -> np.ndarray:
    """The voxels of a prompt on the grid of the labels."""
    assert prompt.ijk_to_ras is not None
    first = np.linalg.inv(MATRIX) @ prompt.ijk_to_ras[:, 3]
    i, j, k = np.rint(first[:3]).astype(int)
    mask = np.zeros(SHAPE, bool)
    depth, height, width = prompt.mask.shape
    mask[k : k + depth, j : j + height, i : i + width] = prompt.mask
    return mask


def check(prompts: list[MaskPrompt], labels: Volume, expected: dict[str, int]) -> None:
    assert {prompt.structure for prompt in prompts} == set(expected)
    for prompt in prompts:
        assert prompt.role == "anatomy"
        np.testing.assert_array_equal(on_grid(prompt), labels.array == expected[prompt.structure])


def test_a_label_map_gives_the_organs_of_its_numbers_in_their_place(labels: Volume, tmp_path: Path) -> None:
    path = labels.write(tmp_path / "total.nii.gz")
    check(read_anatomy(path), labels, {"liver": 5, "kidney_left": 3, "kidney_right": 2, "kidney_cyst_left": 23})


def test_only_what_a_tumor_needs_is_taken_and_the_segment_is_named(labels: Volume, tmp_path: Path) -> None:
    path = labels.write(tmp_path / "total.nii.gz")
    prompts = read_anatomy(path, record_of("kidney_tumor"), segment="lesion")
    check(prompts, labels, {"kidney_left": 3, "kidney_right": 2, "kidney_cyst_left": 23})
    assert {prompt.segment for prompt in prompts} == {"lesion"}
    assert read_anatomy(path, record_of("brain_tumor")) == []


def test_the_numbers_of_another_task_mean_other_organs(labels: Volume, tmp_path: Path) -> None:
    path = labels.write(tmp_path / "btcv.nii.gz")
    check(read_anatomy(path, task="btcv"), labels, {"esophagus": 5, "kidney_left": 3, "kidney_right": 2})


def test_a_slicer_segmentation_is_read_by_terminology_and_by_names(labels: Volume, tmp_path: Path) -> None:
    def record(number: int, name: str, coded: str = "") -> SegmentRecord:
        structure = find_structure(coded)
        tags = {} if structure is None else {TERMINOLOGY_TAG: terminology_entry(structure)}
        return SegmentRecord(f"S{number}", name, MaskPatch.of(labels.array == number), tags=tags)

    segments = [
        record(5, "Segment_1", "liver"),
        record(3, "Left kidney", "tissue"),
        record(2, "kidney_right"),
        record(23, "liver", "liver tumor"),
        record(16, "whatever"),
    ]
    path = tmp_path / "organs.seg.nrrd"
    write_segmentation(path, labels, segments)
    check(read_anatomy(path), labels, {"liver": 5, "Left kidney": 3, "kidney_right": 2})


def test_a_folder_of_masks_is_read_by_file_names(labels: Volume, tmp_path: Path) -> None:
    for name, number in {"liver": 5, "kidney_left": 3, "trachea": 16}.items():
        labels.like((labels.array == number).astype(np.uint8)).write(tmp_path / f"{name}.nii.gz")
    (tmp_path / "notes.txt").write_text("liver", encoding="utf-8")
    check(read_anatomy(tmp_path), labels, {"liver": 5, "kidney_left": 3})


def test_masks_that_a_tumor_does_not_need_are_not_even_read(labels: Volume, tmp_path: Path) -> None:
    labels.like((labels.array == 5).astype(np.uint8)).write(tmp_path / "liver.nii.gz")
    (tmp_path / "spleen.nii.gz").write_bytes(b"damaged")
    check(read_anatomy(tmp_path, record_of("liver_tumor")), labels, {"liver": 5})
    with pytest.raises(VolumeError):
        read_anatomy(tmp_path)


def test_a_file_without_any_organ_says_what_was_expected(labels: Volume, tmp_path: Path) -> None:
    path = labels.like((labels.array == 16).astype(np.uint8) * 16).write(tmp_path / "trachea.nii.gz")
    with pytest.raises(VolumeError, match="holds no organ that MoESeg knows. Expected a .seg.nrrd"):
        read_anatomy(path)
