"""Losses: equal to MONAI's where there is no padding, blind to padding, and a gate that learns who is best."""

from __future__ import annotations

import contextlib

import pytest
import torch
from tiny_teaching import tiny_engine

from MoESegLib.models.segmote.asymmetric import PackOutput
from MoESegLib.training import step
from MoESegLib.training.engine import attach, network_of
from MoESegLib.training.fused_norm import FusedLayerNorm2d, use_fused_norms
from MoESegLib.training.losses import LossWeights, cross_entropy, dice_loss, overlap_of, pack_loss
from MoESegLib.training.prompts import Clicks
from MoESegLib.training.step import Asked, pack_answer


def example(batch: int = 3, experts: int = 2, grid: int = 16) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    source = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(batch, experts, grid, grid, generator=source)
    target = (torch.rand(batch, 1, grid, grid, generator=source) > 0.6).float()
    return logits, target, torch.ones_like(target)


def test_dice_and_cross_entropy_are_those_of_monai() -> None:
    losses = pytest.importorskip("monai.losses")
    logits, target, valid = example()
    theirs = losses.DiceLoss(sigmoid=True, reduction="none", smooth_nr=1, smooth_dr=1)
    expected = theirs(logits, target.expand_as(logits)).flatten(1)
    assert torch.allclose(dice_loss(logits, target, valid), expected, atol=1e-6)
    both = losses.DiceCELoss(sigmoid=True, smooth_nr=1, smooth_dr=1)(logits[:, :1], target)
    ours = dice_loss(logits[:, :1], target, valid).mean() + cross_entropy(logits[:, :1], target, valid).mean()
    assert torch.allclose(ours, both, atol=1e-5)


def test_padding_does_not_count() -> None:
    logits, target, valid = example()
    valid[..., 10:] = 0
    target = target * valid
    changed = logits.clone()
    changed[..., 10:] = 9.0
    for loss in (dice_loss, cross_entropy, overlap_of):
        assert torch.equal(loss(logits, target, valid), loss(changed, target, valid))
    assert torch.allclose(
        cross_entropy(logits, target, valid), cross_entropy(logits[..., :10], target[..., :10], valid[..., :10])
    )


def test_the_gate_learns_which_token_is_best() -> None:
    _, target, valid = example(batch=4)
    logits = torch.cat([(2 * target - 1) * 5, (1 - 2 * target) * 5], dim=1)
    confidence = torch.zeros(4, 2, requires_grad=True)
    weights = LossWeights(quality=0, balance=0)
    routed = network_of(tiny_engine()).add_pack("x").train()
    _, routing = routed.mixtures[0](torch.randn(4, 2, 32))
    output = PackOutput(logits, torch.zeros(4, 2), confidence, confidence, confidence.argmax(-1), [routing])
    pack_loss(output, target, valid, weights).backward()
    assert confidence.grad is not None
    assert (confidence.grad[:, 0] < -0.03).all()  # raising the good token's confidence lowers the loss
    assert (confidence.grad[:, 1] > 0.03).all()


def test_the_overlap_of_a_mask_with_itself_is_one() -> None:
    _, target, valid = example()
    assert torch.equal(overlap_of(target - 0.5, target, valid), torch.ones(3, 1))
    assert torch.equal(overlap_of(0.5 - target, target, valid), torch.zeros(3, 1))


@pytest.mark.parametrize("prompt", ["box", "clicks", "clicks in a box", "clicks and logits"])
def test_the_answer_in_training_is_the_answer_of_the_network(prompt: str, monkeypatch: pytest.MonkeyPatch) -> None:
    half = step.in_half
    monkeypatch.setattr(step, "in_half", lambda device: contextlib.nullcontext())
    engine = tiny_engine()
    network, pack = network_of(engine), attach(engine, "x", None, 0)
    source = torch.Generator().manual_seed(1)
    for parameter in pack.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=source)
    pack.eval()
    image, early = torch.randn(1, 32, 16, 16, generator=source), torch.randn(1, 8, 16, 16, generator=source)
    clicks = Clicks(torch.tensor([[[20.0, 30.0], [40.0, 9.0]]]).numpy(), torch.tensor([[1, 0]]).numpy())
    boxes = torch.tensor([[5.0, 6.0, 40.0, 50.0]])
    asked = Asked(
        clicks if "click" in prompt else None,
        boxes if "box" in prompt else None,
        torch.randn(1, 1, 64, 64, generator=source) if "logits" in prompt else None,
    )
    with torch.no_grad():
        given = asked.tensors(image.device)
        expected = network(image, early, given.points, given.boxes, given.masks).packs["x"]
        position, features = network.prompt_encoder.get_dense_pe(), pack.image_features(image, early)
        found = pack_answer(network, pack, image, features, position, asked)
        assert torch.equal(found.logits, expected.logits)
        assert torch.equal(found.quality, expected.quality)
        use_fused_norms(pack)
        assert any(isinstance(module, FusedLayerNorm2d) for module in pack.modules())
        features = pack.image_features(image, early)
        fused = pack_answer(network, pack, image, features, position, asked)
        assert torch.allclose(fused.logits, expected.logits, atol=1e-3)
        monkeypatch.setattr(step, "in_half", half)
        rough = pack_answer(network, pack, image, features, position, asked)
        assert rough.logits.dtype == torch.float32
        assert (rough.logits - expected.logits).abs().max() < 0.1 * expected.logits.abs().max()
        use_fused_norms(pack, fused=False)
        assert not any(isinstance(module, FusedLayerNorm2d) for module in pack.modules())
