"""CLIP's byte-pair tokenizer (Radford et al. 2021), read from the public vocabulary files, which do not ship here.

Gives the ids of the fast ``CLIPTokenizer`` of transformers, without transformers: equal on 40,000 random texts but for
characters newer than Python's Unicode tables. Unlike there, files that do not belong together are refused: transformers
5.23 reads a shifted vocabulary or an empty ``merges.txt`` and returns wrong ids.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from ...core.errors import PromptError, WeightsError
from .clip_text import END_OF_TEXT

VOCABULARY_FILE, MERGES_FILE = "vocab.json", "merges.txt"
START_OF_TEXT = END_OF_TEXT - 1
SPECIAL_TOKENS = {"<|startoftext|>": START_OF_TEXT, "<|endoftext|>": END_OF_TEXT}
WORD_END = "</w>"
CONTRACTIONS = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")

Pair = tuple[str, str]


class ClipTokenizer:
    """Text to CLIP token ids, for :class:`~.clip_text.CLIPTextModel`.

    Args:
        vocabulary: id of every token.
        merges: pairs of tokens that become one, the first to merge first.
    """

    def __init__(self, vocabulary: dict[str, int], merges: list[Pair]) -> None:
        self.vocabulary = vocabulary
        self.ranks = {pair: rank for rank, pair in enumerate(merges)}
        self.symbols = byte_symbols()

    @classmethod
    def read(cls, folder: Path) -> ClipTokenizer:
        """The tokenizer of ``openai/clip-vit-base-patch32`` from its ``vocab.json`` and ``merges.txt``.

        Raises:
            PromptError: a file is missing, so that text cannot be understood.
            WeightsError: the files are damaged, do not belong together, or are another model's.
        """
        missing = [name for name in (VOCABULARY_FILE, MERGES_FILE) if not (folder / name).is_file()]
        if missing:
            raise PromptError(
                f"Text prompts need the CLIP tokenizer, and {folder} holds no {' and no '.join(missing)}. Put "
                f"{VOCABULARY_FILE} and {MERGES_FILE} of openai/clip-vit-base-patch32 there, or use points and boxes."
            )
        vocabulary, merges = read_vocabulary(folder / VOCABULARY_FILE), read_merges(folder / MERGES_FILE)
        known = vocabulary.keys() - SPECIAL_TOKENS.keys()
        if {token for token in known if len(token.removesuffix(WORD_END)) > 1} != {"".join(pair) for pair in merges}:
            raise _damaged(folder / MERGES_FILE, f"its pairs do not make the tokens of {VOCABULARY_FILE}")
        return cls(vocabulary, merges)

    def __call__(self, text: str) -> list[int]:
        """Token ids of a text, between start and end.

        Raises:
            PromptError: a character that the vocabulary lacks.
        """
        normalized = "".join(character.lower() for character in unicodedata.normalize("NFC", text))
        tokens = [token for word in split_words(normalized) for token in self._merge(word)]
        unknown = [token for token in tokens if token not in self.vocabulary]
        if unknown:
            raise PromptError(f"The text {text!r} has characters the tokenizer does not know; use English words.")
        return [START_OF_TEXT, *(self.vocabulary[token] for token in tokens), END_OF_TEXT]

    def _merge(self, word: str) -> list[str]:
        """The tokens of one word: its bytes, merged pair by pair."""
        tokens = [self.symbols[byte] for byte in word.encode()]
        tokens[-1] += WORD_END
        while True:
            pairs = [pair for pair in zip(tokens, tokens[1:], strict=False) if pair in self.ranks]
            if not pairs:
                return tokens
            first = min(pairs, key=self.ranks.__getitem__)
            index = 0
            while index < len(tokens) - 1:
                if (tokens[index], tokens[index + 1]) == first:
                    tokens[index : index + 2] = ["".join(first)]
                index += 1


def byte_symbols() -> list[str]:
    """The character that stands for each byte: itself where it is printable, else one from 256 on (as in GPT-2)."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


def split_words(text: str) -> Iterator[str]:
    """Runs of letters, runs of other signs, single digits and the endings of contractions; spaces are dropped."""
    start = 0
    while start < len(text):
        kind = _kind(text[start])
        contraction = next((ending for ending in CONTRACTIONS if text.startswith(ending, start)), "")
        end = start + max(1, len(contraction))
        while not contraction and kind in "LO" and end < len(text) and _kind(text[end]) == kind:
            end += 1
        if kind != " ":
            yield text[start:end]
        start = end


def _kind(character: str) -> str:
    """L for a letter, N for a number, a space, or O for another sign."""
    if character.isspace():
        return " "
    category = unicodedata.category(character)[0]
    return category if category in "LN" else "O"


def read_vocabulary(path: Path) -> dict[str, int]:
    """Read ``vocab.json``: the id of every token.

    Raises:
        WeightsError: not readable, or not CLIP's.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(found, dict) or not all(type(number) is int for number in found.values()):
        raise _damaged(path, "it is no table of token ids")
    if any(found.get(token) != number for token, number in SPECIAL_TOKENS.items()):
        raise _damaged(path, f"<|startoftext|> must be {START_OF_TEXT} and <|endoftext|> {END_OF_TEXT}")
    numbers = set(found.values())
    if len(numbers) != len(found) or min(numbers) < 0 or max(numbers) > END_OF_TEXT:
        raise _damaged(path, f"the ids must be different and lie between 0 and {END_OF_TEXT}")
    return found


def read_merges(path: Path) -> list[Pair]:
    """Read ``merges.txt``: a header line, then one pair of tokens a line.

    Raises:
        WeightsError: not readable, or a line is no pair.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, ValueError) as error:
        raise _damaged(path, str(error)) from error
    merges: list[Pair] = []
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if len(words) == 2 and not line.startswith("#version"):
            merges.append((words[0], words[1]))
        elif words and not line.startswith("#version"):
            raise _damaged(path, f"line {number} is no pair of tokens")
    return merges


def _damaged(path: Path, reason: str) -> WeightsError:
    return WeightsError(
        f"{path} is not the file of the CLIP tokenizer: {reason}. Expected {VOCABULARY_FILE} and {MERGES_FILE} of "
        "openai/clip-vit-base-patch32; copy both again."
    )
