"""How good an expert is on cases it did not learn from, asked through the engine as a user asks it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..core.cancel import CancelToken
from ..core.prompts import BoxPrompt, PointPrompt, Prompt
from ..engines.cache import EngineCache
from ..engines.protocol import Context
from ..engines.slice_engine import SliceEngine
from ..evaluation.metrics import dice
from ..evaluation.simulated import center_click, tight_box
from .embeddings import EmbeddingStore
from .samples import Probe

_MEMORY = 32 << 20
"""Bytes of embeddings and of decoder outputs kept while measuring; the rest stays in the store."""


@dataclass(frozen=True)
class HeldOut:
    """Dice of one prompt each, averaged over the structures of a patient and then over the patients.

    Attributes:
        box: tight box around the structure.
        click: one click at its center.
        masks, patients: how many were measured.
    """

    box: float
    click: float
    masks: int
    patients: int

    @property
    def score(self) -> float:
        """What the best epoch is chosen by: box and click count alike."""
        return (self.box + self.click) / 2


def measure(
    engine: SliceEngine, probes: Sequence[Probe], store: EmbeddingStore, cancel: CancelToken | None = None
) -> list[tuple[str, float, float]]:
    """Patient, Dice with a box and Dice with a click of every probe.

    Raises:
        Cancelled: ``cancel`` was set.
    """
    context = Context(cache=EngineCache(_MEMORY, _MEMORY, store), cancel=cancel or CancelToken())
    scores = []
    for probe in probes:
        found = []
        for prompt in (_box(probe), _click(probe)):
            answer = engine.predict(probe.volume, [prompt], context).patch.to_array(probe.volume.shape)
            found.append(dice(answer, probe.mask))
        scores.append((probe.patient, found[0], found[1]))
    return scores


def summarize(scores: Sequence[tuple[str, float, float]]) -> HeldOut:
    """Scores of probes as one result."""
    patients = sorted({patient for patient, _, _ in scores})
    means = [np.mean([values for name, *values in scores if name == patient], axis=0) for patient in patients]
    box, click = np.mean(means, axis=0)
    return HeldOut(float(box), float(click), len(scores), len(patients))


def _box(probe: Probe) -> Prompt:
    view, mask = _displayed(probe)
    x0, y0, x1, y1 = tight_box(mask)
    corners = probe.volume.to_ras(view.to_ijk([(x0, y0), (max(x1, x0 + 1), max(y1, y0 + 1))], 0))
    return BoxPrompt(tuple(corners[0]), tuple(corners[1]))


def _click(probe: Probe) -> Prompt:
    view, mask = _displayed(probe)
    return PointPrompt(tuple(probe.volume.to_ras(view.to_ijk(center_click(mask), 0))))


def _displayed(probe: Probe):
    view = probe.volume.view(probe.volume.acquisition_axis)
    return view, view.extract(probe.mask, 0)
