"""Choose the threshold of the tumor book on one half of labeled phrases and measure it on the other.

``python benchmarks/tumor_threshold.py`` needs the text model (``moeseg models get minilm-text``). Halves and costs are
those of ``phrase_threshold.py``: a wrong type of tumor counts as much as three refusals.
"""

from __future__ import annotations

from pathlib import Path

from phrase_threshold import compare

from MoESegLib.core.tumors import THRESHOLD, TumorBook
from MoESegLib.engines.phrases import load_text_model

LABELED = Path(__file__).parent / "tumors_labeled.json"


def main() -> None:
    """Print the threshold and the table for the documentation."""
    plain, full = TumorBook.load(), TumorBook.load(load_text_model(), threshold=-1.0)
    compare(LABELED, lambda phrase: _match(plain, phrase), lambda phrase: _match(full, phrase), THRESHOLD)


def _match(book: TumorBook, phrase: str) -> tuple[str, float]:
    match = book.find(phrase)
    return match.record.id, match.similarity


if __name__ == "__main__":
    main()
