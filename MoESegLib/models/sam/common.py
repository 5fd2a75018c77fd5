"""Small blocks shared by every SAM-style network."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Checkpoint = Callable[[], None]
"""Called between the blocks of an encoder; raises to abandon the work."""


class LayerNorm2d(nn.Module):
    """Layer normalization over the channels of ``[B, C, H, W]``."""

    def __init__(self, num_channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(1, keepdim=True)
        centered = x - mean
        variance = centered.square().mean(1, keepdim=True)
        normalized = centered / torch.sqrt(variance + self.eps)
        return self.weight[:, None, None] * normalized + self.bias[:, None, None]


class MLPBlock(nn.Module):
    """Two linear layers with an activation between, over the last dimension."""

    def __init__(self, embedding_dim: int, mlp_dim: int, act: type[nn.Module] = nn.GELU) -> None:
        super().__init__()
        self.lin1 = nn.Linear(embedding_dim, mlp_dim)
        self.lin2 = nn.Linear(mlp_dim, embedding_dim)
        self.act = act()

    def forward(self, x: Tensor) -> Tensor:
        return self.lin2(self.act(self.lin1(x)))


class MLP(nn.Module):
    """A stack of linear layers with ReLU between them (SAM's hypernetworks and quality head)."""

    def __init__(self, input_dim: int, hidden_dim: int, output_dim: int, num_layers: int) -> None:
        super().__init__()
        widths = [input_dim, *[hidden_dim] * (num_layers - 1), output_dim]
        self.layers = nn.ModuleList(
            nn.Linear(before, after) for before, after in zip(widths[:-1], widths[1:], strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        for index, layer in enumerate(self.layers):
            x = layer(x)
            if index < len(self.layers) - 1:
                x = torch.relu(x)
        return x


def neck(width: int, out_width: int) -> nn.Sequential:
    """The last layers of an image encoder: ``[B, width, G, G]`` to ``[B, out_width, G, G]``."""
    return nn.Sequential(
        nn.Conv2d(width, out_width, 1, bias=False),
        LayerNorm2d(out_width),
        nn.Conv2d(out_width, out_width, 3, padding=1, bias=False),
        LayerNorm2d(out_width),
    )


def upscaling_branch(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Two transposed convolutions with normalization between: ``[B, inputs, G, G]`` to ``[B, outputs, 4G, 4G]``."""
    return nn.Sequential(
        nn.ConvTranspose2d(inputs, hidden, kernel_size=2, stride=2),
        LayerNorm2d(hidden),
        nn.GELU(),
        nn.ConvTranspose2d(hidden, outputs, kernel_size=2, stride=2),
    )


def in_windows(x: Tensor, side: int, attend: Callable[[Tensor], Tensor]) -> Tensor:
    """Apply attention inside square windows of ``[B, H, W, C]``.

    The zero padding at the right and bottom takes part in the softmax, as in the published models.

    Args:
        attend: maps windows ``[N, side, side, C]`` to the same shape.
    """
    batch, height, width, channels = x.shape
    padded = F.pad(x, (0, 0, 0, -width % side, 0, -height % side))
    rows, columns = padded.shape[1] // side, padded.shape[2] // side
    windows = padded.view(batch, rows, side, columns, side, channels).transpose(2, 3)
    attended = attend(windows.reshape(-1, side, side, channels))
    merged = attended.view(batch, rows, columns, side, side, channels).transpose(2, 3)
    return merged.reshape(batch, rows * side, columns * side, channels)[:, :height, :width]
