"""Simulated users: where they click, box and draw."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from MoESegLib.evaluation.simulated import center_click, deepest, error_click, largest_component, tight_box
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
    pixels: list[tuple[int, ...]] = []
    while len(pixels) < count and (pixel := deepest(mask, without=pixels)) is not None:
        pixels.append(pixel)
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


blocks = st.tuples(st.integers(2, 7), st.integers(2, 7), st.integers(2, 7))
block_pairs = blocks.flatmap(lambda shape: st.tuples(hnp.arrays(bool, shape), hnp.arrays(bool, shape)))
spacings = st.tuples(*[st.sampled_from([0.5, 1.0, 3.0])] * 3)


@given(block_pairs, spacings)
@settings(max_examples=80, deadline=None, derandomize=True)
def test_a_click_in_a_volume_lies_deepest_in_millimeters_in_a_largest_error(pair, spacing) -> None:
    mask, target = pair
    click = error_click(mask, target, spacing=spacing)
    if click is None:
        assert np.array_equal(mask, target)
        return
    (i, j, k), positive = click
    assert mask[k, j, i] != target[k, j, i] == positive
    structure = np.ones((3, 3, 3))
    parts, _ = ndimage.label(target & ~mask if positive else mask & ~target, structure)
    error = parts == parts[k, j, i]
    sizes = [np.bincount(ndimage.label(e, structure)[0].ravel())[1:] for e in (target & ~mask, mask & ~target)]
    assert error.sum() == max(size.max(initial=0) for size in sizes)
    outside = np.argwhere(~np.pad(error, 1)) - 1
    places = np.argwhere(error)
    away = {tuple(place): np.sqrt((((outside - place) * spacing) ** 2).sum(axis=1).min()) for place in places}
    assert np.isclose(away[k, j, i], max(away.values()))
    assert error_click(mask.copy(), target.copy(), spacing=spacing) == click


@given(block_pairs)
@settings(max_examples=30, deadline=None, derandomize=True)
def test_no_voxel_is_clicked_twice_and_all_errors_of_a_volume_are_clicked_in_the_end(pair) -> None:
    mask, target = pair
    clicked: list[tuple[int, ...]] = []
    while (click := error_click(mask, target, clicked, (2, 1, 1))) is not None:
        assert click[0] not in clicked
        clicked.append(click[0])
    assert len(clicked) == np.count_nonzero(mask != target)


def test_the_first_click_in_a_volume_is_the_voxel_farthest_from_the_border_in_millimeters() -> None:
    mask = np.zeros((9, 20, 20), bool)
    mask[1:8, 12:19, 1:8] = True  # a cube of 7 voxels: 4 voxels deep
    mask[2:5, 1:10, 1:20] = True  # a plate of 3 voxels: 2 deep
    assert center_click(mask, (1, 1, 1)) == (4, 15, 4)
    x, y, z = center_click(mask, (3, 1, 1))  # slices are thick: the plate is 5 mm deep, the cube still 4
    assert (y, z) == (5, 3)
    assert 5 <= x <= 15
    assert tight_box(mask) == (1, 1, 1, 19, 18, 7)
    rod = np.zeros((21, 9, 9), bool)
    rod[:, 2:7, 2:7] = True  # equally deep all along
    assert center_click(rod, (2, 1, 1)) == (4, 4, 10)
    assert center_click(rod[:, :, :5], (2, 0.7, 0.3)) == (3, 4, 10)
    with pytest.raises(ValueError, match="empty"):
        center_click(np.zeros((3, 3, 3), bool))
