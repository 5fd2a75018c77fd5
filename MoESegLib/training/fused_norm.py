"""Layer normalization in one kernel while a pack is trained.

The published form is eight passes over the mask features, and as many again backward. On one CPU core the fused kernel
took the early-feature branch from 0.54 to 0.21 s forward and from 0.95 to 0.57 s backward (four images, channels
last). Answers differ by 2e-6, so the engine keeps the published form.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ..models.sam.common import LayerNorm2d


class FusedLayerNorm2d(LayerNorm2d):
    """The same values and the same state-dict keys; fast where the channels come last in memory."""

    def forward(self, x: Tensor) -> Tensor:
        last = F.layer_norm(x.permute(0, 2, 3, 1), (x.shape[1],), self.weight, self.bias, self.eps)
        return last.permute(0, 3, 1, 2)


def use_fused_norms(module: nn.Module, fused: bool = True) -> None:
    """Exchange every layer normalization of a pack, in place; parameters stay the same objects."""
    old, new = (LayerNorm2d, FusedLayerNorm2d) if fused else (FusedLayerNorm2d, LayerNorm2d)
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is old:
                norm = new(child.weight.numel(), child.eps)
                norm.weight, norm.bias = child.weight, child.bias
                parent.register_module(name, norm)
