"""Choose the threshold of the phrase book on one half of labeled phrases and measure it on the other.

``python benchmarks/phrase_threshold.py`` needs the text model (``moeseg models get minilm-text``). The halves are drawn
by the hash of the phrase, so a phrase that is added moves no other. A wrong answer counts three times a refusal of a
phrase that has a meaning: the user can say a refused phrase in other words, but may not notice the wrong structure.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from MoESegLib.core.errors import PromptError
from MoESegLib.core.phrases import THRESHOLD, PhraseBook
from MoESegLib.engines.phrases import load_text_model

LABELED = Path(__file__).parent / "phrases_labeled.json"
WRONG_COSTS = 3.0

Find = Callable[[str], tuple[str, float]]
"""Looks a phrase up: what it names, and the similarity of meaning."""


@dataclass(frozen=True)
class Answer:
    """A labeled phrase and what the book says, whatever the threshold.

    Attributes:
        means: the right name, or None where the phrase should be refused.
        said: the name found, or None if it is refused at every threshold.
        similarity: of meaning; infinite for known names and misspellings, which do not depend on the threshold.
    """

    phrase: str
    means: str | None
    said: str | None
    similarity: float

    def taken(self, threshold: float) -> str | None:
        """The answer with a threshold."""
        return self.said if self.similarity >= threshold else None


def main() -> None:
    """Print the threshold and the table for the documentation."""
    plain, full = PhraseBook.load(), PhraseBook.load(load_text_model(), threshold=-1.0)
    compare(LABELED, lambda phrase: _match(plain, phrase), lambda phrase: _match(full, phrase), THRESHOLD)


def _match(book: PhraseBook, phrase: str) -> tuple[str, float]:
    match = book.find(phrase)
    return match.name, match.similarity


def compare(labeled: Path, plain: Find, full: Find, in_use: float) -> None:
    """Print the best thresholds of the first half, and what the one in use does on both.

    Args:
        labeled: JSON list of phrases and what they mean.
        plain, full: a book without and with the text model; both raise PromptError for what they refuse.
        in_use: the threshold that ships.
    """
    labels = {item["phrase"]: item["means"] for item in json.loads(labeled.read_text(encoding="utf-8"))}
    answers = [answer(plain, full, phrase, means) for phrase, means in labels.items()]
    chosen_on = [item for item in answers if in_first_half(item.phrase)]
    measured_on = [item for item in answers if not in_first_half(item.phrase)]
    grid = np.arange(0.40, 0.91, 0.01).round(2).tolist()
    costs = {threshold: cost(chosen_on, threshold) for threshold in grid}
    best = [threshold for threshold in grid if costs[threshold] == min(costs.values())]
    print({threshold: value for threshold, value in costs.items() if round(threshold * 100) % 5 == 0})
    print(f"best on the first half: {best[0]} to {best[-1]}; in use: {in_use}")
    report("first half", chosen_on, in_use)
    report("second half", measured_on, in_use)
    report("second half, no text model", measured_on, float("inf"))
    for item in answers:
        if item.taken(in_use) != item.means:
            half = 1 if in_first_half(item.phrase) else 2
            print(f"  half {half}: {item.phrase!r} means {item.means}, said {item.said} ({item.similarity:.2f})")


def answer(plain: Find, full: Find, phrase: str, means: str | None) -> Answer:
    """What the book says, without and with the text model."""
    for find in (plain, full):
        try:
            said, similarity = find(phrase)
        except PromptError:
            continue
        return Answer(phrase, means, said, float("inf") if find is plain else similarity)
    return Answer(phrase, means, None, float("-inf"))


def in_first_half(phrase: str) -> bool:
    return hashlib.sha256(phrase.encode()).digest()[0] % 2 == 0


def cost(answers: list[Answer], threshold: float) -> float:
    taken = [(item.taken(threshold), item.means) for item in answers]
    wrong = sum(said is not None and said != means for said, means in taken)
    return WRONG_COSTS * wrong + sum(said is None and means is not None for said, means in taken)


def report(title: str, answers: list[Answer], threshold: float) -> None:
    """One line of counts."""
    meant = [item for item in answers if item.means is not None]
    other = [item for item in answers if item.means is None]
    right = sum(item.taken(threshold) == item.means for item in meant)
    refused = sum(item.taken(threshold) is None for item in meant)
    accepted = sum(item.taken(threshold) is not None for item in other)
    print(
        f"{title}: {right} of {len(meant)} phrases with a meaning right, {refused} refused, "
        f"{len(meant) - right - refused} taken for another structure; {accepted} of {len(other)} without one taken"
    )


if __name__ == "__main__":
    main()
