"""Simulated users: where they click, box and draw."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from MoESegLib.evaluation.simulated import center_click, deepest_pixels, error_click, largest_component, tight_box
from MoESegLib.evaluation.stroke import centerline

shapes = st.tuples(st.integers(3, 24), st.integers(3, 24))
masks = shapes.flatmap(lambda shape: hnp.arrays(bool, shape)).filter(np.any)
pairs = shapes.flatmap(lambda shape: st.tuples(hnp.arrays(bool, shape), hnp.arrays(bool, shape)))


def components(mask: np.ndarray) -> np.ndarray:
    found = np.zeros(mask.shape, np.int32)
    ndimage.label(mask, np.ones((3, 3)), output=found)
    return found


def test_the_simulated_user_clicks_in_the_middle_and_boxes_tightly() -> None:
    mask = np.zeros((20, 30), bool)
    mask[5:12, 8:21] = True
    mask[2, 2] = True
    assert tight_box(mask) == (2, 2, 20, 11)
    x, y = center_click(mask)
    assert y == 8
    assert 11 <= x <= 17
    ring = np.zeros((21, 21), bool)
    ring[2:19, 2:19] = True
    ring[6:15, 6:15] = False
    x, y = center_click(ring)
    assert ring[y, x]


def test_the_next_click_goes_to_the_largest_error() -> None:
    target, mask = np.zeros((30, 40), bool), np.zeros((30, 40), bool)
    target[5:15, 5:15] = True
    mask[5:15, 5:12] = True  # misses 10 x 3
    mask[20:24, 30:36] = True  # 4 x 6 too much
    assert error_click(mask, target) == ((13, 6), True)
    mask[18:26, 30:36] = True
    (x, y), positive = error_click(mask, target) or ((0, 0), True)
    assert not positive
    assert mask[y, x]
    assert error_click(target, target) is None


@given(pairs)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_every_click_lies_deepest_in_a_largest_error_and_says_what_the_target_is(pair) -> None:
    mask, target = pair
    click = error_click(mask, target)
    if click is None:
        assert np.array_equal(mask, target)
        return
    (x, y), positive = click
    assert mask[y, x] != target[y, x] == positive
    errors = target & ~mask if positive else mask & ~target
    mine = components(errors)
    error = mine == mine[y, x]
    largest = max(np.bincount(components(e).ravel())[1:].max(initial=0) for e in (target & ~mask, mask & ~target))
    assert error.sum() == largest
    depth = ndimage.distance_transform_edt(np.pad(error, 1))[1:-1, 1:-1]
    assert depth[y, x] == depth.max()


@given(pairs)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_no_pixel_is_clicked_twice_and_all_errors_are_clicked_in_the_end(pair) -> None:
    mask, target = pair
    clicked: list[tuple[int, int]] = []
    while (click := error_click(mask, target, clicked)) is not None:
        assert click[0] not in clicked
        clicked.append(click[0])
    assert len(clicked) == np.count_nonzero(mask != target)


@given(masks)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_a_user_who_paints_what_is_clicked_is_done_after_every_component(mask) -> None:
    """Filling the component that was clicked each time needs as many clicks as there are components."""
    answer = np.zeros_like(mask)
    parts = components(mask)
    for _ in range(int(parts.max())):
        click = error_click(answer, mask)
        assert click is not None
        (x, y), _ = click
        answer |= parts == parts[y, x]
    assert error_click(answer, mask) is None


@given(masks, st.integers(1, 6))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_the_deepest_pixels_lie_inside_in_order_of_depth(mask, count) -> None:
    pixels = deepest_pixels(mask, count)
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    assert len(set(pixels)) == len(pixels) == min(count, np.count_nonzero(mask))
    found = [depth[y, x] for x, y in pixels]
    assert found == sorted(found, reverse=True)
    assert found[0] == depth.max()
    assert pixels[0] == center_click(mask)


@given(masks)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_a_stroke_stays_inside_the_largest_part(mask) -> None:
    part = largest_component(mask)
    stroke = centerline(mask)
    assert stroke
    assert all(part[y, x] for x, y in stroke)
    assert stroke == centerline(mask.copy())


def test_a_stroke_follows_the_middle_of_a_bent_band() -> None:
    rows, columns = np.ogrid[:200, :300]
    distance = np.hypot(rows - 190, columns - 150)
    band = (distance > 100) & (distance < 140) & (rows < 190)
    stroke = centerline(band)
    away = [abs(np.hypot(y - 190, x - 150) - 120) for x, y in stroke]
    assert max(away) < 8
    xs = [x for x, _ in stroke]
    assert max(xs) - min(xs) > 180  # from one end to the other
    assert xs in (sorted(xs), sorted(xs, reverse=True))


@given(masks)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_the_box_holds_the_mask_and_no_smaller_one_does(mask) -> None:
    assume(mask.any())
    x0, y0, x1, y1 = tight_box(mask)
    assert mask[y0 : y1 + 1, x0 : x1 + 1].sum() == mask.sum()
    for line in (mask[y0, :], mask[y1, :], mask[:, x0], mask[:, x1]):
        assert line.any()
