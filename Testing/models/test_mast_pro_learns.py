"""A toy that only the text can solve: every image has a bright and a dark ball, and the sentence says which to find."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from mast_pro_tools import SMALL
from torch import Tensor

from MoESegLib.models.mast_pro import MastPro, MastProConfig, adapt_to, trainable_parameters

SIDE, RADIUS, BATCH = 16, 2.6, 4
TUMORS = ("bright", "dark")


@dataclass(frozen=True, eq=False)
class Toy:
    """Images ``[B, 2, D, H, W]`` and their bright and dark balls ``[B, 2, D, H, W]``."""

    image: Tensor
    balls: Tensor


def toys(seed: int, batch: int = BATCH) -> Toy:
    """A bright and a dark ball at random places, one on the left and one on the right."""
    source = torch.Generator().manual_seed(seed)
    grid = torch.stack(torch.meshgrid(*[torch.arange(SIDE)] * 3, indexing="ij"))
    centers = torch.randint(4, 12, (batch, 2, 3), generator=source)
    centers[..., 2] = torch.tensor([3, 12])
    flipped = torch.rand(batch, generator=source) < 0.5
    centers[flipped] = centers[flipped].flip(1)
    distance = (grid - centers[..., None, None, None]).square().sum(dim=2).sqrt()
    balls = (distance <= RADIUS).float()
    noise = 0.05 * torch.randn(batch, SIDE, SIDE, SIDE, generator=source)
    gray = 0.5 + noise + 0.4 * balls[:, 0] - 0.4 * balls[:, 1]
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
        every = torch.cat([toy.balls, toy.balls.sum(dim=1, keepdim=True)], dim=1)
        target = every[torch.arange(BATCH), tumor][:, None]
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
        network.prompt.text.fit(sentences()[:2].flatten(0, 1))
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
    both, asked = toy.balls.sum(dim=1), torch.arange(16) % 2

    def old() -> Tensor:
        with torch.inference_mode():
            return taught(toy.image, text[asked], tumor=asked).logits

    def new() -> float:
        with torch.inference_mode():
            return dice(taught(toy.image, text[2].expand(16, -1, -1), tumor=torch.full((16,), 2)).logits, both)

    before = old()
    adapt_to(taught, "both")
    untaught = new()
    torch.manual_seed(0)
    learn(taught, 40, [2, 2, 2, 2], seed=1000, rate=2e-2)
    assert torch.equal(old(), before)
    assert new() > max(0.8, untaught + 0.1)
