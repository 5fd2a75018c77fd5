"""A toy that only the text can solve: every image has three kinds of balls, and the sentences say which to find."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from mast_pro_tools import SMALL
from torch import Tensor

from MoESegLib.models.mast_pro import MastPro, MastProConfig, adapt_to, trainable_parameters

SHAPE, RADIUS, BATCH = (16, 16, 20), 2.6, 4
TUMORS = ("bright", "dark")
NEW = 2


@dataclass(frozen=True, eq=False)
class Toy:
    """Images ``[B, 2, D, H, W]``, and their bright, dark and checkered balls ``[B, 3, D, H, W]``."""

    image: Tensor
    balls: Tensor


def toys(seed: int, batch: int = BATCH) -> Toy:
    """Three balls at random places, beside each other in random order."""
    source = torch.Generator().manual_seed(seed)
    grid = torch.stack(torch.meshgrid(*map(torch.arange, SHAPE), indexing="ij"))
    centers = torch.randint(4, 12, (batch, 3, 3), generator=source)
    for row in range(batch):
        centers[row, :, 2] = torch.tensor([3, 10, 16])[torch.randperm(3, generator=source)]
    distance = (grid - centers[..., None, None, None]).square().sum(dim=2).sqrt()
    balls = (distance <= RADIUS).float()
    checkers = (grid.sum(dim=0) % 2) * 2 - 1
    looks = 0.4 * balls[:, 0] - 0.4 * balls[:, 1] + 0.3 * checkers * balls[:, 2]
    gray = 0.5 + looks + 0.05 * torch.randn(batch, *SHAPE, generator=source)
    return Toy(torch.stack([gray, gray.square()], dim=1), balls)


def sentences() -> Tensor:
    """``[3, 4, 384]``; all resemble each other, as those of tumors do."""
    source = torch.Generator().manual_seed(0)
    shared, own = torch.randn(384, generator=source), torch.randn(3, 4, 384, generator=source)
    return F.normalize(shared + 0.5 * own, dim=-1)


def dice(logits: Tensor, target: Tensor) -> float:
    found = (logits[:, 0] > 0).float()
    return float((2 * (found * target).sum(dim=(1, 2, 3)) / (found + target).sum(dim=(1, 2, 3))).mean())


def learn(network: MastPro, steps: int, kinds: list[int], seed: int, rate: float = 5e-3) -> None:
    """Dice and cross-entropy at two scales."""
    network.train()
    optimizer = torch.optim.AdamW([value for _, value in trainable_parameters(network)], lr=rate)
    text = sentences()
    for step in range(steps):
        toy, tumor = toys(seed + step), torch.tensor(kinds)
        target = toy.balls[torch.arange(BATCH), tumor][:, None]
        output = network(toy.image, text[tumor], tumor=tumor)
        loss = 0.01 * output.balance_loss
        for logits in (output.logits, output.deep_logits):
            wanted = F.adaptive_avg_pool3d(target, list(logits.shape[2:]))
            found = logits.sigmoid()
            overlap = (2 * (found * wanted).sum(dim=(2, 3, 4)) + 1) / ((found + wanted).sum(dim=(2, 3, 4)) + 1)
            loss = loss + 1 - overlap.mean() + F.binary_cross_entropy_with_logits(logits, wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval()


@pytest.fixture(scope="module")
def taught() -> MastPro:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = MastPro(MastProConfig(TUMORS, **SMALL))
        network.prompt.text.fit(sentences()[:2])
        learn(network, 100, [0, 1, 0, 1], seed=1)
    return network


@pytest.mark.parametrize("with_number", [True, False])
def test_the_phrase_changes_what_is_segmented(taught: MastPro, with_number: bool) -> None:
    toy, text = toys(0, batch=16), sentences()
    for asked in (0, 1):
        tumor = torch.full((16,), asked) if with_number else None
        with torch.inference_mode():
            logits = taught(toy.image, text[asked].expand(16, -1, -1), tumor=tumor).logits
        assert dice(logits, toy.balls[:, asked]) > 0.8
        assert dice(logits, toy.balls[:, 1 - asked]) < 0.2


def test_a_new_tumor_is_learned_and_the_old_ones_are_kept_bit_identical(taught: MastPro) -> None:
    toy, text = toys(0, batch=16), sentences()
    asked = torch.arange(16) % 2

    def old() -> Tensor:
        with torch.inference_mode():
            return taught(toy.image, text[asked], tumor=asked).logits

    def new() -> float:
        number = torch.full((16,), NEW)
        with torch.inference_mode():
            return dice(taught(toy.image, text[number], tumor=number).logits, toy.balls[:, NEW])

    before = old()
    adapt_to(taught, "checkered")
    untaught = new()
    torch.manual_seed(0)
    learn(taught, 60, [NEW] * BATCH, seed=1000, rate=2e-2)
    assert torch.equal(old(), before)
    assert untaught < 0.1 < 0.5 < new()
