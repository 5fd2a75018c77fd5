"""SAM's prompt encoder: points, boxes and masks to tokens and a dense map (Kirillov et al. 2023, section 3 and A)."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from .common import LayerNorm2d


class PositionEmbeddingRandom(nn.Module):
    """Random Fourier features of 2D positions, width ``2 * num_pos_feats``."""

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, num_pos_feats: int = 64, scale: float = 1.0) -> None:
        super().__init__()
        scale = scale if scale > 0 else 1.0
        self.register_buffer("positional_encoding_gaussian_matrix", scale * torch.randn(2, num_pos_feats))

    def encode(self, positions: Tensor) -> Tensor:
        """Positions ``[..., 2]`` as (x, y) in [0, 1] to features ``[..., 2 F]``."""
        phases = 2 * math.pi * ((2 * positions - 1) @ self.positional_encoding_gaussian_matrix)
        return torch.cat([phases.sin(), phases.cos()], dim=-1)

    def forward(self, size: tuple[int, int]) -> Tensor:
        """Features of the pixel centers of a grid of ``size`` (rows, columns): ``[2 F, rows, columns]``."""
        rows, columns = size
        matrix = self.positional_encoding_gaussian_matrix
        y = (torch.arange(rows, device=matrix.device, dtype=matrix.dtype) + 0.5) / rows
        x = (torch.arange(columns, device=matrix.device, dtype=matrix.dtype) + 0.5) / columns
        grid = torch.stack([x.expand(rows, columns), y[:, None].expand(rows, columns)], dim=-1)
        return self.encode(grid).permute(2, 0, 1)

    def forward_with_coords(self, coords: Tensor, image_size: tuple[int, int]) -> Tensor:
        """Pixel positions ``[B, N, 2]`` as (x, y) of an image (rows, columns) to features ``[B, N, 2 F]``."""
        size = coords.new_tensor([image_size[1], image_size[0]])
        return self.encode(coords.float() / size.float())


class PromptEncoder(nn.Module):
    """Turns prompts into sparse tokens and a dense map for :class:`~.mask_decoder.MaskDecoder`.

    Args:
        embed_dim: width C of the tokens.
        image_embedding_size: rows and columns G of the image embedding.
        input_image_size: rows and columns of the padded model image, the unit of points and boxes.
        mask_in_chans: hidden channels of the mask branch.
    """

    def __init__(
        self,
        embed_dim: int,
        image_embedding_size: tuple[int, int],
        input_image_size: tuple[int, int],
        mask_in_chans: int,
        activation: type[nn.Module] = nn.GELU,
    ) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.image_embedding_size = image_embedding_size
        self.input_image_size = input_image_size
        self.mask_input_size = (4 * image_embedding_size[0], 4 * image_embedding_size[1])
        self.pe_layer = PositionEmbeddingRandom(embed_dim // 2)
        # 0: negative point, 1: positive point, 2 and 3: the two corners of a box.
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, embed_dim) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, embed_dim)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, mask_in_chans // 4, kernel_size=2, stride=2),
            LayerNorm2d(mask_in_chans // 4),
            activation(),
            nn.Conv2d(mask_in_chans // 4, mask_in_chans, kernel_size=2, stride=2),
            LayerNorm2d(mask_in_chans),
            activation(),
            nn.Conv2d(mask_in_chans, embed_dim, kernel_size=1),
        )
        self.no_mask_embed = nn.Embedding(1, embed_dim)

    def get_dense_pe(self) -> Tensor:
        """Position features of the image embedding, ``[1, C, G, G]``."""
        return self.pe_layer(self.image_embedding_size).unsqueeze(0)

    def embed_points(self, points: Tensor, labels: Tensor, pad: bool) -> Tensor:
        """Points ``[B, N, 2]`` (x, y) with labels ``[B, N]`` (1, 0, or -1 for padding) to tokens ``[B, N (+1), C]``."""
        points = points + 0.5
        if pad:
            points = torch.cat([points, points.new_zeros(points.shape[0], 1, 2)], dim=1)
            labels = torch.cat([labels, labels.new_full((labels.shape[0], 1), -1)], dim=1)
        tokens = self.pe_layer.forward_with_coords(points, self.input_image_size)
        label = labels.unsqueeze(-1)
        tokens = torch.where(label == -1, self.not_a_point_embed.weight.expand_as(tokens), tokens)
        for sign in (0, 1):
            tokens = torch.where(label == sign, tokens + self._label_embedding(sign), tokens)
        return tokens

    def embed_boxes(self, boxes: Tensor) -> Tensor:
        """Boxes ``[B, 4]`` (x0, y0, x1, y1) to two corner tokens each, ``[B, 2, C]``."""
        corners = (boxes + 0.5).reshape(-1, 2, 2)
        tokens = self.pe_layer.forward_with_coords(corners, self.input_image_size)
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
            points: coordinates ``[B, N, 2]`` (x, y) and labels ``[B, N]``.
            boxes: ``[B, 4]`` or ``[B, 1, 4]``.
            masks: logits ``[B, 1, 4G, 4G]``.

        Returns:
            Sparse tokens ``[B, T, C]`` (T is 0 without points and boxes) and the dense map ``[B, C, G, G]``.
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
            dense = weight.reshape(1, -1, 1, 1).expand(batch, -1, *self.image_embedding_size)
        return torch.cat(tokens, dim=1), dense
