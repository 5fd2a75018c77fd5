"""Engines to compare, written ``NAME``, ``NAME+EXPERT+EXPERT`` or ``NAME+none``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..core.errors import PromptError
from ..engines.slice_engine import SliceEngine
from ..experts.pack_file import SUFFIX
from ..models.segmote import UNTRAINED_PACK

WITHOUT = "none"


@dataclass(frozen=True)
class EngineName:
    """An engine as written on the command line.

    Attributes:
        label: as written; a file of experts by its name alone.
        model: as in ``moeseg models list``.
        experts: names or files of packs; () for none at all, None for what is installed and switched on.
    """

    label: str
    model: str
    experts: tuple[str | Path, ...] | None = None


@dataclass(frozen=True, eq=False)
class Contestant:
    """An engine in a comparison.

    Attributes:
        label: its column.
        packs: the classes that each of its packs of experts was taught.
    """

    label: str
    engine: SliceEngine
    packs: dict[str, tuple[str, ...]] = field(default_factory=dict)


def parse_engines(texts: Sequence[str]) -> list[EngineName]:
    """Engines from words like ``lite-medsam,segmote-lite+none``; the first is what the others are compared with.

    Raises:
        PromptError: nothing between two signs, or the same engine twice.
    """
    names = [_parse(word.strip()) for text in texts for word in text.split(",")]
    labels = [name.label for name in names]
    if twice := [label for label in labels if labels.count(label) > 1]:
        raise PromptError(f"The engine {twice[0]} is asked for twice. Name each once.")
    return names


def _parse(word: str) -> EngineName:
    model, *experts = [part.strip() for part in word.split("+")]
    if not model or not all(experts):
        raise PromptError(
            f"{word!r} is not an engine. Write NAME, NAME+EXPERT+EXPERT for these experts only, or NAME+{WITHOUT}."
        )
    if not experts:
        return EngineName(model, model)
    if experts == [WITHOUT]:
        return EngineName(f"{model}+{WITHOUT}", model, ())
    if WITHOUT in experts:
        raise PromptError(f"{word!r} asks for experts and for none. Leave one of the two out.")
    packs = tuple(Path(name) if name.endswith(SUFFIX) else name for name in experts)
    label = "+".join([model, *(pack.stem if isinstance(pack, Path) else pack for pack in packs)])
    return EngineName(label, model, packs)


def contestant(name: EngineName, engine: SliceEngine) -> Contestant:
    """A loaded engine with what its experts were taught."""
    traits = getattr(engine.model, "traits", {})
    return Contestant(name.label, engine, {pack: traits[pack].classes for pack in traits if pack != UNTRAINED_PACK})
