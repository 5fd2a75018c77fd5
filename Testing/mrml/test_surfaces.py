"""Masks as surfaces: where they lie, how large they are, and how many triangles they take."""

from __future__ import annotations

import numpy as np
import pytest
from mrml_tools import OBLIQUE

from MoESegLib.core.geometry import transform_points
from MoESegLib.core.results import MaskPatch
from MoESegLib.mrml.surfaces import surface_of


def ball(radius: float = 12.0, size: int = 40) -> np.ndarray:
    grid = np.indices((size, size, size)) - size / 2
    return (np.sum(grid**2, axis=0) <= radius**2).astype(np.uint8)


def volume_of(points: np.ndarray, triangles: np.ndarray) -> float:
    a, b, c = (points[triangles[:, n]].astype(float) for n in range(3))
    return abs(float(np.sum(a * np.cross(b, c)) / 6))


@pytest.mark.parametrize("matrix", [np.eye(4), OBLIQUE])
def test_a_surface_lies_in_patient_space_and_encloses_the_mask(matrix) -> None:
    mask = ball()
    surface = surface_of(MaskPatch.of(mask), matrix)
    center = transform_points(matrix, np.argwhere(mask)[:, ::-1].mean(axis=0))
    assert surface.points.mean(axis=0) == pytest.approx(center, abs=0.5)
    expected = mask.sum() * abs(np.linalg.det(matrix[:3, :3]))
    assert volume_of(surface.points - center, surface.triangles) == pytest.approx(expected, rel=0.08)


def test_a_large_mask_is_thinned_until_its_surface_is_small_enough() -> None:
    mask = ball(36, 80)
    full = surface_of(MaskPatch.of(mask), np.eye(4), triangles=1_000_000)
    few = surface_of(MaskPatch.of(mask), np.eye(4), triangles=4_000)
    assert len(few.triangles) <= 4_400 < len(full.triangles)
    assert volume_of(few.points - 40, few.triangles) == pytest.approx(mask.sum(), rel=0.15)


def test_a_single_slice_and_an_empty_mask_have_surfaces_too() -> None:
    flat = np.zeros((5, 20, 20), np.uint8)
    flat[2, 4:16, 4:16] = 1
    assert len(surface_of(MaskPatch.of(flat), np.eye(4)).triangles) > 0
    assert len(surface_of(MaskPatch(), np.eye(4)).triangles) == 0
