"""Prompt encoder of IMIS-Net and SegMoTE: SAM's, with a text token."""

from __future__ import annotations

import torch
from torch import Tensor

from ..sam.prompt_encoder import PromptEncoder


class TextPromptEncoder(PromptEncoder):
    """SAM's prompt encoder that also takes text; the order of the tokens is points, box, text."""

    def forward(
        self,
        points: tuple[Tensor, Tensor] | None,
        boxes: Tensor | None,
        masks: Tensor | None,
        text: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Encode prompts.

        Args:
            points: coordinates ``[B, N, 2]`` (x, y) and labels ``[B, N]``.
            boxes: ``[B, 4]`` or ``[B, 1, 4]``.
            masks: logits ``[B, 1, 4G, 4G]``.
            text: projected sentences ``[B, C]``.

        Returns:
            Sparse tokens ``[B, T, C]`` and the dense map ``[B, C, G, G]``.
        """
        sparse, dense = super().forward(points, boxes, masks)
        if text is None:
            return sparse, dense
        batch = text.shape[0]
        sparse = torch.cat([sparse.expand(batch, -1, -1), text.unsqueeze(1)], dim=1)
        return sparse, dense.expand(batch, -1, -1, -1)
