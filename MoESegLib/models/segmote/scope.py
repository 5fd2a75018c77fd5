"""What a pack of experts knows of its own limits: a linear judge of "was I taught this?" on features of a prompt."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Scope(nn.Module):
    """Log-odds that a prompt asks for what the pack was taught; all values are fitted, none is trained by gradient.

    Args:
        width: length F of the features.
    """

    mean: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.register_buffer("weight", torch.zeros(width))
        self.register_buffer("bias", torch.zeros(1))

    def forward(self, features: Tensor) -> Tensor:
        """Features ``[B, F]`` to log-odds ``[B]``; above 0 the pack knows."""
        return ((features - self.mean) / self.scale) @ self.weight + self.bias
