"""Small SAM-Med3D and LiteMedSAM bases with random weights, specialists for them, and one prompt for each."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from MoESegLib.models import build_model
from MoESegLib.models.sam.build import Sam, mask_decoder, prompt_encoder
from MoESegLib.models.sam_med3d_moe.gate import Gate
from MoESegLib.models.sam_med3d_moe.mixture import SamMed3DMoE
from MoESegLib.models.sam_med3d_moe.shelf import Specialist

TINY = {
    "image_size": 16,
    "patch_size": 4,
    "width": 48,
    "depth": 2,
    "heads": 4,
    "global_blocks": (1,),
    "window_size": 3,
    "prompt_width": 48,
    "decoder_mlp": 64,
}


def tiny_base(seed: int = 0) -> nn.Module:
    """SAM-Med3D of 16 x 16 x 16 voxels and 4 x 4 x 4 cells, random weights."""
    torch.manual_seed(seed)
    return build_model("sam_med3d", **TINY)


def slice_base(seed: int = 0) -> nn.Module:
    """The prompt encoder and mask decoder of LiteMedSAM for 64 x 64 pixels, without its image encoder."""
    torch.manual_seed(seed)
    return Sam(nn.Identity(), prompt_encoder(256, 4, 64), mask_decoder(256)).eval()


def specialist_state(base: Any, seed: int, size: float = 0.05) -> dict[str, Tensor]:
    """The mask decoder of a base, with noise on every tensor."""
    noise = torch.Generator().manual_seed(seed)
    state = copy.deepcopy(base.mask_decoder).state_dict()
    return {key: value + size * torch.randn(value.shape, generator=noise).to(value) for key, value in state.items()}


def specialist(base: Any, name: str, seed: int = 1) -> Specialist:
    return Specialist(name, lambda: specialist_state(base, seed))


def mixture(base: Any, names: tuple[str, ...] = ("a", "b"), **options: Any) -> SamMed3DMoE:
    """With a specialist of other random weights for every name."""
    return SamMed3DMoE(base, [specialist(base, name, 1 + number) for number, name in enumerate(names)], **options)


def say(gate: Gate, **log_odds: float) -> None:
    """Let a gate say the same to every prompt: log-odds of specialists against "general"."""
    with torch.no_grad():
        for name, row in gate.rows.items():
            row.weight.zero_()
            row.bias.fill_(log_odds.get(name, 0.0 if name == "general" else -20.0))


def prompt_for(base: Any, *clicks: tuple[float, ...], seed: int = 0) -> dict[str, Tensor]:
    """The arguments of a mask decoder for positive clicks on a random image embedding (the center by default)."""
    pe = base.prompt_encoder.get_dense_pe()
    axes = pe.ndim - 2
    places = torch.tensor([clicks or ((8.0,) * axes,)], dtype=pe.dtype)
    sparse, dense = base.prompt_encoder((places, torch.ones(places.shape[:2])), None, None)
    noise = torch.Generator().manual_seed(seed)
    return {
        "image_embeddings": torch.randn(pe.shape, generator=noise).to(pe),
        "image_pe": pe,
        "sparse_prompt_embeddings": sparse,
        "dense_prompt_embeddings": dense,
    }
