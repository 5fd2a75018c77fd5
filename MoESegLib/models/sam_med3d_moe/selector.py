"""Whether a specialist is asked: the threshold on the gate's surest weight, and who answered the first prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from ...core.errors import PromptError

Weighing = Literal["pairwise", "softmax", "literal"]
"""How logits become weights (:class:`.gate.Gate`)."""
WEIGHINGS: tuple[Weighing, ...] = get_args(Weighing)
DEFAULT_TAU = 0.5
GENERAL = "general"
"""The general decoder where somebody has to be named: as a class of the gate, and as the one who stays."""


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
        weight: with which that specialist is fused: what the gate gives it, at least tau where it stays, and 0 if it
            was asked by name and the gate does not know it. Without a specialist, the highest that the gate gives.
        tau: the threshold that was used.
        kept: whoever answered the first prompt stays, specialist or not; the gate decided nothing.
        weights: of every specialist, as the gate gives them.
    """

    expert: str | None
    weight: float
    tau: float
    kept: bool
    weights: Mapping[str, float]

    @property
    def answered_by(self) -> str:
        """The specialist, or :data:`GENERAL`: what stays for the later prompts of the target."""
        return self.expert or GENERAL


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
    """Choose for one prompt of a target.

    Published (SAM-Med3D-MoE): the best specialist runs beside the general decoder where its weight exceeds tau. Ours:
    the class "general", which can win against all specialists, and that the first prompt decides. Whoever answered it
    stays, which is the strongest hysteresis there is: a mask cannot jump because a weight wavers about tau.

    A gate is sure of first clicks and unsure of corrections. On 97 targets of 58 patients, who had been learned from by
    nobody, the one that shipped was right after one click for 78 of 78 hippocampi and 16 of 17 sarcomas, after ten for
    59 % of the sarcomas. Asked after every click, with a hysteresis of 0.1, it brought in the sarcoma specialist at the
    third click on MS lesions, which cost 9 points of Dice; with this rule they keep the general answer.

    Args:
        kept: who answered the first prompt of the target: a specialist, or :data:`GENERAL`; None for the first prompt.
            With a tau of 1 no specialist stays, and in place of one that is not there any more the gate is asked.
    """
    if not reading.weights:
        return Choice(None, 0.0, tau, False, {})
    best = max(reading.weights, key=reading.weights.__getitem__)
    if kept == GENERAL:
        return Choice(None, reading.weights[best], tau, True, reading.weights)
    if kept is not None and kept in reading.weights and tau < 1:
        return Choice(kept, max(reading.weights[kept], tau), tau, True, reading.weights)
    clear = reading.weights[best] > tau and not reading.general_leads
    return Choice(best if clear else None, reading.weights[best], tau, False, reading.weights)
