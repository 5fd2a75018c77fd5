"""Who answered, and whether the base model is still itself when experts are loaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from .contestants import Contestant
from .datasets import structure_key
from .run import Score


@dataclass(frozen=True)
class GateRow:
    """Who answered the masks of one set and prompt.

    Attributes:
        shares: by pack (or "base").
        taught: share answered by a pack that was taught the structure, of the masks where there is such a pack; None
            without any such mask.
    """

    engine: str
    dataset: str
    protocol: str
    click: int
    shares: dict[str, float]
    taught: float | None


@dataclass(frozen=True)
class ConfusionRow:
    """Who answered what some experts were taught, over all sets.

    Attributes:
        taught: the packs that were taught the structure; () for structures that none was.
        masks: how many were answered.
        shares: by pack (or "base").
    """

    engine: str
    protocol: str
    click: int
    taught: tuple[str, ...]
    masks: int
    shares: dict[str, float]


@dataclass(frozen=True)
class Identity:
    """Whether experts change what the base says, over all first prompts of a run.

    Attributes:
        engine: the one with experts.
        compared: masks on which it tells what its base says.
        same: those where that is, to the last voxel, what the first engine says.
    """

    engine: str
    compared: int
    same: int

    @property
    def holds(self) -> bool:
        return self.compared == self.same


def gate_rows(scores: Sequence[Score], contestants: Sequence[Contestant]) -> list[GateRow]:
    """Who answered, for the engines whose gate chooses among experts; refused masks do not count."""
    groups: dict[tuple[str, str, str, int], list[Score]] = {}
    packs = _gated(contestants)
    for score in scores:
        if score.engine in packs and score.pack:
            groups.setdefault((score.engine, score.dataset, score.protocol, score.click), []).append(score)
    return [_gate_row(key, group, packs[key[0]]) for key, group in groups.items()]


def _gate_row(key: tuple[str, str, str, int], scores: Sequence[Score], packs: dict[str, set[str]]) -> GateRow:
    hits = [score.pack in right for score in scores if (right := _taught(score.structure, packs))]
    return GateRow(*key, _shares(scores), sum(hits) / len(hits) if hits else None)


def confusion_rows(scores: Sequence[Score], contestants: Sequence[Contestant]) -> list[ConfusionRow]:
    """The confusion table of every gate: what was taught to whom against who answered; refused masks do not count."""
    groups: dict[tuple[str, str, int, tuple[str, ...]], list[Score]] = {}
    packs = _gated(contestants)
    for score in scores:
        if score.engine in packs and score.pack:
            taught = _taught(score.structure, packs[score.engine])
            groups.setdefault((score.engine, score.protocol, score.click, taught), []).append(score)
    return [ConfusionRow(*key, len(groups[key]), _shares(groups[key])) for key in sorted(groups, key=_untaught_last)]


def _untaught_last(key: tuple[str, str, int, tuple[str, ...]]) -> tuple:
    engine, protocol, click, taught = key
    return engine, protocol, click, not taught, taught


def _gated(contestants: Sequence[Contestant]) -> dict[str, dict[str, set[str]]]:
    """The structures of every pack, by engine, of the engines whose gate chooses."""
    return {
        contestant.label: {pack: set(map(structure_key, names)) for pack, names in contestant.packs.items()}
        for contestant in contestants
        if contestant.packs and contestant.expert is None
    }


def _taught(structure: str, packs: dict[str, set[str]]) -> tuple[str, ...]:
    """The packs that were taught a structure."""
    return tuple(pack for pack, names in packs.items() if structure_key(structure) in names)


def _shares(scores: Sequence[Score]) -> dict[str, float]:
    return {pack: count / len(scores) for pack, count in Counter(score.pack for score in scores).items()}


def identities(scores: Sequence[Score], contestants: Sequence[Contestant]) -> list[Identity]:
    """One for every engine with experts, if the first engine has none."""
    if contestants[0].packs:
        return []
    found = []
    for contestant in contestants[1:]:
        told = [s.same_base for s in scores if s.engine == contestant.label and s.same_base is not None]
        if contestant.packs:
            found.append(Identity(contestant.label, len(told), sum(told)))
    return found


def untaught(scores: Sequence[Score], contestants: Sequence[Contestant]) -> list[Score]:
    """The scores of structures that no loaded expert of any engine was taught, whatever the image."""
    taught = {structure_key(name) for one in contestants for names in one.packs.values() for name in names}
    return [score for score in scores if structure_key(score.structure) not in taught]


def unchanged_share(scores: Sequence[Score], engine: str) -> float | None:
    """Share of first prompts whose final answer is that of the first engine to the last voxel; None without any."""
    told = [score.same_mask for score in scores if score.engine == engine and score.same_mask is not None]
    return sum(told) / len(told) if told else None
