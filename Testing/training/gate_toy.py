"""Two families of synthetic volumes, a small SAM-Med3D that knows one of them well, and a specialist for the other.

Volumes are cut out around the click, as for SAM-Med3D. "solid" is a bright ball in noise. "shell" is a bright core in
a dark rim, with the whole of it as the target; the base was taught that a click there means the core, so it is a task
that only the specialist was taught.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from moe_tools import TINY
from torch import Tensor, nn

from MoESegLib.models import build_model
from MoESegLib.models.sam_med3d_moe.mixture import SamMed3DMoE
from MoESegLib.models.sam_med3d_moe.shelf import Specialist
from MoESegLib.training.gate3d import GateCase, mask_loss

SIDE = int(TINY["image_size"])  # type: ignore[call-overload]
PLACES = np.stack(np.meshgrid(*[np.arange(SIDE)] * 3, indexing="ij"), axis=-1)


@dataclass(frozen=True, eq=False)
class Toys:
    """N volumes ``[N, 1, S, S, S]``, masks ``[N, S, S, S]`` and clicks ``[N, 1, 3]`` (i, j, k)."""

    images: Tensor
    targets: Tensor
    clicks: Tensor


def toys(family: str, number: int, seed: int) -> Toys:
    """Volumes of "solid", "shell", or "core" (a shell whose core is the target)."""
    generator = np.random.default_rng(seed)
    images, targets, clicks = [], [], []
    for _ in range(number):
        radius, center = generator.uniform(3, 5), generator.uniform(6.5, 8.5, 3)
        distance = np.linalg.norm(PLACES - center, axis=-1)
        image = 0.3 * generator.standard_normal(distance.shape)
        if family == "solid":
            image += 1.5 * (distance < radius)
        else:
            image += 3.0 * (distance < 0.6 * radius) - 1.5 * (distance < radius)
        images.append(image)
        targets.append(distance < (0.6 * radius if family == "core" else radius))
        clicks.append(np.round(center + generator.uniform(-0.25, 0.25, 3) * radius))
    arrays = (np.stack(images)[:, None], np.stack(targets), np.stack(clicks)[:, None])
    return Toys(*(torch.from_numpy(array).float() for array in arrays))


def encode_prompts(model: Any, clicks: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens and dense map of first clicks, with a mask prompt of zeros as SAM-Med3D has it."""
    labels = torch.ones(clicks.shape[:2])
    return model.prompt_encoder((clicks, labels), None, torch.zeros(len(clicks), 1, SIDE, SIDE, SIDE))


def decode(model: Any, decoder: nn.Module, embeddings: Tensor, clicks: Tensor) -> Tensor:
    """Logits ``[N, S, S, S]``."""
    sparse, dense = encode_prompts(model, clicks)
    pe = model.prompt_encoder.get_dense_pe()
    return decoder(embeddings, pe, sparse, dense, multimask_output=False)[0][:, 0]


def trained_base(steps: int = 100, data: Sequence[Toys] | None = None) -> Any:
    """Knows what it is shown, by default solid balls and cores; four of each a step."""
    torch.manual_seed(0)
    base: Any = build_model("sam_med3d", **TINY)
    if data is None:
        data = [toys(family, 4 * steps, seed) for seed, family in enumerate(("solid", "core"))]
    optimizer = torch.optim.AdamW(base.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    for step in range(steps):
        some = slice(4 * step, 4 * step + 4)
        images, targets, clicks = (
            torch.cat([getattr(toy, part)[some] for toy in data]) for part in ("images", "targets", "clicks")
        )
        logits = decode(base, base.mask_decoder, base.image_encoder(images), clicks)
        optimizer.zero_grad()
        mask_loss(logits.flatten(1), targets.flatten(1)).backward()
        optimizer.step()
        schedule.step()
    return base.requires_grad_(False)


def trained_decoder(base: Any, steps: int = 100) -> dict[str, Tensor]:
    """A copy of the mask decoder that was taught shells, on embeddings computed once."""
    data = toys("shell", 96, seed=10)
    embeddings = base.image_encoder(data.images)
    decoder = copy.deepcopy(base.mask_decoder).requires_grad_(True)
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=2e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        chosen = torch.randperm(96, generator=generator)[:8]
        logits = decode(base, decoder, embeddings[chosen], data.clicks[chosen])
        optimizer.zero_grad()
        mask_loss(logits.flatten(1), data.targets[chosen].flatten(1)).backward()
        optimizer.step()
    return decoder.requires_grad_(False).state_dict()


def toy_mixture() -> SamMed3DMoE:
    """A trained base and a specialist "shell", with a gate that was not taught."""
    base = trained_base()
    state = trained_decoder(base)
    torch.manual_seed(0)
    return SamMed3DMoE(base, [Specialist("shell", lambda: state)])


def cases_of(model: SamMed3DMoE, number: int, seed: int) -> list[GateCase]:
    """That many of both families."""
    cases = []
    for family, home in (("solid", None), ("shell", "shell")):
        data = toys(family, number, seed)
        embeddings = model.image_encoder(data.images)
        sparse, dense = encode_prompts(model, data.clicks)
        cases += [
            GateCase(embeddings[n : n + 1], sparse[n : n + 1], dense[n : n + 1], data.targets[n], home)
            for n in range(number)
        ]
    return cases
