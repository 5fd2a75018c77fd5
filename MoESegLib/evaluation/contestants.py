"""Engines to compare, written ``NAME``, ``NAME+EXPERT+EXPERT``, ``NAME+none``, or ``NAME:EXPERT``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..core.errors import PromptError
from ..engines.expert_gate import BASE
from ..engines.slice_engine import SliceEngine
from ..engines.volume_engine import VolumeEngine
from ..experts.sealed_file import SUFFIX
from ..models.segmote import UNTRAINED_PACK

WITHOUT = "none"


@dataclass(frozen=True)
class EngineName:
    """An engine as written on the command line.

    Attributes:
        label: as written; a file of experts by its name alone.
        model: as in ``moeseg models list``.
        experts: names or files of packs; () for none at all, None for what is installed and switched on.
        expert: who must answer, "base" for the base model; None lets the gate choose.
    """

    label: str
    model: str
    experts: tuple[str | Path, ...] | None = None
    expert: str | None = None


@dataclass(frozen=True, eq=False)
class Contestant:
    """An engine in a comparison.

    Attributes:
        label: its column.
        packs: the classes that each of its packs of experts was taught, of those that may answer.
        expert: who must answer, or None.
    """

    label: str
    engine: SliceEngine | VolumeEngine
    packs: dict[str, tuple[str, ...]] = field(default_factory=dict)
    expert: str | None = None


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
    asked, *experts = [part.strip() for part in word.split("+")]
    model, colon, expert = asked.partition(":")
    if not model or not all(experts) or (colon and not expert):
        raise PromptError(
            f"{word!r} is not an engine. Write NAME, NAME+EXPERT+EXPERT for these experts only, NAME+{WITHOUT}, or "
            f"NAME:EXPERT for the answers of this expert whatever the gate says (NAME:{BASE} for the base model's)."
        )
    if not experts:
        return EngineName(asked, model, None, expert or None)
    if experts == [WITHOUT]:
        return EngineName(f"{asked}+{WITHOUT}", model, (), expert or None)
    if WITHOUT in experts:
        raise PromptError(f"{word!r} asks for experts and for none. Leave one of the two out.")
    packs = tuple(Path(name) if name.endswith(SUFFIX) else name for name in experts)
    label = "+".join([asked, *(pack.stem if isinstance(pack, Path) else pack for pack in packs)])
    return EngineName(label, model, packs, expert or None)


def contestant(name: EngineName, engine: SliceEngine | VolumeEngine) -> Contestant:
    """A loaded engine with what its experts were taught.

    Raises:
        PromptError: it has no such expert as must answer.
    """
    traits = getattr(engine.model, "traits", {})
    packs = {pack: traits[pack].classes for pack in traits if pack != UNTRAINED_PACK}
    if name.expert is not None:
        pack = name.expert.partition("/")[0]
        if pack not in (BASE, *packs):
            raise PromptError(f"{name.model} has no expert {name.expert!r}; it has {', '.join([BASE, *packs])}.")
        packs = {pack: packs[pack]} if pack != BASE else {}
    return Contestant(name.label, engine, packs, name.expert)


def in_volumes(contestants: Sequence[Contestant]) -> bool:
    """Whether the engines segment whole volumes; those of slices are asked slice by slice.

    Raises:
        PromptError: there are engines of both kinds; their Dice could not be compared.
    """
    volumes = [one.label for one in contestants if isinstance(one.engine, VolumeEngine)]
    slices = [one.label for one in contestants if not isinstance(one.engine, VolumeEngine)]
    if volumes and slices:
        raise PromptError(
            f"{', '.join(volumes)} segments whole volumes and {', '.join(slices)} single slices: their numbers "
            "cannot be compared. Evaluate 3D and 2D engines in runs of their own."
        )
    return bool(volumes)
