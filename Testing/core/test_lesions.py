"""A mask as separate lesions."""

from __future__ import annotations

import numpy as np

from MoESegLib.core.lesions import certainty, split_lesions, without_specks
from MoESegLib.core.results import MaskPatch, ProbabilityMap

SHAPE = (8, 10, 12)


def painted() -> np.ndarray:
    """27 voxels at one end, 8 that touch at a corner only at the other, and a single one."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[1:4, 1:4, 1:4] = 1
    mask[5, 6, 8:12] = 1
    mask[6, 7, 4:8] = 1
    mask[7, 0, 11] = 1
    return mask


def test_lesions_come_by_size_and_lie_where_they_are() -> None:
    mask = painted()
    lesions = split_lesions(MaskPatch.of(mask), 1.0, 0)
    assert [lesion.count for lesion in lesions] == [27, 8, 1]
    np.testing.assert_array_equal(sum(lesion.to_array(SHAPE) for lesion in lesions), mask)
    assert lesions[0].extent == (1, 3, 1, 3, 1, 3)
    assert lesions[2].extent == (11, 11, 0, 0, 7, 7)


def test_small_ones_are_left_out_by_their_volume() -> None:
    patch = MaskPatch.of(painted())
    assert [lesion.count for lesion in split_lesions(patch, 4.0)] == [27, 8]
    kept, count = without_specks(patch, 4.0)
    assert count == 2
    expected = painted()
    expected[7, 0, 11] = 0
    np.testing.assert_array_equal(kept.to_array(SHAPE), expected)


def test_nothing_is_left_of_an_empty_mask_or_of_specks_alone() -> None:
    assert split_lesions(MaskPatch(), 1.0) == []
    assert without_specks(MaskPatch(), 1.0)[1] == 0
    kept, count = without_specks(MaskPatch.of(painted()), 0.1)
    assert (kept.count, count) == (0, 0)


def test_certainty_is_the_highest_percent_within_the_lesion_wherever_the_arrays_begin() -> None:
    percent = np.random.default_rng(0).integers(1, 101, SHAPE).astype(np.uint8)
    mask = painted()
    whole, cut = (0, 11, 0, 9, 0, 7), (2, 11, 1, 9, 1, 6)
    maps = ProbabilityMap(whole, percent), ProbabilityMap(cut, percent[1:7, 1:, 2:])
    known = np.zeros(SHAPE, np.uint8)
    known[1:7, 1:, 2:] = percent[1:7, 1:, 2:]
    for lesion in split_lesions(MaskPatch.of(mask), 1.0, 0):
        inside = lesion.to_array(SHAPE) != 0
        assert certainty(lesion, maps[0]) == percent[inside].max()
        assert certainty(lesion, maps[1]) == known[inside].max()
    assert certainty(MaskPatch.of(mask), ProbabilityMap()) == 0
    assert certainty(MaskPatch(), maps[0]) == 0
