"""Whether a specialist is asked: the threshold on the gate's surest weight, and the memory of the last click."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from ...core.errors import PromptError

Weighing = Literal["pairwise", "softmax", "literal"]
"""How logits become weights (:class:`.gate.Gate`)."""
WEIGHINGS: tuple[Weighing, ...] = get_args(Weighing)
DEFAULT_TAU = 0.5
HYSTERESIS = 0.1
"""How far below tau the weight of a specialist that answered before may fall until it is dropped."""


@dataclass(frozen=True)
class GateReading:
    """What the gate says to one prompt.

    Attributes:
        weights: of every specialist, 0 to 1.
        general_leads: no specialist is more likely than "none of them".
    """

    weights: Mapping[str, float]
    general_leads: bool


@dataclass(frozen=True)
class Choice:
    """Who answers a prompt.

    Attributes:
        expert: the specialist that is asked beside the general decoder, or None for the general decoder alone.
        weight: of that specialist, 0 if it was asked by name and the gate does not know it; without one, the highest.
        tau: the threshold that was used.
        kept: it stays from the click before, though its weight alone would not bring it in.
        weights: of every specialist.
    """

    expert: str | None
    weight: float
    tau: float
    kept: bool
    weights: Mapping[str, float]


def check_tau(tau: float) -> float:
    """The threshold as a number from 0 to 1.

    Raises:
        PromptError: it is not.
    """
    if not 0 <= tau <= 1:
        raise PromptError(
            f"The threshold tau is {tau}; a number from 0 (a specialist wherever one leads) to 1 (never one) was "
            "expected."
        )
    return float(tau)


def select(reading: GateReading, tau: float, kept: str | None = None) -> Choice:
    """Choose for one click.

    Published (SAM-Med3D-MoE): the best specialist runs beside the general decoder where its weight exceeds tau. Ours:
    the class "general", which can win against all specialists, and the hysteresis, without which a mask jumps when the
    weight of its specialist wavers about tau from click to click.

    Args:
        kept: the specialist that answered the click before, or None.
    """
    if not reading.weights:
        return Choice(None, 0.0, tau, False, {})
    best = max(reading.weights, key=reading.weights.__getitem__)
    clear = reading.weights[best] > tau and not reading.general_leads
    stays = kept is not None and tau < 1 and reading.weights.get(kept, -1.0) >= tau - HYSTERESIS
    if kept is not None and stays and not (clear and kept == best):
        return Choice(kept, reading.weights[kept], tau, True, reading.weights)
    return Choice(best if clear else None, reading.weights[best], tau, False, reading.weights)
