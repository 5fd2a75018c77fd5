"""When a walk through the slices has left the target."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .assemble import SliceAnswer

LEAST_OVERLAP = 0.35
"""Dice of two neighboring slices below which the mask has jumped to something else."""
LEAST_QUALITY_SHARE = 0.75
"""Share of the anchor's predicted IoU below which the model itself says that there is no target any more."""
INTENSITY_SPREADS = 2.5
"""Standard deviations of the anchor's brightness by which the mean inside the mask may drift."""
LEAST_PIXELS = 6
"""Low-resolution pixels below which a mask is noise."""


@dataclass(frozen=True, eq=False)
class SliceFacts:
    """What the rules look at on one slice, at the resolution of the decoder.

    Attributes:
        mask: bool ``[g, g]``.
        quality: predicted IoU, or None.
        mean, spread: brightness inside the mask, of the normalized model image.
    """

    mask: NDArray[np.bool_]
    quality: float | None
    mean: float
    spread: float


def slice_facts(answer: SliceAnswer) -> SliceFacts:
    """Gather the facts of one answer."""
    mask = answer.logits > 0
    step = max(1, answer.prepared.pixels.shape[-1] // mask.shape[-1])
    inside = answer.prepared.pixels[0, ::step, ::step][mask]
    mean, spread = (float(inside.mean()), float(inside.std())) if inside.size else (0.0, 0.0)
    return SliceFacts(mask, answer.experts[0].quality, mean, spread)


def reason_to_stop(anchor: SliceFacts, previous: SliceFacts, current: SliceFacts) -> str | None:
    """Why the walk must end before ``current``, or None to go on.

    Args:
        anchor: the slice that holds the user's prompt.
        previous: the slice before.
    """
    size, before = int(current.mask.sum()), int(previous.mask.sum())
    if size < LEAST_PIXELS:
        return "the mask is empty"
    overlap = 2 * int((current.mask & previous.mask).sum()) / (size + before)
    if overlap < LEAST_OVERLAP:
        return f"the mask jumped (overlap {overlap:.2f} with the slice before)"
    if anchor.quality and current.quality is not None and current.quality < LEAST_QUALITY_SHARE * anchor.quality:
        return f"the predicted quality fell to {current.quality:.2f}"
    if abs(current.mean - anchor.mean) > INTENSITY_SPREADS * max(anchor.spread, 0.02):
        return "the brightness differs from the prompted slice"
    return None
