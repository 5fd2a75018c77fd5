"""The phrases that structures are taught with: embeddings of their names, which need no text model."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

TEXT_WIDTH = 384
"""Of a phrase embedding."""


def phrase_vectors(names: Iterable[str]) -> dict[str, NDArray[np.float32]]:
    """Embedding of each name that the phrase book knows."""
    from ..core.phrases import PhraseBook

    book = PhraseBook.load()
    found = {name: book.embedding_of(name) for name in names}
    return {name: vector for name, vector in found.items() if vector is not None}
