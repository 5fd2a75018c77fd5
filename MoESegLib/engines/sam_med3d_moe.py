"""SAM-Med3D-MoE as a volume model: SAM-Med3D, and beside it a specialist where the gate is sure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..core.errors import PromptError
from ..models.sam_med3d_moe.selector import GENERAL
from .cache import content_key
from .expert_gate import BASE, Traits
from .protocol import Embedding, ExpertLogits
from .protocol3d import CropPrompt
from .sam_med3d import SamMed3DModel, as_array

if TYPE_CHECKING:
    import torch

    from ..models.sam_med3d import SamMed3D
    from ..models.sam_med3d_moe.mixture import GatedAnswer, SamMed3DMoE
    from ..models.sam_med3d_moe.selector import Choice

_JOINED = f"{BASE} + "
_ALIKE = 0.7
"""Dice below which two masks are called different; above it two readers of one organ would be said to agree."""


class SamMed3DMoEModel(SamMed3DModel):
    """Answers as the general model where the gate is not sure, to the last bit, and else together with a specialist.

    The gate is asked at the first click inside a target (:func:`~MoESegLib.models.sam_med3d_moe.selector.select`).
    Since all prompts of a target are taken anew for every answer, it is asked again where the first one was moved,
    undone or replaced.

    The general mask is called "base", that of a specialist as the specialist, and both fused "base + NAME"; any of the
    three can be asked for by name. With the fusion "replace" there is no third one.

    Args:
        name, weights_id, device, exact, notes: as in :class:`~.sam_med3d.SamMed3DModel`.
        network: the base.
        mixture: over the very modules of ``network``.
        experts_id: hash of the gate and the specialists, for cache keys.
        taught: whether the gate was; one that was not is neither followed nor quoted.
        traits: what each specialist was taught, by name.
    """

    def __init__(
        self,
        name: str,
        network: SamMed3D,
        mixture: SamMed3DMoE,
        weights_id: str,
        experts_id: str,
        device: torch.device,
        *,
        taught: bool = True,
        traits: Mapping[str, Traits] | None = None,
        exact: bool = False,
        notes: tuple[str, ...] = (),
    ) -> None:
        super().__init__(name, network, weights_id, device, exact=exact, notes=notes)
        self.mixture = mixture
        self.taught = taught
        self.traits = dict(traits or {})
        mixture.gate.to(device)
        arithmetic = repr((mixture.tau, mixture.fusion, taught))
        self.decoder_id = content_key("sam-med3d-moe", self.decoder_id, experts_id, arithmetic)

    @property
    def experts(self) -> tuple[str, ...]:
        """The general model, and every specialist."""
        return BASE, *self.mixture.specialists

    def decode(self, embedding: Embedding, prompt: CropPrompt) -> tuple[ExpertLogits, ...]:
        """See :meth:`MoESegLib.engines.protocol3d.VolumeModel.decode`.

        Raises:
            PromptError: nobody has the name that is asked for.
            WeightsError: the specialist cannot be read, or does not fit.
        """
        import torch

        asked = specialist_in(prompt.expert)
        if prompt.expert is not None and (asked or BASE) not in self.experts:
            names = ", ".join(self.experts)
            raise PromptError(f"{self.name} has no expert {prompt.expert!r}; it has {names}. Choose one of them.")
        with torch.inference_mode():
            answer = self.mixture(**self.decoder_inputs(embedding, prompt), kept=_kept(prompt), asked=asked)
        answers = self._answers(answer)
        if prompt.expert is not None:
            answers.sort(key=lambda item: item.expert != prompt.expert)
        notes = self._notes(answer, prompt)
        return dataclasses.replace(answers[0], notes=notes), *answers[1:]

    def _answers(self, answer: GatedAnswer) -> list[ExpertLogits]:
        """All masks of an answer, the one that the gate stands for first."""
        general = ExpertLogits(BASE, as_array(answer.general))
        specialist = answer.choice.expert
        if answer.special is None or specialist is None:
            return [general]
        weight = answer.choice.weight if self._is_weighed(specialist) else None
        special = ExpertLogits(specialist, as_array(answer.special), gate_weight=weight)
        if weight is None or self.mixture.fusion == "replace":
            return [special, general]
        return [ExpertLogits(_JOINED + specialist, as_array(answer.logits), gate_weight=weight), general, special]

    def _is_weighed(self, specialist: str) -> bool:
        return self.taught and specialist in self.mixture.gate.experts

    def _notes(self, answer: GatedAnswer, prompt: CropPrompt) -> tuple[str, ...]:
        """What the user should know of a choice, in words."""
        notes = [] if prompt.expert is None else ["The answer was chosen by hand."]
        specialist = answer.choice.expert
        if self.taught and answer.choice.weights and (specialist is None or self._is_weighed(specialist)):
            notes.append(_about(answer.choice, prompt))
        if answer.overlap is not None:
            hint = "" if answer.overlap >= _ALIKE else " They differ a lot: look at both."
            notes.append(
                f"The masks of the general model and of {specialist} overlap with a Dice of {answer.overlap:.2f}.{hint}"
            )
        return tuple(notes)


def specialist_in(name: str | None) -> str | None:
    """The specialist that an answer of that name comes from; None for the general model, and for no name."""
    return None if name is None or name == BASE else name.removeprefix(_JOINED)


def _kept(prompt: CropPrompt) -> str | None:
    """Who answers without the gate being asked, None where it is.

    A mask alone is answered by the general model: the gate was taught clicks, and without one it reads the image alone.
    Of 12 validation targets that a specialist was taught it took 9 for others then, and 1 with a click after the mask.
    What was chosen by hand does not stay for the gate, so that the others remain to be looked at.
    """
    if prompt.expert is not None:
        return None
    if prompt.held is None:
        return None if prompt.labels.any() else GENERAL
    return specialist_in(prompt.held) or GENERAL


def _about(choice: Choice, prompt: CropPrompt) -> str:
    """Specialist, weight and threshold, or since when whoever answers has answered."""
    if choice.kept and prompt.held is None:
        return "The general model answers alone: the gate is asked at the first click inside the target."
    if choice.kept and choice.expert is None:
        return "The general model stays since the first click."
    if choice.kept:
        numbers = f"weight {choice.weight:.0%}, at least the threshold tau {choice.tau:.0%}".replace("%", " %")
        return f"The specialist {choice.expert} stays since the first click: {numbers}."
    name = choice.expert or max(choice.weights, key=choice.weights.__getitem__)
    numbers = f"the gate gives {name} {choice.weight:.0%} (threshold tau {choice.tau:.0%})".replace("%", " %")
    if prompt.expert is not None:
        return f"{numbers[0].upper()}{numbers[1:]}."
    if choice.expert is not None:
        return f"The specialist {name} answers together with the general model: {numbers}."
    why = "" if choice.weight <= choice.tau else ", but holds the general model for likelier"
    return f"The general model answers alone: {numbers}{why}."
