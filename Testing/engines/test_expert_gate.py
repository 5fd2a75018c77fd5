"""Who sees a prompt in which form, and whose answer counts."""

from __future__ import annotations

import numpy as np
import pytest

from MoESegLib.engines.expert_gate import PackAnswer, order_answers, views_of
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


def test_the_user_goes_before_the_gate() -> None:
    found = answers(a=(0.5, True), base=(0.9, True))
    assert order(found, "a/1") == ["a/1", "a/0", "base"]
    assert order(found, "base") == ["base", "a/0", "a/1"]
    assert order(found, "gone/3")[0] == "base"
