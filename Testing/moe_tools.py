"""Small SAM-Med3D and LiteMedSAM bases with random weights, specialists and gates for them, and one prompt for each."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from MoESegLib.experts.card import ExpertClass
from MoESegLib.experts.card_rules import BaseModel
from MoESegLib.experts.gate_store import install_gate
from MoESegLib.experts.specialist_card import SpecialistCard
from MoESegLib.experts.specialist_gate import GateCard, GateExpert
from MoESegLib.experts.specialist_store import install_specialist
from MoESegLib.models import build_model
from MoESegLib.models.sam.build import Sam, mask_decoder, prompt_encoder
from MoESegLib.models.sam_med3d_moe.gate import Gate
from MoESegLib.models.sam_med3d_moe.mixture import SamMed3DMoE
from MoESegLib.models.sam_med3d_moe.shelf import Specialist
from MoESegLib.weights.store import import_file, weights_id_of

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
SHA = "a" * 64
INSTALLED = "sam-med3d-first"
"""A model of the catalog whose card names no checksum, so that a tiny one can stand in for it."""


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


def card_for(name: str = "cord", **changes: Any) -> SpecialistCard:
    card = SpecialistCard(
        name=name,
        title="Spinal cord",
        description='Clicks on the spinal cord; naïve text with "quotes".',
        base=BaseModel("sam-med3d-turbo", SHA),
        origin="taught",
        classes=(ExpertClass("spinal cord"),),
        modalities=("CT",),
        prompts=("point",),
        training=(),
        measured=(),
        license="CC BY 4.0",
        created="2026-11-21",
    )
    return dataclasses.replace(card, **changes)


def gate_for(*cards: SpecialistCard, log_odds: float = 2.0, **changes: Any) -> tuple[Gate, GateCard]:
    """A gate that says to every prompt that the first of these specialists was taught it, and its card."""
    torch.manual_seed(0)
    gate = Gate(48, [card.name for card in cards], hidden=16)
    say(gate, **{cards[0].name: log_odds})
    card = GateCard(
        name="spine",
        description="",
        base=cards[0].base,
        experts=tuple(GateExpert(card.name, card.sha256) for card in cards),
        weighing="pairwise",
        tau=0.65,
        fusion="weighted",
        width=48,
        hidden=16,
        created="2026-11-21",
    )
    return gate, dataclasses.replace(card, **changes)


def install_base(folder: Path) -> tuple[Any, BaseModel]:
    """Put a tiny SAM-Med3D into the weights of this machine (an empty MOESEG_HOME, please)."""
    base = tiny_base()
    torch.save({"model_state_dict": base.state_dict()}, folder / "tiny.pth")
    import_file(folder / "tiny.pth", INSTALLED)
    return base, BaseModel(INSTALLED, weights_id_of(INSTALLED))


def install_mixture(folder: Path, log_odds: float = 2.0) -> Any:
    """A tiny base, a specialist "cord" and a gate that says the same to every prompt; gives the base."""
    base, model = install_base(folder)
    card = install_specialist(specialist_state(base, 1), card_for(base=model))
    install_gate(*gate_for(card, log_odds=log_odds))
    return base
