"""MAST-Pro takes images of any size, and every prompt or none; whatever it should learn from reaches its weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from mast_pro_tools import ORGANS, SMALL, TUMORS, batch_for, small_network
from torch.utils.flop_counter import FlopCounterMode

from MoESegLib.core.errors import GeometryError, PromptError
from MoESegLib.models import build_model
from MoESegLib.models.mast_pro import MastPro, MastProConfig, adapt_to
from MoESegLib.models.mast_pro.unet import Conv3

PROMPTS = ("text", "anatomy", "organ_masks", "tumor")


def count(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("shape", [(16, 16, 16), (7, 13, 18), (1, 24, 24), (1, 5, 3), (3, 1, 9), (1, 1, 1)])
def test_any_size_gives_logits_of_that_size_and_of_half(shape: tuple[int, int, int]) -> None:
    network = small_network()
    with torch.inference_mode():
        output = network(**batch_for(shape, batch=2))
    assert output.logits.shape == (2, 1, *shape)
    assert output.deep_logits.shape == (2, 1, *(-(-side // 2) for side in shape))
    assert output.logits.isfinite().all() and output.deep_logits.isfinite().all()
    assert [routing.weights.shape for routing in output.routing] == [(2, 4), (2, 4)]


def test_the_compact_network_is_within_its_limits() -> None:
    network = build_model("mast_pro", tumors=[f"t{i}" for i in range(12)])
    assert 2 * count(network) < 20e6
    size = (32, 32, 32)
    with torch.inference_mode(), FlopCounterMode(display=False) as flops:
        network(
            torch.rand(1, 2, *size),
            torch.randn(1, 4, 384),
            torch.rand(1, 2, *size),
            torch.ones(1, len(network.config.organs), *size),
        )
    assert flops.get_total_flops() / 32**3 < 100e3


def test_a_slice_is_convolved_as_if_padded() -> None:
    for conv in (Conv3(4, 6), Conv3(4, 6, stride=2), Conv3(4, 4, groups=4)):
        x = torch.randn(2, 4, 1, 9, 8)
        padded = torch.nn.functional.conv3d(x, conv.weight, conv.bias, conv.stride, 1, groups=conv.groups)
        assert torch.allclose(conv(x), padded, atol=1e-6)


def test_without_noise_two_runs_are_the_same() -> None:
    network, batch = small_network(), batch_for()
    with torch.inference_mode():
        first, second = network(**batch), network(**batch)
    assert torch.equal(first.logits, second.logits)
    assert all(torch.equal(a.chosen, b.chosen) for a, b in zip(first.routing, second.routing, strict=True))


@pytest.mark.parametrize("missing", [*[(name,) for name in PROMPTS], PROMPTS])
def test_a_prompt_may_be_missing_and_then_changes_the_answer(missing: tuple[str, ...]) -> None:
    network, batch = small_network(), batch_for()
    with torch.inference_mode():
        told = network(**batch).logits
        untold = network(**{**batch, **dict.fromkeys(missing)}).logits
    assert untold.isfinite().all()
    assert not torch.equal(told, untold)


@pytest.mark.parametrize("name", ["text", "anatomy", "organ_masks"])
def test_zeros_for_one_sample_mean_that_it_was_given_none(name: str) -> None:
    network, batch = small_network(), batch_for()
    mixed = {**batch, name: batch[name] * torch.tensor([1.0, 0.0, 1.0]).reshape(3, *[1] * (batch[name].ndim - 1))}
    with torch.inference_mode():
        told, untold, both = network(**batch), network(**{**batch, name: None}), network(**mixed)
    assert torch.allclose(both.logits[[0, 2]], told.logits[[0, 2]], atol=1e-5)
    assert torch.allclose(both.logits[1], untold.logits[1], atol=1e-5)


def test_the_text_makes_the_kernel_of_the_head() -> None:
    network, batch = small_network(experts=False, attention=False), batch_for()
    with torch.inference_mode():
        first = network(**batch).logits
        other = network(**{**batch, "text": batch["text"].flip(0)}).logits
    assert torch.equal(first[1], other[1])
    assert not torch.allclose(first[0], other[0], atol=1e-3)


@pytest.mark.parametrize("part", ["experts", "attention", "text", "anatomy"])
def test_a_part_that_is_left_out_has_no_influence(part: str) -> None:
    network, batch = small_network(**{part: False}), batch_for()
    with torch.inference_mode():
        output = network(**batch)
        if part == "experts":
            assert output.routing == () and output.balance_loss == 0
        elif part == "attention":
            assert not any("xattn" in name for name in network.state_dict())
        else:
            names = {"text": ("text", "tumor"), "anatomy": ("anatomy", "organ_masks")}[part]
            assert torch.equal(output.logits, network(**{**batch, **dict.fromkeys(names)}).logits)


def test_every_weight_is_reached_by_the_second_step() -> None:
    torch.manual_seed(0)
    network = MastPro(MastProConfig(TUMORS, ORGANS, **{**SMALL, "top_k": 4})).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    told, untold = batch_for(seed=1), {"image": batch_for(seed=2)["image"]}
    for _ in range(2):
        optimizer.zero_grad()
        for batch in (told, untold):
            output = network(**batch)
            targets = [(torch.rand_like(logits) > 0.5).float() for logits in (output.logits, output.deep_logits)]
            for logits, target in zip((output.logits, output.deep_logits), targets, strict=True):
                torch.nn.functional.binary_cross_entropy_with_logits(logits, target).backward(retain_graph=True)
        optimizer.step()
    unreached = [name for name, value in network.named_parameters() if value.grad is None or not value.grad.any()]
    assert unreached == []


def test_the_router_learns_with_one_expert_a_patch_too() -> None:
    network = small_network(top_k=1).train()
    network(**batch_for()).logits.square().mean().backward()
    for block in network.dmoe:
        for layer in (block.router.score, block.router.hidden, block.router.balance):
            assert layer.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_gives_about_the_same(dtype: torch.dtype) -> None:
    network, batch = small_network(), batch_for()
    adapt_to(network, "brain_tumor")
    batch["tumor"] = torch.tensor([0, 1, 3])
    with torch.inference_mode():
        exact = network(**batch).logits
        with torch.autocast("cpu", dtype):
            mixed = network(**batch).logits
        half = network.to(dtype)(**{**batch, "image": batch["image"].to(dtype)}).logits
    assert half.dtype == dtype
    for rounded in (mixed.float(), half.float()):
        assert torch.nn.functional.cosine_similarity(rounded.flatten(), exact.flatten(), dim=0) > 0.98


def test_a_patch_with_nothing_in_it_gives_numbers() -> None:
    network = small_network().train()
    output = network(torch.zeros(2, 2, 1, 3, 3))
    (output.logits.mean() + output.balance_loss).backward()
    assert output.logits.isfinite().all()
    assert all(value.grad is None or value.grad.isfinite().all() for value in network.parameters())


def test_sentences_are_centered_and_scaled_once_fitted() -> None:
    prompt = small_network().prompt.text
    records = batch_for()["text"] + torch.randn(4, 384)
    prompt.fit(records)
    scaled = (records - prompt.center) / prompt.scale
    assert torch.allclose(scaled.mean(dim=0), torch.zeros(4, 384), atol=1e-5)
    assert float(scaled.square().mean()) == pytest.approx(1.0, rel=1e-4)


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        ({"image": torch.rand(3, 1, 8, 12, 16)}, GeometryError, "image has shape"),
        ({"anatomy": torch.rand(3, 2, 8, 12, 15)}, GeometryError, "anatomy have shape"),
        ({"organ_masks": torch.rand(3, 5, 8, 12, 16)}, GeometryError, "organ masks have shape"),
        ({"text": torch.rand(3, 4, 512)}, PromptError, "text has shape"),
        ({"tumor": torch.tensor([0, 1, 3])}, PromptError, "numbers under 3"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(wrong: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        small_network()(**{**batch_for(), **wrong})


def test_tumors_are_numbered_by_their_ids() -> None:
    network = small_network()
    assert network.tumor_numbers(["lung_tumor", None, "liver_tumor"]).tolist() == [2, -1, 0]
    with pytest.raises(PromptError, match="not taught 'brain_tumor'; it knows liver_tumor"):
        network.tumor_numbers(["brain_tumor"])


@pytest.mark.parametrize(
    "sizes",
    [
        {"channels": (16,)},
        {"channels": (12, 16, 24, 32, 40)},
        {"mixtures": 5},
        {"heads": 7},
        {"top_k": 7},
        {"generic": 0},
        {"specific": 1000},
        {"tumors": ("a", "a")},
        {"patch": (64, 64)},
    ],
)
def test_sizes_that_do_not_fit_together_are_refused(sizes: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        MastProConfig(**sizes)
