"""Anatomical prompts on a model grid: other grids, sides, what is missing, the distance channel."""

from __future__ import annotations

import numpy as np
import pytest

from MoESegLib.core.errors import PromptError
from MoESegLib.core.organs import organ_ids
from MoESegLib.core.prompts import MaskPrompt
from MoESegLib.core.tumor_records import TumorRecord, tumor_records
from MoESegLib.core.volume import Volume
from MoESegLib.engines.anatomy3d import (
    Anatomy3D,
    anatomy_on_grid,
    dense_channels,
    organ_masks,
    region_around,
    spacing_of,
)
from MoESegLib.engines.grid3d import ModelGrid

AXES = np.diag([-1.0, -1.0, 2.0, 1.0])


def placed(matrix: np.ndarray, shape: tuple[int, int, int], center=(0.0, 0.0, 0.0)) -> Volume:
    """An empty volume ``[k, j, i]`` whose middle lies at ``center`` (RAS)."""
    matrix = np.array(matrix, float)
    middle = (np.array(shape[::-1]) - 1) / 2
    matrix[:3, 3] = np.asarray(center) - matrix[:3, :3] @ middle
    return Volume(np.zeros(shape, np.uint8), matrix, modality="CT")


def turned(degrees: float, spacing: tuple[float, float, float]) -> np.ndarray:
    angle = np.deg2rad(degrees)
    cosine, sine = np.cos(angle), np.sin(angle)
    around_s = np.array([[cosine, -sine, 0, 0], [sine, cosine, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    around_r = np.array([[1, 0, 0, 0], [0, cosine, -sine, 0], [0, sine, cosine, 0], [0, 0, 0, 1]])
    return around_s @ around_r @ np.diag([*spacing, 1.0])


def ball(volume: Volume, center, radius: float, structure: str, *, own_grid: bool = False) -> MaskPrompt:
    """A ball as it is painted on the voxels of a volume."""
    k, j, i = np.indices(volume.shape)
    points = volume.to_ras(np.stack([i, j, k], axis=-1))
    mask = np.linalg.norm(points - np.asarray(center), axis=-1) <= radius
    return MaskPrompt(
        mask=mask, ijk_to_ras=volume.ijk_to_ras if own_grid else None, role="anatomy", structure=structure
    )


def record_of(tumor: str) -> TumorRecord:
    return next(record for record in tumor_records() if record.id == tumor)


LIVER, KIDNEY = record_of("liver_tumor"), record_of("kidney_tumor")


@pytest.fixture
def trunk() -> Volume:
    """300 x 120 x 80 mm: shows both sides."""
    return placed(np.diag([-5.0, -5.0, 5.0, 1.0]), (16, 24, 60))


def grid_points(grid: ModelGrid, mask: np.ndarray) -> np.ndarray:
    return np.argwhere(mask) @ grid.to_ras[:3, :3].T + grid.to_ras[:3, 3]


@pytest.mark.parametrize(
    "matrix",
    [np.diag([-1.0, -1.0, 1.0, 1]), np.diag([0.7, 0.8, 3.0, 1]), np.diag([4.0, -4.0, 4.0, 1]), turned(25, (1, 1.2, 2))],
    ids=["own spacing", "thin and thick", "coarse", "oblique"],
)
def test_an_organ_on_any_grid_comes_out_in_its_place_and_size(matrix: np.ndarray) -> None:
    volume = placed(AXES, (30, 60, 60))
    grid = ModelGrid.of(volume, 2.0)
    source = placed(matrix, (64, 64, 64) if abs(matrix[0, 0]) < 3 else (20, 20, 20), (3, -2, 4))
    organ = ball(source, (3, -2, 4), 16, "liver", own_grid=True)
    anatomy = anatomy_on_grid(volume, grid, [organ], LIVER)
    assert anatomy.notes == ()
    assert anatomy.present == ("liver",)
    points = grid_points(grid, anatomy.target)
    np.testing.assert_allclose(points.mean(axis=0), (3, -2, 4), atol=0.3)
    assert len(points) * 8 == pytest.approx(organ.mask.sum() * source.voxel_volume, rel=0.08)


def test_an_oblique_image_gets_the_organ_on_its_own_axes() -> None:
    volume = placed(turned(20, (1, 1, 2)), (30, 60, 60))
    grid = ModelGrid.of(volume, 2.0)
    anatomy = anatomy_on_grid(volume, grid, [ball(volume, (5, 4, -6), 14, "liver")], LIVER)
    np.testing.assert_allclose(grid_points(grid, anatomy.target).mean(axis=0), (5, 4, -6), atol=0.6)


def test_the_region_is_the_box_and_20_mm_within_the_image() -> None:
    volume = placed(AXES, (60, 120, 120))
    grid = ModelGrid.of(volume, 2.0)
    anatomy = anatomy_on_grid(volume, grid, [ball(volume, (0, 0, 40), 12, "liver")], LIVER)
    low = [part.start for part in anatomy.region] @ grid.to_ras[:3, :3] + grid.to_ras[:3, 3] - 1
    high = [part.stop for part in anatomy.region] @ grid.to_ras[:3, :3] + grid.to_ras[:3, 3] - 1
    np.testing.assert_allclose(low, (-32, -32, 8), atol=2)
    np.testing.assert_allclose(high, (32, 32, 60), atol=2)


def test_without_an_organ_the_whole_image_is_searched_and_it_is_said(trunk: Volume) -> None:
    grid = ModelGrid.of(trunk, 5.0)
    anatomy = anatomy_on_grid(trunk, grid, [], LIVER)
    assert not anatomy.is_known
    assert anatomy.target[anatomy.region].shape == grid.shape
    assert anatomy.present == ()
    (note,) = anatomy.notes
    assert note.startswith("No organ of a liver tumor was found (liver), so the whole image is searched")


def test_a_part_of_the_organs_is_used_and_the_rest_is_told(trunk: Volume) -> None:
    grid = ModelGrid.of(trunk, 5.0)
    anatomy = anatomy_on_grid(trunk, grid, [ball(trunk, (0, 0, 0), 20, "pancreas")], record_of("pancreatic_tumor"))
    assert anatomy.is_known
    assert anatomy.notes == ("Not given: duodenum. The search goes on without.",)


def test_other_organs_are_labeled_but_not_searched(trunk: Volume) -> None:
    grid = ModelGrid.of(trunk, 5.0)
    prompts = [ball(trunk, (60, 0, 0), 25, "liver"), ball(trunk, (-60, 0, 0), 20, "spleen")]
    anatomy = anatomy_on_grid(trunk, grid, prompts, LIVER)
    assert anatomy.present == ("liver", "spleen")
    masks = organ_masks(anatomy.labels)
    assert masks.shape == (len(organ_ids()), *grid.shape)
    np.testing.assert_array_equal(masks[organ_ids().index("liver")], anatomy.target)
    assert masks.sum() == (anatomy.labels > 0).sum()
    assert not (masks[organ_ids().index("spleen")] & anatomy.target).any()


def test_a_cyst_in_an_organ_is_searched_too_and_has_a_label_of_its_own(trunk: Volume) -> None:
    grid = ModelGrid.of(trunk, 5.0)
    kidney, cyst = ball(trunk, (-60, 0, 0), 25, "kidney_left"), ball(trunk, (-60, 0, 20), 14, "kidney_cyst_left")
    anatomy = anatomy_on_grid(trunk, grid, [cyst, kidney], KIDNEY)
    assert anatomy.present == ("kidney", "kidney_cyst")
    assert anatomy.target[anatomy.labels == 1 + organ_ids().index("kidney_cyst")].all()
    alone = anatomy_on_grid(trunk, grid, [cyst], KIDNEY)
    assert not alone.is_known


def both_kidneys(trunk: Volume, left: str = "kidney_left", right: str = "kidney_right") -> list[MaskPrompt]:
    return [ball(trunk, (-60, 0, 0), 25, left), ball(trunk, (60, 0, 0), 25, right)]


def center_r(grid: ModelGrid, anatomy: Anatomy3D) -> float:
    return float(grid_points(grid, anatomy.target)[:, 0].mean())


def test_a_side_restricts_the_search_to_the_organ_of_that_side(trunk: Volume) -> None:
    grid = ModelGrid.of(trunk, 5.0)
    both = anatomy_on_grid(trunk, grid, both_kidneys(trunk), KIDNEY)
    left = anatomy_on_grid(trunk, grid, both_kidneys(trunk), KIDNEY, "left")
    assert both.notes == left.notes == ()
    assert center_r(grid, both) == pytest.approx(0, abs=1)
    assert center_r(grid, left) == pytest.approx(-60, abs=3)
    assert left.target.sum() * 2 == both.target.sum()
    np.testing.assert_array_equal(left.labels > 0, left.target)


def test_the_other_side_alone_is_not_used_and_it_is_said(trunk: Volume) -> None:
    grid = ModelGrid.of(trunk, 5.0)
    anatomy = anatomy_on_grid(trunk, grid, both_kidneys(trunk)[1:], KIDNEY, "left")
    assert not anatomy.is_known
    assert "The left kidney was asked for, but only the right one was given, so it is not used." in anatomy.notes


def test_an_organ_without_a_side_is_searched_whole_and_it_is_said(trunk: Volume) -> None:
    grid = ModelGrid.of(trunk, 5.0)
    anatomy = anatomy_on_grid(trunk, grid, [ball(trunk, (-60, 0, 0), 25, "kidney")], KIDNEY, "left")
    assert anatomy.is_known
    assert "without a side" in anatomy.notes[0]


def test_left_given_for_right_is_noticed(trunk: Volume) -> None:
    grid = ModelGrid.of(trunk, 5.0)
    exchanged = both_kidneys(trunk, left="kidney_right", right="kidney_left")
    assert "seem to be exchanged" in anatomy_on_grid(trunk, grid, exchanged, KIDNEY).notes[0]
    alone = anatomy_on_grid(trunk, grid, exchanged[:1], KIDNEY).notes[0]
    assert alone == "What is called right kidney lies on the left half of the image. Check its name."


def test_a_narrow_image_tells_nothing_of_sides() -> None:
    narrow = placed(AXES, (30, 60, 60), center=(60, 0, 0))
    grid = ModelGrid.of(narrow, 2.0)
    organ = ball(narrow, (40, 0, 0), 8, "kidney_right")
    assert anatomy_on_grid(narrow, grid, [organ], KIDNEY).notes == ()


def test_an_unknown_structure_and_a_lesion_are_not_used(trunk: Volume) -> None:
    grid = ModelGrid.of(trunk, 5.0)
    prompts = [ball(trunk, (0, 0, 0), 20, name) for name in ("banana", "liver_tumor")]
    anatomy = anatomy_on_grid(trunk, grid, prompts, LIVER)
    assert not anatomy.labels.any()
    assert '"banana" is no organ that MoESeg knows' in anatomy.notes[0]
    assert '"liver_tumor" is no organ that MoESeg knows' in anatomy.notes[1]


def test_a_mask_without_a_name_is_the_organ_of_the_tumor_and_it_is_said(trunk: Volume) -> None:
    anatomy = anatomy_on_grid(trunk, ModelGrid.of(trunk, 5.0), [ball(trunk, (0, 0, 0), 20, "")], LIVER)
    assert anatomy.present == ("liver",)
    assert anatomy.notes == ("The mask of an organ has no name; it is taken for the liver.",)


def test_a_first_guess_is_no_anatomy(trunk: Volume) -> None:
    guess = MaskPrompt(mask=np.ones(trunk.shape, np.uint8), role="start")
    assert not anatomy_on_grid(trunk, ModelGrid.of(trunk, 5.0), [guess], LIVER).is_known


def test_an_organ_outside_the_image_is_not_used_and_it_is_said(trunk: Volume) -> None:
    elsewhere = placed(AXES, (20, 20, 20), center=(0, 0, 500))
    organ = ball(elsewhere, (0, 0, 500), 8, "liver", own_grid=True)
    anatomy = anatomy_on_grid(trunk, ModelGrid.of(trunk, 5.0), [organ], LIVER)
    assert not anatomy.is_known
    assert anatomy.notes[0] == "The liver lies outside the image, so it is not used."


def test_a_mask_of_another_shape_without_a_matrix_is_refused(trunk: Volume) -> None:
    organ = MaskPrompt(mask=np.ones((3, 4, 5), np.uint8), role="anatomy", structure="liver")
    with pytest.raises(PromptError, match=r"The mask of liver has \(3, 4, 5\) voxels .* own IJK-to-RAS matrix"):
        anatomy_on_grid(trunk, ModelGrid.of(trunk, 5.0), [organ], LIVER)


def test_an_organ_thinner_than_the_grid_is_not_lost() -> None:
    volume = placed(np.diag([-1.0, -1.0, 1.0, 1]), (40, 40, 40))
    grid = ModelGrid.of(volume, 8.0)
    mask = np.zeros(volume.shape, np.uint8)
    mask[19, 17, 5:35] = 1
    organ = MaskPrompt(mask=mask, role="anatomy", structure="aorta")
    anatomy = anatomy_on_grid(volume, grid, [organ], record_of("lymph_node_metastasis"))
    assert "aorta" in anatomy.present
    assert anatomy.target.sum() in range(4, 6)


def test_a_single_slice_works() -> None:
    volume = placed(np.diag([-1.0, -1.0, 5.0, 1]), (1, 60, 60))
    grid = ModelGrid(ModelGrid.of(volume, 2.0).to_ras, (30, 30, 1))
    anatomy = anatomy_on_grid(volume, grid, [ball(volume, (4, 0, 0), 15, "liver")], LIVER)
    assert anatomy.target.shape == (30, 30, 1)
    assert anatomy.target.sum() * 4 == pytest.approx(np.pi * 15**2, rel=0.08)
    mask, distance = dense_channels(anatomy.target, spacing_of(grid))
    assert mask.shape == distance.shape == (30, 30, 1)
    assert distance.max() == pytest.approx(15 / 20, abs=0.12)


def test_the_distance_is_in_millimeters_on_voxels_of_unequal_spacing() -> None:
    target = np.zeros((20, 20, 20), bool)
    target[8:12, 8:12, 8:12] = True
    mask, distance = dense_channels(target, (1.0, 2.0, 5.0))
    np.testing.assert_array_equal(mask, target)
    assert distance.dtype == np.float32
    assert distance[5, 9, 9] * 20 == pytest.approx(-3)
    assert distance[9, 5, 9] * 20 == pytest.approx(-6)
    assert distance[9, 9, 5] * 20 == pytest.approx(-15)
    assert distance[9, 9, 9] * 20 == pytest.approx(2)
    assert distance[9, 9, 0] == distance.min() == -1
    assert (distance[target] > 0).all()
    assert (distance[~target] < 0).all()


def test_the_distance_in_the_region_is_that_of_the_whole() -> None:
    target = np.zeros((60, 60, 60), bool)
    target[25:35, 20:30, 30:33] = True
    spacing = (1.5, 2.0, 3.0)
    region = region_around(target, spacing)
    whole, part = dense_channels(target, spacing), dense_channels(target[region], spacing)
    np.testing.assert_array_equal(whole[(slice(None), *region)], part)
    outside = np.ones(target.shape, bool)
    outside[region] = False
    assert (whole[1][outside] == -1).all()


def test_the_distance_is_defined_where_all_or_nothing_is_organ() -> None:
    full, empty = (
        dense_channels(np.ones((4, 5, 6), bool), (1, 1, 1)),
        dense_channels(np.zeros((4, 5, 6), bool), (1, 1, 1)),
    )
    assert (full == 1).all()
    assert (empty[0] == 0).all()
    assert (empty[1] == -1).all()
