"""Cases to learn from: found by documented rules, checked, and refused with a reason."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from fakes import blob_volume

from MoESegLib.core.errors import GeometryError, TrainingError, VolumeError
from MoESegLib.core.results import MaskPatch
from MoESegLib.core.segmentation_file import SegmentRecord, write_segmentation
from MoESegLib.core.volume import Volume
from MoESegLib.training.case_files import find_cases
from MoESegLib.training.cases import Case, Structure, split_cases

BALL = blob_volume()
MASK = (BALL.array > 100).astype(np.uint8)


def write_pair(folder: Path, image: str, labels: str, mask=MASK) -> None:
    for name in (image, labels):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    BALL.write(folder / image)
    BALL.like(mask).write(folder / labels)


def case_of(tmp_path: Path, labels: Volume, **options) -> Case:
    labels.write(tmp_path / "labels.nrrd")
    return Case("a", "a", BALL, tmp_path / "labels.nrrd", {1: "ball"}, **options)


def test_pairs_side_by_side_and_in_two_folders_are_found(tmp_path: Path) -> None:
    write_pair(tmp_path, "a.nrrd", "a_seg.nrrd")
    write_pair(tmp_path, "b_img.nii.gz", "b_lab.nii.gz")
    write_pair(tmp_path, "c.nrrd", "c-mask.nii.gz")
    write_pair(tmp_path, "imagesTr/d_0000.nii.gz", "labelsTr/d.nii.gz")
    write_pair(tmp_path, "jane/first.nrrd", "jane/first_label.nrrd")
    write_pair(tmp_path, "jane/second.nrrd", "jane/second_label.nrrd")
    (tmp_path / "labels.json").write_text('{"1": "ball"}')
    cases = find_cases(tmp_path, modality="MR")
    assert sorted(case.patient for case in cases) == ["a", "b", "c", "d", "jane", "jane"]
    for case in cases:
        (structure,) = case.load().structures
        assert structure.name == "ball"
        assert structure.patch.count == MASK.sum()
        assert case.load().volume.modality == "MR"


def test_segments_keep_their_names_and_may_overlap(tmp_path: Path) -> None:
    small = MaskPatch.of((np.cumsum(MASK, axis=2) > 5) & (MASK > 0))
    records = [SegmentRecord("S1", "organ", MaskPatch.of(MASK)), SegmentRecord("S2", "tumor", small)]
    BALL.write(tmp_path / "a.nrrd")
    write_segmentation(tmp_path / "a.seg.nrrd", BALL, records)
    (case,) = find_cases(tmp_path)
    assert {item.name: item.patch.count for item in case.load().structures} == {
        "organ": MASK.sum(),
        "tumor": small.count,
    }
    (chosen,) = find_cases(tmp_path, classes=["tumor"])
    assert [item.name for item in chosen.load().structures] == ["tumor"]


@pytest.mark.parametrize("lonely", ["x.nrrd", "x_seg.nrrd"])
def test_an_image_or_labels_alone_are_named(lonely: str, tmp_path: Path) -> None:
    write_pair(tmp_path, "a.nrrd", "a_seg.nrrd")
    BALL.like(MASK).write(tmp_path / lonely)
    with pytest.raises(TrainingError, match=rf"{lonely} has no (labels|image)"):
        find_cases(tmp_path)


def test_a_folder_without_labels_says_how_to_name_them(tmp_path: Path) -> None:
    BALL.write(tmp_path / "a.nrrd")
    with pytest.raises(TrainingError, match=r"holds no labels.*_seg"):
        find_cases(tmp_path)
    with pytest.raises(TrainingError, match="There is no folder"):
        find_cases(tmp_path / "missing")


def manifest(folder: Path, labels: dict, cases: list[dict]) -> Path:
    content = {"sets": {"balls": {"name": "balls", "modality": "MR T1", "labels": labels, "licence": "CC0"}}}
    path = folder / "manifest.json"
    path.write_text(json.dumps({**content, "cases": [{"set": "balls", **case} for case in cases]}))
    return path


def test_only_the_training_split_of_a_manifest_is_used(tmp_path: Path) -> None:
    entries = []
    for number, split in enumerate(("train", "val", "test", "train")):
        write_pair(tmp_path, f"{number}_img.nii.gz", f"{number}_lab.nii.gz")
        files = {"image": f"{number}_img.nii.gz", "label": f"{number}_lab.nii.gz", "label_values": [0, 1]}
        entries.append({"case": str(number), "group": f"g{number}", "split": split, **files})
    path = manifest(tmp_path, {"0": "background", "1": "ball"}, entries)
    for data in (path, tmp_path):
        cases = find_cases(data, ["balls"])
        assert [case.name for case in cases] == ["balls/0", "balls/3"]
    assert cases[0].patient == "g0"
    assert (cases[0].dataset, cases[0].license, cases[0].modality) == ("balls", "CC0", "MR")
    assert [item.name for item in cases[0].load().structures] == ["ball"]
    with pytest.raises(TrainingError, match="no set 'cubes'; it holds balls"):
        find_cases(path, ["cubes"])
    path.write_text('{"sets": {}')
    with pytest.raises(TrainingError, match="is not a manifest"):
        find_cases(path)


def test_numbers_beyond_the_one_class_of_a_set_are_objects_of_that_class(tmp_path: Path) -> None:
    mask = MASK.copy()
    mask[:, :, 24:] *= 7
    write_pair(tmp_path, "0_img.nii.gz", "0_lab.nii.gz", mask)
    files = {"image": "0_img.nii.gz", "label": "0_lab.nii.gz", "label_values": [0, 7]}
    path = manifest(tmp_path, {"1": "cell"}, [{"case": "0", "group": "0", "split": "train", **files}])
    (case,) = find_cases(path)
    assert [item.name for item in case.load().structures] == ["cell", "cell"]


def test_cropped_and_flipped_labels_keep_their_place_in_the_patient(tmp_path: Path) -> None:
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = BALL.size[0] - 1
    flipped = Volume(MASK[:, :, ::-1].copy(), BALL.ijk_to_ras @ flip)
    k, j, i = (slice(axis[0], axis[-1] + 1) for axis in (np.unique(place) for place in np.nonzero(MASK)))
    shift = np.eye(4)
    shift[:3, 3] = i.start, j.start, k.start
    cropped = Volume(MASK[k, j, i].copy(), BALL.ijk_to_ras @ shift)
    for labels in (flipped, cropped):
        (structure,) = case_of(tmp_path, labels).load().structures
        assert (structure.patch.to_array(BALL.shape) == MASK).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (np.diag([1.3, 1.3, 1, 1]), "another grid"),
        (np.array([[1, 0, 0, 0.4], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), "another grid"),
        (np.array([[1, 0, 0, 20], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), "outside the image"),
    ],
)
def test_labels_off_the_grid_of_the_image_are_refused(change, message: str, tmp_path: Path) -> None:
    with pytest.raises(GeometryError, match=message):
        case_of(tmp_path, Volume(MASK, BALL.ijk_to_ras @ change)).load()


def test_empty_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="labels of a are empty"):
        case_of(tmp_path, BALL.like(MASK * 0)).load()


def test_fractions_and_nan_are_refused(tmp_path: Path) -> None:
    with pytest.raises(VolumeError, match="not a label map"):
        case_of(tmp_path, BALL.like(MASK * np.float32(0.5))).load()
    bad = MASK.astype(np.float32)
    bad[0, 0, 0] = np.nan
    image = sitk.GetImageFromArray(bad)
    sitk.WriteImage(image, str(tmp_path / "nan.nrrd"))
    with pytest.raises(VolumeError, match="NaN"):
        Case("a", "a", BALL, tmp_path / "nan.nrrd").load()
    with pytest.raises(VolumeError, match="NaN"):
        Case("a", "a", tmp_path / "nan.nrrd", (Structure("ball", MaskPatch.of(MASK)),)).load()


def test_an_image_of_another_modality_is_refused(tmp_path: Path) -> None:
    labels = (Structure("ball", MaskPatch.of(MASK)),)
    positive = Volume(BALL.array.astype(np.int16), BALL.ijk_to_ras)
    hounsfield = Volume(BALL.array.astype(np.int16) * 10 - 1200, BALL.ijk_to_ras)
    for volume, modality, reason in ((positive, "CT", "without negative"), (hounsfield, "MR", "Hounsfield")):
        with pytest.raises(TrainingError, match=reason):
            Case("a", "a", volume, labels, modality=modality).load()
    assert Case("a", "a", hounsfield, labels, modality="CT").load().volume.modality == "CT"
    assert Case("a", "a", BALL, labels, modality="CT").load().structures  # 8 bit: windowed before


def test_cases_are_split_by_patient_and_the_same_way_for_a_seed() -> None:
    cases = [Case(f"{n}", f"patient{n // 3}", BALL, ()) for n in range(30)]
    train, held = split_cases(cases, 0.2, seed=3)
    assert {case.patient for case in train}.isdisjoint(case.patient for case in held)
    assert 1 <= len({case.patient for case in held}) <= 3
    assert len(train) + len(held) == 30
    assert split_cases(cases, 0.2, seed=3)[1] == held
    assert any(split_cases(cases, 0.2, seed=seed)[1] != held for seed in range(4, 9))


def test_whether_a_patient_is_held_out_does_not_depend_on_the_others() -> None:
    cases = [Case(f"{n}", f"patient{n}", BALL, ()) for n in range(200)]
    held = {case.patient for case in split_cases(cases, 0.2)[1]}
    assert 25 < len(held) < 55
    for part in (cases[:100], cases[50:150], cases[::3]):
        train, some = split_cases(part, 0.2)
        assert {case.patient for case in some} <= held
        assert held.isdisjoint(case.patient for case in train)


def test_a_few_patients_are_mostly_learned_from() -> None:
    for number in range(2, 8):
        cases = [Case(f"{n}", f"patient{n}", BALL, ()) for n in range(number)]
        sizes = {len(split_cases(cases, 0.2, seed)[1]) for seed in range(30)}
        assert sizes == ({1} if number < 7 else {1, 2})


def test_one_case_or_one_patient_alone_is_refused() -> None:
    case = Case("a", "jane", BALL, ())
    for cases in ([case], [case, dataclasses.replace(case, name="b")]):
        with pytest.raises(TrainingError, match=rf"{len(cases)} cases? of 1 patient:"):
            split_cases(cases)


def test_what_a_manifest_remarks_about_a_class_is_not_its_name(tmp_path: Path) -> None:
    write_pair(tmp_path, "0_img.nii.gz", "0_lab.nii.gz")
    entry = {"case": "0", "group": "g", "split": "train", "image": "0_img.nii.gz", "label": "0_lab.nii.gz"}
    path = manifest(tmp_path, {"1": "ball (round, 3 cm)"}, [entry])
    for wanted in ("ball", "ball (round, 3 cm)"):
        (case,) = find_cases(path, ["balls"], [wanted])
        assert [structure.name for structure in case.load().structures] == ["ball"]
