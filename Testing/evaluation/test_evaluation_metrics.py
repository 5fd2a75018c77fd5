"""Dice, surface distance, clicks and intervals: known values, other implementations, and what must always hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from MoESegLib.evaluation.metrics import (
    bootstrap_interval,
    bootstrap_means,
    clicks_to_reach,
    dice,
    interval,
    surface_dice,
)

pairs = st.tuples(st.integers(3, 12), st.integers(3, 12)).flatmap(
    lambda shape: st.tuples(hnp.arrays(bool, shape), hnp.arrays(bool, shape))
)
spacings = st.tuples(st.sampled_from([0.5, 1.0, 2.5]), st.sampled_from([0.5, 1.0, 2.5]))


def disk(row: float, column: float, radius: float, shape: tuple[int, int] = (60, 70)) -> np.ndarray:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return (rows - row) ** 2 + (columns - column) ** 2 <= radius**2


def test_dice_has_its_known_values() -> None:
    empty, half, full = np.zeros((4, 4)), np.zeros((4, 4)), np.ones((4, 4))
    half[:2] = 1
    assert dice(full, full) == 1
    assert dice(half, full) == pytest.approx(2 * 8 / 24)
    assert dice(half, 1 - half) == 0
    assert dice(empty, empty) == 1
    assert dice(empty, full) == dice(full, empty) == 0
    for metric in (dice, lambda a, b: surface_dice(a, b, 1)):
        with pytest.raises(ValueError, match="shape"):
            metric(full, full[:2])


def test_surface_dice_counts_outlines_within_the_tolerance() -> None:
    square, moved = np.zeros((30, 30), bool), np.zeros((30, 30), bool)
    square[5:15, 5:15] = True
    moved[5:15, 8:18] = True
    assert surface_dice(square, moved, 3) == 1
    # 36 border pixels each; the upper and lower sides share 7 of their 10 pixels, the others share none.
    assert surface_dice(square, moved, 0) == pytest.approx(2 * (7 + 7) / 72)
    assert surface_dice(square, moved, 3, (1, 2)) < 1
    assert surface_dice(square, moved, 6, (1, 2)) == 1
    assert surface_dice(square, np.zeros_like(square), 2) == 0
    assert surface_dice(np.zeros_like(square), np.zeros_like(square), 2) == 1


@given(pairs, spacings, st.sampled_from([0.0, 1.0, 1.5, 3.0]))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_surface_dice_is_what_counting_every_pair_of_border_pixels_gives(pair, spacing, tolerance) -> None:
    def border(mask):
        around = np.pad(mask, 1)
        inner = around[:-2, 1:-1] & around[2:, 1:-1] & around[1:-1, :-2] & around[1:-1, 2:]
        return np.argwhere(mask & ~inner) * spacing

    first, second = border(pair[0]), border(pair[1])
    found = surface_dice(*pair, tolerance, spacing)
    if not len(first) or not len(second):
        assert found == float(not len(first) and not len(second))
        return
    between = np.sqrt(((first[:, None] - second[None]) ** 2).sum(axis=2))
    near = (between.min(axis=1) <= tolerance).sum() + (between.min(axis=0) <= tolerance).sum()
    assert found == pytest.approx(near / (len(first) + len(second)))


@given(pairs, spacings)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_surface_dice_is_symmetric_and_grows_with_the_tolerance(pair, spacing) -> None:
    values = [surface_dice(*pair, tolerance, spacing) for tolerance in (0, 1, 2, 4, 100)]
    assert values == sorted(values)
    assert values[2] == pytest.approx(surface_dice(*pair[::-1], 2, spacing))
    assert surface_dice(pair[0], pair[0], 0) == 1
    assert values[-1] == float(pair[0].any() == pair[1].any())


def test_surface_dice_agrees_with_monai() -> None:
    metrics = pytest.importorskip("monai.metrics")
    import torch

    for (row, column, radius), spacing, tolerance in (
        ((31, 33, 11), (1.0, 1.0), 2.0),
        ((25, 40, 8), (0.7, 0.7), 2.0),
        ((28, 30, 14), (2.0, 0.5), 1.5),
        ((2, 3, 9), (1.0, 1.0), 3.0),
    ):
        prediction, reference = disk(row, column, radius), disk(30, 35, 12)
        stacked = [
            torch.from_numpy(np.stack([~mask, mask])[None].astype(np.float32)) for mask in (prediction, reference)
        ]
        theirs = metrics.compute_surface_dice(*stacked, class_thresholds=[tolerance], spacing=spacing)
        assert surface_dice(prediction, reference, tolerance, spacing) == pytest.approx(float(theirs[0, 0]), abs=1e-6)
    k, j, i = np.ogrid[:12, :24, :20]
    balls = [((k - 6) * 3) ** 2 + (j - c) ** 2 + (i - 10) ** 2 <= 8**2 for c in (11, 13)]
    volumes = [torch.from_numpy(np.stack([~mask, mask])[None].astype(np.float32)) for mask in balls]
    theirs = metrics.compute_surface_dice(*volumes, class_thresholds=[1.5], spacing=(3.0, 1.0, 1.0))
    assert surface_dice(*balls, 1.5, (3, 1, 1)) == pytest.approx(float(theirs[0, 0]), abs=1e-6)


def test_clicks_are_counted_until_the_threshold_is_reached_once() -> None:
    curve = [0.5, 0.8, 0.79, 0.91]
    assert [clicks_to_reach(curve, threshold) for threshold in (0.5, 0.8, 0.85, 0.95)] == [1, 2, 4, 5]


def test_the_interval_draws_patients_not_masks() -> None:
    """One patient with many masks weighs as one draw, so the interval is wide."""
    values, groups = [0.9] * 50 + [0.1] * 50, ["a"] * 50 + ["b"] * 50
    low, high = bootstrap_interval(values, groups)
    assert (low, high) == pytest.approx((0.1, 0.9))
    assert bootstrap_interval(values, groups) == (low, high)
    separate = bootstrap_interval(values, range(100))
    assert separate[1] - separate[0] < 0.25


def test_the_interval_is_that_of_the_mean() -> None:
    """For many independent values the percentile interval is mean plus and minus 1.96 standard errors."""
    values = np.random.default_rng(1).normal(0.7, 0.1, 400)
    low, high = interval(bootstrap_means(values, np.arange(400)))
    error = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - error, values.mean() + error), abs=0.002)
