"""Automatic prompts and phrases: which slices they speak of, and how clicks correct their answers."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from fakes import ThresholdModel, blob_volume
from hypothesis import given, settings
from hypothesis import strategies as st

from MoESegLib.core.cancel import CancelToken
from MoESegLib.core.errors import Cancelled, PromptError
from MoESegLib.core.prompts import AutomaticPrompt, BoxPrompt, PointPrompt, Prompt, ScribblePrompt, TextPrompt
from MoESegLib.core.results import Prediction
from MoESegLib.core.volume import Volume
from MoESegLib.engines.convert import prompt_steps
from MoESegLib.engines.placement import PixelPrompt, place_prompts
from MoESegLib.engines.protocol import Context, ModelPrompt
from MoESegLib.engines.slice_engine import SliceEngine

EVERYTHING = frozenset({"point", "box", "mask", "text", "automatic"})
BOXES = frozenset({"box", "automatic"})


def clever(**options) -> ThresholdModel:
    return ThresholdModel(EVERYTHING, refines=True, **options)


def predict(volume: Volume, *prompts: Prompt, model: ThresholdModel, **context) -> Prediction:
    engine = SliceEngine(model)
    engine.check(volume, prompts, context.get("extent", "slice"))
    return engine.predict(volume, prompts, Context(**context))


def mask_of(volume: Volume, *prompts: Prompt, model: ThresholdModel | None = None, **context) -> np.ndarray:
    return predict(volume, *prompts, model=model or clever(), **context).patch.to_array(volume.shape)


def at(volume: Volume, i: float, j: float, k: float) -> tuple:
    return tuple(volume.to_ras([i, j, k]))


def slices_with(mask: np.ndarray, axis: int = 2) -> list[int]:
    return np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != 2 - axis))).tolist()


def kinds_of(call: ModelPrompt) -> tuple:
    return call.automatic, call.text, call.labels.tolist(), call.box is not None, call.logits is not None


# Which slices ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prompt", [AutomaticPrompt, lambda **place: TextPrompt("ball", **place)], ids=["auto", "text"])
@pytest.mark.parametrize(("plane", "axis"), [("axial", 2), ("coronal", 1), ("sagittal", 0)])
def test_a_point_names_the_slice_and_nothing_else(ball: Volume, prompt, plane: str, axis: int) -> None:
    center = np.array([23, 20, 4])
    corner = np.where(np.arange(3) == axis, center, 0)
    masks = [mask_of(ball, prompt(ras=at(ball, *place), plane=plane)) for place in (center, corner)]
    assert slices_with(masks[0], axis) == [center[axis]]
    assert np.array_equal(masks[0], masks[1])


def test_without_a_slice_every_slice_is_asked_once_and_what_is_empty_is_counted(ball: Volume) -> None:
    model, seen = clever(), []
    prediction = predict(
        ball, AutomaticPrompt(), model=model, extent="volume", progress=lambda fraction, message: seen.append(fraction)
    )
    mask = prediction.patch.to_array(ball.shape)
    bright = slices_with(ball.array > 200)
    assert slices_with(mask) == bright
    assert model.decoded == len(np.unique(ball.array, axis=0))  # equal slices come from the cache
    assert seen == [done / ball.size[2] for done in range(ball.size[2])]
    missing = ball.size[2] - len(bright)
    assert prediction.notes == (() if not missing else (f"Nothing was found on {missing} of {ball.size[2]} slices.",))


def test_an_empty_answer_is_an_answer() -> None:
    array = np.full((5, 20, 20), 10, np.uint8)
    array[0, 0, 0] = 255
    volume = Volume(array, np.diag([-1.0, -1.0, 1.0, 1.0]))
    model = clever()
    one = predict(volume, AutomaticPrompt(ras=at(volume, 5, 5, 3)), model=model)
    assert (one.patch.count, one.notes) == (0, ("Nothing was found on the slice.",))
    two = [AutomaticPrompt(ras=at(volume, 5, 5, k)) for k in (2, 3)]
    assert predict(volume, *two, model=model).notes == ("Nothing was found on 2 of 2 slices.",)
    assert predict(volume, two[0], model=model, extent="volume").patch.count == 0


def test_one_slice_needs_no_point_and_no_extent() -> None:
    volume = blob_volume((1, 40, 48))
    assert np.array_equal(mask_of(volume, AutomaticPrompt())[0] > 0, mask_of(volume, TextPrompt("ball"))[0] > 0)
    assert mask_of(volume, AutomaticPrompt()).any()


@pytest.mark.parametrize("prompt", [AutomaticPrompt(), TextPrompt("ball")], ids=["auto", "text"])
def test_no_slice_and_not_the_whole_volume_is_refused_with_both_ways_out(ball: Volume, prompt: Prompt) -> None:
    with pytest.raises(PromptError, match=r"names no slice.*extent='volume'.*ras="):
        SliceEngine(clever()).check(ball, [prompt], "slice")


def test_a_slice_outside_the_volume_is_refused(ball: Volume) -> None:
    with pytest.raises(PromptError, match="automatic prompt at RAS .* outside the volume"):
        SliceEngine(clever()).check(ball, [AutomaticPrompt(ras=at(ball, 5, 5, 99))], "slice")


def test_a_model_without_such_experts_says_how_to_get_one(ball: Volume) -> None:
    with pytest.raises(PromptError, match="no expert that segments without a prompt; teach one with `moeseg teach"):
        SliceEngine(ThresholdModel()).check(ball, [AutomaticPrompt(ras=at(ball, 5, 5, 4))], "slice")


def test_on_one_slice_of_a_volume_the_answer_is_followed_as_a_box_would_be() -> None:
    volume = blob_volume((31, 48, 48), np.diag([-1.0, -1.0, 1.0, 1.0]), radius=11)
    model = ThresholdModel(BOXES)
    mask = mask_of(volume, AutomaticPrompt(ras=at(volume, 2, 2, 15), plane="axial"), model=model, extent="volume")
    expected = slices_with(volume.array > 200)
    assert abs(slices_with(mask)[0] - expected[0]) <= 2 and abs(slices_with(mask)[-1] - expected[-1]) <= 2
    assert [call.automatic for call in model.seen].count(True) == 1


def test_every_slice_can_be_cancelled(ball: Volume) -> None:
    token, model = CancelToken(), clever()
    model.before_decode = lambda: token.cancel() if model.decoded == 2 else None
    with pytest.raises(Cancelled):
        predict(ball, AutomaticPrompt(), model=model, extent="volume", cancel=token)
    assert model.decoded == 3


def test_a_phrase_after_a_box_says_what_is_in_it_and_one_before_looks_everywhere(ball: Volume) -> None:
    box = BoxPrompt(at(ball, 6, 6, 4), at(ball, 40, 36, 4), plane="axial")
    phrase = TextPrompt("ball")
    assert not place_prompts(ball, [box, phrase], "volume").everywhere
    assert place_prompts(ball, [phrase, box], "volume").everywhere
    model = clever()
    mask_of(ball, box, phrase, model=model)
    assert [kinds_of(call) for call in model.seen] == [(False, "ball", [], True, False)]


indices = st.integers(0, 8)
places = st.lists(st.none() | indices, min_size=1, max_size=4)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(places, st.booleans())
def test_the_slices_asked_are_the_ones_named_or_all(named: list[int | None], phrases: bool) -> None:
    volume = blob_volume()
    make = (lambda **place: TextPrompt("ball", **place)) if phrases else AutomaticPrompt
    prompts = [make(ras=None if k is None else at(volume, 3, 3, k)) for k in named]
    placed = place_prompts(volume, prompts, "volume")
    expected = set(range(9)) if None in named else {k for k in named if k is not None}
    assert {index for _, index in placed.slices} == expected
    assert placed.everywhere == (None in named)
    assert all(given and {one.kind for one in given} == {prompts[0].kind} for given in placed.slices.values())


# Corrections -----------------------------------------------------------------------------------------------------


def test_clicks_correct_the_automatic_answer_one_by_one(ball: Volume) -> None:
    model = clever()
    automatic = AutomaticPrompt(ras=at(ball, 0, 0, 4))
    outside, inside = PointPrompt(at(ball, 23, 20, 4), False), PointPrompt(at(ball, 20, 20, 4))
    before = mask_of(ball, automatic, model=model)
    after = mask_of(ball, automatic, outside, inside, model=model)
    assert [kinds_of(call) for call in model.seen[1:]] == [
        (True, None, [], False, False),
        (False, None, [0], False, True),
        (False, None, [1, 0], False, True),
    ]
    assert before[4, 20, 23] == 1 and after[4, 20, 23] == 0
    assert before[4, 12, 23] == after[4, 12, 23] == 1


def test_the_automatic_prompt_comes_first_whenever_it_was_given(ball: Volume) -> None:
    automatic, click = AutomaticPrompt(ras=at(ball, 0, 0, 4)), PointPrompt(at(ball, 23, 20, 4), False)
    assert np.array_equal(mask_of(ball, automatic, click), mask_of(ball, click, automatic, automatic))


def test_a_click_on_one_slice_of_all_corrects_that_slice_only(ball: Volume) -> None:
    click = PointPrompt(at(ball, 23, 20, 4), False)
    for whole in (AutomaticPrompt(), TextPrompt("ball")):
        before, after = mask_of(ball, whole, extent="volume"), mask_of(ball, whole, click, extent="volume")
        assert np.flatnonzero((before != after).any(axis=(1, 2))).tolist() == [4]
        assert after[4, 20, 23] == 0


def test_a_phrase_stays_in_every_call(ball: Volume) -> None:
    model = clever()
    click = PointPrompt(at(ball, 23, 20, 4), False)
    after = mask_of(ball, TextPrompt("ball", ras=at(ball, 0, 0, 4)), click, model=model)
    assert [kinds_of(call) for call in model.seen] == [
        (False, "ball", [], False, False),
        (False, "ball", [0], False, True),
    ]
    assert after[4, 20, 23] == 0 and after[4, 12, 23] == 1


def test_what_an_expert_says_about_a_phrase_is_shown_with_its_answer(ball: Volume) -> None:
    class Nearest(ThresholdModel):
        def decode(self, embedding, prompt):
            return tuple(
                dataclasses.replace(answer, notes=(f"{answer.expert}: similarity 0.93",))
                for answer in super().decode(embedding, prompt)
            )

    boxes = [BoxPrompt(at(ball, low, 6, 4), at(ball, low + 14, 36, 4), plane="axial") for low in (6, 22)]
    for prompts in ([TextPrompt("ball", ras=at(ball, 0, 0, 4))], boxes):
        prediction = predict(ball, *prompts, model=Nearest(EVERYTHING, experts=2))
        assert prediction.notes == ("expert0: similarity 0.93",)


def test_a_phrase_tells_an_automatic_prompt_what_to_find(ball: Volume) -> None:
    model, place = clever(), at(ball, 0, 0, 4)
    mask_of(ball, AutomaticPrompt(ras=place), TextPrompt("ball", ras=place), model=model)
    assert [kinds_of(call) for call in model.seen] == [(True, "ball", [], False, False)]


def test_a_model_of_boxes_gets_the_box_around_the_automatic_answer(ball: Volume) -> None:
    model = ThresholdModel(BOXES)
    automatic, click = AutomaticPrompt(ras=at(ball, 0, 0, 4)), PointPrompt(at(ball, 31, 20, 4), False)
    before = predict(ball, automatic, model=model)
    after = predict(ball, automatic, click, model=model)
    masks = [prediction.patch.to_array(ball.shape) for prediction in (before, after)]
    assert before.notes == () and "box around its earlier answer" in after.notes[0]
    assert masks[0][4, 20, 31] == 1 and masks[1][4, 20, 31] == 0
    assert masks[1].sum() > 0.6 * masks[0].sum()


def test_a_model_that_does_not_refine_says_what_became_of_its_answer(ball: Volume) -> None:
    model = ThresholdModel(EVERYTHING - {"mask"})
    automatic = AutomaticPrompt(ras=at(ball, 0, 0, 4))
    kept = predict(ball, automatic, PointPrompt(at(ball, 23, 20, 4), False), model=model)
    assert "changed nothing" in kept.notes[0]
    assert np.array_equal(kept.patch.voxels, predict(ball, automatic, model=model).patch.voxels)
    replaced = predict(ball, automatic, PointPrompt(at(ball, 23, 20, 4)), model=model)
    assert "replaces the automatic answer" in replaced.notes[0]


pixel_prompts = st.lists(
    st.sampled_from([PixelPrompt(kind, text=kind) for kind in ("text", "automatic", "point", "box", "scribble")]),
    max_size=6,
)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(pixel_prompts, st.booleans())
def test_the_last_step_holds_everything_but_the_automatic_prompt(given_prompts, refines: bool) -> None:
    steps = prompt_steps(given_prompts, refines)
    drawn = [one for one in given_prompts if one.kind not in ("text", "automatic")]
    automatic = any(one.kind == "automatic" for one in given_prompts)
    assert [one for one in steps[-1] if one.kind not in ("text", "automatic")] == drawn
    assert [any(one.kind == "automatic" for one in step) for step in steps] == [automatic] + [False] * (len(steps) - 1)
    texts = sum(one.kind == "text" for one in given_prompts)
    assert all(sum(one.kind == "text" for one in step) == texts for step in steps)


def test_whether_a_call_is_automatic_is_part_of_its_key() -> None:
    assert ModelPrompt(automatic=True).key != ModelPrompt().key


def test_scribbles_correct_too(ball: Volume) -> None:
    path = [at(ball, i, 20, 4) for i in range(20, 27)]
    after = mask_of(ball, AutomaticPrompt(ras=at(ball, 0, 0, 4)), ScribblePrompt(path, False, plane="axial"))
    assert after[4, 20, 20:27].sum() == 0 and after[4, 12, 23] == 1


def test_a_phrase_that_the_model_does_not_know_is_refused_before_anything_changes(ball: Volume) -> None:
    engine = SliceEngine(ThresholdModel(frozenset({"box", "point", "text"})))
    phrase = TextPrompt("unknown", ras=at(ball, 5, 5, 3))
    with pytest.raises(PromptError, match="Nobody knows"):
        engine.check(ball, [phrase], "slice")
    engine.check(ball, [phrase, PointPrompt(at(ball, 5, 5, 3))], "slice")  # there the place decides
