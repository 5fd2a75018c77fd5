"""SAM-Med3D's image encoder: a ViT over cubic patches (upstream ``modeling/image_encoder3D.py``)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..sam.common import Checkpoint, MLPBlock
from .attention import WindowAttention3D
from .config import SamMed3DConfig
from .layers import LayerNorm3d


class PatchEmbed3D(nn.Module):
    """Patches of a volume ``[B, 1, S, S, S]`` as tokens ``[B, G, G, G, C]``."""

    def __init__(self, patch: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv3d(1, width, patch, patch)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).permute(0, 2, 3, 4, 1)


class Block3D(nn.Module):
    """A transformer block over ``[B, D, H, W, C]`` that attends inside windows of ``size``."""

    def __init__(self, width: int, heads: int, size: int, mlp_ratio: int = 4) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = WindowAttention3D(width, heads, size)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = MLPBlock(width, mlp_ratio * width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ImageEncoder3D(nn.Module):
    """``[B, 1, S, S, S]`` to ``[B, C, S/P, S/P, S/P]`` with patches of P; axes in array order i, j, k."""

    def __init__(self, config: SamMed3DConfig) -> None:
        super().__init__()
        grid, out = config.grid, config.prompt_width
        self.patch_embed = PatchEmbed3D(config.patch_size, config.width)
        self.pos_embed = nn.Parameter(torch.zeros(1, grid, grid, grid, config.width))
        self.blocks = nn.ModuleList(
            Block3D(config.width, config.heads, grid if index in config.global_blocks else config.window_size)
            for index in range(config.depth)
        )
        self.neck = nn.Sequential(
            nn.Conv3d(config.width, out, 1, bias=False),
            LayerNorm3d(out),
            nn.Conv3d(out, out, 3, padding=1, bias=False),
            LayerNorm3d(out),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Volumes ``[B, 1, S, S, S]`` to embeddings ``[B, C, G, G, G]``."""
        return self.encode(x)

    def encode(self, x: Tensor, checkpoint: Checkpoint | None = None) -> Tensor:
        """As :meth:`forward`.

        Args:
            checkpoint: called between blocks, so that the work can be abandoned.
        """
        x = self.patch_embed(x) + self.pos_embed
        for block in self.blocks:
            if checkpoint is not None:
                checkpoint()
            x = block(x)
        return self.neck(x.permute(0, 4, 1, 2, 3)).contiguous()
