"""A small MAST-Pro with random weights, and batches for it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from MoESegLib.models.mast_pro import MastPro, build_mast_pro

TUMORS = ("liver_tumor", "kidney_tumor", "lung_tumor")
ORGANS = ("liver", "kidney_left", "kidney_right", "lung")
SMALL: dict[str, Any] = {
    "channels": (8, 16, 24),
    "encoder_units": (1, 1, 1),
    "decoder_units": (1, 1),
    "token_width": 32,
    "heads": 4,
    "specific": 4,
    "router_width": 16,
}


def small_network(seed: int = 0, **options: Any) -> MastPro:
    """A network of 80,000 parameters in eval mode, whose experts and anatomy maps are not zero."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = build_mast_pro(**{"tumors": TUMORS, "organs": ORGANS, **SMALL, **options})
        with torch.no_grad():
            for parameter in network.parameters():
                if not parameter.any():
                    parameter.normal_(std=0.3)
    return network


def batch_for(shape: tuple[int, int, int] = (8, 12, 16), batch: int = 3, seed: int = 0) -> dict[str, Tensor]:
    """All arguments of :meth:`MastPro.forward`; sample n asks for tumor n, and organ 3 is not in the image."""
    source = torch.Generator().manual_seed(seed)
    organs = torch.zeros(batch, len(ORGANS), *shape)
    organs[:, 0, :, : shape[1] // 2] = 1
    organs[:, 1, :, shape[1] // 2 :, : shape[2] // 2] = 1
    organs[:, 2, :, shape[1] // 2 :, shape[2] // 2 :] = 1
    return {
        "image": torch.rand(batch, 2, *shape, generator=source),
        "text": torch.nn.functional.normalize(torch.randn(batch, 4, 384, generator=source), dim=-1),
        "anatomy": torch.randn(batch, 2, *shape, generator=source),
        "organ_masks": organs,
        "tumor": torch.arange(batch) % len(TUMORS),
    }
