"""Phrases for tumors with the text model, and the user's own records in the folder of models."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from MoESegLib.core.errors import PromptError, WeightsMissingError
from MoESegLib.core.phrases import Embed
from MoESegLib.core.tumors import THRESHOLD, TumorBook
from MoESegLib.engines.phrases import load_text_model, read_text_model
from MoESegLib.engines.tumor_book import own_records_path, tumor_book
from MoESegLib.resources import resource_path
from MoESegLib.weights.store import import_file


@pytest.fixture(scope="module")
def embed(text_model_path: Path) -> Embed:
    return read_text_model(text_model_path)


@pytest.fixture(scope="module")
def book(embed: Embed) -> TumorBook:
    return TumorBook.load(embed)


@pytest.mark.parametrize(
    ("phrase", "tumor", "side"),
    [
        ("cancerous growth in the liver", "liver_tumor", ""),
        ("malignancy of the left kidney", "kidney_tumor", "left"),
        ("cancer spread to bone", "bone_metastasis", ""),
        ("blood in the brain", "intracranial_hemorrhage", ""),
        ("adenocarcinoma of the stomach", "gastric_tumor", ""),
    ],
)
def test_a_phrase_in_other_words_is_understood(book: TumorBook, phrase: str, tumor: str, side: str) -> None:
    match = book.find(phrase)
    assert (match.record.id, match.side, match.is_exact) == (tumor, side, False)
    assert THRESHOLD <= match.similarity < 1


@pytest.mark.parametrize(
    "phrase",
    ["banana", "hip fracture", "ovarian cancer", "bowel obstruction", "renal artery", "fatty liver", "tumor board"],
)
def test_what_is_no_known_tumor_is_refused(book: TumorBook, phrase: str) -> None:
    with pytest.raises(PromptError):
        book.find(phrase)


def test_the_shipped_sentences_are_those_of_the_text_model(book: TumorBook, embed: Embed) -> None:
    for record in book.records[::6]:
        read = np.stack([embed(sentence) for sentence in record.sentences])
        np.testing.assert_allclose(book.embedding_of(record.id), read, rtol=0, atol=5e-4)


def test_own_records_in_the_folder_of_models_are_read_where_the_text_model_is(
    text_model_path: Path, embed: Embed, home: Path
) -> None:
    import_file(text_model_path, "minilm-text")
    write_own_record()
    load_text_model.cache_clear()
    book = tumor_book()
    match = book.find("ovary mass")
    assert match.record.id == "ovarian_tumor"
    np.testing.assert_allclose(match.embedding[0], embed(match.record.site), atol=1e-6)
    load_text_model.cache_clear()


def test_own_records_without_the_text_model_say_how_to_get_it(home: Path) -> None:
    assert tumor_book().find("liver tumor").is_exact
    assert not home.exists()
    write_own_record()
    with pytest.raises(WeightsMissingError, match=r"ovarian_tumor are new or changed.*moeseg models get minilm-text"):
        tumor_book()


def write_own_record() -> None:
    """A type of its own in the user's file."""
    entry = json.loads(resource_path("Tumors", "tumors.json").read_text(encoding="utf-8"))["tumors"][0]
    entry |= {"id": "ovarian_tumor", "name": "ovarian tumor", "synonyms": ["ovary mass"], "organs": ["iliac_vessel"]}
    entry |= {"site": "An ovarian tumor lies beside the uterus in the pelvis."}
    own_records_path().parent.mkdir(parents=True, exist_ok=True)
    own_records_path().write_text(json.dumps({"about": "own", "tumors": [entry]}), encoding="utf-8")
