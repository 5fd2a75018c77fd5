"""Manifests and targets: which structures on which slices, in which modality."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from evaluation_tools import add_to_manifest, write_balls, write_case

from MoESegLib.core.errors import GeometryError, VolumeError
from MoESegLib.core.intensity import default_window
from MoESegLib.core.modality import modality_code
from MoESegLib.core.results import MaskPatch
from MoESegLib.core.volume import Volume
from MoESegLib.evaluation.datasets import check_classes, read_cases, readable, structure_key
from MoESegLib.evaluation.targets import evenly, labeled_slices, targets_on


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_balls(tmp_path)
    return tmp_path


def volume_set(folder: Path, modality: str, shape=(6, 30, 40), matrix=None) -> Volume:
    """One 3D case "v" of the set "organs": label 1 on slices 1 to 4 in the acquisition direction."""
    matrix = np.diag([-0.5, -0.5, 3.0, 1.0]) if matrix is None else matrix
    array = np.zeros(shape, np.int16)
    array[1:5, 5:15, 5:25] = 300
    array[0, 0, 0] = -1000
    Volume(array, matrix).write(folder / "v_img.nrrd")
    Volume((array == 300).astype(np.uint8), matrix).write(folder / "v_lab.nrrd")
    case = {"set": "organs", "case": "v", "group": "v", "split": "val", "image": "v_img.nrrd", "label": "v_lab.nrrd"}
    add_to_manifest(folder, "organs", {"labels": {"1": "kidney_left"}, "modality": modality}, [case])
    return Volume(array, matrix)


def test_splits_are_kept_apart_and_missing_ones_are_said(data: Path) -> None:
    assert [case.group for case in read_cases(data, "balls", "train")] == ["t0"]
    assert len(read_cases(data / "manifest.json", "balls", "all")) == 3
    assert len(read_cases(data, "balls", "all", limit=2)) == 2
    with pytest.raises(VolumeError, match=r"no set 'cubes'; it holds balls"):
        read_cases(data, "cubes")
    with pytest.raises(VolumeError, match=r"split 'test'; it has train, val"):
        read_cases(data, "balls", "test")
    with pytest.raises(VolumeError, match=r"no manifest\.json"):
        read_cases(data / "none", "balls")
    (data / "manifest.json").write_text('{"sets": {"balls": {}}, "cases": [{"set": "balls", "split": "val"}]}')
    with pytest.raises(VolumeError, match="not a manifest"):
        read_cases(data, "balls")


def test_a_class_is_known_by_any_of_its_names(data: Path) -> None:
    volume_set(data, "CT")
    cases = read_cases(data, "balls", classes=["ball"]) + read_cases(data, "organs")
    check_classes(cases, ["left kidney", "ball"])
    with pytest.raises(VolumeError, match=r"'liver'; they hold speck, ball, kidney left"):
        check_classes(cases, ["liver"])
    assert structure_key("kidney_left") == structure_key("Left kidney") != structure_key("kidney_right")
    assert readable("nucleus (stored as instance numbers 1..N, 16 bit)") == "nucleus"


def test_labels_of_another_size_or_place_or_kind_are_refused(data: Path) -> None:
    Volume(np.zeros((5, 5), np.uint8), np.eye(4)).write(data / "balls-0_lab.png")
    with pytest.raises(VolumeError, match="shape"):
        read_cases(data, "balls")[0].load()
    volume = volume_set(data, "CT")
    case = read_cases(data, "organs")[0]
    moved = volume.ijk_to_ras.copy()
    moved[0, 3] += 5
    Volume(np.ones(volume.shape, np.uint8), moved).write(case.label_path)
    with pytest.raises(GeometryError, match=r"of 7200 marked voxels"):
        case.load()
    Volume(np.full(volume.shape, 0.5, np.float32), volume.ijk_to_ras).write(case.label_path)
    with pytest.raises(VolumeError, match="fractions"):
        case.load()


def test_labels_stored_in_another_order_of_axes_come_onto_the_image(data: Path) -> None:
    volume = volume_set(data, "CT")
    case = read_cases(data, "organs")[0]
    _, expected = case.load()
    # i and j change places, and the first slice is left out.
    swapped = np.ascontiguousarray(expected[1:].swapaxes(1, 2))
    matrix = volume.ijk_to_ras @ np.array([[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 1], [0, 0, 0, 1]])
    Volume(swapped, matrix).write(case.label_path)
    _, found = case.load()
    assert np.array_equal(found, expected)


@pytest.mark.parametrize(
    ("text", "code"),
    [("CT", "CT"), ("MR T1", "MR"), ("PET (FDG, SUV x100)", "PT"), ("ultrasound", "US"), ("microscopy", ""),
     ("X-ray mammography", ""), ("CT, MR", ""), ("", "")],
)  # fmt: skip
def test_the_words_of_a_manifest_become_a_modality(text: str, code: str) -> None:
    assert modality_code(text) == code


def test_the_modality_of_the_manifest_decides_the_window(data: Path) -> None:
    volume_set(data, "CT")
    image, _ = read_cases(data, "organs")[0].load()
    assert (image.modality, default_window(image)) == ("CT", (-160.0, 240.0))
    volume_set(data, "MR T2")
    (data / "manifest.json").write_text((data / "manifest.json").read_text().replace('"CT"', '"MR"'))
    image, _ = read_cases(data, "organs")[0].load()
    assert image.modality == "MR"
    assert default_window(image) != (-160.0, 240.0)


def test_slices_run_along_the_direction_of_acquisition_and_are_evenly_chosen(data: Path) -> None:
    # i is the thick direction: a sagittal acquisition. Stored slices are 6 x 30 x 40 voxels (k, j, i).
    volume_set(data, "MR", matrix=np.array([[0, 0, -3.0, 0], [0.5, 0, 0, 0], [0, -0.5, 0, 0], [0, 0, 0, 1]]))
    case = read_cases(data, "organs")[0]
    slices = labeled_slices(case, 100)
    assert [(image.axis, image.index) for image, _ in slices] == [(2, 1), (2, 2), (2, 3), (2, 4)]
    assert slices[0][0].spacing == (0.5, 0.5)
    assert [image.index for image, _ in labeled_slices(case, 100, max_slices=2)] == [2, 4]
    assert labeled_slices(case, 201) == []
    (target,) = targets_on(*slices[0], 100).objects
    assert (target.structure, target.instance) == ("kidney left", 0)
    # The mask comes back from a volume as it is displayed.
    _, labels = case.load()
    assert np.array_equal(target.image.mask_of(MaskPatch.of(labels)), target.mask)
    x, y = np.argwhere(target.mask)[0][::-1]
    i, j, k = np.rint(target.image.volume.ras_to_ijk(target.image.ras(x, y))).astype(int)
    assert labels[k, j, i] == 1
    assert not target.image.mask_of(MaskPatch()).any()


def test_numbered_objects_of_one_class_are_targets_of_their_own(tmp_path: Path) -> None:
    labels = np.zeros((40, 60), np.uint16)
    for number in range(12):
        labels[5 + 10 * (number // 6) : 11 + 10 * (number // 6), 2 + 9 * (number % 6) : 8 + 9 * (number % 6)] = (
            number + 1
        )
    labels[0, 0] = 13  # too small
    case = write_case(tmp_path, "cells", "a", "a", "val", (labels > 0).astype(np.uint8) * 200, labels)
    add_to_manifest(tmp_path, "cells", {"labels": {"1": "nucleus (instance numbers)"}}, [case])
    (slice_and_numbers,) = labeled_slices(read_cases(tmp_path, "cells")[0], 20)
    targets = targets_on(*slice_and_numbers, 20, max_objects=4)
    assert [(target.structure, target.instance) for target in targets.objects] == [
        ("nucleus", 2), ("nucleus", 5), ("nucleus", 8), ("nucleus", 11)
    ]  # fmt: skip
    assert all(target.mask.sum() == 36 for target in targets.objects)
    (everything,) = targets.classes
    assert (everything.structure, everything.instance) == ("nucleus", 0)
    assert np.array_equal(everything.mask, labels > 0)
    assert len(targets_on(*slice_and_numbers, 20).objects) == 12
    # The same numbers in a set of several classes are classes.
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    manifest["sets"]["cells"]["labels"] = {"1": "one", "2": "two"}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    (slice_and_numbers,) = labeled_slices(read_cases(tmp_path, "cells")[0], 20)
    names = [target.structure for target in targets_on(*slice_and_numbers, 20, max_objects=4).objects]
    assert names == ["one", "two", *(f"label {number}" for number in range(3, 13))]


def test_evenly_leaves_out_both_ends_first() -> None:
    assert evenly(range(10), 3) == [1, 5, 8]
    assert evenly(range(3), 5) == evenly(range(3), None) == [0, 1, 2]
