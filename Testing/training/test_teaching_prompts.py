"""The simulated user of the training: boxes and clicks on the mask grid, drawn from (seed, epoch, sample) alone."""

from __future__ import annotations

import numpy as np
import pytest

from MoESegLib.training.prompts import (
    LARGEST_JITTER,
    PADDING,
    error_clicks,
    first_clicks,
    generator,
    jittered_boxes,
)

GRID = 64


def disks(*places: tuple[int, int, int]) -> np.ndarray:
    rows, columns = np.ogrid[:GRID, :GRID]
    return np.stack([(rows - y) ** 2 + (columns - x) ** 2 <= r**2 for x, y, r in places])


TARGETS = disks((20, 30, 12), (50, 50, 5), (0, 0, 20))


def sources(epoch: int = 1, seed: int = 0, samples: int = 3) -> list[np.random.Generator]:
    return [generator(seed, epoch, sample) for sample in range(samples)]


def test_boxes_lie_around_their_targets_within_the_jitter() -> None:
    tight = np.array([[8, 18, 32, 42], [45, 45, 55, 55], [0, 0, 20, 20]])
    drawn = np.stack([jittered_boxes(TARGETS, sources(epoch)) for epoch in range(200)])
    assert (np.abs(drawn - tight) <= LARGEST_JITTER).all()
    assert (np.abs(drawn - tight)[:, 1] <= 2).all()  # a small target keeps a box of its size
    assert (drawn >= 0).all()
    assert (drawn < GRID).all()
    assert (drawn[..., 2:] > drawn[..., :2]).all()
    assert len(np.unique(drawn[:, 0], axis=0)) > 50


def test_a_target_of_one_pixel_gets_a_box_of_some_size() -> None:
    one = np.zeros((1, GRID, GRID), bool)
    one[0, -1, -1] = True
    (box,) = jittered_boxes(one, sources(samples=1))
    assert (box[2:] > box[:2]).all()


def test_first_clicks_lie_inside_at_the_center_or_anywhere() -> None:
    drawn = [first_clicks(TARGETS, sources(epoch)) for epoch in range(60)]
    points = np.stack([clicks.points[:, 0].astype(int) for clicks in drawn])
    for sample in range(3):
        assert TARGETS[sample][points[:, sample, 1], points[:, sample, 0]].all()
    at_center = (points[:, 0] == (20, 30)).all(axis=1).mean()
    assert 0.3 < at_center < 0.7
    assert all((clicks.labels == 1).all() for clicks in drawn)


def test_an_error_click_goes_into_the_largest_error() -> None:
    masks = TARGETS.copy()
    masks[0] = disks((20, 30, 12))[0] & (np.arange(GRID) < 24)  # misses the right side of the first target
    masks[0] |= disks((50, 10, 3))[0]  # and has a smaller spurious island
    masks[1] |= disks((20, 20, 9))[0]
    clicks = error_clicks(masks, TARGETS, sources())
    assert clicks.labels[:, 0].tolist() == [1, 0, PADDING]
    x, y = clicks.points[0, 0].astype(int)
    assert TARGETS[0][y, x]
    assert not masks[0][y, x]
    x, y = clicks.points[1, 0]
    assert (x - 20) ** 2 + (y - 20) ** 2 <= 5**2


def test_missed_and_spurious_pixels_that_touch_are_two_errors() -> None:
    target, mask = np.zeros((2, 1, GRID, GRID), bool)
    target[0, 10:20, 10:20] = True
    mask[0, 10:20, 20:26] = True
    clicks = error_clicks(mask, target, sources()[:1])
    assert clicks.labels[0, 0] == 1
    assert (abs(clicks.points[0, 0] - 14.5) <= 3).all()


def test_drawn_error_clicks_stay_deep_inside_the_error() -> None:
    masks = np.zeros_like(TARGETS)
    for epoch in range(20):
        clicks = error_clicks(masks, TARGETS, sources(epoch))
        x, y = clicks.points[0, 0]
        assert (x - 20) ** 2 + (y - 30) ** 2 <= 7.5**2
    both = clicks.followed_by(error_clicks(masks, TARGETS, sources()))
    assert both.points.shape == (3, 2, 2)
    assert both.labels.shape == (3, 2)


@pytest.mark.parametrize("what", [jittered_boxes, first_clicks])
def test_what_is_drawn_depends_on_seed_epoch_and_sample_alone(what) -> None:
    def drawn(**options) -> list:
        found = what(TARGETS, sources(**options))
        return (found if isinstance(found, np.ndarray) else found.points).tolist()

    assert drawn() == drawn()
    assert drawn() != drawn(epoch=2)
    assert drawn() != drawn(seed=1)
    alone = what(TARGETS[1:2], [generator(0, 1, 1)])
    assert (alone if isinstance(alone, np.ndarray) else alone.points).tolist() == drawn()[1:2]
