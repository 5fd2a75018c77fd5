"""Misspelled names, and words that must not be mixed up however alike two phrases are."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Protocol

SHORTEST_CORRECTED = 6
"""Letters of a word: among shorter ones a letter more or less makes another English word (river, liver)."""
TWO_MISTAKES_FROM = 9

_ORDINALS = {
    "first": "1st", "second": "2nd", "third": "3rd", "fourth": "4th", "fifth": "5th", "sixth": "6th",
    "seventh": "7th", "eighth": "8th", "ninth": "9th", "tenth": "10th", "eleventh": "11th", "twelfth": "12th",
}  # fmt: skip
_OPPOSITES = (
    ("upper", "lower"),
    ("superior", "inferior"),
    ("anterior", "posterior"),
    ("internal", "external"),
    ("common", "internal"),
    ("common", "external"),
    ("inner", "outer"),
    ("ascending", "descending"),
    ("medial", "lateral"),
    ("major", "minor"),
    ("maximus", "minimus"),
    ("central", "peripheral"),
    ("proximal", "distal"),
    ("benign", "malignant"),
    ("white", "gray"),
    ("artery", "vein"),
    ("arterial", "venous"),
    ("small", "large"),
    ("ventricle", "atrium"),
    ("cervical", "thoracic"),
    ("cervical", "lumbar"),
    ("thoracic", "lumbar"),
    ("primary", "secondary"),
)
_OPPOSED = frozenset({*_OPPOSITES, *((b, a) for a, b in _OPPOSITES)})


class Named(Protocol):
    """What phrases stand for: a family of structures, a tumor type."""

    @property
    def name(self) -> str: ...


def correct_spelling(phrase: str, known: Iterable[str]) -> tuple[str, float] | None:
    """The one known phrase that differs in spelling only, with the similarity (1 for the phrase itself); or None.

    Every word must be right, or be no known word and start with the same letter and have one wrong, missing, extra or
    swapped letter, two from nine letters on.
    """
    known = list(known)
    if phrase in known:
        return phrase, 1.0
    vocabulary = {word for text in known for word in text.split()}
    words = phrase.split()
    fitting = [text for text in known if _is_misspelled(words, text.split(), vocabulary)]
    if len(fitting) != 1:
        return None
    return fitting[0], difflib.SequenceMatcher(None, phrase, fitting[0]).ratio()


def closest_spellings(phrase: str, known: Mapping[str, Named], limit: int = 3) -> list[tuple[str, float]]:
    """Names of the things that are spelled most alike, with the similarity."""
    matcher = difflib.SequenceMatcher()
    matcher.set_seq2(phrase)
    found: dict[str, float] = {}
    for text, thing in known.items():
        matcher.set_seq1(text)
        found[thing.name] = max(found.get(thing.name, 0.0), matcher.ratio())
    return sorted(found.items(), key=lambda item: -item[1])[:limit]


def contradicts(phrase: str, known: str) -> bool:
    """Whether a known phrase has another number than a phrase (L4, third), or the opposite of a word of it."""
    ours, theirs = set(phrase.split()), set(known.split())
    if _numbers(ours) != _numbers(theirs):
        return True
    return any((a, b) in _OPPOSED for a in ours - theirs for b in theirs - ours)


def _numbers(words: set[str]) -> set[str]:
    said = {_ORDINALS.get(word, word) for word in words}
    return {word for word in said if word.endswith("teenth") or any(character.isdigit() for character in word)}


def _is_misspelled(words: list[str], right: list[str], vocabulary: set[str]) -> bool:
    return len(words) == len(right) and all(
        a == b or (a not in vocabulary and _one_word_misspelled(a, b)) for a, b in zip(words, right, strict=True)
    )


def _one_word_misspelled(word: str, right: str) -> bool:
    if len(right) < SHORTEST_CORRECTED or word[0] != right[0] or not (word + right).isalpha():
        return False
    allowed = 2 if len(right) >= TWO_MISTAKES_FROM else 1
    return abs(len(word) - len(right)) <= allowed and _distance(word, right) <= allowed


def _distance(a: str, b: str) -> int:
    """Wrong, missing, extra and swapped letters between two words (optimal string alignment)."""
    before, row = [], list(range(len(b) + 1))
    for i, letter in enumerate(a, start=1):
        earlier, before, row = before, row, [i]
        for j, other in enumerate(b, start=1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != other))
            if i > 1 and j > 1 and letter == b[j - 2] and a[i - 2] == other:
                cost = min(cost, earlier[j - 2] + 1)
            row.append(cost)
    return row[-1]
