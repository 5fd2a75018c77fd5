"""SegMoTE as released (CVPR 2026, arXiv 2602.19213): IMIS-Net, 768 wide, with expert tokens and prompt pooling.

State-dict keys and signatures are those of the public code (``InMyDreammer/SegMoTE``), so that its checkpoints load
strictly after :func:`~.released_weights.convert_segmote_state_dict`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..text.clip_text import CLIPTextModel
from .released_decoder import ReleasedMaskDecoder
from .released_encoder import PATCH, WIDTH, ReleasedImageEncoder
from .released_prompt_encoder import TextPromptEncoder
from .released_transformer import MoTETransformer, ReleasedGate
from .released_weights import convert_segmote_state_dict

__all__ = ["SegMoTEReleased", "build_segmote_released", "convert_segmote_state_dict"]

PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)
"""Of RGB values 0-255; the image is resized to S x S by nearest neighbor first, whatever its aspect."""

TEXT_PATTERN = "A segmentation area of a {}."
TEXT_WIDTH = 512
IOU_TOKENS = 1
MASK_TOKENS = 4


class SegMoTEReleased(nn.Module):
    """The public model; an image is encoded once, then every prompt runs :meth:`forward_decoder`.

    Args:
        image_size: S, a multiple of 16; 512 in the public configuration.
        text: with the text tower; without it, text prompts must come as projected vectors of another source.

    Attributes:
        early_channels: width of the early feature.
    """

    def __init__(
        self,
        image_size: int,
        encoder_depth: int,
        num_experts: int,
        top_k: int,
        gate: ReleasedGate,
        text: bool,
        residual: bool,
    ) -> None:
        super().__init__()
        grid = image_size // PATCH
        self.image_size = image_size
        self.early_channels = WIDTH
        self.image_encoder = ReleasedImageEncoder(encoder_depth)
        self.prompt_encoder = TextPromptEncoder(WIDTH, (grid, grid), (image_size, image_size), mask_in_chans=16)
        first_expert = IOU_TOKENS + 2 * MASK_TOKENS
        transformer = MoTETransformer(2, WIDTH, 8, 2048, first_expert, num_experts, top_k, gate, residual)
        self.mask_decoder = ReleasedMaskDecoder(WIDTH, transformer, WIDTH)
        self.text_model = CLIPTextModel() if text else None
        self.text_out_dim = nn.Linear(TEXT_WIDTH, WIDTH) if text else None

    def image_forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Normalized images ``[B, 3, S, S]`` to embedding ``[B, 768, G, G]`` and early feature ``[B, G, G, 768]``."""
        embedding, features = self.image_encoder(image)
        return embedding, features[0]

    def text_forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """CLIP token ids ``[B, T]`` of :data:`TEXT_PATTERN` to the ``text_inputs`` of a prompt, ``[B, 768]``."""
        if self.text_model is None or self.text_out_dim is None:
            raise ValueError("This SegMoTE was built with text=False; build it with text=True to read sentences.")
        return self.text_out_dim(self.text_model(input_ids, attention_mask).pooler_output)

    def forward_decoder(
        self,
        image_embedding: Tensor,
        prompt: Mapping[str, Any],
        interm_embeddings: Tensor,
        test_mode: bool | None = None,
        inter: bool = False,
        if_prompt: bool | None = None,
    ) -> tuple[dict[str, Tensor], Tensor | None, Tensor | None]:
        """Decode one prompt per object.

        Args:
            image_embedding: ``[1 or B, 768, G, G]``.
            prompt: any of ``point_coords`` ``[B, N, 2]`` (x, y) with ``point_labels`` ``[B, N]``, ``bboxes``
                ``[B, 1, 4]``, ``mask_inputs`` ``[B, 1, 4G, 4G]`` and ``text_inputs`` ``[B, 768]``, in pixels of S x S.
            interm_embeddings: early feature ``[1 or B, G, G, 768]``.
            test_mode: route without noise; by default so unless the module is in training mode. (The public default is
                to add noise, in evaluation too.)
            inter: the public training code's mode for refining pseudo labels, without experts.
            if_prompt: take the prompt tokens from the image (PPT).

        Returns:
            The outputs, the balance loss and the position of the answering token ``[B]``. Outputs: ``masks``
            ``[B, 1, S, S]``, ``low_res_masks`` ``[B, 1, 4G, 4G]``, ``iou_pred`` ``[B, 1]`` and ``semantic_pred``
            ``[B, 1, 512]`` of the slot with the best predicted IoU; and what the decoder adds to the public ones.
        """
        coordinates = prompt.get("point_coords")
        text = prompt.get("text_inputs")
        sparse, dense = self.prompt_encoder(
            points=None if coordinates is None else (coordinates, prompt["point_labels"]),
            boxes=prompt.get("bboxes"),
            masks=prompt.get("mask_inputs"),
            text=text,
        )
        outputs, loss, chosen = self.mask_decoder(
            image_embeddings=image_embedding,
            image_pe=self.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            text_prompt_embeddings=text,
            multimask_output=True,
            interm_embeddings=interm_embeddings,
            inter=inter,
            if_prompt=if_prompt,
            test_mode=not self.training if test_mode is None else test_mode,
        )
        quality, best = outputs["iou_pred"].max(dim=1, keepdim=True)
        low = outputs["low_res_masks"].unsqueeze(1)
        size = (self.image_size, self.image_size)
        outputs |= {
            "masks": F.interpolate(low, size=size, mode="bilinear", align_corners=False),
            "low_res_masks": low,
            "iou_pred": quality,
            "semantic_pred": torch.take_along_dim(outputs["semantic_pred"], best.unsqueeze(-1), dim=1),
        }
        return outputs, loss, chosen

    def forward(
        self, image: Tensor, prompt: Mapping[str, Any]
    ) -> tuple[dict[str, Tensor], Tensor | None, Tensor | None]:
        """Encode images ``[B, 3, S, S]`` and decode one prompt each; see :meth:`forward_decoder`."""
        embedding, early = self.image_forward(image)
        return self.forward_decoder(embedding, prompt, early)


def build_segmote_released(
    image_size: int = 512,
    encoder_depth: int = 12,
    num_experts: int = 4,
    top_k: int = 1,
    gate: ReleasedGate = "released",
    text: bool = True,
    residual: bool = False,
) -> SegMoTEReleased:
    """SegMoTE as released, with random weights, in eval mode; the defaults are the public configuration.

    Args:
        image_size: side of the model image, a multiple of 16.
        encoder_depth: blocks of the image encoder, at least 3.
        num_experts: expert tokens, and low-rank experts in every layer.
        top_k: experts kept for each token.
        gate: see :data:`~.released_transformer.ReleasedGate`; "full" to train, the others to load public weights.
        text: with the CLIP text tower (63 M parameters).
        residual: experts add to what the base makes of their tokens and features, and start as copies of mask token 0
            (ours, to train without the public expert weights). Same keys; after loading a base checkpoint call
            ``mask_decoder.start_from_base()`` again.
    """
    if image_size % PATCH:
        raise ValueError(f"The image size must be a multiple of {PATCH}, not {image_size}.")
    if not 1 <= top_k <= num_experts:
        raise ValueError(f"Between 1 and {num_experts} experts can be kept for each token, not {top_k}.")
    model = SegMoTEReleased(image_size, encoder_depth, num_experts, top_k, gate, text, residual).eval()
    if residual:
        model.mask_decoder.start_from_base()
    return model
