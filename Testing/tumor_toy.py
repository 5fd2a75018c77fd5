"""A MAST-Pro that is taught in seconds, and what it can learn: bright balls are one tumor, dark ones another."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mast_pro_tools import SMALL

from MoESegLib.core.organs import organ_ids
from MoESegLib.core.results import MaskPatch
from MoESegLib.core.tumors import TumorBook
from MoESegLib.core.volume import Volume
from MoESegLib.models.mast_pro import MastPro, MastProConfig, round_to_half
from MoESegLib.training.cases import Case, Structure
from MoESegLib.training.tumor_loop import TumorLoop, TumorSchedule, fresh_network
from MoESegLib.training.tumor_patches import SYNTHETIC_SLICES, TumorSample
from MoESegLib.training.tumor_step import batch_of, learn
from MoESegLib.training.world import World

TUMORS = ("liver_tumor", "kidney_tumor")
ORGANS = {name: 1 + organ_ids().index(name) for name in ("liver", "kidney")}
SIDE = 16
PLAN = TumorSchedule(epochs=2, steps=3, slices=1, volumes=1, rate=3e-3)


def toy_config(**options: Any) -> MastProConfig:
    sizes = {"patch": (SIDE,) * 3, "slice_patch": (20, 20), **SMALL}
    return MastProConfig(TUMORS, organ_ids(), **{**sizes, **options})


def toy_network(seed: int = 0, **options: Any) -> MastPro:
    return fresh_network(toy_config(**options), TumorBook.load(), seed)


class ToySamples:
    """A bright and a dark ball in noise; the tumor says which is the target. Remembers what was drawn."""

    def __init__(self, tumors: tuple[str, ...] = TUMORS, radius: float = 3.0, absent: float = 0.0) -> None:
        self.tumors, self.radius, self.absent = tumors, radius, absent
        self.drawn: list[TumorSample] = []

    def tumors_of(self, is_slice: bool) -> tuple[str, ...]:
        return self.tumors

    def draw(self, rng: np.random.Generator, is_slice: bool | None = None) -> TumorSample:
        tumor = self.tumors[rng.integers(len(self.tumors))]
        shape = (1, 20, 20) if is_slice else (SIDE,) * 3
        is_absent = bool(rng.random() < self.absent)
        places = np.indices(shape).astype(np.float32)
        gray = rng.normal(0.5, 0.04, shape).astype(np.float32)
        organs = np.zeros(shape, np.uint8)
        organs[..., : shape[2] // 2], organs[..., shape[2] // 2 :] = ORGANS["liver"], ORGANS["kidney"]
        target = np.zeros(shape, np.float32)
        for number, name in enumerate(TUMORS):
            low = np.array([4, 4, 4 + number * shape[2] // 2])
            center = low + rng.integers(0, [9, 9, 1])
            if shape[0] == 1:
                center[0] = 0
            ball = np.linalg.norm(places - center.reshape(3, 1, 1, 1), axis=0) <= self.radius
            if name == tumor:
                target = ball.astype(np.float32) * (not is_absent)
            if name != tumor or not is_absent:
                gray[ball] += (0.4, -0.4)[number]
        sample = TumorSample(
            np.stack([gray, gray**2]), target[None], organs, tumor, "CT", (2.0, 2.0, 2.0), SYNTHETIC_SLICES,
            f"p{rng.integers(3)}", "toy", is_absent,
        )  # fmt: skip
        self.drawn.append(sample)
        return sample


def toy_probes(count: int = 4) -> list[TumorSample]:
    samples = ToySamples(absent=0.2)
    return [samples.draw(np.random.default_rng((9, number)), number % 2 == 0) for number in range(count)]


def toy_loop(folder: Path, network: MastPro | None = None, data: Any = None, plan: TumorSchedule = PLAN) -> TumorLoop:
    network = network or toy_network()
    book, data = TumorBook.load(), data or ToySamples()
    alone = World(0, 1, torch.device("cpu"))
    return TumorLoop(network, data, toy_probes(), book, plan, "toy", folder / "run.safetensors", alone, 0.0)


def toy_base() -> MastPro:
    """A network that learned the toy for some seconds, as its file would give it."""
    return copy.deepcopy(_taught_base())


@cache
def _taught_base() -> MastPro:
    network, book, samples = toy_network(), TumorBook.load(), ToySamples()
    optimizer = torch.optim.AdamW(network.parameters(), 5e-3)
    network.train()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for step in range(30):
            drawn = [samples.draw(np.random.default_rng((5, step, row)), False) for row in range(3)]
            optimizer.zero_grad()
            learn(network, [batch_of(drawn, book, network)], warm_up=False)
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
    round_to_half(network)
    return network.eval()


def toy_volume(seed: int) -> tuple[Volume, np.ndarray]:
    """A CT of 40 mm with a bright ball, and the ball."""
    rng = np.random.default_rng(seed)
    center = rng.integers(6, 14, 3).reshape(3, 1, 1, 1)
    ball = np.linalg.norm(np.indices((20, 20, 20)) - center, axis=0) <= 4
    values = rng.normal(40, 10, ball.shape) + 150 * ball
    values[0] = -1000
    ball[0] = False
    return Volume(values.astype(np.int16), np.diag([2.0, 2.0, 2.0, 1.0]), "CT", f"v{seed}"), ball


def toy_cases(count: int = 5) -> list[Case]:
    """One lesion a patient."""
    found = []
    for number in range(count):
        volume, ball = toy_volume(number)
        lesion = Structure("lesion", MaskPatch.of(ball))
        found.append(Case(f"case{number}", f"patient{number}", volume, (lesion,), modality="CT"))
    return found
