"""Phrases that name what tumor to look for, and what the model reads about it: exact names, spelling, nearest meaning.

The names, synonyms and sentences of ``Resources/Tumors/tumors.json`` were embedded once with the text model
``minilm-text`` (``benchmarks/make_tumors.py``), so that they need no text model; texts that were changed or added need
it. What is no tumor is refused rather than taken for the nearest one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..resources import resource_path
from .errors import PromptError, WeightsError, WeightsMissingError
from .organs import Side, organ_named, organ_of_id, side_of
from .phrase_parts import is_negated, parts_of, without_general_words, without_parentheses, without_request
from .phrase_spelling import closest_spellings, contradicts, correct_spelling
from .phrases import GET_TEXT_MODEL, WIDTH, Embed, PhraseBook, PhraseMatch
from .structures import phrase_key, without_side
from .tumor_records import SENTENCES, TumorRecord, tumor_records

__all__ = ["THRESHOLD", "TumorBook", "TumorMatch", "TumorRecord", "digest_of", "stems_of", "tumor_records"]

THRESHOLD = 0.75
"""Least cosine similarity of an unknown phrase with a known one (``benchmarks/tumor_threshold.py``)."""


@dataclass(frozen=True, eq=False)
class TumorMatch:
    """What a phrase looks for.

    Attributes:
        phrase: as the user wrote it.
        record: the tumor type.
        side: "left" or "right" where the phrase said so, else "".
        embedding: float32 ``[4, 384]``, the sentences of the record; read-only.
        similarity: 1 for a known name; else of the spelling or of the meaning, below 1.
        is_exact: whether the phrase is a known name or synonym.
    """

    phrase: str
    record: TumorRecord
    side: Side
    embedding: NDArray[np.float32]
    similarity: float
    is_exact: bool


class TumorBook:
    """Looks tumor types up. Make one with :meth:`load`.

    Args:
        records: the tumor types.
        sentences: float ``[4, 384]`` by the ID of a record.
        stems: float ``[384]`` by name or synonym without a side; those without a vector are found by spelling alone.
        embed: the text model for unknown phrases, or None.
        threshold: least similarity of meaning that is taken.
    """

    def __init__(
        self,
        records: Sequence[TumorRecord],
        sentences: Mapping[str, NDArray],
        stems: Mapping[str, NDArray],
        embed: Embed | None = None,
        threshold: float = THRESHOLD,
    ) -> None:
        self.records = tuple(records)
        self._sentences = {key: value.astype(np.float32) for key, value in sentences.items()}
        for value in self._sentences.values():
            value.flags.writeable = False
        self._meanings = {text: stems[text].astype(np.float32) for text in self._stems if text in stems}
        self._embed, self._threshold = embed, threshold

    @classmethod
    def load(cls, embed: Embed | None = None, own: Path | None = None, threshold: float = THRESHOLD) -> TumorBook:
        """The book that ships with MoESeg, with records of one's own.

        Args:
            embed: a text model; :func:`MoESegLib.engines.tumor_book.tumor_book` brings the installed one.
            own: a file with records of one's own; see :func:`~.tumor_records.tumor_records`.
            threshold: least similarity of meaning that is taken.

        Raises:
            WeightsError: a record is wrong, or the shipped embeddings are damaged.
            WeightsMissingError: a record was changed or added, and there is no text model to read it.
        """
        records = tumor_records(own)
        sentences, stems = _shipped_embeddings()
        changed = [record for record in records if digest_of(record) not in sentences]
        if changed and embed is None:
            names = ", ".join(record.id for record in changed)
            raise WeightsMissingError(
                f"The tumor records {names} are new or changed, so the text model must read them, and it is not "
                f"installed. Get it with: {GET_TEXT_MODEL}"
            )
        if embed is not None:
            for record in changed:
                sentences[digest_of(record)] = np.stack([embed(sentence) for sentence in record.sentences])
            stems = {**{text: embed(text) for text in stems_of(changed) if text not in stems}, **stems}
        return cls(records, {record.id: sentences[digest_of(record)] for record in records}, stems, embed, threshold)

    def find(self, phrase: str) -> TumorMatch:
        """What a phrase looks for.

        Case, word order, plurals, hyphens and British spelling do not matter, nor do "find the ..." and what stands in
        parentheses. Otherwise a misspelled name is corrected; then the nearest meaning is taken, unless the phrase is
        nearer to something that is no tumor. A side is kept: "left kidney tumor".

        Raises:
            PromptError: the phrase means no type that is known (the message names the nearest), an organ or another
                thing, a side that the organ does not have, several types, or what not to look for.
        """
        said = without_request(phrase)
        record = self._named(phrase) or self._named(said) or self._named(without_general_words(said))
        if record is not None:
            return self._match(phrase, record, 1.0, is_exact=True)
        self._check_one_thing(phrase, said)
        stem = without_side(without_general_words(said))
        self._check_no_other_thing(phrase, said, stem)
        spelled = correct_spelling(stem, self._stems)
        if spelled is not None:
            return self._match(phrase, self._stems[spelled[0]], spelled[1])
        if self._embed is None:
            hint = f" To understand more: {GET_TEXT_MODEL}"
            raise _unknown(phrase, closest_spellings(stem, self._stems), hint)
        nearest = self._nearest(stem, self._embed(stem))
        if not nearest or nearest[0][1] < self._threshold:
            shown = [(record.name, similarity) for record, similarity in nearest[:3]]
            raise _unknown(phrase, shown or closest_spellings(stem, self._stems))
        other = self._other_meaning(stem)
        if other is not None and other.similarity > nearest[0][1]:
            raise self._no_tumor(phrase, other.name, nearest)
        return self._match(phrase, *nearest[0])

    def embedding_of(self, tumor_id: str) -> NDArray[np.float32]:
        """The sentences of a record as float32 ``[4, 384]``.

        Raises:
            KeyError: no record of that ID.
        """
        return self._sentences[tumor_id]

    @cached_property
    def _names(self) -> dict[tuple[str, ...], TumorRecord]:
        return {phrase_key(phrase)[1]: record for record in self.records for phrase in record.phrases}

    @cached_property
    def _stems(self) -> dict[str, TumorRecord]:
        return {stem: record for record in self.records for stem in record.stems}

    @cached_property
    def _others(self) -> PhraseBook:
        """What phrases mean beside tumors."""
        return PhraseBook.load(self._embed)

    def _named(self, phrase: str) -> TumorRecord | None:
        whole, outside = phrase_key(phrase), phrase_key(without_parentheses(phrase))
        return self._names.get(whole[1]) or (self._names.get(outside[1]) if whole[0] == outside[0] else None)

    def _check_one_thing(self, phrase: str, said: str) -> None:
        """Raise PromptError for "not the liver", "liver and kidney tumors"."""
        if is_negated(said):
            raise PromptError(
                f'The phrase "{phrase}" says what not to look for. Name one type of tumor, and click the rest away.'
            )
        parts = [self._named(part) or organ_named(part) for part in parts_of(said)]
        names = list(dict.fromkeys(part.name for part in parts if part is not None))
        if len(names) > 1:
            raise PromptError(
                f'The phrase "{phrase}" names several things: {", ".join(names)}. Look for one type of tumor at a '
                "time, each in a segment of its own."
            )

    def _check_no_other_thing(self, phrase: str, said: str, stem: str) -> None:
        """Raise PromptError for a known name that is no type of tumor: "liver", "kidney stone", "tumor", "left"."""
        if not stem:
            raise PromptError(f'The phrase "{phrase}" names nothing to look for. Write for example "liver tumor".')
        organ = organ_named(said)
        if organ is not None and not organ.is_look_alike:
            inside = [record.name for record in self.records if organ.id in record.organs]
            advice = f"write {' or '.join(inside)}" if inside else "no type of tumor is known there"
            raise PromptError(f'"{phrase}" is an organ and no tumor; to look for tumors in it, {advice}.')
        other = self._other_meaning(stem, exact=True)
        if other is not None:
            raise self._no_tumor(phrase, other.name, self._nearest(stem, other.embedding))

    def _other_meaning(self, stem: str, exact: bool = False) -> PhraseMatch | None:
        """What else than a tumor a phrase means, or None."""
        try:
            found = self._others.find(stem)
        except PromptError:
            return None
        if self._named(found.name) is not None or (exact and not found.is_exact):
            return None
        return found

    def _nearest(self, stem: str, vector: NDArray[np.float32]) -> list[tuple[TumorRecord, float]]:
        """Records by similarity of meaning; names that contradict a word or number of the phrase are left out."""
        found: dict[str, tuple[TumorRecord, float]] = {}
        texts = list(self._meanings)
        similarities = np.stack(list(self._meanings.values())) @ vector
        for index in np.argsort(-similarities, kind="stable").tolist():
            if not contradicts(stem, texts[index]):
                record = self._stems[texts[index]]
                found.setdefault(record.id, (record, float(similarities[index])))
        return list(found.values())

    def _no_tumor(self, phrase: str, name: str, nearest: Sequence[tuple[TumorRecord, float]]) -> PromptError:
        names = ", ".join(record.name for record, _ in nearest[:3])
        return PromptError(
            f'"{phrase}" means "{name}", which is no type of tumor in a place. The nearest that can be looked for are: '
            f"{names}."
        )

    def _match(self, phrase: str, record: TumorRecord, similarity: float, *, is_exact: bool = False) -> TumorMatch:
        side = side_of(phrase)
        if side and not record.has_sides:
            organ_names = " and ".join(organ_of_id(organ).name for organ in record.organs)
            raise PromptError(
                f'The phrase "{phrase}" says {side}, but {organ_names} has no {side} one to look in. Write '
                f'"{record.name}" and mark the region with a box.'
            )
        return TumorMatch(phrase, record, side, self._sentences[record.id], similarity, is_exact)


def digest_of(record: TumorRecord) -> str:
    """SHA-256 of the sentences of a record: what its embedding was made from."""
    return hashlib.sha256("\n".join(record.sentences).encode()).hexdigest()


def stems_of(records: Iterable[TumorRecord]) -> list[str]:
    """Names and synonyms to embed, each once."""
    return list(dict.fromkeys(stem for record in records for stem in record.stems))


def _shipped_embeddings() -> tuple[dict[str, NDArray], dict[str, NDArray]]:
    """Embedded sentences ``[4, 384]`` by digest, and names ``[384]`` by text."""
    from safetensors import SafetensorError, safe_open

    path = resource_path("Tumors", "embeddings.safetensors")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata: dict[str, Any] = file.metadata()
            digests, texts = json.loads(metadata["digests"]), json.loads(metadata["phrases"])
            sentences, phrases = file.get_tensor("sentences"), file.get_tensor("phrases")
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"The tumor embeddings {path} are damaged ({error}); reinstall MoESeg.") from error
    if sentences.shape != (len(digests), len(SENTENCES), WIDTH) or phrases.shape != (len(texts), WIDTH):
        raise WeightsError(f"The tumor embeddings {path} are of another version; reinstall MoESeg.")
    return dict(zip(digests, sentences, strict=True)), dict(zip(texts, phrases, strict=True))


def _unknown(phrase: str, nearest: Sequence[tuple[str, float]], hint: str = "") -> PromptError:
    names = ", ".join(f"{name} ({similarity:.2f})" for name, similarity in nearest) or "none"
    return PromptError(
        f'The phrase "{phrase}" names no type of tumor that is known. The nearest are: {names}. Write one of them, or '
        f"say it in other words.{hint}"
    )
