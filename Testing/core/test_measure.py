"""Volume, diameters and center of lesions, against analytic shapes and brute force."""

from __future__ import annotations

import csv
import io
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from MoESegLib.core.errors import GeometryError
from MoESegLib.core.geometry import plane_axis, transform_points
from MoESegLib.core.measure import CSV_COLUMNS, LesionMeasures, measure, table_csv
from MoESegLib.core.results import MaskPatch

AXIAL = np.diag([-1.0, -1.0, 1.0, 1.0])


def grid(spacing=(1.0, 1.0, 1.0), angle: float = 0.0, shear: float = 0.0, origin=(12.0, -30.0, 40.0)) -> NDArray:
    """An IJK-to-RAS matrix: scaled, sheared, turned about the diagonal of the patient, moved."""
    c, s, third = math.cos(angle), math.sin(angle), 1 / math.sqrt(3)
    cross = third * np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
    turn = c * np.eye(3) + s * cross + (1 - c) / 3 * np.ones((3, 3))
    matrix = np.eye(4)
    matrix[:3, :3] = turn @ np.array([[-1, shear, 0], [0, -1, 0], [0, 0, 1]]) @ np.diag(spacing)
    matrix[:3, 3] = origin
    return matrix


GRIDS = [
    grid(),
    grid((0.7, 0.8, 2.5)),
    grid((0.7, 0.8, 2.5), angle=0.4),
    grid((1.0, 2.0, 0.5), angle=1.9, shear=0.3),
    grid((3.0, 1.0, 1.0), shear=-0.5) @ np.array([[0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]]),
]


def ellipsoid(matrix: NDArray, radii=(20.0, 20.0, 20.0), shape=(80, 80, 80)) -> tuple[NDArray, NDArray]:
    """Voxels whose centers lie in an ellipsoid along R, A, S in the middle of a ``[k, j, i]`` grid; and its center."""
    middle = transform_points(matrix, (np.array(shape[::-1]) - 1) / 2)
    k, j, i = np.indices(shape)
    ras = transform_points(matrix, np.stack([i, j, k], axis=-1))
    return (((ras - middle) / radii) ** 2).sum(axis=-1) <= 1, middle


@pytest.mark.parametrize("matrix", GRIDS[:3])
def test_a_ball_has_the_volume_the_diameters_and_the_center_of_a_ball(matrix: NDArray) -> None:
    mask, middle = ellipsoid(matrix)
    found = measure(mask, matrix)
    step = float(np.linalg.norm(matrix[:3, :3], axis=0).max())
    assert found.volume_ml == pytest.approx(4 / 3 * math.pi * 20**3 / 1000, rel=0.01)
    for diameter in (found.longest_diameter_mm, found.longest_axial_diameter_mm, found.perpendicular_diameter_mm):
        assert 40 - 2 * step <= diameter <= 40 + 1e-9
    assert found.center_ras == pytest.approx(tuple(middle), abs=1e-6)
    assert found.voxels == np.count_nonzero(mask)


def test_an_ellipsoid_shows_its_axes() -> None:
    matrix = grid((0.5, 0.5, 0.5))
    mask, _ = ellipsoid(matrix, radii=(12.0, 7.0, 19.0), shape=(80, 40, 60))
    found = measure(mask, matrix)
    assert found.longest_diameter_mm == pytest.approx(38, abs=1)
    assert found.longest_axial_diameter_mm == pytest.approx(24, abs=1)
    assert found.perpendicular_diameter_mm == pytest.approx(14, abs=1)


def test_one_voxel_is_a_volume_without_diameter() -> None:
    mask = np.zeros((4, 5, 6), np.uint8)
    mask[1, 2, 3] = 1
    matrix = grid((0.7, 0.8, 2.5), angle=0.4)
    found = measure(mask, matrix)
    assert found.volume_ml == pytest.approx(0.7 * 0.8 * 2.5 / 1000)
    assert found.longest_diameter_mm == found.longest_axial_diameter_mm == found.perpendicular_diameter_mm == 0
    assert found.center_ras == pytest.approx(tuple(transform_points(matrix, (3, 2, 1))))


