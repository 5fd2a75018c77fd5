"""SAM-Med3D's prompt encoder: points, boxes and masks to tokens and a dense map (upstream ``prompt_encoder3D.py``)."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from ...core.errors import PromptError
from .config import SamMed3DConfig
from .layers import LayerNorm3d

_MASK_CHANNELS = 16


class PositionEmbedding3D(nn.Module):
    """Random Fourier features of 3D positions: sine, cosine and the sine again, ``3 F`` wide."""

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, num_pos_feats: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(3, num_pos_feats))

    def encode(self, positions: Tensor) -> Tensor:
        """Positions ``[..., 3]`` in [0, 1] to features ``[..., 3 F]``.

        Phases reach dozens of radians, so they are computed in float32 even where the network is in half precision.
        """
        matrix = self.positional_encoding_gaussian_matrix
        phases = 2 * math.pi * ((2 * positions.float() - 1) @ matrix.float())
        return torch.cat([phases.sin(), phases.cos(), phases.sin()], dim=-1).to(matrix.dtype)

    def forward(self, grid: int) -> Tensor:
        """Features of the centers of a cubic grid, ``[3 F, i, j, k]``.

        The public code builds the grid with its first two axes swapped: voxel (i, j, k) gets the features that a point
        prompt at (j, i, k) would get. The weights were trained so, with points in array order; it is kept.
        """
        device = self.positional_encoding_gaussian_matrix.device
        centers = (torch.arange(grid, device=device, dtype=torch.float32) + 0.5) / grid
        i, j, k = torch.meshgrid(centers, centers, centers, indexing="ij")
        return self.encode(torch.stack([j, i, k], dim=-1)).permute(3, 0, 1, 2)


class PromptEncoder3D(nn.Module):
    """Turns prompts into sparse tokens and a dense map for :class:`~.mask_decoder.MaskDecoder3D`.

    Points and boxes are array indices (i, j, k) of the cubic input, masks are logits of 4 G per side.
    """

    def __init__(self, config: SamMed3DConfig) -> None:
        super().__init__()
        width = config.prompt_width
        self.embed_dim = width
        self.grid = config.grid
        self.image_size = config.image_size
        self.pe_layer = PositionEmbedding3D(width // 3)
        # 0: negative point, 1: positive point, 2 and 3 (where there): the two corners of a box.
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, width) for _ in range(config.point_embeddings))
        self.not_a_point_embed = nn.Embedding(1, width)
        self.mask_downscaling = nn.Sequential(
            nn.Conv3d(1, _MASK_CHANNELS // 4, kernel_size=2, stride=2),
            LayerNorm3d(_MASK_CHANNELS // 4),
            nn.GELU(),
            nn.Conv3d(_MASK_CHANNELS // 4, _MASK_CHANNELS, kernel_size=2, stride=2),
            LayerNorm3d(_MASK_CHANNELS),
            nn.GELU(),
            nn.Conv3d(_MASK_CHANNELS, width, kernel_size=1),
        )
        self.no_mask_embed = nn.Embedding(1, width)

    def get_dense_pe(self) -> Tensor:
        """Position features of the image embedding, ``[1, C, G, G, G]``."""
        return self.pe_layer(self.grid).unsqueeze(0)

    def embed_points(self, points: Tensor, labels: Tensor, pad: bool) -> Tensor:
        """Points ``[B, N, 3]`` (i, j, k) with labels ``[B, N]`` (1, 0, or -1 for padding) to ``[B, N (+1), C]``."""
        if pad:
            points = torch.cat([points, points.new_zeros(points.shape[0], 1, 3)], dim=1)
            labels = torch.cat([labels, labels.new_full((labels.shape[0], 1), -1)], dim=1)
        tokens = self.pe_layer.encode((points + 0.5) / self.image_size)
        label = labels.unsqueeze(-1)
        tokens = torch.where(label == -1, self.not_a_point_embed.weight.expand_as(tokens), tokens)
        for sign in (0, 1):
            tokens = torch.where(label == sign, tokens + self._label_embedding(sign), tokens)
        return tokens

    def embed_boxes(self, boxes: Tensor) -> Tensor:
        """Boxes ``[B, 6]`` (i0, j0, k0, i1, j1, k1) to two corner tokens each, ``[B, 2, C]``.

        No public SAM-Med3D was trained with boxes, not even those that have embeddings for them.

        Raises:
            PromptError: these weights have no box embeddings.
        """
        if len(self.point_embeddings) < 4:
            raise PromptError("This SAM-Med3D has no embeddings for boxes; click inside the object instead.")
        tokens = self.pe_layer.encode((boxes.reshape(-1, 2, 3) + 0.5) / self.image_size)
        return tokens + torch.cat([self._label_embedding(2), self._label_embedding(3)])

    def _label_embedding(self, label: int) -> Tensor:
        return cast(nn.Embedding, self.point_embeddings[label]).weight

    def forward(
        self,
        points: tuple[Tensor, Tensor] | None,
        boxes: Tensor | None,
        masks: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Encode prompts.

        Args:
            points: coordinates ``[B, N, 3]`` (i, j, k) and labels ``[B, N]``.
            boxes: ``[B, 6]`` or ``[B, 1, 6]``.
            masks: logits ``[B, 1, 4G, 4G, 4G]``; the first click of an object goes with zeros, not with None.

        Returns:
            Sparse tokens ``[B, T, C]`` (T is 0 without points and boxes) and the dense map ``[B, C, G, G, G]``.

        Raises:
            PromptError: boxes for weights that have no box embeddings.
        """
        given = [item for item in (None if points is None else points[0], boxes, masks) if item is not None]
        batch = given[0].shape[0] if given else 1
        weight = self.no_mask_embed.weight
        tokens = [weight.new_empty(batch, 0, self.embed_dim)]
        if points is not None:
            tokens.append(self.embed_points(points[0], points[1], pad=boxes is None))
        if boxes is not None:
            tokens.append(self.embed_boxes(boxes))
        if masks is not None:
            dense = self.mask_downscaling(masks)
        else:
            dense = weight.reshape(1, -1, 1, 1, 1).expand(batch, -1, self.grid, self.grid, self.grid)
        return torch.cat(tokens, dim=1), dense
