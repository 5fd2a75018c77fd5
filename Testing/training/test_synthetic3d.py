"""Synthetic volumes and varied copies: the same for the same seed, in range, and with the click inside the target."""

from __future__ import annotations

import numpy as np
import pytest

from MoESegLib.core.volume import Volume
from MoESegLib.training.augment3d import varied
from MoESegLib.training.crops3d import Target3D
from MoESegLib.training.synthetic3d import (
    LARGEST_SHARE,
    LEAST_VOXELS,
    anatomy_of,
    clicked_part,
    painted,
    piece_of,
    random_shapes,
    synthetic_target,
    synthetic_targets,
)

SIZE = 24


@pytest.fixture(scope="module")
def anatomy() -> Volume:
    """Two organs on an oblique grid of 3 mm with its axes turned around."""
    labels = np.zeros((20, 24, 22), np.uint8)
    labels[4:14, 4:12, 5:18] = 7
    labels[8:18, 12:20, 3:12] = 21
    matrix = np.array([[-2.9, 0.5, 0, 30], [0.5, 2.9, 0, -20], [0, 0, 3.0, 5], [0, 0, 0, 1.0]])
    return anatomy_of(Volume(labels, matrix, modality="SEG"), 1.5)


@pytest.fixture(scope="module")
def targets(anatomy: Volume) -> list[Target3D]:
    return [synthetic_target(np.random.default_rng((3, number)), SIZE, [anatomy]) for number in range(24)]


def test_the_same_seed_gives_the_same_volume_and_another_one_another(anatomy: Volume, targets: list[Target3D]) -> None:
    for number in (0, 5):
        again = synthetic_target(np.random.default_rng((3, number)), SIZE, [anatomy])
        np.testing.assert_array_equal(again.pixels, targets[number].pixels)
        np.testing.assert_array_equal(again.mask, targets[number].mask)
    assert len({target.pixels.tobytes() for target in targets}) == len(targets)


def test_volumes_are_in_the_range_of_the_engine_and_are_of_both_kinds(targets: list[Target3D]) -> None:
    assert {target.structure for target in targets} == {"anatomy", "shape"}
    for target in targets:
        pixels = target.pixels.astype(float)
        assert np.isfinite(pixels).all()
        assert 0.3 < pixels.std() < 20
        assert np.abs(pixels).max() < 200
        assert set(np.unique(target.mask)) == {0, 1}


def test_what_was_clicked_is_one_part_of_a_size_that_can_be_learned(targets: list[Target3D]) -> None:
    for target in targets:
        assert target.mask[target.click] == 1
        assert LEAST_VOXELS <= target.mask.sum() <= LARGEST_SHARE * target.mask.size
        np.testing.assert_array_equal(clicked_part(target.mask, target.click), target.mask)


def test_several_clicks_in_one_volume_ask_for_different_things(anatomy: Volume) -> None:
    different = 0
    for number in range(8):
        found = synthetic_targets(np.random.default_rng((3, number)), SIZE, [anatomy], 4)
        assert len(found) == 4 and found[0].click == (SIZE // 2,) * 3
        for target in found:
            np.testing.assert_array_equal(target.pixels, found[0].pixels)
            np.testing.assert_array_equal(clicked_part(target.mask, target.click), target.mask)
            assert LEAST_VOXELS <= target.mask.sum() <= LARGEST_SHARE * target.mask.size
            assert all(SIZE // 8 <= place < SIZE - SIZE // 8 for place in target.click)
        masks = {target.mask.tobytes() for target in found}
        clicked_twice = len({target.click for target in found}) < 4
        assert len(masks) > 1 or clicked_twice
        different += len(masks) > 1
    assert different >= 6


def test_different_labels_can_be_told_apart() -> None:
    labels = np.repeat(np.arange(1, 5, dtype=np.uint8), 6)[:, None, None] * np.ones((24, 24, 24), np.uint8)
    for seed in range(10):
        pixels = painted(labels, np.random.default_rng(seed))
        means = np.array([pixels[labels == label].mean() for label in range(1, 5)])
        assert np.abs(np.subtract.outer(means, means))[~np.eye(4, dtype=bool)].min() > 0.15


def test_anatomy_is_turned_to_the_axes_of_the_model(anatomy: Volume) -> None:
    assert set(np.unique(anatomy.array)) == {0, 7, 21}
    seven, other = (np.argwhere(anatomy.array == label).mean(axis=0) for label in (7, 21))
    assert seven[0] < other[0]  # the i axis of the file runs to the left, so 7 lies more to the left
    assert seven[1] < other[1] and seven[2] < other[2]
    assert anatomy.spacing == pytest.approx([np.hypot(2.9, 0.5) / 1.5] * 3)


def test_a_piece_of_anatomy_has_one_of_its_labels_in_the_middle(anatomy: Volume) -> None:
    for seed in range(6):
        piece = piece_of(anatomy.array, SIZE, np.random.default_rng(seed), 2.0)
        assert piece[(SIZE // 2,) * 3] in (7, 21)
        assert not (piece == 0).any()


def test_shapes_differ_from_draw_to_draw() -> None:
    counts = {len(np.unique(random_shapes(SIZE, np.random.default_rng(seed)))) for seed in range(12)}
    assert len(counts) > 3


def test_varied_copies_keep_the_click_inside_and_do_not_change_the_original(targets: list[Target3D]) -> None:
    moved = 0
    for number, target in enumerate(targets):
        before = target.pixels.copy(), target.mask.copy()
        copy = varied(target, np.random.default_rng((4, number)))
        again = varied(target, np.random.default_rng((4, number)))
        assert copy.mask[copy.click] == 1
        assert np.isfinite(copy.pixels.astype(float)).all()
        np.testing.assert_array_equal(copy.pixels, again.pixels)
        np.testing.assert_array_equal(target.pixels, before[0])
        np.testing.assert_array_equal(target.mask, before[1])
        moved += copy.click != target.click
    assert 2 <= moved <= 16


def test_image_and_mask_of_a_copy_move_together() -> None:
    mask = np.zeros((SIZE,) * 3, np.uint8)
    mask[10:18, 9:15, 12:20] = 1
    target = Target3D((10.0 * mask).astype(np.float16), mask, (12, 12, 13), "block", "c", "p", "d")
    for seed in range(8):
        copy = varied(target, np.random.default_rng(seed))
        bright = copy.pixels.astype(float) > (copy.pixels.min() + copy.pixels.max()) / 2
        overlap = 2 * (bright & (copy.mask == 1)).sum() / (bright.sum() + copy.mask.sum())
        assert overlap > 0.9