@pytest.mark.parametrize("step", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, -1, 0), (1, 1, -1), (2, -1, 1)])
def test_voxels_in_a_line_are_as_long_as_the_line_and_have_no_width(step: tuple[int, int, int]) -> None:
    mask = np.zeros((12, 12, 12), np.uint8)
    start = np.array([5, 6, 5])
    for number in range(3):
        i, j, k = start + number * np.array(step)
        mask[k, j, i] = 1
    matrix = grid((0.7, 0.8, 2.5), angle=0.2)
    found = measure(mask, matrix)
    assert found.longest_diameter_mm == pytest.approx(np.linalg.norm(matrix[:3, :3] @ (2 * np.array(step))))
    assert found.perpendicular_diameter_mm == pytest.approx(0, abs=1e-9)
    if step[2]:
        assert found.longest_axial_diameter_mm == 0


@pytest.mark.parametrize("normal", [(0, 0, 1), (1, 0, 0), (1, 1, 0), (1, -2, 1)])
def test_a_flat_lesion_is_measured_too(normal: tuple[int, int, int]) -> None:
    i, j, k = np.indices((9, 9, 9)) - 4
    mask = np.abs(i * normal[0] + j * normal[1] + k * normal[2]) == 0
    found = measure(mask.transpose(2, 1, 0), grid((1.0, 2.0, 0.5), angle=0.3))
    assert found.longest_diameter_mm == pytest.approx(brute_force(mask.transpose(2, 1, 0), grid((1, 2, 0.5), 0.3))[0])


def test_the_short_axis_is_measured_in_the_slice_of_the_longest_diameter() -> None:
    mask = np.zeros((3, 20, 40), np.uint8)
    mask[0, 5:8, 2:33] = 1  # long and thin: 30 x 2 mm
    mask[2, 2:17, 5:20] = 1  # short and thick
    found = measure(mask, AXIAL)
    assert found.longest_axial_diameter_mm == pytest.approx(math.hypot(30, 2))
    assert found.perpendicular_diameter_mm < 2 * 2


def test_the_short_axis_of_a_rectangle_is_the_chord_across_its_diagonal() -> None:
    mask = np.zeros((1, 20, 20), np.uint8)
    mask[0, 3:7, 3:8] = 1  # 4 x 3 mm between centers: diagonal 5, chord 3 / (4 / 5)
    found = measure(mask, AXIAL)
    assert found.longest_axial_diameter_mm == pytest.approx(5)
    assert found.perpendicular_diameter_mm == pytest.approx(3.75)


def test_axial_slices_are_those_nearest_to_axial_however_the_voxels_are_stored() -> None:
    mask = np.zeros((9, 10, 11), np.uint8)
    mask[1:8, 3:5, 4] = 1  # long along k, which is S here
    assert measure(mask, AXIAL).longest_axial_diameter_mm == 1
    stored = grid()[:, [2, 1, 0, 3]]  # the same voxels with k, j, i as the axes i, j, k
    assert plane_axis(stored, "axial") == 0
    assert measure(mask.transpose(2, 1, 0), stored).longest_axial_diameter_mm == 1


def test_an_empty_mask_has_no_measures() -> None:
    empty = LesionMeasures()
    assert measure(np.zeros((3, 4, 5), np.uint8), AXIAL) == empty
    assert measure(MaskPatch(), AXIAL) == empty
    assert measure(MaskPatch((1, 2, 1, 2, 1, 2), np.zeros((2, 2, 2), np.uint8)), AXIAL) == empty


def test_a_matrix_that_places_nothing_is_refused() -> None:
    with pytest.raises(GeometryError):
        measure(np.ones((2, 2, 2), np.uint8), np.zeros((4, 4)))


def test_a_patch_is_measured_as_the_whole_mask_without_its_empty_space() -> None:
    matrix = grid((0.7, 0.8, 2.5), angle=0.4)
    mask = np.zeros((30, 60, 70), np.uint8)
    mask[10:15, 20:31, 40:52] = np.random.default_rng(0).integers(0, 2, (5, 11, 12))
    assert measure(MaskPatch.of(mask), matrix) == measure(mask, matrix)
    far = MaskPatch((100_000, 100_001, 0, 0, 0, 0), np.ones((1, 1, 2), np.uint8))  # would not fit into memory whole
    assert measure(far, AXIAL).center_ras == pytest.approx((-100_000.5, 0, 0))


