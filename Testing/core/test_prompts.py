"""Prompts are values: frozen, comparable by content, and they survive JSON."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from MoESegLib import AutomaticPrompt, BoxPrompt, MaskPrompt, PointPrompt, PolygonPrompt, ScribblePrompt, TextPrompt
from MoESegLib.core.errors import PromptError
from MoESegLib.core.prompts import Prompt, prompt_from_dict

ALL = [
    PointPrompt(ras=(1, 2, 3), positive=False, segment="liver", plane="axial"),
    BoxPrompt(corner_a=(0, 0, 0), corner_b=(1, 2, 0)),
    ScribblePrompt([(0, 0, 0), (1, 1, 0)]),
    PolygonPrompt(np.array([(0, 0, 0), (1, 1, 0), (2, 0, 0)])),
    TextPrompt("  left   kidney "),
    TextPrompt("liver", ras=(1, 2, 3), plane="axial"),
    AutomaticPrompt(),
    AutomaticPrompt(ras=(1, 2, 3), plane="coronal", segment="lungs"),
    MaskPrompt(np.eye(3)[None], np.diag([1, 2, 3, 1.0]), role="anatomy", structure="pancreas"),
]


@pytest.mark.parametrize("prompt", ALL, ids=lambda prompt: prompt.kind)
def test_a_prompt_survives_json(prompt: Prompt) -> None:
    again = prompt_from_dict(json.loads(json.dumps(prompt.to_dict())))
    assert again == prompt
    assert again.id == prompt.id
    assert hash(again) == hash(prompt)


numbers = st.floats(-1e4, 1e4)
points = st.tuples(numbers, numbers, numbers)
common = {
    "segment": st.text(min_size=1).filter(str.strip),
    "plane": st.sampled_from([None, "axial", "coronal", "sagittal"]),
    "id": st.text(min_size=1),
}
grids = st.builds(
    lambda spacing, origin: np.array(
        [[spacing[0], 0, 0, origin[0]], [0, -spacing[1], 0, origin[1]], [0, 0, spacing[2], origin[2]], [0, 0, 0, 1]]
    ),
    st.tuples(*[st.floats(0.1, 9)] * 3),
    points,
)
any_prompt = st.one_of(
    st.builds(PointPrompt, points, st.booleans(), **common),
    st.builds(BoxPrompt, points, points, **common),
    st.builds(ScribblePrompt, st.lists(points, min_size=1, max_size=5), st.booleans(), **common),
    st.builds(PolygonPrompt, st.lists(points, min_size=3, max_size=6), **common),
    st.builds(TextPrompt, st.text(min_size=1).filter(str.strip), ras=st.none() | points, **common),
    st.builds(AutomaticPrompt, ras=st.none() | points, **common),
    st.builds(
        MaskPrompt,
        hnp.arrays(np.uint8, hnp.array_shapes(min_dims=3, max_dims=3, max_side=5)).filter(np.any),
        st.none() | grids,
        st.sampled_from(["start", "anatomy"]),
        st.text(),
        **common,
    ),
)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(any_prompt)
def test_any_prompt_survives_json_exactly(prompt: Prompt) -> None:
    again = prompt_from_dict(json.loads(json.dumps(prompt.to_dict())))
    assert type(again) is type(prompt)
    assert again == prompt
    assert (again.content, again.id) == (prompt.content, prompt.id)
    assert again.ras_points == prompt.ras_points


@settings(max_examples=60, deadline=None, derandomize=True)
@given(any_prompt, any_prompt)
def test_prompts_are_equal_when_their_contents_are(first: Prompt, second: Prompt) -> None:
    assert (first == second) == (first.content == second.content)
    assert len({first, second, first.with_id("other"), second.with_id("other")}) == (1 if first == second else 2)


def test_a_mask_prompt_keeps_its_own_copy() -> None:
    mask = np.eye(3)[None]
    prompt = MaskPrompt(mask)
    mask[...] = 0
    assert prompt.mask.sum() == 3
    with pytest.raises(ValueError, match="read-only"):
        prompt.mask[0, 0, 0] = 0


@pytest.mark.parametrize("prompt", ALL, ids=lambda prompt: prompt.kind)
def test_a_prompt_is_frozen_and_equal_by_content(prompt: Prompt) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        prompt.segment = "other"
    assert prompt.with_id("x") == prompt
    assert prompt.with_id("x").id == "x"
    assert dataclasses.replace(prompt, segment="other") != prompt


def test_a_text_prompt_saved_before_it_could_name_a_slice_loads() -> None:
    saved = {"kind": "text", "segment": "a", "plane": None, "id": "1", "text": "liver"}
    assert prompt_from_dict(saved) == TextPrompt("liver", segment="a")


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
        (lambda: TextPrompt("liver", ras=(1, 2)), "three"),
        (lambda: AutomaticPrompt(ras=(1, 2, float("inf"))), "finite"),
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
