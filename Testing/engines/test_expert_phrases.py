"""Which packs hear a phrase, and how it is said to them."""

from __future__ import annotations

import numpy as np
import pytest

from MoESegLib.core.errors import PromptError
from MoESegLib.core.phrases import PhraseBook
from MoESegLib.engines.expert_phrases import hear

CLASSES = {
    "abdomen": ("liver", "kidney_left", "kidney_right", "spleen"),
    "tumors": ("gross tumor volume", "liver"),
    "strange": ("a thing that no book knows",),
}


def test_every_pack_that_was_taught_the_structure_hears_it_as_the_book_says_it() -> None:
    heard = hear("liver", CLASSES)
    assert set(heard) == {"abdomen", "tumors"}
    assert heard["abdomen"].classes == ("liver",)
    expected = PhraseBook.load().embedding_of("liver")
    assert expected is not None
    assert all(np.array_equal(said.vectors[0], expected) and said.notes == () for said in heard.values())


def test_where_no_side_was_said_both_are_meant() -> None:
    (said,) = hear("kidneys", CLASSES).values()
    assert set(said.classes) == {"kidney_left", "kidney_right"}
    assert not np.array_equal(*said.vectors)
    assert hear("left kidney", CLASSES)["abdomen"].classes == ("kidney_left",)


def test_a_misspelled_phrase_is_understood_with_a_note() -> None:
    said = hear("splene", CLASSES)["abdomen"]
    assert said.classes == ("spleen",)
    assert '"splene" was understood as spleen' in said.notes[0]


@pytest.mark.parametrize("phrase", ["heart", "right lung"])
def test_a_structure_that_nobody_was_taught_is_refused_with_what_is_known(phrase: str) -> None:
    with pytest.raises(PromptError, match=rf'No expert was taught "{phrase}".*kidney left, .*spleen\. Click on'):
        hear(phrase, {"abdomen": CLASSES["abdomen"]})


def test_a_class_that_the_book_does_not_know_cannot_be_said() -> None:
    with pytest.raises(PromptError, match="No expert was taught"):
        hear("a thing that no book knows", {"strange": CLASSES["strange"]})


def test_a_phrase_that_means_nothing_is_refused_as_the_book_refuses_it() -> None:
    with pytest.raises(PromptError, match="banana"):
        hear("banana", CLASSES)