def brute_force(mask: NDArray, matrix: NDArray) -> tuple[float, float, float]:
    """The three diameters from all pairs of voxels, by definition."""
    indices = np.argwhere(mask)[:, ::-1]
    points = transform_points(matrix, indices)
    axis = plane_axis(matrix, "axial")
    longest = max(float(np.linalg.norm(a - b)) for a in points for b in points)
    candidates = [(0.0, 0.0)]
    for number in np.unique(indices[:, axis]):
        here = points[indices[:, axis] == number]
        pairs = [(a, b) for n, a in enumerate(here) for b in here[:n]]
        length = max((float(np.linalg.norm(a - b)) for a, b in pairs), default=0.0)
        for a, b in pairs:
            if np.linalg.norm(a - b) > length - 1e-9:
                candidates.append((length, chord_across(here, (b - a) / np.linalg.norm(b - a))))
    axial = max(length for length, _ in candidates)
    return longest, axial, max(across for length, across in candidates if length > axial - 1e-9)


def chord_across(points: NDArray, direction: NDArray) -> float:
    """Longest chord of the convex hull normal to a direction: at each point, between the outermost of all lines."""
    along = (points - points[0]) @ direction
    offset = points - points[0] - np.outer(along, direction)
    norms = np.linalg.norm(offset, axis=1)
    if norms.max() < 1e-9:
        return 0.0
    aside = offset @ (offset[norms.argmax()] / norms.max())
    best = 0.0
    for place in along:
        heights = []
        for a0, s0 in zip(along, aside, strict=True):
            for a1, s1 in zip(along, aside, strict=True):
                if abs(a0 - place) < 1e-9:
                    heights.append(s0)
                elif (a0 - place) * (a1 - place) <= 0 and abs(a1 - a0) > 1e-9:
                    heights.append(s0 + (place - a0) / (a1 - a0) * (s1 - s0))
        best = max(best, max(heights) - min(heights))
    return best


@settings(max_examples=60, deadline=None)
@given(arrays(np.bool_, (3, 3, 4), elements=st.booleans()), st.sampled_from(GRIDS))
def test_any_set_of_voxels_has_the_diameters_that_the_definition_gives(mask: NDArray, matrix: NDArray) -> None:
    if not mask.any():
        return
    found = measure(mask, matrix)
    longest, axial, across = brute_force(mask, matrix)
    assert found.longest_diameter_mm == pytest.approx(longest, abs=1e-7)
    assert found.longest_axial_diameter_mm == pytest.approx(axial, abs=1e-7)
    assert found.perpendicular_diameter_mm == pytest.approx(across, abs=1e-7)


@settings(max_examples=100, deadline=None)
@given(arrays(np.bool_, (4, 6, 6), elements=st.booleans(), fill=st.just(False)), st.sampled_from(GRIDS))
def test_measures_are_ordered(mask: NDArray, matrix: NDArray) -> None:
    found = measure(mask, matrix)
    assert found.voxels == np.count_nonzero(mask)
    assert found.perpendicular_diameter_mm <= found.longest_axial_diameter_mm + 1e-9
    assert found.longest_axial_diameter_mm <= found.longest_diameter_mm + 1e-9


def test_the_table_can_be_read_back() -> None:
    mask, _ = ellipsoid(AXIAL, radii=(5.0, 5.0, 5.0), shape=(20, 20, 20))
    text = table_csv([('lesion "1", left', measure(mask, AXIAL), 93), ("empty", LesionMeasures(), None)])
    header, first, second = csv.reader(io.StringIO(text))
    assert tuple(header) == CSV_COLUMNS
    assert first[0] == 'lesion "1", left'
    assert float(first[1]) == pytest.approx(measure(mask, AXIAL).volume_ml, rel=1e-3)
    assert [float(value) for value in first[5:]] == pytest.approx([-9.5, -9.5, 9.5, 93])
    assert second == ["empty", "0", "0.0", "0.0", "0.0", "", "", "", ""]
