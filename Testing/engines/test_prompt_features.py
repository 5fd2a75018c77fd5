"""What a prompt points at, as numbers."""

from __future__ import annotations

import numpy as np
import torch

from MoESegLib.engines.prompt_features import feature_width, prompt_features
from MoESegLib.engines.protocol import ModelPrompt

SIDE, GRID = 64, 16
EMBEDDING = {"image": torch.zeros(1, 2, GRID, GRID), "early": torch.full((1, 3, GRID, GRID), 7.0)}
EMBEDDING["image"][0, 0] = torch.arange(GRID).expand(GRID, GRID)  # the column
EMBEDDING["image"][0, 1] = torch.arange(GRID)[:, None].expand(GRID, GRID)  # the row
WHOLE = [(GRID - 1) / 2, (GRID - 1) / 2, 7.0, 7.0, 7.0]


def features(prompt: ModelPrompt) -> list[float]:
    found = prompt_features(EMBEDDING, prompt, SIDE)
    assert found.shape == (1, feature_width(2, 3))
    assert found[0, 2:].tolist() == WHOLE
    return found[0, :2].tolist()


def click(*places: tuple[int, int, int]) -> ModelPrompt:
    """(x, y, label)"""
    return ModelPrompt(np.array([place[:2] for place in places], np.float32), np.array([place[2] for place in places]))


def test_a_box_is_the_mean_of_its_cells_columns_first() -> None:
    assert features(ModelPrompt(box=(8.0, 20.0, 11.9, 31.9))) == [2, 6]
    assert features(ModelPrompt(box=(8.0, 20.0, 8.0, 20.0))) == [2, 5]  # one cell at least


def test_clicks_inside_count_with_what_is_around_them_and_clicks_outside_do_not() -> None:
    assert features(click((42, 22, 1))) == [10, 5]
    assert features(click((42, 22, 1), (2, 60, 0))) == [10, 5]
    assert features(click((42, 22, 1), (22, 42, 1))) == [7.5, 7.5]


def test_at_the_border_the_cells_that_are_there_count() -> None:
    assert features(click((0, 63, 1))) == [0.5, GRID - 1.5]
    assert features(ModelPrompt(box=(-20.0, -20.0, -10.0, -10.0))) == [0, 0]


def test_without_a_place_it_is_the_whole_image() -> None:
    for prompt in (ModelPrompt(automatic=True), ModelPrompt(text="liver"), click((5, 5, 0))):
        assert features(prompt) == WHOLE[:2]
