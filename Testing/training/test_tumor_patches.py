"""Patches to learn tumors from: split by patient, reproducible, of the right shapes, and what is held out stays so."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from MoESegLib.core.errors import TrainingError
from MoESegLib.core.organs import organ_ids
from MoESegLib.core.resample import resample_nearest
from MoESegLib.core.volume import Volume
from MoESegLib.engines.tumor_image import depth_first, on_grid, scale_of, tumor_grid
from MoESegLib.resources import resource_path
from MoESegLib.training.tumor_geometry import Pose, cut, slab
from MoESegLib.training.tumor_held_out import digest, held_out_cases, load_held_out
from MoESegLib.training.tumor_patches import SYNTHETIC_SLABS, SYNTHETIC_SLICES, TumorData, TumorPlan
from MoESegLib.training.tumor_sources import cases_of, datasets_of, licenses_of, slice_in_hounsfield

PLAN = TumorPlan(patch=(16, 32, 32), slice_patch=(64, 64))
BTCV = {1: 1, 2: 2, 3: 3, 5: 6, 6: 7, 7: 11, 52: 8, 63: 9, 64: 10}
"""TotalSegmentator's numbers to BTCV's."""
FOLDS = ("train", "tune", "val")
LIVER = 1 + organ_ids().index("liver")


@pytest.fixture(scope="module")
def ct(demo_volume: Volume) -> tuple[Volume, np.ndarray]:
    """The demo CT and its labels in BTCV's numbers."""
    labels = Volume.read(resource_path("Demo", "labels.nii.gz"))
    found = resample_nearest(labels.array, labels.ijk_to_ras, demo_volume)
    table = np.zeros(256, np.uint8)
    table[list(BTCV)] = list(BTCV.values())
    return demo_volume, table[found]


def as_exported(hounsfield: np.ndarray) -> np.ndarray:
    """From the darkest to the brightest voxel, as the slices of BTCV were exported."""
    low, high = float(hounsfield.min()), float(hounsfield.max())
    return ((hounsfield - low) / (high - low) * 254).astype(np.uint8)


