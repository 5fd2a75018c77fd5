"""Phrases that name what to segment, looked up without a network: exact names, misspellings, nearest meaning.

The book holds an embedding of every name, made once with the text model ``minilm-text`` (all-MiniLM-L6-v2, Reimers and
Gurevych 2019), so that known names need no text model. A side is never guessed: it is taken from the phrase before
meanings are compared, and put back afterwards.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
from numpy.typing import NDArray

from ..resources import resource_path
from .errors import PromptError, WeightsError
from .phrase_concepts import SIDES, Family, answered_by, known_concepts, known_families
from .phrase_parts import is_negated, parts_of, without_general_words, without_parentheses, without_request
from .phrase_spelling import closest_spellings, contradicts, correct_spelling
from .structures import PhraseKey, Structure, phrase_key, without_side

WIDTH = 384
"""Length of an embedding."""
THRESHOLD = 0.75
"""Least cosine similarity of an unknown phrase with a known one (``benchmarks/phrase_threshold.py``)."""
GET_TEXT_MODEL = "moeseg models get minilm-text"

Embed = Callable[[str], NDArray[np.float32]]
"""A text model: a phrase to an embedding ``[384]`` of length 1."""


@dataclass(frozen=True, eq=False)
class PhraseMatch:
    """What a phrase means.

    Attributes:
        phrase: as the user wrote it.
        name: canonical name of what it means: "kidney".
        names: all known names that answer the phrase, the best first; where no side was said, with both sides:
            ("kidney", "left kidney", "right kidney").
        similarity: 1 for a known name; else of the spelling or of the meaning, below 1.
        embedding: float32 ``[384]`` of ``name``, read-only and the same on every machine.
        structure: the coded structure of ``name``, or None for a class of a data set that has no code.
        is_exact: whether the phrase is a known name or synonym.
    """

    phrase: str
    name: str
    names: tuple[str, ...]
    similarity: float
    embedding: NDArray[np.float32]
    structure: Structure | None
    is_exact: bool


class PhraseBook:
    """Looks phrases up. Make one with :meth:`load`.

    Args:
        texts: the names and synonyms that were embedded.
        embeddings: float16 ``[N, 384]``, one row per text, of length 1.
        embed: the text model for unknown phrases, or None.
        threshold: least similarity of meaning that is taken.
    """

    def __init__(
        self,
        texts: Sequence[str],
        embeddings: NDArray[np.float16],
        embed: Embed | None = None,
        threshold: float = THRESHOLD,
    ) -> None:
        self._vectors = embeddings.astype(np.float32)
        self._vectors.flags.writeable = False
        self._rows = {text: row for row, text in enumerate(texts)}
        self._embed, self._threshold = embed, threshold

    @classmethod
    def load(cls, embed: Embed | None = None, threshold: float = THRESHOLD) -> PhraseBook:
        """The book that ships with MoESeg.

        Args:
            embed: a text model for phrases that are not in the book; see
                :func:`MoESegLib.engines.phrases.phrase_book`, which brings it where it is installed.
            threshold: least similarity of meaning that is taken.

        Raises:
            WeightsError: the file is damaged.
        """
        from safetensors import SafetensorError, safe_open

        path = resource_path("Text", "phrases.safetensors")
        try:
            with safe_open(path, framework="numpy") as file:
                texts, embeddings = json.loads(file.metadata()["texts"]), file.get_tensor("embeddings")
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            raise WeightsError(f"The phrase book {path} is damaged ({error}); reinstall MoESeg.") from error
        if embeddings.shape != (len(texts), WIDTH) or embeddings.dtype != np.float16:
            raise WeightsError(f"The phrase book {path} is of another version; reinstall MoESeg.")
        return cls(texts, embeddings, embed, threshold)

    def find(self, phrase: str) -> PhraseMatch:
        """What a phrase means.

        Case, word order, plurals, hyphens and British spelling do not matter, nor do "segment the ...", words such as
        "organ" and what stands in parentheses. Otherwise a misspelled name is corrected; then the nearest meaning is
        taken.

        Raises:
            PromptError: the phrase means nothing that is known (the message names the three nearest with their
                similarity), a side that the structure does not have, several structures, or what not to segment.
        """
        said = without_request(phrase)
        name = self._named(phrase) or self._named(said) or self._named(without_general_words(said))
        if name is not None:
            return self._match(phrase, name, 1.0, is_exact=True)
        self._check_one_thing(phrase, said)
        side, stem = phrase_key(said)[0], without_side(without_general_words(said))
        if not stem:
            raise PromptError(f'The phrase "{phrase}" names nothing to segment. Write for example "left kidney".')
        spelled = correct_spelling(stem, self._stems)
        if spelled is not None:
            text, similarity = spelled
            name = self._on_side(phrase, self._stems[text], side)
            return self._match(phrase, name, similarity, is_exact=similarity == 1.0)
        if self._embed is None:
            raise _unknown(phrase, closest_spellings(stem, self._stems), f" To understand more: {GET_TEXT_MODEL}")
        nearest = self._nearest(stem)
        if not nearest or nearest[0][1] < self._threshold:
            shown = [(family.name, similarity) for family, similarity in nearest[:3]]
            raise _unknown(phrase, shown or closest_spellings(stem, self._stems))
        family, similarity = nearest[0]
        return self._match(phrase, self._on_side(phrase, family, side), similarity)

    def embedding_of(self, name: str) -> NDArray[np.float32] | None:
        """The embedding ``[384]`` of a canonical name or of a class as expert cards name it, "kidney_left"; or None."""
        known = self._named(name)
        return None if known is None else self._vectors[self._rows[known]]

    def best_classes(self, phrase: str, classes: Sequence[str]) -> list[tuple[str, float]]:
        """Which classes of an expert a phrase names, the best first, each with the similarity.

        Where no side was said, both sides answer: "kidney" gives "kidney_left" and "kidney_right". A class of another
        side, or one without a side where a side was said, never does. A class that answers but is not the same, as
        "portal_vein_and_splenic_vein" for "portal vein", has the similarity of the two names.

        Raises:
            PromptError: as :meth:`find`, when the phrase is not itself the name of a class.
        """
        own = [name for name in classes if phrase_key(name) == phrase_key(phrase)]
        if own:
            return [(name, 1.0) for name in own]
        match = self.find(phrase)
        known = {name: self._named(name) for name in classes}
        return [
            (name, min(match.similarity, self._likeness(match.name, wanted)))
            for wanted in match.names
            for name in dict.fromkeys(classes)
            if known[name] == wanted
        ]

    def best_class(self, phrase: str, classes: Sequence[str]) -> tuple[str, float] | None:
        """The first of :meth:`best_classes`, or None if no class means what the phrase means.

        Raises:
            PromptError: as :meth:`find`, when the phrase is not itself the name of a class.
        """
        return next(iter(self.best_classes(phrase, classes)), None)

    @cached_property
    def _names(self) -> dict[PhraseKey, str]:
        """Names by key; a name goes before another's synonym."""
        concepts = known_concepts().values()
        found = {phrase_key(phrase): concept.name for concept in concepts for phrase in reversed(concept.synonyms)}
        return {**found, **{phrase_key(concept.name): concept.name for concept in concepts}}

    @cached_property
    def _stems(self) -> dict[str, Family]:
        """Families by what they are called without a side."""
        families = {family.name: family for family in known_families().values()}
        found: dict[str, Family] = {}
        for family in families.values():
            for stem in (family.name, *family.stems):
                found.setdefault(stem, family)
        return found

    @cached_property
    def _said(self) -> list[tuple[str, Family]]:
        return list(self._stems.items())

    @cached_property
    def _stem_vectors(self) -> NDArray[np.float32]:
        return self._vectors[[self._rows[stem] for stem in self._stems]]

    def _named(self, phrase: str) -> str | None:
        """The name that a phrase is or is a synonym of, with and without what stands in parentheses, unless a side."""
        whole, outside = phrase_key(phrase), phrase_key(without_parentheses(phrase))
        return self._names.get(whole) or (self._names.get(outside) if whole[0] == outside[0] else None)

    def _likeness(self, name: str, other: str) -> float:
        """Cosine similarity of two names; 1 for those that differ in the side alone."""
        if known_families()[name] is known_families()[other]:
            return 1.0
        return float(self._vectors[self._rows[name]] @ self._vectors[self._rows[other]])

    def _check_one_thing(self, phrase: str, said: str) -> None:
        """Raise PromptError for what an embedding does not tell from a name: "not the liver", "liver and spleen"."""
        if is_negated(said):
            raise PromptError(
                f'The phrase "{phrase}" says what not to segment. Name what to segment, and click the rest away.'
            )
        parts = dict.fromkeys(self._named(part) for part in parts_of(said))
        names = [name for name in parts if name is not None]
        if len(names) > 1:
            raise PromptError(
                f'The phrase "{phrase}" names several structures: {", ".join(names)}. Give each a segment '
                "and a phrase of its own."
            )

    def _nearest(self, stem: str) -> list[tuple[Family, float]]:
        """Families by similarity of meaning; those that contradict a word or number of the phrase are left out."""
        similarities = self._stem_vectors @ cast("Embed", self._embed)(stem)
        found: dict[str, tuple[Family, float]] = {}
        for index in np.argsort(-similarities, kind="stable").tolist():
            text, family = self._said[index]
            if not contradicts(stem, text):
                found.setdefault(family.name, (family, float(similarities[index])))
        return list(found.values())

    def _on_side(self, phrase: str, family: Family, side: str) -> str:
        """The member of a family that a phrase with this side means.

        Raises:
            PromptError: there is none on that side.
        """
        if side in family.by_side:
            return family.by_side[side]
        if not side:  # only one side has a name, such as the left atrial appendage
            return next(family.by_side[side] for side in SIDES if side in family.by_side)
        raise PromptError(
            f'The phrase "{phrase}" seems to mean the {side} part of "{family.name}", which is no known structure of '
            f"its own. Write one of: {', '.join(family.by_side.values())}."
        )

    def _match(self, phrase: str, name: str, similarity: float, *, is_exact: bool = False) -> PhraseMatch:
        names = tuple(dict.fromkeys((name, *answered_by(name))))
        embedding, structure = self._vectors[self._rows[name]], known_concepts()[name].structure
        return PhraseMatch(phrase, name, names, similarity, embedding, structure, is_exact)


def _unknown(phrase: str, nearest: Sequence[tuple[str, float]], hint: str = "") -> PromptError:
    names = ", ".join(f"{name} ({similarity:.2f})" for name, similarity in nearest) or "none"
    return PromptError(
        f'The phrase "{phrase}" names no structure that is known. The nearest are: {names}. Write one of them, say '
        f"it in other words, or use a point or a box.{hint}"
    )
