"""Axes, views, extents and patches agree with plain numpy on any grid."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from MoESegLib.core.errors import GeometryError
from MoESegLib.core.geometry import (
    EMPTY_EXTENT,
    PLANES,
    SliceView,
    as_matrix,
    axis_plane,
    extent_shape,
    extent_slices,
    is_empty,
    mask_extent,
    nearest_axes,
    plane_axis,
    transform_points,
    union_extent,
)
from MoESegLib.core.results import MaskPatch, Prediction, SegmentResult
from MoESegLib.core.volume import Volume

SHAPE = (3, 4, 5)
quick = settings(max_examples=50, deadline=None, derandomize=True)  # a busy machine must not fail them
masks = hnp.arrays(np.uint8, SHAPE, elements=st.integers(0, 1), fill=st.just(0))


@st.composite
def grids(draw: st.DrawFn, tilt: float = 0.6) -> np.ndarray:
    """IJK-to-RAS matrices: any order and sign of the axes, any spacing, turned by up to ``tilt`` radians."""
    matrix = np.eye(4)
    order = draw(st.permutations(range(3)))
    signs = draw(st.tuples(*[st.sampled_from((-1.0, 1.0))] * 3))
    spacing = draw(st.tuples(*[st.floats(0.2, 6.0)] * 3))
    turn = np.eye(3)
    for a, b in ((0, 1), (1, 2), (0, 2)):
        angle, step = draw(st.floats(-tilt, tilt)), np.eye(3)
        step[a, a] = step[b, b] = np.cos(angle)
        step[a, b], step[b, a] = -np.sin(angle), np.sin(angle)
        turn = turn @ step
    matrix[:3, :3] = turn @ (np.eye(3) * signs)[:, order] * spacing
    matrix[:3, 3] = draw(st.tuples(*[st.floats(-400, 400)] * 3))
    return matrix


@quick
@given(grids(tilt=0.25), st.permutations(range(3)))
def test_a_slightly_turned_grid_keeps_the_planes_of_the_grid_it_was_turned_from(
    matrix: np.ndarray, order: list[int]
) -> None:
    permuted = matrix.copy()
    permuted[:3, :3] = matrix[:3, order]
    axes = nearest_axes(permuted)
    assert axes == tuple(
        int(np.argmax(np.abs(row))) for row in permuted[:3, :3] / np.linalg.norm(permuted[:3, :3], axis=0)
    )
    for plane in PLANES:
        assert axis_plane(permuted, plane_axis(permuted, plane)) == plane


@quick
@given(grids(), st.sampled_from(range(3)), st.data())
def test_pixels_voxels_and_ras_agree_on_every_view(matrix: np.ndarray, axis: int, data: st.DataObject) -> None:
    volume = Volume(np.arange(60).reshape(SHAPE), matrix)
    view = volume.view(axis)
    index = data.draw(st.integers(0, view.count - 1))
    pixels = np.array(data.draw(st.lists(st.tuples(*[st.floats(-3, 9)] * 2), min_size=1, max_size=4)))
    ijk = view.to_ijk(pixels, index)
    assert np.allclose(view.to_pixels(ijk), pixels)
    assert np.allclose(ijk[..., axis], index)
    assert np.allclose(view.to_pixels(volume.ras_to_ijk(volume.to_ras(ijk))), pixels, atol=1e-6)
    assert len({view.axis, view.row_axis, view.column_axis}) == 3


@quick
@given(grids(tilt=0.25), st.sampled_from(range(3)))
def test_the_display_is_radiological_on_every_grid(matrix: np.ndarray, axis: int) -> None:
    view = SliceView.of(matrix, SHAPE[::-1], axis)
    right, down = (
        transform_points(matrix, view.to_ijk(pixel, 0)) - transform_points(matrix, view.to_ijk((0, 0), 0))
        for pixel in ((1, 0), (0, 1))
    )
    plane = axis_plane(matrix, axis)
    assert right[1 if plane == "sagittal" else 0] < 0  # to the patient's left; sagittal: to the back
    assert down[1 if plane == "axial" else 2] < 0  # to the back; coronal and sagittal: to the feet


@quick
@given(masks)
def test_the_extent_is_the_tightest_box_around_the_mask(mask: np.ndarray) -> None:
    extent = mask_extent(mask)
    if not mask.any():
        assert extent == EMPTY_EXTENT
        assert is_empty(extent)
        return
    inside = mask[extent_slices(extent)]
    assert inside.shape == extent_shape(extent)
    assert inside.sum() == mask.sum()
    assert all(inside.any(axis=other)[..., edge].any() for other in (0, 1) for edge in (0, -1))
    k, j, i = np.nonzero(mask)
    assert extent == (i.min(), i.max(), j.min(), j.max(), k.min(), k.max())


@quick
@given(masks, masks)
def test_the_union_of_extents_is_the_extent_of_the_union(first: np.ndarray, second: np.ndarray) -> None:
    union = union_extent(mask_extent(first), mask_extent(second))
    assert union == mask_extent(first | second)
    assert union == union_extent(mask_extent(second), mask_extent(first))


@quick
@given(masks, masks)
def test_a_patch_holds_the_mask_and_nothing_else(mask: np.ndarray, other: np.ndarray) -> None:
    patch = MaskPatch.of(mask * 7)
    assert np.array_equal(patch.to_array(SHAPE), mask)
    assert patch.count == mask.sum()
    both = union_extent(patch.extent, mask_extent(other))
    if not is_empty(both):
        assert np.array_equal(patch.within(both), mask[extent_slices(both)])


@quick
@given(masks, masks)
def test_a_result_says_what_changed(before: np.ndarray, now: np.ndarray) -> None:
    first = SegmentResult.after(SegmentResult("liver"), Prediction(MaskPatch.of(before)), 0.0)
    second = SegmentResult.after(first, Prediction(MaskPatch.of(now)), 0.1)
    assert second.changed_extent == mask_extent(before != now)
    assert (second.added, second.removed) == ((now > before).sum(), (now < before).sum())
    assert second.voxels == now.sum()


def test_a_matrix_is_copied_and_cannot_be_changed() -> None:
    given_matrix = np.diag([1.0, 2.0, 3.0, 1.0])
    matrix = as_matrix(given_matrix)
    given_matrix[0, 0] = 9
    assert matrix[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        matrix[0, 0] = 5


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.eye(3), "shape"),
        (np.diag([1.0, np.inf, 1.0, 1.0]), "not finite"),
        (np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1.0]]), "last row"),
        (np.diag([1.0, 0.0, 1.0, 1.0]), "not invertible"),
        (np.array([[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]), "not invertible"),
    ],
)
def test_a_matrix_that_places_no_voxels_is_refused_with_the_reason(matrix: np.ndarray, message: str) -> None:
    with pytest.raises(GeometryError, match=message):
        as_matrix(matrix)


@quick
@given(st.floats(1e-4, 1e4))
def test_tiny_and_huge_spacings_are_fine(spacing: float) -> None:
    """Microscopy has micrometers; the check is on directions, not on the size of the determinant."""
    matrix = as_matrix(np.diag([spacing, spacing, spacing, 1.0]))
    volume = Volume(np.zeros(SHAPE), matrix)
    assert volume.spacing == pytest.approx((spacing,) * 3)
    assert np.allclose(volume.ras_to_ijk(volume.to_ras((1, 2, 2))), (1, 2, 2))
