"""One expert pack as an ordinary network, image to mask, as a MONAI bundle wants it."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from ..models import build_model
from ..models.sam.build import Sam
from ..models.segmote.asymmetric import AsymmetricSegMoTE, SegMoTEOutput
from ..weights import ensure_weights
from ..weights.safe_load import load_into, load_state_dict
from ..weights.store import weights_id_of
from .expert_loading import load_packs

BASE_NAME = "lite-medsam"


class ExpertNetwork(nn.Module):
    """LiteMedSAM with one pack, in eval mode.

    Args:
        pack: path of the pack's ``.safetensors``.

    Raises:
        WeightsMissingError: the base's weights are not on this machine.
        WeightsError: the pack is damaged or for another base.
    """

    def __init__(self, pack: str) -> None:
        super().__init__()
        base = cast(Sam, build_model("lite_medsam"))
        load_into(base, load_state_dict(ensure_weights(BASE_NAME)), f"the weights of {BASE_NAME}")
        self.model = AsymmetricSegMoTE(base)
        load_packs(self.model, BASE_NAME, weights_id_of(BASE_NAME), [Path(pack)])
        self.eval()

    def forward(self, image: Tensor, box: Tensor | None = None) -> Tensor:
        """Logits ``[B, 1, 256, 256]`` of the expert that the gate chose; above 0 is inside.

        Args:
            image: float32 ``[B, 3, 256, 256]`` in [0, 1], padded with 0 at the right and bottom.
            box: x0, y0, x1, y1 in pixels ``[B, 4]``; by default the whole image.
        """
        if box is None:
            side = float(image.shape[-1])
            box = torch.tensor([[0.0, 0.0, side, side]], device=image.device).expand(len(image), -1)
        masks = []
        for number in range(len(image)):
            embedding, early = self.model.image_encoder.encode(image[number : number + 1])  # type: ignore[operator]
            output: SegMoTEOutput = self.model(embedding, early, boxes=box[number : number + 1])
            (pack,) = output.packs.values()
            masks.append(pack.logits[:, pack.chosen[0]])
        return torch.stack(masks)
