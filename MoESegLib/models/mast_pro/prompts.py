"""The prompts of MAST-Pro as tokens and feature maps: sentences, organs, and the number of the tumor.

A tumor that was added later (:mod:`.adapt`) has projections of its own, which the samples of no other tumor meet. In
the arguments ``own`` maps its name to its rows in the batch.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import MastProConfig

ANATOMY_CHANNELS = 2
"""Mask of the tumor's organs, and distance to their surface."""

Own = Mapping[str, Tensor]
"""Rows ``[n]`` of a batch by the name of an added tumor; empty where there is none."""


class TextTokens(nn.Module):
    """Sentence embeddings ``[B, S, 384]`` to tokens ``[B, S, T]``.

    A sample without text has zeros, or ``text`` is None for the whole batch; it gets learned null tokens.

    Sentences about tumors resemble each other (cosine of 0.57 between the types of our records): what those at one
    place of a record share is taken off first, and what remains is scaled to variance 1 (:meth:`fit`, once before
    training). On the toy of the tests, 80 steps then give a Dice of 0.99, and 0.37 without.
    """

    center: Tensor
    scale: Tensor

    def __init__(self, config: MastProConfig) -> None:
        super().__init__()
        shape = config.sentences, config.token_width
        self.register_buffer("center", torch.zeros(config.sentences, config.text_width))
        self.register_buffer("scale", torch.tensor(config.text_width**-0.5))
        self.project = nn.Linear(config.text_width, config.token_width)
        self.norm = nn.LayerNorm(config.token_width)
        self.place = nn.Parameter(0.02 * torch.randn(shape))
        self.null = nn.Parameter(0.02 * torch.randn(shape))
        self.own = nn.ModuleDict()

    def fit(self, text: Tensor) -> None:
        """Take center and spread of the records ``[N, S, 384]`` that the network will be taught; N > 1."""
        self.center.copy_(text.mean(dim=0))
        self.scale.copy_((text - self.center).square().mean().sqrt().clamp_min(1e-6))

    def add(self, name: str) -> nn.Module:
        """A projection for a new tumor, which begins as that of all others."""
        self.own[name] = copy.deepcopy(self.project)
        return self.own[name]

    def forward(self, text: Tensor | None, batch: int, own: Own) -> Tensor:
        null = self.null.expand(batch, -1, -1)
        if text is None:
            return null
        missing = (text == 0).all(dim=-1).all(dim=-1)
        x = (text.to(self.center.dtype) - self.center) / self.scale
        tokens = self.project(x)
        for name, rows in own.items():
            tokens = tokens.index_copy(0, rows, self.own[name](x[rows]))
        return torch.where(missing[:, None, None], null, self.norm(tokens) + self.place)


class OrganTokens(nn.Module):
    """The mean of a feature map inside every organ, as tokens; a null token where no organ is known.

    An organ that is not in the patch, or was not given, is not attended to.
    """

    def __init__(self, config: MastProConfig) -> None:
        super().__init__()
        width = config.token_width
        self.project = nn.ModuleList(nn.Linear(channels, width) for channels in config.mixture_channels)
        self.norm = nn.LayerNorm(width)
        self.organ = nn.Parameter(0.02 * torch.randn(len(config.organs), width))
        self.null = nn.Parameter(0.02 * torch.randn(1, width))
        self.own = nn.ModuleDict()

    def add(self, name: str) -> nn.Module:
        """Projections for a new tumor, which begin as those of all others."""
        self.own[name] = copy.deepcopy(self.project)
        return self.own[name]

    def forward(self, level: int, features: Tensor, masks: Tensor | None, own: Own) -> tuple[Tensor, Tensor]:
        """Read the organs.

        Args:
            level: number of the D-MoE block.
            features: ``[B, C, d, h, w]``.
            masks: share of every organ in every cell ``[B, organs, d, h, w]``, or None.

        Returns:
            Tokens ``[B, organs + 1, T]``, the null token last, and which of them count ``[B, organs + 1]``.
        """
        batch = len(features)
        null = self.null.expand(batch, 1, -1)
        if masks is None:
            return null, torch.ones(batch, 1, dtype=torch.bool, device=features.device)
        inside = masks.to(features.dtype).flatten(2)
        size = inside.sum(dim=-1)
        shares = inside / size.clamp_min(1e-6)[..., None]  # before the product, whose sums half precision may not hold
        means = shares @ features.flatten(2).transpose(1, 2)
        tokens = self.project[level](means)
        for name, rows in own.items():
            tokens = tokens.index_copy(0, rows, self.own[name][level](means[rows]))  # pyright: ignore[reportIndexIssue]
        known = size > 0
        counts = torch.cat([known, ~known.any(dim=1, keepdim=True)], dim=1)
        return torch.cat([self.norm(tokens) + self.organ, null], dim=1), counts


class DenseAnatomy(nn.Module):
    """The anatomy channels, averaged to the grid of a level and added to its feature map.

    One linear map a level, zero at the start and without bias: channels of zeros (no anatomy known) add nothing at all.
    The proposal had two convolutions to the deepest map only; this costs less (64 FLOP a voxel) and brings the border
    of the organ to full resolution, where a lesion at the border is drawn.
    """

    def __init__(self, config: MastProConfig) -> None:
        super().__init__()
        self.levels = nn.ModuleList(nn.Conv3d(ANATOMY_CHANNELS, width, 1, bias=False) for width in config.channels)
        for level in self.levels.parameters():
            nn.init.zeros_(level)

    def forward(self, level: int, features: Tensor, anatomy: Tensor) -> Tensor:
        return features + self.levels[level](to_grid(anatomy, features))


class TumorTokens(nn.Module):
    """The number of the tumor ``[B]`` to a vector ``[B, T]``, which only the router reads; -1 is an unknown one."""

    def __init__(self, config: MastProConfig) -> None:
        super().__init__()
        self.embed = nn.Embedding(len(config.tumors) + 1, config.token_width)
        nn.init.normal_(self.embed.weight, std=0.02)
        self.own = nn.ParameterDict()

    def add(self, name: str) -> nn.Parameter:
        """The vector of a new tumor, which begins as that of an unknown one."""
        self.own[name] = nn.Parameter(self.embed.weight[-1].detach().clone())
        return self.own[name]

    def forward(self, tumor: Tensor, own: Own) -> Tensor:
        unknown = self.embed.num_embeddings - 1
        tokens = self.embed(torch.where((tumor < 0) | (tumor >= unknown), unknown, tumor))
        for name, rows in own.items():
            tokens = tokens.index_copy(0, rows, self.own[name].expand(len(rows), -1))
        return tokens


class Prompts(nn.Module):
    """All of them; the names are those of the file (``prompt.text``, ``prompt.anat``)."""

    def __init__(self, config: MastProConfig) -> None:
        super().__init__()
        self.text = TextTokens(config)
        self.tumor = TumorTokens(config)
        self.organs = OrganTokens(config)
        self.anat = DenseAnatomy(config)


def to_grid(volume: Tensor, features: Tensor) -> Tensor:
    """A volume ``[B, C, D, H, W]`` averaged to the grid of a feature map ``[B, *, d, h, w]``."""
    depth, height, width = features.shape[2:]
    volume = volume.to(features.dtype)
    return volume if volume.shape[2:] == features.shape[2:] else F.adaptive_avg_pool3d(volume, (depth, height, width))
