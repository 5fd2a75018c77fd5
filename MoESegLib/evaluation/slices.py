"""Evaluation on single slices: one simulated prompt for every structure of every image."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..core.cancel import ProgressCallback
from ..core.prompts import BoxPrompt, PointPrompt, Prompt
from ..core.volume import Volume
from ..engines.assemble import full_size
from ..engines.protocol import Context, ModelPrompt
from ..engines.slice_engine import SliceEngine
from .datasets import LabeledCase, slice_targets
from .metrics import bootstrap_interval, dice
from .simulated import center_click, tight_box

Protocol = Literal["box", "click", "raw-click"]
PROTOCOLS: tuple[Protocol, ...] = ("box", "click", "raw-click")
"""Tight box; center click as a user gives it; center click straight to the network, without any conversion."""


@dataclass(frozen=True)
class Score:
    """The Dice of one structure on one image."""

    protocol: str
    case: str
    group: str
    label: str
    pixels: int
    dice: float


@dataclass(frozen=True)
class Row:
    """Scores of one structure, or of all, under one protocol."""

    protocol: str
    label: str
    masks: int
    patients: int
    mean: float
    spread: float
    low: float
    high: float


def evaluate_slices(
    engine: SliceEngine,
    cases: Sequence[LabeledCase],
    protocols: Sequence[Protocol],
    least_pixels: int = 100,
    progress: ProgressCallback | None = None,
) -> list[Score]:
    """Dice for every structure of every slice under each protocol; each image is encoded once.

    Args:
        least_pixels: structures smaller than this are left out.
    """
    scores = []
    for done, case in enumerate(cases):
        if progress is not None:
            progress(done / len(cases), case.name)
        volume, labels = case.load()
        context = Context()
        for index, label, mask in slice_targets(labels, least_pixels):
            name = case.labels.get(label, str(label))
            for protocol in protocols:
                found = _ANSWERS[protocol](engine, volume, index, mask, context)
                scores.append(Score(protocol, case.name, case.group, name, int(mask.sum()), dice(found, mask)))
    return scores


def summarize(scores: Iterable[Score]) -> list[Row]:
    """One row per protocol and structure, in order of appearance, and one for all structures together."""
    table: dict[tuple[str, str], list[Score]] = {}
    for score in scores:
        table.setdefault((score.protocol, score.label), []).append(score)
        table.setdefault((score.protocol, "all"), []).append(score)
    rows = []
    for (protocol, label), entries in sorted(
        table.items(), key=lambda item: (item[0][0], item[0][1] == "all", item[0])
    ):
        values, groups = [entry.dice for entry in entries], [entry.group for entry in entries]
        low, high = bootstrap_interval(values, groups)
        spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
        rows.append(Row(protocol, label, len(values), len(set(groups)), float(np.mean(values)), spread, low, high))
    return rows


def _predicted(engine: SliceEngine, volume: Volume, index: int, prompt: Prompt, context: Context) -> NDArray:
    return engine.predict(volume, [prompt], context).patch.to_array(volume.shape)[index]


def _box(engine: SliceEngine, volume: Volume, index: int, mask: NDArray, context: Context) -> NDArray:
    x0, y0, x1, y1 = tight_box(mask)
    corners = volume.to_ras([[x0, y0, index], [max(x1, x0 + 1), max(y1, y0 + 1), index]])
    return _predicted(engine, volume, index, BoxPrompt(tuple(corners[0]), tuple(corners[1])), context)


def _click(engine: SliceEngine, volume: Volume, index: int, mask: NDArray, context: Context) -> NDArray:
    x, y = center_click(mask)
    return _predicted(engine, volume, index, PointPrompt(tuple(volume.to_ras([x, y, index]))), context)


def _raw_click(engine: SliceEngine, volume: Volume, index: int, mask: NDArray, context: Context) -> NDArray:
    """The click token as it is, which a model trained on boxes has never seen."""
    axis = volume.acquisition_axis
    view, prepared = volume.view(axis), engine.prepare(volume, (axis, index))
    pixel = view.to_pixels([*center_click(mask), index]) * prepared.scale
    call = ModelPrompt(np.array([pixel], np.float32), np.ones(1, np.int64))
    answer = engine.decode(prepared, [call], context)
    found = np.zeros(volume.shape, np.uint8)
    if answer is not None:
        view.insert(found, index, full_size(answer.logits, prepared))
    return found[index]


_ANSWERS: dict[Protocol, Callable[[SliceEngine, Volume, int, NDArray, Context], NDArray]] = {
    "box": _box,
    "click": _click,
    "raw-click": _raw_click,
}
