"""Volumes of two families, a small SAM-Med3D that was taught one of them, and cases to teach it the other.

As in :mod:`gate_toy`: "solid" is a bright ball, "shell" a bright core in a dark rim, of which the base knows the core
and the whole is the task. Here they lie in volumes, so that everything from a case to an installed specialist runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gate_toy import SIDE, Toys, trained_base
from moe_tools import tiny_base

from MoESegLib.core.results import MaskPatch
from MoESegLib.core.volume import Volume
from MoESegLib.engines.sam_med3d import SamMed3DModel
from MoESegLib.experts.card_rules import BaseModel
from MoESegLib.experts.specialist_card import SpecialistCard
from MoESegLib.training.cases import Case, Structure
from MoESegLib.training.crops3d import CropPlan, crops_of
from MoESegLib.training.specialist import Base3D, SpecialistResult, teach_specialist
from MoESegLib.training.specialist_install import install_taught, specialist_card
from MoESegLib.training.specialist_loop import SpecialistPlan

GRID = np.diag([1.5, 1.5, 1.5, 1.0])
LENGTH = 20
PLACES = np.stack(np.meshgrid(*[np.arange(LENGTH)] * 3, indexing="ij"), axis=-1)
SHA = "c" * 64
PLAN = SpecialistPlan(batch=8, clicks=2, least_steps=8, most_steps=8, rate=4e-3)


def toy_case(family: str, number: int, seed: int = 0, level: float = 10.0) -> Case:
    """One volume of "solid", "shell", or "core" (a shell whose core is the target), of a patient of its own."""
    source = np.random.default_rng((seed, number, len(family)))
    radius, center = source.uniform(3, 5), source.uniform(8, 11, 3)
    distance = np.linalg.norm(PLACES - center, axis=-1)
    image = 0.3 * source.standard_normal(distance.shape)
    if family == "solid":
        image += 1.5 * (distance < radius)
    else:
        image += 3.0 * (distance < 0.6 * radius) - 1.5 * (distance < radius)
    mask = distance < (0.6 * radius if family == "core" else radius)
    name = f"{family}-{seed}-{number}"
    volume = Volume((image + level).astype(np.float32), GRID, name=name)
    return Case(name, name, volume, (Structure(family, MaskPatch.of(mask)),), dataset=f"toy {family}")


def toy_cases(family: str, count: int, seed: int = 0) -> list[Case]:
    return [toy_case(family, number, seed) for number in range(count)]


def toy_parts(case: Case) -> tuple[Volume, Structure]:
    """The volume of a case and its target."""
    assert isinstance(case.image, Volume) and not isinstance(case.labels, Path)
    return case.image, case.labels[0]


def as_toys(cases: Sequence[Case]) -> Toys:
    """Crops around a click, as the engine sees them."""
    targets = list(crops_of(cases, CropPlan(SIDE, clicks=1)))
    pixels = torch.from_numpy(np.stack([target.pixels for target in targets]).astype(np.float32))
    masks = torch.from_numpy(np.stack([target.mask for target in targets]).astype(np.float32))
    return Toys(pixels[:, None], masks, torch.tensor([target.click for target in targets]).float()[:, None])


@cache
def trained_network(steps: int = 50) -> Any:
    return trained_base(steps, [as_toys(toy_cases(family, 4 * steps, seed=9)) for family in ("solid", "core")])


def toy_base(state: dict[str, torch.Tensor] | None = None) -> Base3D:
    """A base that knows balls and cores: with these tensors, or trained now, once."""
    network: Any = trained_network() if state is None else tiny_base()
    if state is not None:
        network.load_state_dict(state)
    return Base3D(SamMed3DModel("toy", network, SHA, torch.device("cpu")), BaseModel("toy", SHA))


def teach_toy(cache: Path, base: Base3D, epochs: int | None = 2, **options: Any) -> SpecialistResult:
    """Teach "shell" with few cases; other arguments as of :func:`~MoESegLib.training.specialist.teach_specialist`."""
    given = {"cases": toy_cases("shell", 14), "name": "shell", "unrelated": toy_cases("solid", 30), "plan": PLAN}
    given |= {"varied": 0, "epochs": epochs, "held_out_share": 0.4, **options}
    return teach_specialist(given.pop("cases"), given.pop("name"), base=base, cache=cache, **given)


def install_toy(result: SpecialistResult, replace: bool = False) -> SpecialistCard:
    return install_taught(result, specialist_card(result, toy_cases("shell", 14), "moeseg teach ..."), replace)
