"""Lesions that were found, missed and invented."""

from __future__ import annotations

import numpy as np

from MoESegLib.evaluation.lesions import LesionCounts, count_lesions


def cube(*corners: int, side: int = 4) -> np.ndarray:
    mask = np.zeros((20, 20, 20), bool)
    for corner in corners:
        mask[corner : corner + side, corner : corner + side, corner : corner + side] = True
    return mask


def test_a_found_a_missed_and_an_invented_lesion() -> None:
    assert count_lesions(cube(1, 13), cube(2, 7), 1.0) == LesionCounts(1, 2, 1)
    assert count_lesions(cube(1, 7), cube(1, 7), 1.0) == LesionCounts(2, 2, 0)


def test_nothing_is_found_in_nothing() -> None:
    nothing = np.zeros((20, 20, 20), bool)
    assert count_lesions(nothing, nothing, 1.0) == LesionCounts(0, 0, 0)
    assert count_lesions(nothing, cube(5), 1.0) == LesionCounts(0, 1, 0)
    assert count_lesions(cube(5), nothing, 1.0) == LesionCounts(0, 0, 1)


def test_a_touching_corner_is_no_finding_and_no_false_one() -> None:
    assert count_lesions(cube(4), cube(7), 1.0) == LesionCounts(0, 1, 0)  # 1 of 64 voxels


def test_specks_do_not_count() -> None:
    assert count_lesions(cube(2, side=3), cube(12, side=3), 1.0) == LesionCounts(0, 0, 0)  # 27 mm3
    assert count_lesions(cube(2, side=3), cube(12, side=3), 2.0) == LesionCounts(0, 1, 1)
    assert count_lesions(cube(2), cube(2, side=3), 1.0) == LesionCounts(0, 0, 0)  # around a lesion that is too small