@pytest.fixture(scope="module")
def data(ct: tuple[Volume, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of a few patients: slices with organs as BTCV exports them, and volumes with a bright tumor."""
    folder = tmp_path_factory.mktemp("data")
    volume, labels = ct
    cases = []
    for number in range(6):
        name, k = f"A{number}_1", 3 * number + 1
        Image.fromarray(as_exported(volume.array[k])[::-1]).save(folder / f"{name}_img.png")
        Image.fromarray(labels[k][::-1]).save(folder / f"{name}_lab.png")
        cases.append(entry("btcv", name, f"A{number}", "png", "val" if number > 3 else "train"))
    for number in range(5):
        rng = np.random.default_rng(number)
        image, mask = rng.normal(-100, 15, (24, 40, 40)).astype(np.int16), np.zeros((24, 40, 40), np.uint8)
        mask[8:14, 12:20, 14 + number : 24 + number] = 1
        image[mask > 0] += 160
        image[:, :3] = -1000
        for what, array in (("img", image), ("lab", mask)):
            Volume(array, np.diag([-2.5, -2.5, 3.0, 1.0])).write(folder / f"S{number}_{what}.nii.gz")
        cases.append(entry("sts_ct", f"S{number}", f"S{number}", "nii.gz", "val" if number == 4 else "train"))
    sets = {
        "btcv": {"modality": "CT", "labels": {str(v): f"label {v}" for v in BTCV.values()}, "licence": "CC-BY 4.0"},
        "sts_ct": {"modality": "CT", "labels": {"1": "gross tumor volume (mass)"}, "licence": "CC-BY 3.0"},
    }
    (folder / "manifest.json").write_text(json.dumps({"sets": sets, "cases": cases}))
    return folder


def entry(dataset: str, name: str, patient: str, kind: str, split: str) -> dict[str, object]:
    return {
        "set": dataset, "case": name, "group": patient, "split": split, "image": f"{name}_img.{kind}",
        "label": f"{name}_lab.{kind}", "label_values": [0, 1],
    }  # fmt: skip


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def tumors(data: Path, cache: Path) -> TumorData:
    return TumorData.open(data, cache, PLAN)


def test_an_exported_slice_gets_its_hounsfield_units_back(ct: tuple[Volume, np.ndarray]) -> None:
    volume, labels = ct
    for k in (2, 10, 17):
        true = volume.array[k : k + 1].astype(float)
        found = slice_in_hounsfield(as_exported(true), labels[k : k + 1])
        tissue = (true > -200) & (true < 250)
        padded = np.where(true < -900, np.where(np.indices(true.shape)[2] % 4 == 0, -3024, -1000), true)
        for shown in (found, slice_in_hounsfield(as_exported(padded), labels[k : k + 1])):
            slope, _ = np.polyfit(true[tissue], shown[tissue], 1)
            assert 0.92 < slope < 1.06
            assert np.abs(shown - true)[tissue].mean() < 50  # this patient's fat is 25 HU denser than is assumed


def test_a_slice_without_organs_cannot_be_scaled() -> None:
    with pytest.raises(TrainingError, match="no scale"):
        slice_in_hounsfield(np.zeros((1, 32, 32), np.uint8), np.zeros((1, 32, 32), np.uint8))


def test_no_patient_is_on_two_sides(data: Path) -> None:
    sides = {fold: {c.group for name in datasets_of(data) for c in cases_of(data, name, fold)} for fold in FOLDS}
    assert all(sides.values())
    assert sum(len(found) for found in sides.values()) == len(set.union(*sides.values())) == 11
    assert sides["val"] == {"A4", "A5", "S4"}


def test_the_same_seed_draws_the_same_patch(tumors: TumorData) -> None:
    for is_slice in (True, False):
        first, again = (tumors.draw(np.random.default_rng(5), is_slice) for _ in range(2))
        np.testing.assert_array_equal(first.image, again.image)
        np.testing.assert_array_equal(first.target, again.target)
        assert (first.tumor, first.name) == (again.tumor, again.name)


def test_patches_have_the_shapes_and_ranges_of_the_network(tumors: TumorData) -> None:
    rng = np.random.default_rng(0)
    for number in range(30):
        is_slice = number % 2 == 0
        sample = tumors.draw(rng, is_slice)
        shape = PLAN.shape(is_slice)
        assert sample.image.shape == (2, *shape) and sample.image.dtype == np.float32
        assert sample.target.shape == (1, *shape) and sample.target.dtype == np.float32
        assert sample.organs.shape == shape and sample.organs.dtype == np.uint8
        assert sample.image.min() >= 0 and sample.image.max() <= 1
        assert set(np.unique(sample.target)) <= {0, 1}
        assert sample.spacing == (2.0, 2.0, 2.0)
        assert not sample.is_absent or not sample.target.any()


def test_every_type_is_drawn_about_as_often_and_from_every_source(tumors: TumorData) -> None:
    rng = np.random.default_rng(1)
    drawn = [tumors.draw(rng, is_slice=False) for _ in range(120)]
    counts = Counter(sample.tumor for sample in drawn if not sample.is_absent)
    assert set(counts) == set(tumors.tumors_of(False))
    assert max(counts.values()) < 6 * min(counts.values())
    assert {sample.dataset for sample in drawn} == {"sts_ct", SYNTHETIC_SLABS}
    assert {tumors.draw(rng, is_slice=True).dataset for _ in range(5)} == {SYNTHETIC_SLICES}
    assert 3 <= sum(sample.is_absent for sample in drawn) <= 35


def test_real_lesions_come_with_their_target_in_place(tumors: TumorData) -> None:
    rng = np.random.default_rng(2)
    drawn = [tumors.draw(rng, is_slice=False, tumor="soft_tissue_sarcoma") for _ in range(12)]
    shown = [sample for sample in drawn if sample.target.sum() > 100]
    assert len(shown) >= 6
    for sample in shown:
        inside = sample.target[0] > 0
        assert sample.image[0][inside].mean() > sample.image[0][~inside].mean() + 0.15


def test_only_the_wanted_types_are_asked_for(data: Path, cache: Path) -> None:
    few = TumorData.open(data, cache, TumorPlan(("liver_tumor",), patch=(16, 32, 32), slice_patch=(64, 64)))
    assert few.tumors == ("liver_tumor",)
    with pytest.raises(TrainingError, match="spleen_lesion"):
        few.draw(np.random.default_rng(0), tumor="spleen_lesion")


def test_images_are_prepared_once(data: Path, cache: Path, tumors: TumorData) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in cache.iterdir()}
    TumorData.open(data, cache, PLAN)
    assert {path.name: path.stat().st_mtime_ns for path in cache.iterdir()} == before
    record = next(cache.glob("*.json"))
    content = record.read_text()
    record.write_text("{")
    with pytest.raises(TrainingError, match="damaged"):
        TumorData.open(data, cache, PLAN)
    record.write_text(content)


def test_a_manifest_without_tumors_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"sets": {}, "cases": []}')
    with pytest.raises(TrainingError, match="none of the sets"):
        TumorData.open(tmp_path, tmp_path / "cache")


def test_held_out_cases_are_listed_and_drawn_the_same_way_again(data: Path) -> None:
    specs = held_out_cases(data)
    assert digest(specs) == digest(held_out_cases(data)) != digest(specs[1:])
    assert {spec.patient for spec in specs} == {"A4", "A5", "S4"}
    assert [spec.dataset for spec in specs if not spec.is_synthetic] == ["sts_ct"]
    synthetic = [spec for spec in specs if spec.is_synthetic]
    for first, again in zip(load_held_out(data, synthetic), load_held_out(data, synthetic), strict=True):
        np.testing.assert_array_equal(first.volume.array, again.volume.array)
        assert first.organs is not None and first.organs.shape == first.volume.shape
        assert not set(first.absent) & set(first.targets)
        for mask in first.targets.values():
            assert mask.shape == first.volume.shape and mask.any()
        if first.spec.seed == 2:
            assert not first.targets


def test_a_real_held_out_case_is_the_image_itself(data: Path) -> None:
    (case,) = load_held_out(data, held_out_cases(data, synthetic=False))
    assert set(case.targets) == {"soft_tissue_sarcoma"}
    assert case.targets["soft_tissue_sarcoma"].sum() == 6 * 8 * 10
    np.testing.assert_array_equal(case.volume.array, Volume.read(data / "S4_img.nii.gz").array)


def test_what_is_learned_from_is_not_held_out(data: Path) -> None:
    with pytest.raises(TrainingError, match="not held out"):
        held_out_cases(data, "train")
    tune, val = ({spec.patient for spec in held_out_cases(data, fold)} for fold in ("tune", "val"))
    assert not tune & val


def test_licenses_are_known_for_the_card(data: Path) -> None:
    assert licenses_of(data) == {"btcv": "CC-BY 4.0", "sts_ct": "CC-BY 3.0"}


def test_a_patch_that_is_not_turned_is_the_image(tumors: TumorData) -> None:
    array = np.random.default_rng(0).normal(size=(9, 20, 22)).astype(np.float32)
    found = cut(array, Pose.straight((4, 10, 11)), (5, 8, 8), linear=True)
    np.testing.assert_allclose(found, array[2:7, 6:14, 7:15], atol=1e-4)
    beyond = cut(array, Pose.straight((0, 0, 0)), (5, 8, 8), linear=True, outside=-7.0)
    np.testing.assert_allclose(beyond[:2], -7, atol=1e-5)
    one = cut(array[:1], Pose.straight((0, 10, 11)), (1, 8, 8), linear=False)
    np.testing.assert_array_equal(one, array[:1, 6:14, 7:15])


def test_image_and_labels_are_turned_alike() -> None:
    mask = np.zeros((24, 40, 40), np.float32)
    mask[8:16, 10:24, 16:30] = 1
    for seed in range(5):
        pose = Pose.drawn((12, 20, 20), np.random.default_rng(seed), is_slice=False)
        soft, hard = (cut(mask, pose, (20, 40, 40), linear=linear) for linear in (True, False))
        assert 2 * ((soft > 0.5) & (hard > 0.5)).sum() / ((soft > 0.5).sum() + (hard > 0.5).sum()) > 0.97


def test_a_slab_has_the_slice_in_its_middle() -> None:
    image = np.zeros((1, 32, 32), np.float32)
    organs = np.zeros((1, 32, 32), np.uint8)
    image[0, 8:20, 10:24], organs[0, 8:20, 10:24] = 100, LIVER
    volume, labels = slab(image, organs, (2, 2, 2), 17, np.random.default_rng(3))
    assert volume.shape == labels.shape == (17, 32, 32)
    np.testing.assert_array_equal(labels[8], organs[0])
    assert (labels[0] != labels[8]).any() and (labels[0] == LIVER).any()


def test_a_thick_slice_stays_one_slice_in_every_plane() -> None:
    for axis in range(3):
        shape, size = [30, 30, 30], [1.0, 1.0, 1.0]
        shape[2 - axis], size[axis] = 1, 9.0
        volume = Volume(np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8), np.diag([*size, 1.0]))
        grid = tumor_grid(volume, 2.0)
        order = depth_first(grid.shape)
        found = on_grid(volume, grid, outside=0.0).transpose(order)
        assert found.shape == (1, 15, 15)
        assert found.std() > 5


def test_channels_lie_between_0_and_1_and_hounsfield_units_get_windows() -> None:
    array = np.linspace(-1000, 1000, 4096).reshape(16, 16, 16).astype(np.int16)
    ct = scale_of(Volume(array, np.eye(4), "CT"))
    assert ct.is_hounsfield and ct.outside == -1000
    low, middle, high = ct.channels(np.array([[[-160.0, 40.0, 240.0]]], np.float32))[0, 0, 0]
    assert (low, middle, high) == pytest.approx((0, 0.5, 1))
    picture = Volume((array / 8 + 127).clip(0, 255).astype(np.uint8), np.eye(4), "CT")
    scale = scale_of(picture)
    assert not scale.is_hounsfield
    straight = scale.channels(picture.array.astype(np.float32))
    np.testing.assert_allclose(straight, scale.of_units().channels(scale.units(picture.array)), atol=1e-4)
