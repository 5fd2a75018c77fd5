"""Labels land on the nearest voxel, out to the outermost half voxel."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from test_geometry import SHAPE, grids, masks

from MoESegLib.core.resample import resample_nearest
from MoESegLib.core.volume import Volume


@settings(max_examples=50, deadline=None, derandomize=True)
@given(grids(), masks, st.tuples(*[st.booleans()] * 3), st.permutations(range(3)))
def test_labels_stored_in_other_axis_directions_land_on_the_same_voxels(
    matrix: np.ndarray, mask: np.ndarray, flips: tuple[bool, bool, bool], order: list[int]
) -> None:
    """The demo's labels are the image with j reversed; here every reversal and permutation of the axes."""
    stored = mask.transpose([2 - axis for axis in reversed(order)])  # IJK axis n of the copy is axis order[n]
    moved = np.eye(4)
    moved[:3, :3] = np.eye(3)[:, order]
    for axis in np.flatnonzero(flips):
        stored = np.flip(stored, 2 - axis)
        flip = np.eye(4)
        flip[axis, axis], flip[axis, 3] = -1, stored.shape[2 - axis] - 1
        moved = moved @ flip
    assert np.array_equal(resample_nearest(stored, matrix @ moved, Volume(np.zeros(SHAPE), matrix)), mask)


def test_a_finer_grid_keeps_the_border() -> None:
    matrix = np.diag([0.5, 0.5, 0.5, 1.0])
    matrix[:3, 3] = -0.25
    fine = resample_nearest(np.ones((5, 5, 5), np.uint8), np.eye(4), Volume(np.zeros((10, 10, 10)), matrix))
    assert fine.all()


def test_outside_is_zero() -> None:
    matrix = np.eye(4)
    matrix[:3, 3] = (10, 0, 0)
    assert not resample_nearest(np.ones((5, 5, 5), np.uint8), np.eye(4), Volume(np.zeros((5, 5, 5)), matrix)).any()
