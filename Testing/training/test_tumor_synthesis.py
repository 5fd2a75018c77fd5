"""Synthetic lesions: the same for the same seed, where they belong, as dense as they should be, and nowhere else."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from MoESegLib.core.organs import organ_ids, organ_labels
from MoESegLib.core.resample import resample_nearest
from MoESegLib.core.tumors import tumor_records
from MoESegLib.core.volume import Volume
from MoESegLib.resources import resource_path
from MoESegLib.training.tumor_kinds import LOOK_ALIKES, TUMORS, kind_named, look_alikes_of
from MoESegLib.training.tumor_shapes import deformed_ellipsoid
from MoESegLib.training.tumor_synthesis import OrganBody, SyntheticCase, with_lesions

LIVER, SPLEEN, AORTA = (1 + organ_ids().index(name) for name in ("liver", "spleen", "aorta"))


@pytest.fixture(scope="module")
def body(demo_volume: Volume) -> OrganBody:
    """The demo CT with its organs, every second pixel: 20 x 256 x 256 voxels of about 2 mm."""
    labels = Volume.read(resource_path("Demo", "labels.nii.gz"))
    organs = organ_labels(resample_nearest(labels.array, labels.ijk_to_ras, demo_volume), "total")
    i, j, k = demo_volume.spacing
    return OrganBody(demo_volume.array[:, ::2, ::2].astype(np.float32), organs[:, ::2, ::2], (k, 2 * j, 2 * i))


@pytest.fixture(scope="module")
def one_slice(body: OrganBody) -> OrganBody:
    return OrganBody(body.image[10:11], body.organs[10:11], body.spacing)


def drawn(body: OrganBody, *names: str, seed: int = 0, counts: tuple[int, ...] | None = None) -> SyntheticCase:
    return with_lesions(body, [kind_named(name) for name in names], np.random.default_rng(seed), counts=counts)


def center_of(mask: np.ndarray) -> np.ndarray:
    return ndimage.binary_erosion(mask, np.ones((1, 3, 3)))


def test_the_same_seed_gives_the_same_lesions_and_another_one_others(body: OrganBody) -> None:
    first, again, other = (drawn(body, "liver_tumor", "spleen_lesion", seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.lesions["liver_tumor"], again.lesions["liver_tumor"])
    assert first.drawn == again.drawn
    assert (first.image != other.image).any()


def test_the_body_itself_is_not_changed(body: OrganBody) -> None:
    before = body.image.copy(), body.organs.copy()
    drawn(body, "liver_tumor", "liver_cyst", seed=1)
    np.testing.assert_array_equal(body.image, before[0])
    np.testing.assert_array_equal(body.organs, before[1])


@pytest.mark.parametrize("seed", range(4))
def test_tumors_of_liver_and_spleen_lie_in_liver_and_spleen(body: OrganBody, seed: int) -> None:
    case = drawn(body, "liver_tumor", "spleen_lesion", seed=seed)
    for name, number in (("liver_tumor", LIVER), ("spleen_lesion", SPLEEN)):
        assert case.lesions[name].any()
        assert (case.organs[case.lesions[name]] == number).mean() > 0.99
    assert not (case.lesions["liver_tumor"] & case.lesions["spleen_lesion"]).any()


def test_lymph_nodes_lie_beside_the_vessels_and_in_no_organ(body: OrganBody) -> None:
    case = drawn(body, "lymph_node_metastasis", seed=2)
    nodes = case.lesions["lymph_node_metastasis"]
    assert nodes.any()
    assert (case.organs[nodes] == 0).mean() > 0.9
    near = ndimage.distance_transform_edt(case.organs != AORTA, sampling=body.spacing)
    vein = case.organs == 1 + organ_ids().index("inferior_vena_cava")
    to_vein = ndimage.distance_transform_edt(~vein, sampling=body.spacing) if vein.any() else near
    assert np.minimum(near, to_vein)[nodes].min() < 10


def test_lesions_have_the_density_of_their_kind(body: OrganBody) -> None:
    liver = float(np.median(body.image[body.organs == LIVER]))
    for seed in range(4):
        case = drawn(body, "liver_cyst", seed=seed, counts=(1,))
        inside = center_of(case.look_alikes["liver_cyst"])
        if inside.sum() > 30:
            assert -25 < case.image[inside].mean() < 35  # water
    plain = dataclasses.replace(
        kind_named("liver_tumor"), rim=0.0, necrosis=0.0, count=(1, 1),
        density=dataclasses.replace(kind_named("liver_tumor").density, enhancing=0.0),
    )  # fmt: skip
    for seed in range(4):
        case = with_lesions(body, [plain], np.random.default_rng(seed))
        assert case.image[center_of(case.lesions["liver_tumor"])].mean() < liver - 12


def test_noise_inside_a_lesion_is_that_of_the_image(body: OrganBody) -> None:
    def roughness(image: np.ndarray, where: np.ndarray) -> float:
        fine = image - ndimage.gaussian_filter(image, (0, 1, 1))
        return float(np.median(np.abs(fine[where])))

    smooth = dataclasses.replace(kind_named("liver_cyst"), size=(30, 35), count=(1, 1))
    case = with_lesions(body, [smooth], np.random.default_rng(5))
    inside = ndimage.binary_erosion(case.look_alikes["liver_cyst"], np.ones((1, 7, 7)))
    assert inside.sum() > 100
    before, after = roughness(body.image, inside), roughness(case.image, inside)
    assert 0.6 * before < after < 1.3 * before


def test_the_image_is_untouched_far_from_a_lesion(body: OrganBody) -> None:
    case = drawn(body, "spleen_lesion", seed=6, counts=(1,))
    away = ndimage.distance_transform_edt(~case.lesions["spleen_lesion"], sampling=body.spacing) > 60
    np.testing.assert_array_equal(case.image[away], body.image[away])


def test_two_kinds_in_one_image_are_apart_and_look_alikes_are_no_targets(body: OrganBody) -> None:
    case = drawn(body, "liver_tumor", "kidney_tumor", "liver_cyst", seed=7)
    assert set(case.lesions) <= {"liver_tumor", "kidney_tumor"}
    assert "liver_tumor" in case.lesions
    assert set(case.look_alikes) == {"liver_cyst"}
    masks = [*case.lesions.values(), *case.look_alikes.values()]
    assert np.sum(masks, axis=0).max() == 1


def test_a_kind_without_its_organ_is_left_out(body: OrganBody) -> None:
    without = OrganBody(body.image, np.where(body.organs == SPLEEN, 0, body.organs).astype(np.uint8), body.spacing)
    assert not without.holds(kind_named("spleen_lesion"))
    case = drawn(without, "spleen_lesion", "liver_tumor")
    assert "spleen_lesion" not in case.lesions
    assert "liver_tumor" in case.lesions


def test_a_single_slice_gets_cross_sections(one_slice: OrganBody) -> None:
    found = [drawn(one_slice, "liver_tumor", seed=seed).lesions.get("liver_tumor") for seed in range(5)]
    assert sum(mask is not None and mask.sum() >= 12 for mask in found) >= 4


def test_the_first_lesion_comes_near_to_where_it_is_wanted(body: OrganBody) -> None:
    liver = np.argwhere(body.organs == LIVER)
    wanted = liver[len(liver) // 3]
    kind = [kind_named("liver_tumor")]
    away = {True: [], False: []}
    for seed in range(6):
        for is_near in (True, False):
            case = with_lesions(body, kind, np.random.default_rng(seed), near=wanted if is_near else None, counts=(1,))
            away[is_near].append(np.linalg.norm((np.array(case.drawn[0].center) - wanted) * body.spacing))
    assert np.mean(away[True]) < 0.7 * np.mean(away[False])


def test_a_shape_has_the_size_that_was_asked_for() -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        blob = deformed_ellipsoid((40, 48, 48), (2, 2, 2), (20, 24, 24), 18.0, rng)
        ball = 4 / 3 * np.pi * 18.0**3
        assert 0.6 * ball < blob.inside.sum() * 8 < 1.5 * ball
        assert ndimage.label(blob.inside)[1] <= 2  # type: ignore[index]


def test_every_tumor_that_is_drawn_has_a_record_and_every_organ_a_number() -> None:
    known = {record.id: record for record in tumor_records()}
    for kind in (*TUMORS, *LOOK_ALIKES):
        assert set(kind.organs) <= set(organ_ids())
        if kind.is_tumor:
            record = known[kind.name]
            assert set(kind.organs) & set(record.organs)
            assert record.size_mm[0] <= kind.size[1] and kind.size[1] <= record.size_mm[1]
    assert [kind.name for kind in look_alikes_of(kind_named("kidney_tumor"))] == ["kidney_cyst"]
