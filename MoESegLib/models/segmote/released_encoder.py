"""Image encoder of IMIS-Net and SegMoTE: SAM's ViT-B in timm's spelling, with an own neck that keeps the width."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..sam.build import VIT_SIZES
from ..sam.common import Checkpoint, neck
from ..sam.image_encoder import Block, PatchEmbed

WIDTH, FULL_DEPTH, HEADS, GLOBAL_BLOCKS = VIT_SIZES["sam_vit_b"]
PATCH = 16
TRAINED_GRID = 64
"""Cells a side of the position tables: timm builds the encoder for 1024 pixels and resamples at run time."""


class TimmMLP(nn.Module):
    """The two layers of a block, named as in timm."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class TimmBlock(Block):
    """SAM's block with timm's names."""

    def __init__(self, width: int, heads: int, window_size: int, grid: int) -> None:
        super().__init__(width, heads, window_size, grid)
        self.mlp = TimmMLP(width, 4 * width)


class SamEncoder(nn.Module):
    """The parts of timm's ``samvit_base_patch16``; :class:`ReleasedImageEncoder` runs them.

    ``neck`` is timm's own, 256 wide: present in every checkpoint, used by none.
    """

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(PATCH, WIDTH)
        self.pos_embed = nn.Parameter(torch.zeros(1, TRAINED_GRID, TRAINED_GRID, WIDTH))
        self.blocks = nn.ModuleList(
            TimmBlock(WIDTH, HEADS, 0 if index in GLOBAL_BLOCKS else 14, TRAINED_GRID) for index in range(depth)
        )
        self.neck = neck(WIDTH, 256)


def resample_positions(table: Tensor, rows: int, columns: int) -> Tensor:
    """A position table ``[1, H, W, C]`` for another grid, by antialiased bicubic interpolation as in timm."""
    if table.shape[1:3] == (rows, columns):
        return table
    resampled = F.interpolate(table.permute(0, 3, 1, 2), size=(rows, columns), mode="bicubic", antialias=True)
    return resampled.permute(0, 2, 3, 1)


class ReleasedImageEncoder(nn.Module):
    """``[B, 3, S, S]`` to ``[B, 768, S/16, S/16]`` and the outputs of the blocks with global attention.

    Args:
        depth: blocks; 12 in the public model. At least 3, so that there is a block with global attention.
    """

    def __init__(self, depth: int = FULL_DEPTH, out_width: int = WIDTH) -> None:
        super().__init__()
        if depth <= GLOBAL_BLOCKS[0]:
            raise ValueError(f"The encoder needs at least {GLOBAL_BLOCKS[0] + 1} blocks, not {depth}.")
        self.sam_encoder = SamEncoder(depth)
        self.neck = neck(WIDTH, out_width)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Images ``[B, 3, S, S]`` to the embedding ``[B, 768, G, G]`` and features ``[B, G, G, 768]``, early first."""
        return self._run(x, None)

    def encode(self, x: Tensor, checkpoint: Checkpoint | None = None) -> tuple[Tensor, Tensor]:
        """The embedding and the early feature, both ``[B, 768, G, G]``.

        Args:
            checkpoint: called between blocks, so that the work can be abandoned.
        """
        embedding, features = self._run(x, checkpoint)
        return embedding, features[0].permute(0, 3, 1, 2)

    def _run(self, x: Tensor, checkpoint: Checkpoint | None) -> tuple[Tensor, list[Tensor]]:
        x = self.sam_encoder.patch_embed(x)
        x = x + resample_positions(self.sam_encoder.pos_embed, x.shape[1], x.shape[2])
        features = []
        for index, block in enumerate(self.sam_encoder.blocks):
            if checkpoint is not None:
                checkpoint()
            x = block(x)
            if index in GLOBAL_BLOCKS:
                features.append(x)
        return self.neck(x.permute(0, 3, 1, 2)), features
