"""LiteMedSAM with packs of SegMoTE experts: the experts answer, the base stays at hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from ..models.segmote import UNTRAINED_PACK
from .cache import content_key
from .encoders import SliceEncoder
from .lite_medsam import LiteMedSAM
from .protocol import Embedding, ExpertLogits, ModelPrompt

if TYPE_CHECKING:
    from torch import Tensor

    from ..models.sam.build import Sam
    from ..models.segmote.asymmetric import AsymmetricSegMoTE, PackOutput

BASE = "base"
UNTRAINED_NOTE = "No expert has been taught yet: every expert answers as the base model."


class SegMoTELite(LiteMedSAM):
    """Answers with the expert that the gate chose; the other experts and the base are the alternatives.

    Until an expert is taught, it understands what the base understands, and every expert answers as the base.

    Args:
        network: with the base's published weights, in eval mode.
        packs_id: hash of the packs' weights, for cache keys.
    """

    name = "segmote-lite"

    def __init__(self, network: AsymmetricSegMoTE, encoder: SliceEncoder, weights_id: str, packs_id: str) -> None:
        super().__init__(cast("Sam", network), encoder, weights_id)
        self.experts = network
        # Of the last slice: what its prompts share took a third of the time of each.
        self._image_features: tuple[Embedding, dict[str, Tensor]] | None = None
        self.decoder_id = content_key(self.name, weights_id, packs_id)
        if UNTRAINED_PACK in network.packs:
            self.notes: tuple[str, ...] = (UNTRAINED_NOTE,)

    def decode(self, embedding: Embedding, prompt: ModelPrompt) -> tuple[ExpertLogits, ...]:
        """See :meth:`MoESegLib.engines.protocol.SliceModel.decode`."""
        import torch

        device, position = self.decoder.device, self.decoder.position
        with torch.inference_mode():
            image = embedding["image"].to(device, torch.float32)
            early = embedding["early"].to(device, torch.float32)
            if self._image_features is None or self._image_features[0] is not embedding:
                self._image_features = embedding, self.experts.image_features(image, early)
            features = self._image_features[1]
            output = self.experts(image, early, **self.decoder.tensors(prompt), position=position, features=features)
        base = ExpertLogits(BASE, output.base_logits[0, 0].cpu().numpy(), float(output.base_quality[0, 0].clamp(0, 1)))
        answers = [answer for name, pack in output.packs.items() for answer in expert_answers(name, pack)]
        if prompt.expert is not None:
            chosen = next((answer for answer in (*answers, base) if answer.expert == prompt.expert), base)
            return (chosen, *[answer for answer in (*answers, base) if answer is not chosen])
        return (*answers, base) if answers else (base,)


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
