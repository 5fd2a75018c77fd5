"""Self-attention in padded windows of a volume, with the position terms of the released SAM-Med3D."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..sam.image_encoder import QUERIES_AT_ONCE, relative_positions


@dataclass(frozen=True)
class PositionTerms:
    """What is added to the attention logits of the queries (d, h, w) for the keys (x, y, z) of a window.

    Relative positions on three axes were meant. The public code (``add_decomposed_rel_pos`` in
    ``modeling/image_encoder3D.py``, since its first version) indexes three five-dimensional tensors as if they had six
    dimensions, so that, with q the queries and D, H, W the tables by distance, the sum is in truth

        q(d, h, w) . D[d, z]  +  q(d, h, x) . H[h, z]  +  q(d, h, y) . W[y, z]

    The weights were trained with that, so it is kept.

    Attributes:
        by_query: first term, ``[B, heads, d, h, w, z]``.
        by_x: second term, ``[B, heads, d, h, x, z]``.
        by_y: third term, ``[B, heads, d, h, y, z]``; x, y and z span the window with its padding.
    """

    by_query: Tensor
    by_x: Tensor
    by_y: Tensor

    def write(self, bias: Tensor, real: tuple[int, int, int]) -> None:
        """Fill ``[B, heads, d*h*w, x*y*z]`` with the sums for the keys that are no padding."""
        depth, rows, columns = real
        pairs = self.by_x[..., :depth, None, :columns] + self.by_y[..., None, :rows, :columns]
        view = bias.unflatten(-1, real).unflatten(2, self.by_query.shape[2:5])
        view.copy_(self.by_query[..., None, None, :columns])
        view.add_(pairs.unsqueeze(4))

    def padding_logit(self, real: tuple[int, int, int]) -> Tensor:
        """Log of the sum of exp(term) over the padded keys, ``[B, heads, d, h, w]`` in float32.

        The padding is split into at most three boxes of keys. In a box, for one z, the first term is constant and the
        others are a product over x and y, so their sum is one of products.
        """
        depth, rows, columns = real
        size = self.by_query.shape[-1]
        everything, real_x, real_z = slice(size), slice(depth), slice(columns)
        boxes = []
        if columns < size:
            boxes.append((everything, everything, slice(columns, size)))
        if depth < size:
            boxes.append((slice(depth, size), everything, real_z))
        if rows < size:
            boxes.append((real_x, slice(rows, size), real_z))
        sums = []
        for x, y, z in boxes:
            over_x = torch.logsumexp(self.by_x[..., x, z].float(), dim=-2)
            over_y = torch.logsumexp(self.by_y[..., y, z].float(), dim=-2)
            sums.append(self.by_query[..., z] + (over_x + over_y).unsqueeze(-2))
        return torch.logsumexp(torch.cat(sums, dim=-1), dim=-1)


class WindowAttention3D(nn.Module):
    """Self-attention of ``[B, D, H, W, C]`` inside windows of ``size``, or everywhere where ``size`` is the grid.

    As in the published model, a window that sticks out of the grid is padded with zeros *after* the normalization, and
    the padding takes part in the softmax. But all padded tokens have the same key and the same value (the biases of
    ``qkv``), only their position terms differ: so they are one key, whose logit is the log of the sum of their
    exponentials, and padded queries are never computed. The result is the same, and 8 of the 12 released blocks attend
    from 512 queries to 513 keys instead of from 2744 to 2744: the encoder takes 1.39 s of one CPU thread where the
    public code takes 14.5 s, and 0.1 GB instead of 1.1 GB (``benchmarks/compare_sam_med3d_upstream.py --full``). Its
    matrix products alone need 1.2 s on that thread.

    Args:
        size: side of the windows, or of the grid.
    """

    def __init__(self, width: int, heads: int, size: int) -> None:
        super().__init__()
        self.num_heads = heads
        self.size = size
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.rel_pos_d = nn.Parameter(torch.zeros(2 * size - 1, width // heads))
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * size - 1, width // heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * size - 1, width // heads))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(4, 0, 5, 1, 2, 3, 6).unbind(0)
        grid = x.shape[1:4]
        if max(grid) <= self.size:
            merged = self.attend(q, k, v)
        else:
            merged = torch.empty_like(v)
            for corner in product(*(range(0, side, self.size) for side in grid)):
                window = (..., *(slice(start, start + self.size) for start in corner), slice(None))
                merged[window] = self.attend(q[window], k[window], v[window])
        return self.proj(merged.permute(0, 2, 3, 4, 1, 5).flatten(4))

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention of the real tokens of one window, ``[B, heads, d, h, w, c]`` each, as the padded window has it."""
        depth, rows, columns = real = (q.shape[2], q.shape[3], q.shape[4])
        tables = [relative_positions(self.size, self.size, t) for t in (self.rel_pos_d, self.rel_pos_h, self.rel_pos_w)]
        padded_q, padded_k, padded_v = self.qkv.bias.view(3, 1, self.num_heads, 1, -1).unbind(0)
        k, v = k.flatten(2, 4), v.flatten(2, 4)
        if padded := min(real) < self.size:
            k = torch.cat([k, padded_k.expand(len(q), -1, -1, -1)], dim=2)
            v = torch.cat([v, padded_v.expand(len(q), -1, -1, -1)], dim=2)
        step = max(1, QUERIES_AT_ONCE // (rows * columns))
        parts = []
        for first in range(0, depth, step):
            some = q[:, :, first : first + step]
            terms = position_terms(some, padded_q[:, :, None, None], tables, first)
            bias = some.new_empty(*some.shape[:2], some.shape[2] * rows * columns, k.shape[2])
            terms.write(bias[..., : depth * rows * columns], real)
            if padded:
                bias[..., -1] = terms.padding_logit(real).flatten(2)
            parts.append(F.scaled_dot_product_attention(some.flatten(2, 4), k, v, attn_mask=bias))
        return torch.cat(parts, dim=2).unflatten(2, real)


def position_terms(q: Tensor, padded_q: Tensor, tables: list[Tensor], first: int) -> PositionTerms:
    """The terms of some queries.

    Args:
        q: ``[B, heads, d, h, w, c]``, of the slabs from ``first`` on.
        padded_q: the query of the padding, ``[1, heads, 1, 1, 1, c]``.
        tables: :func:`~..sam.image_encoder.relative_positions` of the window on each axis, ``[size, size, c]``.
    """
    by_depth, by_row, by_column = tables
    _, _, depth, rows, columns, _ = q.shape
    wide = torch.cat([q, padded_q.expand(*q.shape[:4], len(by_column) - columns, -1)], dim=4)
    return PositionTerms(
        by_query=torch.einsum("bndhwc,dzc->bndhwz", q, by_depth[first : first + depth]),
        by_x=torch.einsum("bndhxc,hzc->bndhxz", wide, by_row[:rows]),
        by_y=torch.einsum("bndhyc,yzc->bndhyz", wide, by_column),
    )
