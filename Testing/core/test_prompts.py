"""Prompts are values: frozen, comparable by content, and they survive JSON."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from MoESegLib import BoxPrompt, MaskPrompt, PointPrompt, PolygonPrompt, ScribblePrompt, TextPrompt
from MoESegLib.core.errors import PromptError
from MoESegLib.core.prompts import Prompt, prompt_from_dict

ALL = [
    PointPrompt(ras=(1, 2, 3), positive=False, segment="liver", plane="axial"),
    BoxPrompt(corner_a=(0, 0, 0), corner_b=(1, 2, 0)),
    ScribblePrompt([(0, 0, 0), (1, 1, 0)]),
    PolygonPrompt(np.array([(0, 0, 0), (1, 1, 0), (2, 0, 0)])),
    TextPrompt("  left   kidney "),
    MaskPrompt(np.eye(3)[None], np.diag([1, 2, 3, 1.0]), role="anatomy", structure="pancreas"),
]


@pytest.mark.parametrize("prompt", ALL, ids=lambda prompt: prompt.kind)
def test_a_prompt_survives_json(prompt: Prompt) -> None:
    again = prompt_from_dict(json.loads(json.dumps(prompt.to_dict())))
    assert again == prompt
    assert again.id == prompt.id
    assert hash(again) == hash(prompt)


@pytest.mark.parametrize("prompt", ALL, ids=lambda prompt: prompt.kind)
def test_a_prompt_is_frozen_and_equal_by_content(prompt: Prompt) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        prompt.segment = "other"
    assert prompt.with_id("x") == prompt
    assert prompt.with_id("x").id == "x"
    assert dataclasses.replace(prompt, segment="other") != prompt


def test_text_is_tidied() -> None:
    assert TextPrompt("  left   kidney ").text == "left kidney"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PointPrompt((1, 2)), "three"),
        (lambda: PointPrompt((1, 2, float("nan"))), "finite"),
        (lambda: PointPrompt("abc"), "three numbers"),
        (lambda: ScribblePrompt([]), "at least 1"),
        (lambda: PolygonPrompt([(0, 0, 0), (1, 1, 1)]), "at least 3"),
        (lambda: TextPrompt("   "), "phrase"),
        (lambda: MaskPrompt(np.zeros((2, 2, 2))), "empty"),
        (lambda: MaskPrompt(np.ones((2, 2, 2)), role="guess"), "role"),
        (lambda: PointPrompt((1, 2, 3), segment=" "), "segment"),
        (lambda: PointPrompt((1, 2, 3), plane="oblique"), "plane"),
        (lambda: prompt_from_dict({"kind": "wish"}), "Unknown kind"),
        (lambda: prompt_from_dict({"kind": "point", "sar": 1}), "cannot be made"),
        (lambda: prompt_from_dict({"kind": "mask", "mask": {"shape": [1], "packed": "!"}}), "damaged"),
    ],
)
def test_nonsense_is_refused_with_what_was_expected(make, message: str) -> None:
    with pytest.raises(PromptError, match=message):
        make()
