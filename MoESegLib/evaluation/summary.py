"""From scores to numbers per set and structure: means with intervals over patients, and paired differences."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .metrics import bootstrap_means, clicks_to_reach, interval
from .run import Score

ALL = "all"
"""All structures of a set together; as a set: the mean of the sets, each of which counts the same."""
THRESHOLDS = (0.80, 0.85, 0.90)


@dataclass(frozen=True)
class Estimate:
    """A mean over masks.

    Attributes:
        sd: standard deviation over masks; None for one mask, and for the mean of sets.
        low, high: bootstrap over patients, 95 %; None with fewer than two patients.
    """

    mean: float
    sd: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Cell:
    """One engine's result in a row.

    Attributes:
        dice, nsd: None when it refused everything.
        dice_change, nsd_change: from the first engine, mask by mask; None for that engine and where one of the two
            refused everything.
        refused: number of masks without an answer, which count as 0.
        reasons: why.
    """

    dice: Estimate | None
    nsd: Estimate | None
    dice_change: Estimate | None
    nsd_change: Estimate | None
    refused: int
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """One set, structure, protocol and number of prompts: the results of all engines, in their order."""

    dataset: str
    structure: str
    protocol: str
    click: int
    masks: int
    patients: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Effort:
    """How many clicks one engine needs.

    Attributes:
        clicks: mean number to reach the threshold; one more than were given where it was never reached.
        never: share of masks where it was not.
    """

    dataset: str
    protocol: str
    threshold: float
    engine: str
    clicks: float
    never: float


def summarize(scores: Sequence[Score]) -> list[Row]:
    """A row per set, structure, protocol and click, by set; all structures of a set after its own, all sets last."""
    engines = list(dict.fromkeys(score.engine for score in scores))
    groups: dict[tuple[str, str, str, int], dict[str, list[Score]]] = {}
    for score in scores:
        for structure in (score.structure, ALL):
            key = (score.dataset, structure, score.protocol, score.click)
            groups.setdefault(key, {}).setdefault(score.engine, []).append(score)
    order = _order(groups)
    rows = [_row(key, [groups[key][engine] for engine in engines]) for key in sorted(groups, key=order)]
    return rows + _mean_of_sets(groups, engines)


def _order(keys: Iterable[tuple[str, str, str, int]]) -> Callable[[tuple[str, str, str, int]], tuple]:
    keys = list(keys)
    sets, protocols = (list(dict.fromkeys(key[part] for key in keys)) for part in (0, 2))
    return lambda key: (sets.index(key[0]), key[1] == ALL, key[1], protocols.index(key[2]), key[3])


def _row(key: tuple[str, str, str, int], by_engine: Sequence[Sequence[Score]]) -> Row:
    patients = [score.patient for score in by_engine[0]]
    cells = tuple(_cell(scores, by_engine[0], patients) for scores in by_engine)
    return Row(*key, len(patients), len(set(patients)), cells)


def _cell(scores: Sequence[Score], first: Sequence[Score], patients: Sequence[str]) -> Cell:
    refused = sum(bool(score.refusal) for score in scores)
    reasons = tuple(dict.fromkeys(score.refusal for score in scores if score.refusal))
    if refused == len(scores):
        return Cell(None, None, None, None, refused, reasons)
    dice, nsd = _values(scores, "dice"), _values(scores, "nsd")
    if scores is first or all(score.refusal for score in first):
        changes = None, None
    else:
        changes = (
            _estimate(dice - _values(first, "dice"), patients),
            _estimate(nsd - _values(first, "nsd"), patients),
        )
    return Cell(_estimate(dice, patients), _estimate(nsd, patients), *changes, refused, reasons)


def _values(scores: Sequence[Score], metric: str) -> NDArray[np.float64]:
    return np.array([getattr(score, metric) for score in scores], float)


def _estimate(values: NDArray[np.float64], patients: Sequence[str]) -> Estimate:
    several = len(set(patients)) > 1
    bounds = interval(bootstrap_means(values, patients)) if several else (None, None)
    return Estimate(float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else None, *bounds)


def _mean_of_sets(groups: dict[tuple[str, str, str, int], dict[str, list[Score]]], engines: list[str]) -> list[Row]:
    """Rows in which every set counts the same; none for one set. A set of one patient counts as certain."""
    sets = list(dict.fromkeys(key[0] for key in groups))
    if len(sets) < 2:
        return []
    rows = []
    for protocol, click in dict.fromkeys((key[2], key[3]) for key in groups):
        by_set = [groups[name, ALL, protocol, click] for name in sets]
        cells = tuple(_cell_of_sets([(group[engine], group[engines[0]]) for group in by_set]) for engine in engines)
        masks = sum(len(group[engines[0]]) for group in by_set)
        patients = sum(len({score.patient for score in group[engines[0]]}) for group in by_set)
        rows.append(Row(ALL, ALL, protocol, click, masks, patients, cells))
    return rows


def _cell_of_sets(pairs: Sequence[tuple[list[Score], list[Score]]]) -> Cell:
    refused = sum(bool(score.refusal) for scores, _ in pairs for score in scores)
    reasons = tuple(dict.fromkeys(score.refusal for scores, _ in pairs for score in scores if score.refusal))
    if any(all(score.refusal for score in scores) for scores, _ in pairs):
        return Cell(None, None, None, None, refused, reasons)
    patients = [[score.patient for score in scores] for scores, _ in pairs]
    own = [[_values(scores, metric) for scores, _ in pairs] for metric in ("dice", "nsd")]
    dice, nsd = (_estimate_of_sets(values, patients) for values in own)
    if pairs[0][0] is pairs[0][1] or any(all(score.refusal for score in first) for _, first in pairs):
        return Cell(dice, nsd, None, None, refused, reasons)
    firsts = [[_values(first, metric) for _, first in pairs] for metric in ("dice", "nsd")]
    changes = [
        _estimate_of_sets([mine - theirs for mine, theirs in zip(*both, strict=True)], patients)
        for both in zip(own, firsts, strict=True)
    ]
    return Cell(dice, nsd, changes[0], changes[1], refused, reasons)


def _estimate_of_sets(values: Sequence[NDArray[np.float64]], patients: Sequence[Sequence[str]]) -> Estimate:
    draws = [bootstrap_means(*pair, seed=seed) for seed, pair in enumerate(zip(values, patients, strict=True))]
    low, high = interval(np.mean(draws, axis=0))
    return Estimate(float(np.mean([part.mean() for part in values])), None, low, high)


def efforts(scores: Iterable[Score]) -> list[Effort]:
    """Clicks to reach each of :data:`THRESHOLDS`, by set, protocol of several clicks, and engine."""
    curves: dict[tuple[str, str], dict[str, dict[tuple, list[Score]]]] = {}
    for score in scores:
        if score.protocol.startswith("clicks:"):
            engine = curves.setdefault((score.dataset, score.protocol), {}).setdefault(score.engine, {})
            engine.setdefault(score.key[:-1], []).append(score)
    return [
        _effort(dataset, protocol, threshold, engine, list(masks.values()))
        for (dataset, protocol), by_engine in curves.items()
        for threshold in THRESHOLDS
        for engine, masks in by_engine.items()
    ]


def _effort(dataset: str, protocol: str, threshold: float, engine: str, masks: Sequence[Sequence[Score]]) -> Effort:
    counts = np.array([clicks_to_reach([score.dice for score in clicks], threshold) for clicks in masks])
    never = counts > len(masks[0])
    return Effort(dataset, protocol, threshold, engine, float(counts.mean()), float(never.mean()))
