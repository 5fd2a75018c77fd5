"""One training step: which prompts are asked, and that all of what is taught gets a gradient."""

from __future__ import annotations

import dataclasses
from functools import partial

import numpy as np
import pytest
import torch
from tiny_teaching import SIDE, tiny_engine

from MoESegLib.training import step
from MoESegLib.training.batches import Batch, epoch_order, fair_weights
from MoESegLib.training.engine import attach, network_of
from MoESegLib.training.losses import LossWeights
from MoESegLib.training.samples import Sample
from MoESegLib.training.step import Asked, train_step

TARGET = np.zeros((1, SIDE, SIDE), bool)
TARGET[0, 20:40, 24:50] = True


@pytest.fixture
def batch() -> Batch:
    source = torch.Generator().manual_seed(1)
    image, early = (torch.randn(1, channels, SIDE // 4, SIDE // 4, generator=source) for channels in (32, 8))
    target = torch.from_numpy(TARGET[:, None].astype(np.float32))
    text = torch.randn(1, 384, generator=source)
    return Batch(image, early, TARGET, target, torch.ones(1, 1, SIDE, SIDE), (0,), text)


def asked_in(
    batch: Batch, monkeypatch: pytest.MonkeyPatch, epochs: int, **options
) -> tuple[list[list[Asked]], set[str]]:
    """The prompts of each step, and the parameters that ever got a gradient."""
    engine = tiny_engine()
    pack = attach(engine, "x", None, 0, **options).train()
    original, steps, learning = step.pack_answer, [], set()

    def spy(*args):
        steps[-1].append(args[-1])
        return original(*args)

    monkeypatch.setattr(step, "pack_answer", spy)
    for epoch in range(epochs):
        steps.append([])
        assert np.isfinite(train_step(network_of(engine), pack, batch, LossWeights(), 0, epoch))
        learning |= {name for name, value in pack.named_parameters() if value.grad is not None and value.grad.any()}
    return steps, learning


def test_a_step_asks_by_box_and_click_and_sometimes_by_phrase(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    steps, learning = asked_in(batch, monkeypatch, 24)
    assert all(asked[0].boxes is not None for asked in steps)
    assert all(any(one.clicks is not None and one.masks is None for one in asked) for asked in steps)
    alone = [one for asked in steps for one in asked if one.text is not None and one.clicks is None]
    beside = [one for asked in steps for one in asked if one.text is not None and one.clicks is not None]
    corrected = [one for asked in steps for one in asked if one.masks is not None]
    clicks = {one.clicks.points.shape[1] for one in corrected if one.clicks is not None}
    assert {1, 2, 3} <= clicks <= {1, 2, 3, 4}
    assert 0 < len(alone) < 15
    assert 0 < len(beside) < 15
    assert 8 < len(corrected) < 40
    assert all(one.clicks is not None for one in corrected)
    assert {"text_prompt.weight", "text_mask.weight", "point_offsets", "expert_tokens"} <= learning


def test_structures_without_a_phrase_are_not_asked_by_one(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    steps, learning = asked_in(dataclasses.replace(batch, text=None), monkeypatch, 8)
    assert all(one.text is None for asked in steps for one in asked)
    assert not any(name.startswith("text_") for name in learning)


def test_samples_without_prompt_teach_the_pooled_prompt(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    steps, learning = asked_in(dataclasses.replace(batch, automatic=True), monkeypatch, 24, automatic=True)
    first = [asked[0] for asked in steps]
    assert all(one.automatic and one.clicks is None and one.boxes is None for one in first)
    assert 0 < sum(one.masks is not None for one in first) < 24
    assert all(not one.automatic and one.clicks is not None for asked in steps for one in asked[1:])
    assert any(len(asked) > 1 for asked in steps)
    assert {"prompt_pool.query", "prompt_pool.attn.in_proj_weight", "prompt_pool.pos_proj.weight"} <= learning


def samples(**counts: int) -> list[Sample]:
    empty = np.packbits(np.zeros(4, bool))
    one = partial(Sample, "e", empty, 2, (2, 2), case="case", dataset="set")
    return [one(name) for name, count in counts.items() for _ in range(count)]


def test_a_structure_is_drawn_as_often_as_the_root_of_its_samples() -> None:
    weights = fair_weights(samples(rare=4, common=64))
    assert weights[:4].sum() == pytest.approx(2 / (2 + 8))
    assert weights.sum() == pytest.approx(1)


def test_none_comes_twice_before_all_came_once_and_sorts_are_never_mixed() -> None:
    some = samples(rare=4, common=16)
    some += [dataclasses.replace(sample, automatic=True) for sample in some]
    order = epoch_order(some, batch=5, steps=8, seed=0, epoch=1)
    assert len(order) == 8
    assert all(len({some[index].automatic for index in one}) == 1 for one in order)
    drawn = [index for one in order for index in one]
    assert len(set(drawn)) == len(drawn) >= 36  # a step at the border of the two sorts may be short
    assert order == epoch_order(some, batch=5, steps=8, seed=0, epoch=1)
    assert order != epoch_order(some, batch=5, steps=8, seed=0, epoch=2)
    assert len(epoch_order(some, batch=1, steps=100, seed=0, epoch=1)) == 100
