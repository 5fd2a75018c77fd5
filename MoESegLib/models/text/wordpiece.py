"""The WordPiece tokenizer of BERT (Devlin et al. 2019), lower case, read from its public ``vocab.txt``.

Gives the ids of the fast ``BertTokenizer`` of transformers, without transformers.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from ...core.errors import WeightsError

UNKNOWN, START, END = "[UNK]", "[CLS]", "[SEP]"
CONTINUED = "##"
LONGEST_WORD = 100
"""Longer words are unknown."""
VOCABULARY_SIZE = 30522

_CHINESE = re.compile(
    "([\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002a6df\U0002a700-\U0002b81f\U0002b820-\U0002ceaf\U0002f800-\U0002fa1f])"
)


class WordPieceTokenizer:
    """Text to token ids, for :class:`~.minilm.MiniLM`.

    Args:
        vocabulary: the tokens in the order of their ids; pieces that continue a word start with ``##``.
    """

    def __init__(self, vocabulary: list[str]) -> None:
        self.ids = {token: number for number, token in enumerate(vocabulary)}

    @classmethod
    def parse(cls, content: bytes) -> WordPieceTokenizer:
        """Read the content of ``vocab.txt``: one token a line.

        Raises:
            WeightsError: it is not the vocabulary of uncased BERT.
        """
        try:
            tokens = content.decode("utf-8").removesuffix("\n").split("\n")
        except UnicodeDecodeError as error:
            raise WeightsError(
                f"The vocabulary of the text model is damaged ({error}); get the model again."
            ) from error
        if len(tokens) != VOCABULARY_SIZE or not {UNKNOWN, START, END} <= set(tokens):
            raise WeightsError(
                f"The vocabulary of the text model has {len(tokens)} lines; {VOCABULARY_SIZE} with {UNKNOWN}, {START} "
                f"and {END} among them expected. Get the model again."
            )
        return cls(tokens)

    def __call__(self, text: str, longest: int) -> list[int]:
        """Token ids of a text between start and end, cut to ``longest`` in all."""
        pieces = [piece for word in split_words(text) for piece in self._pieces(word)]
        return [self.ids[token] for token in (START, *pieces[: longest - 2], END)]

    def _pieces(self, word: str) -> list[str]:
        """The longest known beginning, then the longest known beginning of the rest, and so on."""
        pieces: list[str] = []
        start = 0
        while start < len(word) <= LONGEST_WORD:
            lead = CONTINUED if start else ""
            ends = range(len(word), start, -1)
            end = next((end for end in ends if lead + word[start:end] in self.ids), None)
            if end is None:
                return [UNKNOWN]
            pieces.append(lead + word[start:end])
            start = end
        return pieces or [UNKNOWN]


def split_words(text: str) -> Iterator[str]:
    """Words in lower case without accents; every punctuation mark and Chinese character is a word of its own."""
    shown = "".join(" " if character in "\t\n\r" else character for character in text)
    clean = "".join(character for character in shown if not _is_control(character))
    spaced = _CHINESE.sub(r" \1 ", clean)
    decomposed = unicodedata.normalize("NFD", spaced)
    plain = "".join(character for character in decomposed if unicodedata.category(character) != "Mn").lower()
    for chunk in plain.split():
        word = ""
        for character in chunk:
            if _is_punctuation(character):
                yield from (part for part in (word, character) if part)
                word = ""
            else:
                word += character
        if word:
            yield word


def _is_control(character: str) -> bool:
    return character == "\ufffd" or unicodedata.category(character) in ("Cc", "Cf", "Co", "Cs")


def _is_punctuation(character: str) -> bool:
    # All ASCII that is no letter, digit or space counts, so "$" and "^" too, which Unicode calls symbols.
    return character in "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~" or unicodedata.category(character).startswith("P")
