"""How good an expert is on cases it did not learn from, asked through the engine as a user asks it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..core.cancel import CancelToken
from ..core.prompts import AutomaticPrompt, BoxPrompt, PointPrompt, Prompt
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
        automatic: everything on the slice without a prompt; None where that is not taught.
    """

    box: float
    click: float
    masks: int
    patients: int
    automatic: float | None = None

    @property
    def score(self) -> float:
        """What the best epoch is chosen by: all that was measured counts alike."""
        found = [self.box, self.click, *([] if self.automatic is None else [self.automatic])]
        return sum(found) / len(found)


Scores = tuple[str, dict[str, float]]
"""Patient, and Dice by prompt ("box" and "click", or "automatic")."""


def measure(
    engine: SliceEngine, probes: Sequence[Probe], store: EmbeddingStore, cancel: CancelToken | None = None
) -> list[Scores]:
    """Dice of every probe; those to be found without a prompt only where the engine can.

    Raises:
        Cancelled: ``cancel`` was set.
    """
    context = Context(cache=EngineCache(_MEMORY, _MEMORY, store), cancel=cancel or CancelToken())
    scores: list[Scores] = []
    for probe in probes:
        if probe.automatic and AutomaticPrompt.kind not in engine.understands:
            continue
        prompts = {"automatic": AutomaticPrompt()} if probe.automatic else {"box": _box(probe), "click": _click(probe)}
        found = {}
        for name, prompt in prompts.items():
            answer = engine.predict(probe.volume, [prompt], context).patch.to_array(probe.volume.shape)
            found[name] = dice(answer, probe.mask)
        scores.append((probe.patient, found))
    return scores


def summarize(scores: Sequence[Scores]) -> HeldOut:
    """Scores of probes as one result."""
    prompted = [(patient, found) for patient, found in scores if "box" in found]
    automatic = mean_over_patients(scores, "automatic") if len(prompted) < len(scores) else None
    box, click = (mean_over_patients(prompted, name) for name in ("box", "click"))
    return HeldOut(box, click, len(prompted), len({patient for patient, _ in prompted}), automatic)


def mean_over_patients(scores: Sequence[Scores], name: str) -> float:
    """Dice of one prompt, averaged over the structures of a patient and then over the patients."""
    by_patient: dict[str, list[float]] = {}
    for patient, found in scores:
        if name in found:
            by_patient.setdefault(patient, []).append(found[name])
    return float(np.mean([np.mean(values) for values in by_patient.values()]))


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
