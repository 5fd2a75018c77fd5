"""Phrases for tumors without a text model: names, sides, misspellings, refusals, and the shipped embeddings."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

import MoESegLib.core.tumors as tumors_module
from MoESegLib.core.errors import PromptError, WeightsError, WeightsMissingError
from MoESegLib.core.tumors import TumorBook, digest_of, stems_of, tumor_records
from MoESegLib.resources import resource_path


@pytest.fixture(scope="module")
def book() -> TumorBook:
    return TumorBook.load()


@pytest.mark.parametrize(
    ("phrase", "tumor", "side"),
    [
        ("pancreatic tumor", "pancreatic_tumor", ""),
        ("Pancreas tumour", "pancreatic_tumor", ""),
        ("tumors of the pancreas", "pancreatic_tumor", ""),
        ("find the HCC", "liver_tumor", ""),
        ("liver metastases", "liver_tumor", ""),
        ("left kidney tumor", "kidney_tumor", "left"),
        ("tumor of the right kidney", "kidney_tumor", "right"),
        ("Kidney tumor, R", "kidney_tumor", "right"),
        ("left breast mass", "breast_tumor", "left"),
        ("white-matter lesion", "multiple_sclerosis_lesion", ""),
        ("intracranial haemorrhage", "intracranial_hemorrhage", ""),
        ("non-small cell lung cancer", "lung_tumor", ""),
        ("soft tissue sarcoma (thigh)", "soft_tissue_sarcoma", ""),
    ],
)
def test_a_name_or_synonym_is_exact_and_its_side_is_kept(book: TumorBook, phrase: str, tumor: str, side: str) -> None:
    match = book.find(phrase)
    assert (match.phrase, match.record.id, match.side) == (phrase, tumor, side)
    assert (match.similarity, match.is_exact) == (1.0, True)
    np.testing.assert_array_equal(match.embedding, book.embedding_of(tumor))


def test_every_name_and_synonym_finds_its_own_record(book: TumorBook) -> None:
    for record in tumor_records():
        for phrase in record.phrases:
            assert book.find(phrase).record is record, phrase


@pytest.mark.parametrize(
    ("phrase", "tumor"), [("panceratic tumor", "pancreatic_tumor"), ("gliobastoma", "brain_tumor")]
)
def test_a_misspelled_name_is_corrected_and_says_so(book: TumorBook, phrase: str, tumor: str) -> None:
    match = book.find(phrase)
    assert match.record.id == tumor
    assert not match.is_exact
    assert 0.8 < match.similarity < 1


@pytest.mark.parametrize(
    ("phrase", "message"),
    [
        ("liver", '"liver" is an organ and no tumor; to look for tumors in it, write liver tumor'),
        ("the left kidney", "write kidney tumor"),
        ("gallbladder", "no type of tumor is known there"),
        ("kidney stone", "no type of tumor in a place. The nearest that can be looked for are: .*kidney tumor"),
        ("kidney cyst", "no type of tumor in a place"),
        ("tumor", 'means "tumor", which is no type of tumor in a place'),
        ("metastasis", "no type of tumor in a place"),
        ("not the liver tumor", "says what not to look for"),
        ("brain without tumor", "says what not to look for"),
        ("liver tumor and kidney tumor", "several things: liver tumor, kidney tumor"),
        ("liver and pancreatic tumor", "several things: liver, pancreatic tumor"),
        ("left liver tumor", "says left, but liver has no left one to look in"),
        ("right brain tumor", "says right"),
        ("banana", "names no type of tumor that is known. The nearest are: .*moeseg models get minilm-text"),
        ("left", "names nothing to look for"),
        ("", "names nothing to look for"),
    ],
)
def test_what_is_no_tumor_is_refused_with_advice(book: TumorBook, phrase: str, message: str) -> None:
    with pytest.raises(PromptError, match=message):
        book.find(phrase)


def test_the_shipped_embeddings_are_those_of_the_shipped_records() -> None:
    from safetensors import safe_open

    from MoESegLib.weights import model_card

    path = resource_path("Tumors", "embeddings.safetensors")
    with safe_open(path, framework="numpy") as file:
        metadata, sentences, phrases = file.metadata(), file.get_tensor("sentences"), file.get_tensor("phrases")
    stale = "run benchmarks/make_tumors.py"
    assert json.loads(metadata["digests"]) == [digest_of(record) for record in tumor_records()], stale
    assert json.loads(metadata["phrases"]) == stems_of(tumor_records()), stale
    assert metadata["sha256"] == model_card("minilm-text").sha256, stale
    assert sentences.shape == (len(tumor_records()), 4, 384)
    assert sentences.dtype == phrases.dtype == np.float16
    np.testing.assert_allclose(np.linalg.norm(sentences.astype(float), axis=2), 1.0, atol=1e-3)
    assert path.stat().st_size < 5e5


def test_each_record_is_read_differently(book: TumorBook) -> None:
    for record in book.records:
        embedding = book.embedding_of(record.id)
        assert embedding.shape == (4, 384)
        assert embedding.dtype == np.float32
        assert not embedding.flags.writeable
    means = np.stack([book.embedding_of(record.id).mean(axis=0) for record in book.records])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    likeness = means @ means.T - np.eye(len(means))
    assert likeness.max() < 0.9


class Meanings:
    """A text model that reads every phrase as the name of one record, more or less."""

    def __init__(self, stem: str, similarity: float) -> None:
        with_names = dict(tumors_module._shipped_embeddings()[1])
        vector = with_names[stem].astype(np.float32)
        vector /= np.linalg.norm(vector)
        away = np.roll(vector, 1)
        away -= (away @ vector) * vector
        away /= np.linalg.norm(away)
        self.answer = (similarity * vector + np.sqrt(1 - similarity**2) * away).astype(np.float32)
        self.read: list[str] = []

    def __call__(self, phrase: str) -> NDArray[np.float32]:
        self.read.append(phrase)
        return self.answer


def test_an_unknown_phrase_takes_the_nearest_meaning_with_its_side() -> None:
    match = TumorBook.load(Meanings("kidney tumor", 0.9)).find("the left growth of the bean")
    assert (match.record.id, match.side, match.is_exact) == ("kidney_tumor", "left", False)
    assert match.similarity == pytest.approx(0.9, abs=2e-3)


def test_an_unknown_phrase_below_the_threshold_is_refused_with_the_nearest() -> None:
    reader = TumorBook.load(Meanings("kidney tumor", tumors_module.THRESHOLD - 0.02))
    with pytest.raises(PromptError, match=r"The nearest are: kidney tumor \(0\.7") as error:
        reader.find("the growth of the bean")
    assert "models get" not in str(error.value)


def test_own_sentences_are_read_by_the_text_model_and_nothing_else_is(tmp_path: Path) -> None:
    path = own_file(tmp_path, margin="It is a cube.")
    reader = Meanings("kidney tumor", 1.0)
    book = TumorBook.load(reader, path)
    assert "It is a cube." in reader.read
    assert len(reader.read) == 4
    assert book.find("liver tumor").record.margin == "It is a cube."
    np.testing.assert_allclose(book.embedding_of("liver_tumor")[2], reader.answer)
    np.testing.assert_array_equal(book.embedding_of("kidney_tumor"), TumorBook.load().embedding_of("kidney_tumor"))


def test_an_own_record_is_found_by_its_own_name(tmp_path: Path) -> None:
    path = own_file(tmp_path, id="my_tumor", name="finding of mine", synonyms=["wobbly thing"])
    book = TumorBook.load(Meanings("kidney tumor", 1.0), path)
    assert book.find("wobbly thing").record.id == "my_tumor"


def test_own_sentences_without_a_text_model_say_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissingError, match=r"liver_tumor are new or changed.*moeseg models get minilm-text"):
        TumorBook.load(own=own_file(tmp_path, margin="It is a cube."))


def test_own_synonyms_need_no_text_model(tmp_path: Path) -> None:
    book = TumorBook.load(own=own_file(tmp_path, synonyms=["blob of the hepar"]))
    assert book.find("blob of the hepar").record.id == "liver_tumor"


def own_file(folder: Path, **changes) -> Path:
    """A file with the shipped liver record, with some fields changed."""
    entries = json.loads(resource_path("Tumors", "tumors.json").read_text(encoding="utf-8"))["tumors"]
    entry = {**next(entry for entry in entries if entry["id"] == "liver_tumor"), **changes}
    path = folder / "tumors.json"
    path.write_text(json.dumps({"about": "own", "tumors": [entry]}), encoding="utf-8")
    return path


def test_damaged_embeddings_are_an_error_that_says_what_to_do(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "embeddings.safetensors"
    monkeypatch.setattr(tumors_module, "resource_path", lambda *parts: path)
    path.write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="reinstall MoESeg"):
        TumorBook.load()
    tensors = {"sentences": np.zeros((1, 3, 4), np.float16), "phrases": np.zeros((1, 4), np.float16)}
    save_file(tensors, path, {"digests": '["a"]', "phrases": '["b"]'})
    with pytest.raises(WeightsError, match="another version"):
        TumorBook.load()


def test_looking_up_needs_no_torch() -> None:
    code = "import sys; from MoESegLib.core.tumors import TumorBook; TumorBook.load().find('liver tumor'); "
    shown = subprocess.run(
        [sys.executable, "-c", code + "print('torch' in sys.modules)"], capture_output=True, text=True
    )
    assert shown.stdout.strip() == "False"
