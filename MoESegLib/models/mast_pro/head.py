"""The head of MAST-Pro: the text makes the kernel, so that a further tumor needs no further output channel."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .unet import NormAct

_PRIOR = -2.0
"""Logit of a voxel before anything is learned: lesions are rare."""


class DynamicHead(nn.Module):
    """A 1 x 1 x 1 convolution to one channel, whose kernel and bias come from the mean text token.

    After the CLIP-driven universal model (Liu et al. 2023, arXiv 2301.00785), with one layer in place of three.
    """

    def __init__(self, channels: int, token_width: int) -> None:
        super().__init__()
        self.act = NormAct(channels)
        self.kernel = nn.Linear(token_width, channels + 1)
        with torch.no_grad():
            self.kernel.bias[-1].fill_(_PRIOR)

    def forward(self, features: Tensor, text: Tensor) -> Tensor:
        """Features ``[B, C, D, H, W]`` and text tokens ``[B, S, T]`` to logits ``[B, 1, D, H, W]``."""
        kernel = self.kernel(text.mean(dim=1))
        channels = features.shape[1]
        weight, bias = kernel[:, :channels] * channels**-0.5, kernel[:, channels:]
        logits = weight[:, None] @ self.act(features).flatten(2) + bias[:, None]
        return logits.unflatten(2, features.shape[2:])
