"""The backbone of MAST-Pro: a residual 3D U-Net that takes any size, also a single slice.

The paper's backbone is not public; this one is ours, after the residual U-Nets of nnU-Net (Isensee et al. 2024, arXiv
2404.09556).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from .config import GROUP

_SLOPE = 0.01


class Conv3(nn.Conv3d):
    """A 3 x 3 x 3 convolution that keeps the size, or halves it with stride 2 (rounding up).

    In an image of one slice the outer two planes of the kernel meet nothing but padding, so only the middle one is
    used: the same values for a third of the work.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, 3, stride=stride, padding=1, groups=groups)

    def forward(self, input: Tensor) -> Tensor:
        if input.shape[2] > 1:
            return super().forward(input)
        stride = (1, *self.stride[1:])
        return F.conv3d(input, self.weight[:, :, 1:2], self.bias, stride, (0, 1, 1), groups=self.groups)


class NormAct(nn.Module):
    """Group normalization and a leaky rectifier.

    Not instance normalization: the deepest level of a small slice has a few voxels, or a single one, whose every
    channel would become zero. A group has eight channels at least, so its values always differ.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(channels // GROUP, channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.norm(x), _SLOPE, inplace=True)


class Unit(nn.Module):
    """A residual convolution with the normalization first: ``[B, C, D, H, W]`` to the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.act = NormAct(channels)
        self.conv = Conv3(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(self.act(x))


class Down(nn.Module):
    """The entry of an encoder level and its units; ``stride`` 2 halves the size, rounding up."""

    def __init__(self, inputs: int, outputs: int, units: int, stride: int) -> None:
        super().__init__()
        self.entry = Conv3(inputs, outputs, stride)
        self.units = nn.Sequential(*(Unit(outputs) for _ in range(units)))

    def forward(self, x: Tensor) -> Tensor:
        return self.units(self.entry(x))


class Up(nn.Module):
    """A decoder level: the coarser map, brought to the channels and the size of the skip connection, is added to it.

    Added, not concatenated: at full resolution that halves the work of the convolution which follows.
    """

    def __init__(self, inputs: int, outputs: int, units: int) -> None:
        super().__init__()
        self.project = nn.Conv3d(inputs, outputs, 1)
        self.units = nn.Sequential(*(Unit(outputs) for _ in range(units)))

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = F.interpolate(self.project(x), size=skip.shape[2:], mode="trilinear", align_corners=False)
        return self.units(x + skip)


class UNet(nn.Module):
    """The levels; :class:`.network.MastPro` puts prompts and experts between them.

    Attributes:
        down: encoder levels, the finest first.
        up: decoder levels, the coarsest first.
    """

    def __init__(
        self, inputs: int, channels: Sequence[int], encoder_units: Sequence[int], decoder_units: Sequence[int]
    ) -> None:
        super().__init__()
        before = (inputs, *channels[:-1])
        self.down = nn.ModuleList(
            Down(last, width, units, 1 if level == 0 else 2)
            for level, (last, width, units) in enumerate(zip(before, channels, encoder_units, strict=True))
        )
        self.up = nn.ModuleList(
            Up(channels[level + 1], channels[level], decoder_units[level])
            for level in reversed(range(len(channels) - 1))
        )

    def decode(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Encoder maps, the finest first, to the decoder's at full and at half resolution."""
        x = coarser = maps[-1]
        for level, skip in zip(self.up, reversed(maps[:-1]), strict=True):
            coarser, x = x, level(x, skip)
        return x, coarser
