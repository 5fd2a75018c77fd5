"""Phrases for packs of experts: which of a pack's classes a phrase names, and how those are said to the networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from ..core.errors import PromptError
from ..core.phrases import PhraseBook
from .phrases import phrase_book


@dataclass(frozen=True, eq=False)
class Said:
    """A phrase as one pack hears it.

    Attributes:
        classes: of the pack that it names; both sides where no side was said.
        vectors: embedding of each, float32 ``[W]``.
        notes: how the phrase was understood, where it was not the name of a class.
    """

    classes: tuple[str, ...]
    vectors: tuple[NDArray[np.float32], ...]
    notes: tuple[str, ...] = ()


def hear(phrase: str, classes: Mapping[str, Sequence[str]]) -> dict[str, Said]:
    """The packs that were taught what a phrase names.

    Args:
        classes: by pack that takes phrases, the names of what it was taught.

    Raises:
        PromptError: the phrase means nothing known, or nothing that any pack was taught.
    """
    book, heard = _book(), {}
    unknown: PromptError | None = None
    for name, taught in classes.items():
        try:
            found = [(one, score, book.embedding_of(one)) for one, score in book.best_classes(phrase, taught)]
        except PromptError as error:  # the book does not know it; another pack may have a class of that very name
            unknown = error
            continue
        known = [(one, score, vector) for one, score, vector in found if vector is not None]
        if known:
            notes = tuple(
                f'"{phrase}" was understood as {one} (similarity {score:.2f}).' for one, score, _ in known if score < 1
            )
            heard[name] = Said(tuple(one for one, _, _ in known), tuple(vector for _, _, vector in known), notes)
    if not heard and unknown is not None:
        raise unknown
    if not heard:
        known_to_packs = sorted({one.replace("_", " ") for taught in classes.values() for one in taught})
        what = f"They know: {', '.join(known_to_packs)}." if known_to_packs else "None takes phrases yet."
        raise PromptError(f'No expert was taught "{phrase}". {what} Click on the target, or draw a box.')
    return heard


@cache
def _book() -> PhraseBook:
    return phrase_book()
