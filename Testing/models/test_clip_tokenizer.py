"""CLIP's tokenizer: the ids of transformers on the same files; files that do not belong together are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from MoESegLib.core.errors import PromptError, WeightsError
from MoESegLib.models.text.tokenizer import ClipTokenizer, byte_symbols

WORDS = ("liver", "live", "lever", "of", "area", "aaaa", "12", "ß")
SPECIAL = {"<|startoftext|>": 49406, "<|endoftext|>": 49407}
CHARACTERS = "aeilrvofLIVER'stdm .,!-_0123½²ßéÉΣİ一\u0301\u200d\u00a0\n😀"


def pairs() -> list[tuple[str, str]]:
    """Merges that build every word from its left end; CLIP's own 48,894 do not ship."""
    symbols = byte_symbols()
    merges = {}
    for word in WORDS:
        tokens = [symbols[byte] for byte in word.encode()]
        tokens[-1] += "</w>"
        left = tokens[0]
        for right in tokens[1:]:
            merges[left, right] = None
            left += right
    return list(merges)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("tokenizer"))


def write(folder: Path) -> Path:
    merges = pairs()
    tokens = [*byte_symbols(), *(f"{symbol}</w>" for symbol in byte_symbols()), *("".join(pair) for pair in merges)]
    vocabulary = {token: number for number, token in enumerate(tokens)} | SPECIAL
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def theirs(shared: Path) -> Callable[[str], list[int]]:
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.CLIPTokenizerFast.from_pretrained(str(shared), local_files_only=True)
    return lambda text: tokenizer(text)["input_ids"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A liver.",
        "area  of\tLIVER's lever",
        "we're I'd they'll it's !'s",
        "T2-FLAIR 12.5 mm",
        "Größe E\u0301 ΣΑΣ",
        "肝臓",
    ],
)
def test_it_splits_as_transformers_does(shared: Path, theirs: Callable[[str], list[int]], text: str) -> None:
    assert ClipTokenizer.read(shared)(text) == theirs(text)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(text=st.one_of(st.text(CHARACTERS, max_size=30), st.lists(st.sampled_from(WORDS)).map("".join)))
def test_any_text_splits_as_transformers_does(shared: Path, theirs: Callable[[str], list[int]], text: str) -> None:
    assert ClipTokenizer.read(shared)(text) == theirs(text)


def test_words_become_single_tokens_between_start_and_end(folder: Path) -> None:
    numbers = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    assert ClipTokenizer.read(folder)("Liver LIVE") == [49406, numbers["liver</w>"], numbers["live</w>"], 49407]


@pytest.mark.parametrize("name", ["vocab.json", "merges.txt"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(PromptError, match=f"no {name}"):
        ClipTokenizer.read(folder)


def cut(text: str) -> str:
    return text[: len(text) // 2]


def shifted(text: str) -> str:
    return json.dumps({token: number + 1 for token, number in json.loads(text).items()})


def twice(text: str) -> str:
    return json.dumps(json.loads(text) | {"a": 1, "b": 1})


def beyond(text: str) -> str:
    return json.dumps(json.loads(text) | {"a": 49408})


@pytest.mark.parametrize(
    ("name", "damage", "reason"),
    [
        ("vocab.json", cut, "Unterminated|Expecting"),
        ("vocab.json", lambda text: "[" * 100_000, "recursion"),
        ("vocab.json", lambda text: "[1, 2]", "no table"),
        ("vocab.json", lambda text: '{"a": "b"}', "no table"),
        ("vocab.json", lambda text: "{}", "49406"),
        ("vocab.json", shifted, "49406"),
        ("vocab.json", twice, "different"),
        ("vocab.json", beyond, "between 0 and 49407"),
        ("merges.txt", lambda text: "", "do not make the tokens"),
        ("merges.txt", cut, "no pair|do not make the tokens"),
        ("merges.txt", lambda text: text + "z z\n", "do not make the tokens"),
        ("merges.txt", lambda text: text + "one two three\n", "no pair"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(
    folder: Path, name: str, damage: Callable[[str], str], reason: str
) -> None:
    path = folder / name
    path.write_text(damage(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(WeightsError, match=reason) as caught:
        ClipTokenizer.read(folder)
    assert name in str(caught.value)


def test_a_character_that_the_vocabulary_lacks_is_refused(folder: Path) -> None:
    path = folder / "vocab.json"
    vocabulary = json.loads(path.read_text(encoding="utf-8"))
    del vocabulary["z</w>"]
    path.write_text(json.dumps(vocabulary), encoding="utf-8")
    with pytest.raises(PromptError, match="does not know"):
        ClipTokenizer.read(folder)("z")
