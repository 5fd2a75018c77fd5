"""PPT: prompt tokens pooled from the image itself, so that no user prompt is needed (SegMoTE, arXiv 2602.19213)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PromptPool(nn.Module):
    """Learned queries that read an image embedding ``[B, C, G, G]`` into prompt tokens ``[B, Q, C]``.

    Keys and behavior as ``AttnPoolTokens`` in SegMoTE's ``mask_decoder.py``.

    Args:
        width: C.
        num_queries: Q.
    """

    def __init__(self, width: int, num_queries: int = 2, num_heads: int = 8) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(num_queries, width))
        self.attn = nn.MultiheadAttention(width, num_heads, batch_first=True)
        self.ln_in = nn.LayerNorm(width)
        self.ln_out = nn.LayerNorm(width)
        self.pos_proj = nn.Linear(2, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, image: Tensor) -> Tensor:
        rows, columns = image.shape[-2:]
        features = self.ln_in(image.flatten(2).transpose(1, 2)) + self.positions(rows, columns)
        queries = self.query.expand(image.shape[0], -1, -1)
        tokens, _ = self.attn(queries, features, features, need_weights=False)
        return self.ln_out(tokens + self.mlp(tokens))

    def positions(self, rows: int, columns: int) -> Tensor:
        """Projected (x, y) of each cell, from -1 in the first row or column to 1 in the last, ``[rows*columns, C]``."""
        like = self.pos_proj.weight
        y = torch.linspace(-1, 1, rows, device=like.device, dtype=like.dtype)
        x = torch.linspace(-1, 1, columns, device=like.device, dtype=like.dtype)
        grid = torch.stack([x.expand(rows, columns), y[:, None].expand(rows, columns)], dim=-1)
        return self.pos_proj(grid.reshape(-1, 2))
