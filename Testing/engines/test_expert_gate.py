"""Who sees a prompt in which form, and whose answer counts."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from MoESegLib.engines.expert_gate import PackAnswer, Traits, order_answers, packs_to_ask, views_of
from MoESegLib.engines.protocol import ExpertLogits, ModelPrompt

KINDS = {
    "all": frozenset({"box", "point", "mask"}),
    "clicks": frozenset({"box", "point"}),
    "boxes": frozenset({"box"}),
}
POINT = {"points": np.array([[5.0, 6.0]], np.float32), "labels": np.ones(1, np.int64)}
BOX = (1.0, 2.0, 30.0, 40.0)
MADE = (3.0, 3.0, 9.0, 9.0)
LOGITS = np.zeros((8, 8), np.float32)


def seen(prompt: ModelPrompt) -> dict[str, tuple[int, tuple | None, bool, bool]]:
    """By pack: number of points, box, whether there are logits, and whether nothing became a box."""
    return {
        name: (len(view.prompt.points), view.prompt.box, view.prompt.logits is not None, given)
        for view in views_of(prompt, KINDS)
        for name, given in view.as_given.items()
    }


def test_a_box_is_one_view_for_everyone() -> None:
    views = views_of(ModelPrompt(box=BOX), KINDS)
    assert [view.as_given for view in views] == [dict.fromkeys(("base", *KINDS), True)]


def test_a_click_becomes_a_box_for_who_was_not_taught_clicks() -> None:
    assert seen(ModelPrompt(**POINT, box_alone=lambda: MADE)) == {
        "base": (0, MADE, False, False),
        "all": (1, None, False, True),
        "clicks": (1, None, False, True),
        "boxes": (0, MADE, False, False),
    }


def test_an_earlier_answer_goes_to_who_was_taught_masks() -> None:
    assert seen(ModelPrompt(**POINT, box=BOX, logits=LOGITS, box_alone=lambda: MADE)) == {
        "base": (0, MADE, False, False),
        "all": (1, BOX, True, True),
        "clicks": (1, BOX, False, True),
        "boxes": (0, MADE, False, False),
    }
    assert seen(ModelPrompt(box=BOX, logits=LOGITS)) == {
        "base": (0, BOX, False, True),
        "all": (0, BOX, True, True),
        "clicks": (0, BOX, False, True),
        "boxes": (0, BOX, False, True),
    }


def test_a_mask_alone_becomes_a_box_for_the_others() -> None:
    found = seen(ModelPrompt(logits=LOGITS, box_alone=lambda: MADE))
    assert found["all"] == (0, None, True, True)
    assert found["base"] == found["clicks"] == found["boxes"] == (0, MADE, False, False)


@pytest.mark.parametrize("box_alone", [None, lambda: None])
def test_without_a_box_the_base_gets_the_prompt_and_does_not_count(box_alone) -> None:
    found = seen(ModelPrompt(**POINT, box_alone=box_alone))
    assert found["base"] == (1, None, False, False)
    assert found["clicks"] == (1, None, False, True)


def test_a_phrase_is_for_who_takes_phrases_and_the_base_says_nothing_without_a_prompt_at_a_place() -> None:
    kinds = {"talks": frozenset({"box", "point", "text"}), "points": frozenset({"box", "point"})}
    drawn = views_of(ModelPrompt(**POINT, text="liver", box_alone=lambda: MADE), kinds)
    heard = {name: view.prompt.text for view in drawn for name in view.as_given}
    assert heard == {"base": None, "talks": "liver", "points": None}
    alone = views_of(ModelPrompt(text="liver"), {"talks": kinds["talks"]})
    assert [view.as_given for view in alone] == [{"talks": True}]
    assert [view.as_given for view in views_of(ModelPrompt(automatic=True), kinds)] == [{"talks": True, "points": True}]


TRAITS = {
    "liver": Traits(frozenset({"box", "point", "text"}), ("liver",)),
    "lungs": Traits(frozenset({"box", "point", "automatic"}), ("lung",)),
    "tumors": Traits(frozenset({"box", "point"}), ("tumor",)),
    "anything": Traits(frozenset({"box", "point"}), ("liver", "tumor"), general=True),
}
NOBODY = dict.fromkeys(TRAITS, -3.0)


def asked(prompt: ModelPrompt, named: tuple[str, ...] = (), **sureness: float | None) -> list[str]:
    return packs_to_ask(prompt, TRAITS, {**NOBODY, **sureness}, named)


def test_only_packs_that_know_are_decoded_the_surest_first() -> None:
    assert asked(ModelPrompt(**POINT), lungs=1.0, liver=2.0) == ["liver", "lungs"]
    assert asked(ModelPrompt(box=BOX), tumors=0.5) == ["tumors"]
    assert asked(ModelPrompt(box=BOX), liver=1.0, lungs=3.0, tumors=2.0) == ["lungs", "tumors"]  # two are enough


def test_a_pack_without_a_judge_is_always_asked() -> None:
    assert asked(ModelPrompt(box=BOX), liver=None) == ["liver"]
    assert asked(ModelPrompt(box=BOX), liver=None, lungs=1.0) == ["lungs", "liver"]


def test_clicks_that_nobody_knows_go_to_the_general_pack_and_boxes_to_the_base_alone() -> None:
    assert asked(ModelPrompt(**POINT), anything=-9.0) == ["anything"]
    assert asked(ModelPrompt(box=BOX), anything=9.0) == []
    assert asked(ModelPrompt(**POINT), liver=0.1, anything=9.0) == ["liver"]


def test_the_pack_that_the_user_chose_is_always_asked() -> None:
    assert asked(ModelPrompt(box=BOX, expert="tumors/2")) == ["tumors"]
    assert asked(ModelPrompt(box=BOX, expert="tumors/2"), liver=1.0) == ["liver", "tumors"]
    assert asked(ModelPrompt(box=BOX, expert="base")) == []


def test_a_phrase_goes_to_a_pack_that_was_taught_it_even_on_a_strange_image() -> None:
    phrase = ModelPrompt(text="liver")
    assert asked(phrase, ("liver", "anything")) == ["liver"]
    assert asked(phrase, ("anything",)) == ["anything"]
    assert asked(phrase, ()) == []
    assert asked(ModelPrompt(automatic=True)) == ["lungs"]
    assert asked(ModelPrompt(**POINT, text="liver"), ("liver",), tumors=1.0) == ["tumors"]  # the place decides


def answers(**qualities: tuple[float, bool]) -> dict[str, PackAnswer]:
    """Two experts a pack, one in the base."""
    return {
        name: PackAnswer(
            [
                ExpertLogits(name if name == "base" else f"{name}/{token}", LOGITS, quality)
                for token in range(1 if name == "base" else 2)
            ],
            quality,
            given,
        )
        for name, (quality, given) in qualities.items()
    }


def order(found: dict[str, PackAnswer], expert: str | None = None) -> list[str]:
    return [entry.expert for entry in order_answers(found, expert)]


def test_the_best_counts_and_the_base_only_when_it_is_better() -> None:
    assert order(answers(a=(0.7, True), b=(0.8, True), base=(0.75, True))) == ["b/0", "b/1", "a/0", "a/1", "base"]
    assert order(answers(a=(0.7, True), b=(0.6, True), base=(0.7, True)))[0] == "a/0"
    assert order(answers(a=(0.7, True), b=(0.6, True), base=(0.75, True))) == ["base", "a/0", "a/1", "b/0", "b/1"]


def test_qualities_above_one_still_differ() -> None:
    assert order(answers(a=(1.01, True), b=(1.02, True), base=(1.0, True)))[0] == "b/0"


def test_who_saw_the_prompt_itself_goes_before_who_saw_a_box_made_from_it() -> None:
    assert order(answers(a=(0.5, True), b=(0.9, False), base=(0.95, False)))[0] == "a/0"
    assert order(answers(a=(0.5, False), b=(0.9, False), base=(0.8, False)))[0] == "b/0"


def test_who_does_not_know_answers_only_if_nobody_else_does() -> None:
    found = answers(a=(0.99, True), base=(0.5, True))
    found["a"] = dataclasses.replace(found["a"], knows=False)
    assert order(found) == ["base", "a/0", "a/1"]
    assert order({"a": found["a"]}) == ["a/0", "a/1"]


def test_the_surest_of_the_proven_packs_that_know_goes_before_the_base_whatever_they_expect() -> None:
    found = answers(a=(0.5, True), b=(0.4, True), c=(0.9, True), base=(0.95, True))
    found["a"] = dataclasses.replace(found["a"], sure=1.0)
    found["b"] = dataclasses.replace(found["b"], sure=2.0)
    assert order(found) == ["b/0", "b/1", "a/0", "a/1", "c/0", "c/1", "base"]
    found["b"] = dataclasses.replace(found["b"], as_given=False)
    assert order(found)[0] == "a/0"
    assert order(found, "base")[0] == "base"


def test_the_user_goes_before_the_gate() -> None:
    found = answers(a=(0.5, True), base=(0.9, True))
    assert order(found, "a/1") == ["a/1", "a/0", "base"]
    assert order(found, "base") == ["base", "a/0", "a/1"]
    assert order(found, "gone/3")[0] == "base"


def test_a_pack_that_the_user_asked_for_answers_with_the_expert_chosen_in_it() -> None:
    assert order(answers(a=(0.5, True), b=(0.8, True), base=(0.9, True)), "a") == ["a/0", "a/1", "b/0", "b/1", "base"]
