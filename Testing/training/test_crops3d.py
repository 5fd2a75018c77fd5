"""Crops for 3D training: what the engine would show the network, of cases that may be trained on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from fakes3d import CropModel, at
from numpy.typing import NDArray

from MoESegLib.core.errors import TrainingError
from MoESegLib.core.results import MaskPatch
from MoESegLib.core.volume import Volume
from MoESegLib.engines.grid3d import ModelGrid
from MoESegLib.engines.protocol import Context, ExpertLogits
from MoESegLib.engines.protocol3d import CropPrompt
from MoESegLib.engines.volume_engine import VolumeEngine
from MoESegLib.training.case_files import find_cases
from MoESegLib.training.cases import Case, Structure
from MoESegLib.training.clicks3d import deepest, depth_of, error_click, inner_voxel
from MoESegLib.training.crops3d import CropPlan, cached_crops, crop_around, crops_of

PLAN = CropPlan(size=16, spacing=3.0, clicks=3, least=20.0)
TURN = np.array([[0, -1, 0, 40], [0.96, 0, 0.28, -15], [0.28, 0, -0.96, 7], [0, 0, 0, 1]])
"""Oblique axes in another order, one of them backwards."""


def volume_of(spacing: tuple[float, float, float] = (1.5, 1.2, 4.0), modality: str = "MR") -> Volume:
    array = np.random.default_rng(0).normal(100, 40, (14, 40, 32))
    return Volume(array, TURN @ np.diag([*spacing, 1.0]), modality=modality, name="noise")


def two_lesions(volume: Volume) -> NDArray[np.uint8]:
    mask = np.zeros(volume.shape, np.uint8)
    mask[4:8, 10:22, 8:18] = 1
    mask[10:12, 30:35, 24:29] = 1
    return mask


def case_of(volume: Volume, mask: NDArray, name: str = "a", patient: str = "p") -> Case:
    return Case(name, patient, volume, (Structure("lesion", MaskPatch.of(mask)),), dataset="set")


class Looker(CropModel):
    """Finds nothing; remembers the crops."""

    def answer(self, pixels: NDArray, to_ras: NDArray, prompt: CropPrompt) -> tuple[ExpertLogits, ...]:
        return (ExpertLogits("base", np.full((self.mask_grid,) * 3, -9.0, np.float32)),)


@pytest.mark.parametrize("modality", ["MR", "CT"])
def test_crops_are_what_the_engine_shows_the_network_after_the_same_click(modality: str) -> None:
    volume = volume_of(modality=modality)
    volume = Volume(volume.array * 30 - 2000, volume.ijk_to_ras, modality) if modality == "CT" else volume
    model = Looker(crop_size=16, spacing=3.0, mask_grid=8)
    grid, mask = ModelGrid.of(volume, 3.0), two_lesions(volume)
    for kji in np.argwhere(mask)[::150]:
        ras = volume.to_ras(kji[::-1])
        VolumeEngine(model).predict(volume, [at(ras)], Context())
        cut = crop_around(volume, grid, MaskPatch.of(mask), grid.voxels(ras), 16)
        assert cut is not None
        np.testing.assert_array_equal(cut[0], model.crops[-1].pixels.astype(np.float16))
        np.testing.assert_array_equal(np.rint(model.asked[-1].points), [[8, 8, 8]])


def test_the_mask_lies_where_the_target_is_in_the_crop() -> None:
    volume = volume_of((2.0, 2.0, 2.0))
    bright = Volume(two_lesions(volume) * 100.0 + 10, volume.ijk_to_ras, "MR")
    for crop in crops_of([case_of(bright, two_lesions(volume))], PLAN):
        inside = crop.pixels[crop.mask == 1].astype(float).mean()
        assert inside > crop.pixels[crop.mask == 0].astype(float).mean() + 1
        assert crop.mask[crop.click] == 1
        assert crop.click == (8, 8, 8)


def test_every_connected_part_is_a_target_of_its_own_the_largest_first() -> None:
    volume = volume_of((2.0, 2.0, 2.0))
    mask = two_lesions(volume)
    mask[0, 0, 0] = 1  # smaller than what is learned
    crops = list(crops_of([case_of(volume, mask)], PLAN))
    sizes = [int(crop.mask.sum()) for crop in crops]
    assert len(crops) == 6
    assert min(sizes[:3]) > max(sizes[3:])
    assert len({crop.pixels.tobytes() for crop in crops}) > 4


def test_the_same_plan_gives_the_same_crops_in_any_company() -> None:
    one, other = (case_of(volume_of((2.0, 2.0, size)), two_lesions(volume_of()), f"case {size}") for size in (2.0, 3.0))
    alone = list(crops_of([other], PLAN))
    together = [crop for crop in crops_of([one, other], PLAN) if crop.case == other.name]
    assert [crop.pixels.tobytes() for crop in alone] == [crop.pixels.tobytes() for crop in together]


def test_kept_crops_are_the_same_and_other_plans_are_cut_anew(tmp_path: Path) -> None:
    cases = [case_of(volume_of(), two_lesions(volume_of()))]
    fresh = list(crops_of(cases, PLAN))
    for _ in range(2):
        for kept, crop in zip(cached_crops(tmp_path, cases, PLAN), fresh, strict=True):
            np.testing.assert_array_equal(kept.pixels, crop.pixels)
            np.testing.assert_array_equal(kept.mask, crop.mask)
            assert (kept.click, kept.structure, kept.patient) == (crop.click, "lesion", "p")
    larger = CropPlan(size=24, spacing=3.0, clicks=1, least=20.0)
    assert cached_crops(tmp_path, cases, larger)[0].pixels.shape == (24, 24, 24)


def test_damaged_crops_are_told(tmp_path: Path) -> None:
    cases = [case_of(volume_of(), two_lesions(volume_of()))]
    cached_crops(tmp_path, cases, PLAN)
    (tmp_path / "pixels").write_bytes(b"")
    with pytest.raises(TrainingError, match="damaged"):
        cached_crops(tmp_path, cases, PLAN)


def test_cases_without_a_target_that_could_be_seen_are_refused(tmp_path: Path) -> None:
    mask = np.zeros(volume_of().shape, np.uint8)
    mask[5, 5, 5] = 1
    with pytest.raises(TrainingError, match="no target"):
        cached_crops(tmp_path, [case_of(volume_of(), mask)], PLAN)


def test_nothing_is_cut_out_of_cases_that_must_not_be_trained_on(tmp_path: Path) -> None:
    volume, cases = volume_of((2.0, 2.0, 2.0)), []
    for split in ("train", "val", "test", "demo"):
        image, label = f"{split}_img.nrrd", f"{split}_lab.nrrd"
        volume.write(tmp_path / image)
        volume.like(two_lesions(volume)).write(tmp_path / label)
        cases.append({"set": "s", "case": split, "group": split, "split": split, "image": image, "label": label})
    sets = {"s": {"name": "s", "labels": {"1": "lesion"}, "modality": "MR", "licence": "CC-BY"}}
    (tmp_path / "manifest.json").write_text(json.dumps({"sets": sets, "cases": cases}))
    assert {crop.case for crop in crops_of(find_cases(tmp_path), PLAN)} == {"s/train"}


def test_clicks_lie_in_the_middle_of_a_target_or_at_least_inside() -> None:
    ball = np.linalg.norm(np.indices((21, 21, 21)) - 10, axis=0) < 8
    depth = depth_of(ball)
    assert deepest(depth) == (10, 10, 10)
    source = np.random.default_rng(0)
    drawn = [inner_voxel(depth, source) for _ in range(200)]
    assert all(ball[place] for place in drawn)
    middle = np.mean([depth[place] >= depth.max() / 2 for place in drawn])
    assert 0.7 < middle < 0.95
    assert min(depth[inner_voxel(depth, source, anywhere=0.0)] for _ in range(50)) >= depth.max() / 2


def test_a_correction_goes_into_the_largest_error_and_says_of_which_kind() -> None:
    target = np.zeros((16, 16, 16), bool)
    target[2:8, 2:8, 2:8] = True
    answer = target.copy()
    answer[2:8, 2:8, 5:8] = False
    answer[12:14, 12:14, 12:14] = True
    assert error_click(answer, target) == ((3, 3, 6), True)
    assert error_click(answer, target & answer) == ((12, 12, 12), False)
    assert error_click(target, target) is None
    place, positive = error_click(answer, target, np.random.default_rng(0)) or ((0, 0, 0), False)
    assert positive
    assert target[place] and not answer[place]
