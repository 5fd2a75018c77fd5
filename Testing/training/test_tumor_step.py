"""One step of MAST-Pro: losses that do not give small lesions up, prompts that are withheld, balance over shapes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tumor_toy import ORGANS, TUMORS, ToySamples, toy_network

from MoESegLib.core.tumors import TumorBook
from MoESegLib.engines.anatomy3d import dense_channels
from MoESegLib.models.mast_pro import MastPro, adapt_to
from MoESegLib.models.mast_pro.dmoe import balance_loss
from MoESegLib.training.tumor_kinds import TUMORS as DRAWN
from MoESegLib.training.tumor_sources import REAL_SETS
from MoESegLib.training.tumor_step import (
    ANATOMY_DROPPED,
    FAMILIES,
    LIKELIEST_WEIGHT,
    TEXT_DROPPED,
    anatomy_channels,
    batch_of,
    family_loss,
    learn,
    lesion_loss,
    shared_balance,
)


@pytest.fixture(scope="module")
def book() -> TumorBook:
    return TumorBook.load()


@pytest.fixture
def network() -> MastPro:
    return toy_network()


def rng(number: int) -> np.random.Generator:
    return np.random.default_rng((3, number))


def drawn(count: int, is_slice: bool, **options) -> list:
    samples = ToySamples(**options)
    return [samples.draw(rng(number), is_slice) for number in range(count)]


def test_where_there_is_no_lesion_the_cross_entropy_counts_and_what_looks_most_like_one_counts_again() -> None:
    logits = torch.randn(2, 1, 4, 6, 6, requires_grad=True)
    target = torch.zeros(2, 1, 4, 6, 6)
    loss = lesion_loss(logits, target)
    likeliest = F.softplus(logits.flatten(1).amax(dim=1)).mean()  # a hundredth of 144 voxels
    torch.testing.assert_close(loss, F.binary_cross_entropy_with_logits(logits, target) + LIKELIEST_WEIGHT * likeliest)
    loss.backward()
    assert logits.grad is not None and torch.isfinite(logits.grad).all() and (logits.grad > 0).all()


def test_an_absent_lesion_beside_a_present_one_counts_by_its_share() -> None:
    logits, target = torch.randn(2, 1, 4, 6, 6), torch.zeros(2, 1, 4, 6, 6)
    target[0, :, 1:3, 2:4, 2:4] = 1
    both = lesion_loss(logits, target)
    apart = [lesion_loss(logits[row : row + 1], target[row : row + 1]) for row in (0, 1)]
    torch.testing.assert_close(both, torch.stack(apart).mean())


def test_the_coarse_mask_is_compared_with_the_share_of_lesion_in_its_cells() -> None:
    target = torch.zeros(1, 1, 5, 8, 8)
    target[..., 2:6, 2:6] = 1
    perfect = torch.where(F.adaptive_avg_pool3d(target, (3, 4, 4)) > 0.5, 9.0, -9.0)
    assert lesion_loss(perfect, target) < 0.05 < lesion_loss(-perfect, target)


def test_a_small_lesion_pulls_at_the_mask_even_when_it_is_empty() -> None:
    logits = torch.full((1, 1, 16, 16, 16), -8.0, requires_grad=True)
    target = torch.zeros(1, 1, 16, 16, 16)
    target[..., 4:6, 4:6, 4:6] = 1  # 1 of 512 voxels
    lesion_loss(logits, target).backward()
    assert logits.grad is not None
    inside = logits.grad[target > 0]
    assert inside.max() < -0.02  # cross-entropy alone would be 1 / 4096 here, and soft Dice less


def test_the_extra_weight_of_lesion_voxels_fades_over_the_run(network: MastPro, book: TumorBook) -> None:
    batch = batch_of(drawn(1, False), book, network)
    losses = [learn(network.eval(), [batch], warm_up=False, done=done) for done in (0.0, 0.5, 1.0)]
    assert losses[0] > losses[1] > losses[2]


def test_small_lesions_are_learned_by_heart(network: MastPro, book: TumorBook) -> None:
    groups = [batch_of(drawn(2, is_slice, radius=1.5), book, network) for is_slice in (True, False)]
    assert groups[1].target.mean() < 0.01
    optimizer = torch.optim.AdamW(network.parameters(), 5e-3)
    network.train()
    for _ in range(60):
        optimizer.zero_grad()
        learn(network, groups, warm_up=False)
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
    with torch.no_grad():
        for group in groups:
            found = group.ask(network.eval()).logits > 0
            overlap = 2 * (found & (group.target > 0)).sum() / (found.sum() + group.target.sum())
            assert overlap > 0.7


def test_prompts_are_withheld_as_often_as_they_should_and_text_never_where_the_answer_is_nothing(
    network: MastPro, book: TumorBook
) -> None:
    sources = [np.random.default_rng((1, number)) for number in range(400)]
    sample, absent = drawn(1, True)[0], drawn(1, True, absent=1.0)[0]
    batch = batch_of([sample] * 400, book, network, sources)
    silent = (batch.text == 0).all(dim=-1).all(dim=-1)
    assert torch.equal(silent, batch.tumor == -1)
    assert abs(float(silent.float().mean()) - TEXT_DROPPED) < 0.04
    bare = ~batch.organs.flatten(1).any(dim=1)
    assert torch.equal(bare, (batch.anatomy == 0).flatten(1).all(dim=1))
    assert abs(float(bare.float().mean()) - ANATOMY_DROPPED) < 0.06
    assert (batch_of([absent] * 400, book, network, sources).tumor >= 0).all()


def test_an_added_tumor_always_comes_with_its_number(network: MastPro, book: TumorBook) -> None:
    adapt_to(network, "brain_tumor")
    sample = dataclasses.replace(drawn(1, True)[0], tumor="brain_tumor")
    sources = [np.random.default_rng((1, number)) for number in range(60)]
    batch = batch_of([sample] * 60, book, network, sources)
    assert (batch.tumor == len(TUMORS)).all() and batch.text.flatten(1).any(dim=1).all()
    assert learn(network, [batch], warm_up=False) > 0


def test_what_is_withheld_from_all_is_withheld(network: MastPro, book: TumorBook) -> None:
    samples = drawn(3, False)
    full = batch_of(samples, book, network)
    assert full.tumor.tolist() == [TUMORS.index(sample.tumor) for sample in samples]
    mute = batch_of(samples, book, network, text=False)
    assert not mute.text.any() and (mute.tumor == -1).all() and torch.equal(mute.anatomy, full.anatomy)
    bare = batch_of(samples, book, network, anatomy=False)
    assert not bare.anatomy.any() and not bare.organs.any() and torch.equal(bare.text, full.text)


def test_anatomy_is_that_of_the_tumor_that_is_asked_for(book: TumorBook) -> None:
    organs = np.zeros((6, 8, 8), np.uint8)
    organs[:, :4], organs[:, 4:] = ORGANS["liver"], ORGANS["kidney"]
    record = book.find("liver tumor").record
    expected = dense_channels(organs == ORGANS["liver"], (2.0, 2.0, 2.0))
    np.testing.assert_array_equal(anatomy_channels(organs, record, (2.0, 2.0, 2.0)), expected)
    assert not anatomy_channels(np.zeros_like(organs), record, (2.0, 2.0, 2.0)).any()


def test_balance_over_two_shapes_is_that_of_one_batch(network: MastPro, book: TumorBook) -> None:
    whole = batch_of(drawn(4, False), book, network).ask(network)
    parts = [batch_of(drawn(4, False)[start : start + 2], book, network).ask(network) for start in (0, 2)]
    joined = shared_balance([part.routing for part in parts], network.config.top_k)
    torch.testing.assert_close(joined, balance_loss(whole.routing, network.config.top_k), rtol=1e-3, atol=1e-5)
    alone = batch_of(drawn(1, False), book, network).ask(network)
    assert shared_balance([alone.routing], network.config.top_k) == 0


def test_the_router_learns_which_expert_serves_which_family(network: MastPro, book: TumorBook) -> None:
    batch = batch_of(drawn(8, True), book, network)
    assert {0, 1} == set(batch.tumor.tolist())
    optimizer = torch.optim.AdamW(network.parameters(), 1e-2)
    losses = []
    for _ in range(15):
        optimizer.zero_grad()
        loss = family_loss(batch.ask(network).routing, batch.tumor, network)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]
    nobody = torch.full_like(batch.tumor, -1)
    assert family_loss(batch.ask(network).routing, nobody, network) == 0


def test_every_tumor_that_is_taught_has_a_family() -> None:
    members = [name for family in FAMILIES for name in family]
    assert len(members) == len(set(members))
    assert {kind.name for kind in DRAWN} | set(REAL_SETS.values()) <= set(members)
