"""LiteMedSAM with packs of SegMoTE experts: the experts answer, the base stays at hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from ..models.segmote import UNTRAINED_PACK
from .cache import content_key
from .encoders import SliceEncoder
from .expert_gate import BASE, BASE_KINDS, PackAnswer, order_answers, views_of
from .lite_medsam import LiteMedSAM
from .protocol import Embedding, ExpertLogits, ModelPrompt

if TYPE_CHECKING:
    from torch import Tensor

    from ..models.sam.build import Sam
    from ..models.segmote.asymmetric import AsymmetricSegMoTE, PackOutput

UNTRAINED_NOTE = "No expert has been taught yet: every expert answers as the base model."
_KINDS = frozenset({"box", "point", "mask"})
"""Kinds of prompts that the networks take; a pack that was taught others gets them converted."""


class SegMoTELite(LiteMedSAM):
    """Answers with the expert that the gate chose; the other experts and the base are the alternatives.

    It understands what its packs were taught. Until there is one, it understands what the base understands, and every
    expert answers as the base.

    Args:
        network: with the base's published weights, in eval mode.
        packs_id: hash of the packs' weights and cards, for cache keys.
        kinds: by pack, the kinds of prompts it was trained for; boxes by default.
        notes: what the user should know with every answer.
    """

    name = "segmote-lite"

    def __init__(
        self,
        network: AsymmetricSegMoTE,
        encoder: SliceEncoder,
        weights_id: str,
        packs_id: str,
        kinds: Mapping[str, frozenset[str]] | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        super().__init__(cast("Sam", network), encoder, weights_id)
        self.experts = network
        self.kinds = {name: BASE_KINDS | (kinds or {}).get(name, BASE_KINDS) & _KINDS for name in network.packs}
        self.native = BASE_KINDS.union(*self.kinds.values())
        # Taught with masks means taught with the previous answer beside the next click.
        self.refines = "mask" in self.native
        # Of the last slice: what its prompts share took a third of the time of each.
        self._image_features: tuple[Embedding, dict[str, Tensor]] | None = None
        self.decoder_id = content_key(self.name, weights_id, packs_id)
        self.notes = (*notes, UNTRAINED_NOTE) if UNTRAINED_PACK in network.packs else notes

    def decode(self, embedding: Embedding, prompt: ModelPrompt) -> tuple[ExpertLogits, ...]:
        """See :meth:`MoESegLib.engines.protocol.SliceModel.decode`."""
        import torch

        device, position = self.decoder.device, self.decoder.position
        answers: dict[str, PackAnswer] = {}
        with torch.inference_mode():
            image = embedding["image"].to(device, torch.float32)
            early = embedding["early"].to(device, torch.float32)
            if self._image_features is None or self._image_features[0] is not embedding:
                self._image_features = embedding, self.experts.image_features(image, early)
            features = self._image_features[1]
            for view in views_of(prompt, self.kinds):
                tensors = self.decoder.tensors(view.prompt)
                packs = [name for name in view.as_given if name != BASE]
                if BASE in view.as_given:
                    output = self.experts(image, early, **tensors, position=position, features=features, only=packs)
                    found = output.packs
                    quality = float(output.base_quality[0, 0])
                    entry = ExpertLogits(BASE, output.base_logits[0, 0].cpu().numpy(), min(1.0, max(0.0, quality)))
                    answers[BASE] = PackAnswer([entry], quality, view.as_given[BASE])
                else:
                    found = self.experts.answer_alone(packs, image, position, features, **tensors)
                for name, pack in found.items():
                    quality = float(pack.quality[0, int(pack.chosen[0])])
                    answers[name] = PackAnswer(expert_answers(name, pack), quality, view.as_given[name])
        return order_answers({name: answers[name] for name in (*self.kinds, BASE)}, prompt.expert)


def expert_answers(pack_name: str, pack: PackOutput) -> list[ExpertLogits]:
    """The masks of one pack, the chosen one first."""
    chosen = int(pack.chosen[0])
    order = [chosen, *[token for token in range(pack.logits.shape[1]) if token != chosen]]
    return [
        ExpertLogits(
            f"{pack_name}/{token}",
            pack.logits[0, token].cpu().numpy(),
            float(pack.quality[0, token].clamp(0, 1)),
            float(pack.gate[0, token]),
        )
        for token in order
    ]
