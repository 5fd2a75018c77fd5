"""What MAST-Pro says with an answer: how a phrase and an image were taken, and which experts served."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import PromptError, WeightsError
from ..core.strict_json import FieldError, from_plain
from ..core.tumor_records import MODALITIES, TumorRecord
from ..core.tumors import TumorMatch
from ..core.volume import Volume
from .protocol import ExpertLogits
from .sliding import Route, Tally


@dataclass(frozen=True)
class Doubt:
    """What the certainty of a finding (:func:`~MoESegLib.core.lesions.certainty`) is worth, as measured for a network.

    Attributes:
        below: percent; findings of less are doubtful.
        doubtful, sure: share of the doubtful findings, and of the others, that touched a lesion, in images that nothing
            was learned from.
    """

    below: int
    doubtful: float
    sure: float


def doubt_of(details: Mapping[str, Any]) -> Doubt | None:
    """What the details of a network's file say of it; None where it was not measured.

    Raises:
        WeightsError: they are damaged.
    """
    if "doubt" not in details:
        return None
    try:
        return from_plain(Doubt, details["doubt"], "doubt")
    except FieldError as error:
        raise WeightsError(f"The details of these weights are damaged: {error}. Get them again.") from error


def doubt_note(certainties: Sequence[int], doubt: Doubt) -> str:
    """How many findings are doubtful and what that means, or ""."""
    weak = sum(percent < doubt.below for percent in certainties)
    if weak == 0:
        return ""
    who = "Doubtful" if weak == len(certainties) else f"{weak} of them doubtful"
    return (
        f"{who}: the model is less than {doubt.below}% sure of every voxel there. In test images "
        f"{doubt.doubtful:.0%} of such findings were lesions, of surer ones {doubt.sure:.0%}."
    )


def match_notes(match: TumorMatch, is_taught: bool) -> list[str]:
    """What a phrase was taken for, and whether the weights know it."""
    notes = []
    if not match.is_exact:
        notes.append(f'"{match.phrase}" was taken for {match.record.name} (similarity {match.similarity:.2f}).')
    if not is_taught:
        notes.append(
            f"These weights were not taught {match.record.name}: the answer follows from its description alone and is "
            "a guess. Teach it, or check every voxel."
        )
    return notes


def modality_note(volume: Volume, record: TumorRecord, taught: Mapping[str, Sequence[str]]) -> str:
    """What to say about an image of which it is not known what it is, or "".

    Args:
        taught: DICOM codes of the images that a tumor was learned in, by its id; for others its record counts.

    Raises:
        PromptError: it is of a modality that this tumor was not taught in.
    """
    fitting = tuple(code for code in taught.get(record.id, ()) if code) or record.modalities
    if volume.modality in fitting:
        return ""
    names = " or ".join(fitting)
    if volume.modality in MODALITIES:
        raise PromptError(
            f"A {record.name} is looked for in {names}, and this image is {volume.modality}. Choose an image of that "
            "kind, or another phrase; in this one, click with segmote-lite."
        )
    return f"The image does not say how it was made; a {record.name} is looked for in {names}. Check that it is one."


def answer_of(logits: NDArray[np.float32], tally: Tally, record: TumorRecord) -> ExpertLogits:
    """Logits with what the router did: the strongest expert of the deepest level, and all levels in words."""
    routes = tally.routes()
    if not routes or not routes[-1].experts:
        return ExpertLogits("base", logits)
    levels = "; ".join(_said(route) for route in reversed(routes))
    name, weight = routes[-1].experts[0]
    note = f"{record.name}, deepest level first: {levels}."
    return ExpertLogits(_expert(name), logits, gate_weight=weight, notes=(note,))


def _said(route: Route) -> str:
    served = ", ".join(f"{_expert(name)} ({weight:.0%})" for name, weight in route.experts)
    return f"{served}, specific against generic experts {route.balance:.0%}"


def _expert(name: str) -> str:
    """Experts of the base have numbers, those of added tumors their names."""
    return f"expert {name}" if name.isdigit() else name.replace("_", " ")
