"""Phrases without a text model: names, synonyms, sides, misspellings and refusals."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

import MoESegLib.core.phrases as phrases_module
from MoESegLib.core.errors import PromptError, WeightsError
from MoESegLib.core.phrase_concepts import known_concepts, phrases_to_embed
from MoESegLib.core.phrase_spelling import contradicts
from MoESegLib.core.phrases import PhraseBook
from MoESegLib.core.structures import find_structure, known_structures

ABDOMEN = [
    "spleen", "kidney_right", "kidney_left", "gallbladder", "esophagus", "liver", "stomach", "aorta",
    "inferior_vena_cava", "portal_vein_and_splenic_vein", "pancreas", "adrenal_gland_right", "adrenal_gland_left",
]  # fmt: skip
DATA_SETS = [
    *ABDOMEN, "anterior hippocampus", "posterior hippocampus", "gross tumour volume (mass)", "white-matter lesion",
    "nerve", "blood vessel", "fetal head (filled ellipse)", "nucleus (stored as instance numbers 1..N, 16 bit)",
    "benign breast tumour", "malignant breast tumour", "haemorrhage", "benign lesion", "malignant lesion",
    "lung tumour", "Vertebra L5", "Vertebra T12", "Vertebrae (Upper)", "Partially visible Vertebrae", "Spinal Canal",
    "Intervertebral Disc L5-S1", "Intervertebral Disc T12-L1", "Intervertebral Discs (Upper)", "right ventricle",
    "myocardium", "left ventricle", "cytoplasm", "nucleus", "lungs", "retinal vessel",
]  # fmt: skip
"""Class names as public data sets and expert cards write them."""


@pytest.fixture(scope="module")
def book() -> PhraseBook:
    return PhraseBook.load()


@pytest.mark.parametrize(
    ("phrase", "name"),
    [
        ("left kidney", "left kidney"),
        ("kidney, left", "left kidney"),
        ("kidney_left", "left kidney"),
        ("Segment the LEFT kidneys", "left kidney"),
        ("please show me the patient's left kidney", "left kidney"),
        ("IVC", "inferior vena cava"),
        ("gall-bladder", "gallbladder"),
        ("bladder", "urinary bladder"),
        ("oesophagus", "esophagus"),
        ("haemorrhage", "hemorrhage"),
        ("bleeding", "hemorrhage"),
        ("lumbar vertebra L4", "L4 vertebra"),
        ("L4/5 disc", "intervertebral disc L4-L5"),
        ("liver tissue", "liver"),
        ("foetal head", "fetal head"),
        ("gross tumour volume (mass)", "gross tumor volume"),
        ("cell nuclei", "nucleus"),
        ("tissue", "tissue"),
    ],
)
def test_a_name_or_synonym_is_exact_however_it_is_written(book: PhraseBook, phrase: str, name: str) -> None:
    match = book.find(phrase)
    assert (match.phrase, match.name, match.similarity, match.is_exact) == (phrase, name, 1.0, True)
    assert match.structure == find_structure(name)


def test_every_name_and_synonym_means_its_own_concept(book: PhraseBook) -> None:
    for concept in known_concepts().values():
        for phrase in concept.phrases:
            assert book.find(phrase).name == concept.name, phrase


def test_the_book_agrees_with_the_structures(book: PhraseBook) -> None:
    assert set(known_concepts()) > {structure.name for structure in known_structures()}
    for structure in known_structures():
        assert book.find(structure.name).structure is structure


def test_the_shipped_embeddings_are_those_of_all_names() -> None:
    from safetensors import safe_open

    from MoESegLib.resources import resource_path
    from MoESegLib.weights import model_card

    path = resource_path("Text", "phrases.safetensors")
    with safe_open(path, framework="numpy") as file:
        metadata, embeddings = file.metadata(), file.get_tensor("embeddings")
    stale = "run benchmarks/make_phrases.py"
    assert json.loads(metadata["texts"]) == phrases_to_embed(), stale
    assert metadata["sha256"] == model_card("minilm-text").sha256, stale
    assert embeddings.shape == (len(phrases_to_embed()), 384)
    np.testing.assert_allclose(np.linalg.norm(embeddings.astype(float), axis=1), 1.0, atol=1e-3)
    assert path.stat().st_size < 2e6


def test_an_embedding_is_that_of_the_canonical_name_to_the_bit(book: PhraseBook) -> None:
    wanted = book.embedding_of("left kidney")
    assert wanted is not None
    assert wanted.dtype == np.float32
    assert wanted.shape == (384,)
    assert not wanted.flags.writeable
    for name in ("kidney_left", "Kidney (left)", "LeftKidney"):
        np.testing.assert_array_equal(book.embedding_of(name), wanted)
    for phrase in ("left ren", "left kidnei organ", "outline the left kidney"):
        np.testing.assert_array_equal(book.find(phrase).embedding, wanted)
    right = book.embedding_of("kidney_right")
    assert right is not None
    assert wanted @ right < 0.95
    assert book.embedding_of("a class of my own") is None


@pytest.mark.parametrize("name", DATA_SETS)
def test_the_classes_of_public_data_sets_have_an_embedding(book: PhraseBook, name: str) -> None:
    assert book.embedding_of(name) is not None
    assert book.best_class(name, DATA_SETS[::-1]) == (name, 1.0)


def test_a_phrase_without_a_side_means_both_and_one_with_a_side_never_the_other(book: PhraseBook) -> None:
    assert book.find("kidney").names == ("kidney", "left kidney", "right kidney")
    assert book.best_classes("kidneys", ABDOMEN) == [("kidney_left", 1.0), ("kidney_right", 1.0)]
    assert book.best_classes("right kidney", ABDOMEN) == [("kidney_right", 1.0)]
    assert book.best_class("left kidney", ["kidney_right", "kidney"]) is None
    assert book.find("ventricle").names[1:] == ("left ventricle", "right ventricle")
    assert book.find("atrial appendage").name == "left atrial appendage"


def test_no_phrase_with_a_side_is_answered_by_the_other_side(book: PhraseBook) -> None:
    opposite = {"left": "right", "right": "left"}
    for name in known_concepts():
        side = next((side for side in opposite if side in name.split()), None)
        if side is not None:
            assert not any(opposite[side] in other.split() for other in book.find(name).names), name


@pytest.mark.parametrize(
    ("phrase", "name"),
    [
        ("portal vein", "portal_vein_and_splenic_vein"),
        ("intracranial hemorrhage", "haemorrhage"),
        ("tumour", "gross tumour volume (mass)"),
        ("left hippocampus", None),
        ("bladder", None),
    ],
)
def test_a_class_that_data_sets_label_instead_answers_and_is_said_to_be_another(
    book: PhraseBook, phrase: str, name: str | None
) -> None:
    found = book.best_class(phrase, DATA_SETS)
    if name is None:
        assert found is None
    else:
        assert found is not None
        assert found[0] == name
        assert 0.4 < found[1] < 0.99


def test_a_group_is_answered_by_its_members(book: PhraseBook) -> None:
    found = book.best_classes("lumbar vertebra", ["Vertebra L5", "Vertebra T12", "Vertebra L4"])
    assert [name for name, _ in found] == ["Vertebra L4", "Vertebra L5"]


def test_a_class_that_only_its_expert_knows_is_found_by_its_own_name(book: PhraseBook) -> None:
    assert book.best_class("My thing!", ["liver", "my_thing"]) == ("my_thing", 1.0)
    with pytest.raises(PromptError):
        book.best_class("their thing", ["liver", "my_thing"])


@pytest.mark.parametrize(
    ("phrase", "name"),
    [("panceras", "pancreas"), ("left hipocampus", "left hippocampus"), ("esofagus", "esophagus")],
)
def test_a_misspelled_name_is_corrected_and_says_so(book: PhraseBook, phrase: str, name: str) -> None:
    match = book.find(phrase)
    assert match.name == name
    assert not match.is_exact
    assert 0.8 < match.similarity < 1


@pytest.mark.parametrize("phrase", ["river", "lover", "train", "banana", "left banana", "subthalamus", "123", "L6"])
def test_another_word_is_no_misspelling(book: PhraseBook, phrase: str) -> None:
    with pytest.raises(PromptError, match="names no structure"):
        book.find(phrase)


def test_a_refusal_names_the_three_nearest_and_how_to_understand_more(book: PhraseBook) -> None:
    with pytest.raises(PromptError) as error:
        book.find("epithalamus")
    message = str(error.value)
    assert '"epithalamus"' in message
    assert "thalamus (0.84)" in message
    assert message.count("(0.") == 3
    assert "moeseg models get minilm-text" in message


@pytest.mark.parametrize("phrase", ["left liver", "liver (left)", "right spleen", "left middle lobe"])
def test_a_side_that_a_structure_does_not_have_is_refused(book: PhraseBook, phrase: str) -> None:
    with pytest.raises(PromptError, match="no known structure of its own. Write one of: "):
        book.find(phrase)


@pytest.mark.parametrize("phrase", ["left", "segment the", "?", "the organ on the left"])
def test_a_phrase_that_names_nothing_is_refused(book: PhraseBook, phrase: str) -> None:
    with pytest.raises(PromptError):
        book.find(phrase)


@pytest.mark.parametrize("phrase", ["not the liver", "everything except the liver"])
def test_what_not_to_segment_is_no_prompt(book: PhraseBook, phrase: str) -> None:
    with pytest.raises(PromptError, match="says what not to segment"):
        book.find(phrase)


@pytest.mark.parametrize("phrase", ["the liver and the spleen", "liver, spleen", "left kidney + right kidney"])
def test_a_phrase_that_names_several_structures_is_refused(book: PhraseBook, phrase: str) -> None:
    with pytest.raises(PromptError, match="names several structures"):
        book.find(phrase)


def test_numbers_and_opposites_are_never_mixed_up() -> None:
    assert contradicts("l4 vertebral body", "l5 vertebra")
    assert contradicts("4th rib", "fifth rib")
    assert not contradicts("4th rib", "fourth rib")
    assert contradicts("external carotid", "internal carotid artery")
    assert contradicts("thirteenth rib", "third rib")
    assert not contradicts("hepatic artery branch", "hepatic artery")


class Meanings:
    """A text model that reads every phrase as one it was given."""

    def __init__(self, book: PhraseBook, meaning: str, similarity: float) -> None:
        vector = book.embedding_of(meaning)
        assert vector is not None
        away = np.roll(vector, 1)
        away -= (away @ vector) * vector
        away /= np.linalg.norm(away)
        self.answer = (similarity * vector + np.sqrt(1 - similarity**2) * away).astype(np.float32)

    def __call__(self, phrase: str) -> NDArray[np.float32]:
        return self.answer


def test_an_unknown_phrase_takes_the_nearest_meaning_with_its_side(book: PhraseBook) -> None:
    reader = PhraseBook.load(Meanings(book, "kidney", 0.9))
    match = reader.find("the left bean")
    assert match.name == "left kidney"
    assert match.similarity == pytest.approx(0.9, abs=1e-3)
    assert not match.is_exact
    assert reader.best_class("the right bean", ABDOMEN) == ("kidney_right", match.similarity)
    np.testing.assert_array_equal(match.embedding, book.embedding_of("left kidney"))


def test_an_unknown_phrase_below_the_threshold_is_refused_with_the_nearest(book: PhraseBook) -> None:
    below = phrases_module.THRESHOLD - 0.02
    with pytest.raises(PromptError, match=rf"The nearest are: kidney \({below:.2f}\), ") as error:
        PhraseBook.load(Meanings(book, "kidney", below)).find("the bean")
    assert "models get" not in str(error.value)


def test_a_number_keeps_an_unknown_phrase_from_the_nearest_meaning(book: PhraseBook) -> None:
    with pytest.raises(PromptError, match="names no structure"):
        PhraseBook.load(Meanings(book, "L5 vertebra", 0.99)).find("vertebra L6")


def test_a_damaged_book_is_an_error_that_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "phrases.safetensors"
    monkeypatch.setattr(phrases_module, "resource_path", lambda *parts: path)
    path.write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="reinstall MoESeg"):
        PhraseBook.load()
    save_file({"embeddings": np.zeros((2, 4), np.float16)}, path, {"texts": '["liver", "spleen"]'})
    with pytest.raises(WeightsError, match="another version"):
        PhraseBook.load()


def test_looking_up_needs_no_torch() -> None:
    code = "import sys; from MoESegLib.core.phrases import PhraseBook; PhraseBook.load().find('liver'); "
    shown = subprocess.run(
        [sys.executable, "-c", code + "print('torch' in sys.modules)"], capture_output=True, text=True
    )
    assert shown.stdout.strip() == "False"
