"""Prompts after a transform of patient space."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from MoESegLib.core.errors import GeometryError
from MoESegLib.core.geometry import transform_points
from MoESegLib.core.prompts import (
    AutomaticPrompt,
    BoxPrompt,
    MaskPrompt,
    PointPrompt,
    PolygonPrompt,
    Prompt,
    ScribblePrompt,
    TextPrompt,
)

PATH = ((1.0, 2.0, 3.0), (4.0, -5.0, 6.0), (-7.0, 8.0, 9.0))
GRID = np.array([[-1.0, 0, 0, 5], [0, -1, 0, 6], [0, 0, 2, 7], [0, 0, 0, 1]])
MATRIX = np.array([[0.8, -0.6, 0.1, 10], [0.6, 0.9, 0, -20], [0, 0.2, 1.5, 30], [0, 0, 0, 1]])
PROMPTS: list[Prompt] = [
    PointPrompt(PATH[0], False, segment="a", plane="axial"),
    BoxPrompt(PATH[0], PATH[1], segment="a", plane="coronal"),
    ScribblePrompt(PATH, False, segment="a"),
    PolygonPrompt(PATH, segment="a", plane="sagittal"),
    TextPrompt("liver", segment="a"),
    MaskPrompt(np.ones((2, 3, 4)), GRID, "anatomy", "liver", segment="a"),
    MaskPrompt(np.ones((2, 3, 4)), segment="a"),
    TextPrompt("liver", ras=PATH[0], plane="axial", segment="a"),
    AutomaticPrompt(ras=PATH[1], segment="a"),
    AutomaticPrompt(segment="a"),
]
IDS = [f"{prompt.kind} {index}" for index, prompt in enumerate(PROMPTS)]


@pytest.mark.parametrize("prompt", PROMPTS, ids=IDS)
def test_points_move_and_everything_else_stays(prompt: Prompt) -> None:
    moved = prompt.transformed(MATRIX)
    assert type(moved) is type(prompt)
    assert (moved.id, moved.segment, moved.plane) == (prompt.id, prompt.segment, prompt.plane)
    assert getattr(moved, "positive", None) == getattr(prompt, "positive", None)
    if prompt.ras_points:
        assert np.array(moved.ras_points) == pytest.approx(transform_points(MATRIX, prompt.ras_points))
        assert all(type(number) is float for number in moved.ras_points[0])


@pytest.mark.parametrize("prompt", PROMPTS, ids=IDS)
def test_the_identity_changes_nothing(prompt: Prompt) -> None:
    assert prompt.transformed(np.eye(4)) == prompt
    assert prompt.transformed(np.eye(4)).content == prompt.content


@pytest.mark.parametrize("prompt", PROMPTS, ids=IDS)
def test_there_and_back_is_where_it_was(prompt: Prompt) -> None:
    back = prompt.transformed(MATRIX).transformed(np.linalg.inv(MATRIX))
    assert np.array(back.ras_points) == pytest.approx(np.array(prompt.ras_points))
    assert back.id == prompt.id


def test_a_mask_on_a_grid_of_its_own_moves_with_the_grid() -> None:
    grid = PROMPTS[5].transformed(MATRIX)
    assert isinstance(grid, MaskPrompt) and grid.ijk_to_ras is not None
    assert grid.ijk_to_ras == pytest.approx(MATRIX @ GRID)
    assert np.array_equal(grid.mask, np.ones((2, 3, 4))) and grid.role == "anatomy" and grid.structure == "liver"


def test_a_mask_on_the_volumes_grid_stays_as_it_is() -> None:
    assert PROMPTS[6].transformed(MATRIX) is PROMPTS[6]


def test_a_transform_that_flattens_space_is_refused_for_a_grid() -> None:
    with pytest.raises(GeometryError, match="not invertible"):
        PROMPTS[5].transformed(np.diag([1.0, 1.0, 0.0, 1.0]))


NUMBERS = st.floats(-500, 500)


@given(
    st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), min_size=1, max_size=5), st.lists(NUMBERS, min_size=3, max_size=3)
)
def test_two_transforms_are_their_product(points, shift) -> None:
    second = np.eye(4)
    second[:3, 3] = shift
    scribble = ScribblePrompt(tuple(points))
    one, two = scribble.transformed(MATRIX).transformed(second), scribble.transformed(second @ MATRIX)
    assert np.array(one.ras_points) == pytest.approx(np.array(two.ras_points), abs=1e-6)
