"""SAM's mask decoder (Kirillov et al. 2023, appendix A)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .common import MLP, LayerNorm2d
from .transformer import TwoWayTransformer


class MaskDecoder(nn.Module):
    """Predicts masks from an image embedding and prompt tokens.

    Args:
        transformer_dim: width C of the tokens and the image embedding.
        transformer: the two-way transformer.
        num_multimask_outputs: masks for ambiguous prompts; one more token makes the single mask.
    """

    def __init__(
        self,
        *,
        transformer_dim: int,
        transformer: TwoWayTransformer,
        num_multimask_outputs: int = 3,
        activation: type[nn.Module] = nn.GELU,
        iou_head_depth: int = 3,
        iou_head_hidden_dim: int = 256,
    ) -> None:
        super().__init__()
        self.transformer_dim = transformer_dim
        self.transformer = transformer
        self.num_multimask_outputs = num_multimask_outputs
        self.num_mask_tokens = num_multimask_outputs + 1
        self.iou_token = nn.Embedding(1, transformer_dim)
        self.mask_tokens = nn.Embedding(self.num_mask_tokens, transformer_dim)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(transformer_dim, transformer_dim // 4, kernel_size=2, stride=2),
            LayerNorm2d(transformer_dim // 4),
            activation(),
            nn.ConvTranspose2d(transformer_dim // 4, transformer_dim // 8, kernel_size=2, stride=2),
            activation(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(
            MLP(transformer_dim, transformer_dim, transformer_dim // 8, 3) for _ in range(self.num_mask_tokens)
        )
        self.iou_prediction_head = MLP(transformer_dim, iou_head_hidden_dim, self.num_mask_tokens, iou_head_depth)

    def forward(
        self,
        image_embeddings: Tensor,
        image_pe: Tensor,
        sparse_prompt_embeddings: Tensor,
        dense_prompt_embeddings: Tensor,
        multimask_output: bool,
    ) -> tuple[Tensor, Tensor]:
        """Predict masks for a batch of prompts on one image (or one image per prompt).

        Args:
            image_embeddings: ``[1 or B, C, G, G]``.
            image_pe: ``[1, C, G, G]``.
            sparse_prompt_embeddings: ``[B, T, C]``.
            dense_prompt_embeddings: ``[B, C, G, G]``.
            multimask_output: return the masks for ambiguous prompts instead of the single one.

        Returns:
            Low-resolution logits ``[B, M, 4G, 4G]`` and predicted IoU ``[B, M]``; M is 1 or ``num_multimask_outputs``.
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
        """All masks ``[B, 1 + M, 4G, 4G]`` and their predicted IoU ``[B, 1 + M]``."""
        batch = sparse_prompt_embeddings.shape[0]
        tokens = torch.cat([self.output_tokens(batch), sparse_prompt_embeddings], dim=1)
        image = image_embeddings.expand(batch, -1, -1, -1) + dense
        position = image_pe.expand(batch, -1, -1, -1)
        hidden, image_tokens = self.transformer(image, position, tokens)
        upscaled = self.upscale(image_tokens, image.shape[-2:])
        hyper = torch.stack(
            [mlp(hidden[:, 1 + index]) for index, mlp in enumerate(self.output_hypernetworks_mlps)], dim=1
        )
        masks = (hyper @ upscaled.flatten(2)).unflatten(-1, upscaled.shape[-2:])
        return masks, self.iou_prediction_head(hidden[:, 0])

    def upscale(self, image_tokens: Tensor, size: tuple[int, ...]) -> Tensor:
        """Image tokens ``[B, G*G, C]`` to mask features ``[B, C/8, 4G, 4G]``."""
        return self.output_upscaling(image_tokens.transpose(1, 2).unflatten(-1, tuple(size)))
