"""Choose the threshold of the tumor book on one half of labeled phrases and measure it on the other.

``python benchmarks/tumor_threshold.py`` needs the text model (``moeseg models get minilm-text``). Halves and costs are
those of ``phrase_threshold.py``: a wrong type of tumor counts as much as three refusals.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from phrase_threshold import Answer, cost, in_first_half, report

from MoESegLib.core.errors import PromptError
from MoESegLib.core.tumors import THRESHOLD, TumorBook
from MoESegLib.engines.phrases import load_text_model

LABELED = Path(__file__).parent / "tumors_labeled.json"


def main() -> None:
    """Print the threshold and the table for the documentation."""
    plain, full = TumorBook.load(), TumorBook.load(load_text_model(), threshold=-1.0)
    labels = {item["phrase"]: item["means"] for item in json.loads(LABELED.read_text(encoding="utf-8"))}
    answers = [answer(plain, full, phrase, means) for phrase, means in labels.items()]
    chosen_on = [item for item in answers if in_first_half(item.phrase)]
    measured_on = [item for item in answers if not in_first_half(item.phrase)]
    grid = np.arange(0.40, 0.91, 0.01).round(2).tolist()
    costs = {threshold: cost(chosen_on, threshold) for threshold in grid}
    best = [threshold for threshold in grid if costs[threshold] == min(costs.values())]
    print({threshold: value for threshold, value in costs.items() if round(threshold * 100) % 5 == 0})
    print(f"best on the first half: {best[0]} to {best[-1]}; in use: {THRESHOLD}")
    report("first half", chosen_on, THRESHOLD)
    report("second half", measured_on, THRESHOLD)
    report("second half, no text model", measured_on, float("inf"))
    for item in answers:
        if item.taken(THRESHOLD) != item.means:
            half = 1 if in_first_half(item.phrase) else 2
            print(f"  half {half}: {item.phrase!r} means {item.means}, said {item.said} ({item.similarity:.2f})")


def answer(plain: TumorBook, full: TumorBook, phrase: str, means: str | None) -> Answer:
    """What the book says, without and with the text model."""
    for book in (plain, full):
        try:
            match = book.find(phrase)
        except PromptError:
            continue
        return Answer(phrase, means, match.record.id, float("inf") if book is plain else match.similarity)
    return Answer(phrase, means, None, float("-inf"))


if __name__ == "__main__":
    main()
