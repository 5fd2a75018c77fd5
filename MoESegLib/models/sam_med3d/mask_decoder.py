"""SAM-Med3D's mask decoder (upstream ``modeling/mask_decoder3D.py``); its two-way transformer is SAM's."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..sam.common import MLP
from ..sam.transformer import TwoWayTransformer
from .layers import LayerNorm3d

_IOU_HIDDEN = 256


class MaskDecoder3D(nn.Module):
    """Predicts masks from an image embedding and prompt tokens.

    Args:
        width: channels C of the tokens and the image embedding.
        mlp_dim: hidden width of the two-way transformer.
        num_multimask_outputs: masks for ambiguous prompts; one more token makes the single mask.
    """

    def __init__(self, width: int, mlp_dim: int = 2048, num_multimask_outputs: int = 3) -> None:
        super().__init__()
        self.transformer_dim = width
        self.transformer = TwoWayTransformer(depth=2, embedding_dim=width, num_heads=8, mlp_dim=mlp_dim)
        self.num_multimask_outputs = num_multimask_outputs
        self.num_mask_tokens = num_multimask_outputs + 1
        self.iou_token = nn.Embedding(1, width)
        self.mask_tokens = nn.Embedding(self.num_mask_tokens, width)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose3d(width, width // 4, kernel_size=2, stride=2),
            LayerNorm3d(width // 4),
            nn.GELU(),
            nn.ConvTranspose3d(width // 4, width // 8, kernel_size=2, stride=2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(
            MLP(width, width, width // 8, 3) for _ in range(self.num_mask_tokens)
        )
        self.iou_prediction_head = MLP(width, _IOU_HIDDEN, self.num_mask_tokens, 3)

    def forward(
        self,
        image_embeddings: Tensor,
        image_pe: Tensor,
        sparse_prompt_embeddings: Tensor,
        dense_prompt_embeddings: Tensor,
        multimask_output: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Predict masks for a batch of prompts on one image (or one image per prompt).

        Args:
            image_embeddings: ``[1 or B, C, G, G, G]``.
            image_pe: ``[1, C, G, G, G]``.
            sparse_prompt_embeddings: ``[B, T, C]``.
            dense_prompt_embeddings: ``[B, C, G, G, G]``.
            multimask_output: return the masks for ambiguous prompts instead of the single one.

        Returns:
            Logits ``[B, M, 4G, 4G, 4G]`` and predicted IoU ``[B, M]``; M is 1 or ``num_multimask_outputs``. The public
            training never supervises the predicted IoU: do not choose by it.
        """
        masks, quality = self.predict_masks(
            image_embeddings, image_pe, sparse_prompt_embeddings, dense_prompt_embeddings
        )
        chosen = slice(1, None) if multimask_output else slice(0, 1)
        return masks[:, chosen], quality[:, chosen]

    def output_tokens(self, batch: int) -> Tensor:
        """The learned quality and mask tokens, ``[B, 1 + M, C]``."""
        return torch.cat([self.iou_token.weight, self.mask_tokens.weight]).expand(batch, -1, -1)

    def predict_masks(
        self, image_embeddings: Tensor, image_pe: Tensor, sparse_prompt_embeddings: Tensor, dense: Tensor
    ) -> tuple[Tensor, Tensor]:
        """All masks ``[B, 1 + M, 4G, 4G, 4G]`` and their predicted IoU ``[B, 1 + M]``."""
        batch = sparse_prompt_embeddings.shape[0]
        tokens = torch.cat([self.output_tokens(batch), sparse_prompt_embeddings], dim=1)
        image = image_embeddings.expand(batch, -1, -1, -1, -1) + dense
        position = image_pe.expand(batch, -1, -1, -1, -1)
        hidden, image_tokens = self.transformer(image, position, tokens)
        upscaled = self.upscale(image_tokens, image.shape[-3:])
        hyper = torch.stack(
            [mlp(hidden[:, 1 + index]) for index, mlp in enumerate(self.output_hypernetworks_mlps)], dim=1
        )
        masks = (hyper @ upscaled.flatten(2)).unflatten(-1, upscaled.shape[-3:])
        return masks, self.iou_prediction_head(hidden[:, 0])

    def upscale(self, image_tokens: Tensor, size: tuple[int, ...]) -> Tensor:
        """Image tokens ``[B, G*G*G, C]`` to mask features ``[B, C/8, 4G, 4G, 4G]``."""
        return self.output_upscaling(image_tokens.transpose(1, 2).unflatten(-1, tuple(size)))
