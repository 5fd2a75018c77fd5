"""A new tumor is added without changing any answer to the others."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from mast_pro_tools import batch_for, small_network
from torch import Tensor

from MoESegLib.core.errors import TrainingError, WeightsError
from MoESegLib.models import build_model
from MoESegLib.models.mast_pro import (
    MastPro,
    adapt_to,
    apply_delta,
    base_sha256,
    delta_state,
    trainable_parameters,
)
from MoESegLib.models.mast_pro.adapt import remove

NEW = "brain-tumor"


def scramble(network: MastPro) -> None:
    """As if the new parts had been trained, wildly."""
    with torch.no_grad():
        for _, parameter in trainable_parameters(network):
            parameter.normal_(std=2.0)


def numbers_of(network: MastPro, batch: dict[str, Tensor]) -> Iterator[Tensor]:
    """Everything that is answered, of old tumors."""
    output = network(**batch)
    yield from (output.logits, output.deep_logits, output.balance_loss)
    for routing in output.routing:
        yield from (routing.weights[:, :4], routing.chosen, routing.balance, routing.scores)


@pytest.mark.parametrize("top_k", [1, 2, 4])
@pytest.mark.parametrize("tumor", [[0, 1, 2], [2, 2, 2], [-1, -1, -1], None])
def test_old_tumors_are_answered_bit_identically(top_k: int, tumor: list[int] | None) -> None:
    network = small_network(top_k=top_k)
    batch = batch_for()
    batch = (
        {**batch, "tumor": torch.tensor(tumor)} if tumor else {name: batch[name] for name in batch if name != "tumor"}
    )
    with torch.inference_mode():
        before = list(numbers_of(network, batch))
    sha256 = base_sha256(network)
    for new in (NEW, "bone_tumor"):
        adapt_to(network, new)
        scramble(network)
    with torch.inference_mode():
        after = list(numbers_of(network, batch))
        assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
        assert all((routing.weights[:, 4:] == 0).all() for routing in network(**batch).routing)
    assert base_sha256(network) == sha256


@pytest.mark.parametrize("part", ["attention", "text", "anatomy"])
def test_old_tumors_are_answered_bit_identically_without_a_part_too(part: str) -> None:
    network, batch = small_network(**{part: False}), batch_for()
    with torch.inference_mode():
        before = list(numbers_of(network, batch))
    adapt_to(network, NEW)
    scramble(network)
    with torch.inference_mode():
        assert all(torch.equal(a, b) for a, b in zip(before, numbers_of(network, batch), strict=True))


@pytest.fixture
def one_thread() -> Iterator[None]:
    """With more, how a sum is split depends on the other rows of the batch, in the last bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
def test_old_tumors_stay_bit_identical_in_training_and_beside_a_new_one() -> None:
    network, batch = small_network(), batch_for()
    with torch.inference_mode():
        before = network(**batch).logits
    adapt_to(network, NEW)
    scramble(network)
    with torch.inference_mode():
        mixed = network(**{**batch, "tumor": network.tumor_numbers(["liver_tumor", "kidney_tumor", NEW])})
        assert torch.equal(mixed.logits[:2], before[:2])
        assert not torch.equal(mixed.logits[2], before[2])
        network.train()
        torch.manual_seed(3)
        noisy = network(**batch).logits
        scramble(network)
        torch.manual_seed(3)
        assert torch.equal(network(**batch).logits, noisy)


def test_a_new_tumor_begins_as_one_of_unknown_type_with_an_expert_that_does_nothing_yet() -> None:
    network, batch = small_network(), batch_for()
    adapt_to(network, NEW)
    output = network(**{**batch, "tumor": network.tumor_numbers([NEW] * 3)})
    for routing in output.routing:
        assert routing.experts == ("0", "1", "2", "3", NEW)
        assert (routing.chosen[:, 0] == 4).all() and routing.chosen.shape == (3, 2)
        assert torch.equal(routing.weights[:, 4], routing.weights.max(dim=1).values)
        assert ((routing.weights > 0).sum(dim=1) == 2).all()
    assert output.balance_loss == 0


def test_only_the_new_parts_are_trained_and_all_of_them() -> None:
    network = small_network()
    sha256 = base_sha256(network)
    adapt_to(network, "bone_tumor")
    bone = {key: value.clone() for key, value in delta_state(network, "bone_tumor").items()}
    adapt_to(network, NEW)
    optimizer = torch.optim.AdamW([value for _, value in trainable_parameters(network)], lr=0.1)
    network.train()
    for seed in range(3):
        batch = batch_for(seed=seed)
        optimizer.zero_grad()
        output = network(**{**batch, "tumor": network.tumor_numbers([NEW] * 3)})
        (output.logits.square().mean() + output.deep_logits.square().mean()).backward()
        optimizer.step()
    trained = dict(trainable_parameters(network))
    assert [name for name, value in trained.items() if value.grad is None or not value.grad.any()] == []
    assert set(trained) == set(delta_state(network, NEW))
    assert all(torch.equal(value, bone[key]) for key, value in delta_state(network, "bone_tumor").items())
    assert base_sha256(network) == sha256


def test_the_compact_network_trains_over_91_04_percent_fewer_parameters() -> None:
    network = build_model("mast_pro", tumors=[f"t{i}" for i in range(12)])
    full = sum(parameter.numel() for parameter in network.parameters())
    adaptation = adapt_to(network, NEW)
    assert adaptation.full == full
    assert adaptation.trainable == sum(value.numel() for _, value in trainable_parameters(network))
    assert 0.9104 <= adaptation.saved < 1
    assert f"{adaptation.trainable:,}" in str(adaptation) and f"{full:,}" in str(adaptation)
    assert adapt_to(network, "another").full == full


def test_a_delta_makes_the_same_answers_on_another_copy() -> None:
    network, copy, batch = small_network(), small_network(), batch_for()
    adapt_to(network, NEW)
    scramble(network)
    apply_delta(copy, NEW, delta_state(network, NEW))
    asked = {**batch, "tumor": network.tumor_numbers([NEW] * 3)}
    with torch.inference_mode():
        assert torch.equal(copy(**asked).logits, network(**asked).logits)
    assert not any(name.count(NEW) for name, _ in trainable_parameters(copy))


def test_a_delta_of_other_shapes_changes_nothing() -> None:
    wide, network = small_network(token_width=64), small_network()
    adapt_to(wide, NEW)
    keys = list(network.state_dict())
    with pytest.raises(WeightsError, match="parts of brain-tumor"):
        apply_delta(network, NEW, delta_state(wide, NEW))
    assert list(network.state_dict()) == keys and network.added == ()
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_a_removed_tumor_leaves_nothing() -> None:
    network = small_network()
    keys = list(network.state_dict())
    adapt_to(network, NEW)
    remove(network, NEW)
    assert list(network.state_dict()) == keys
    with pytest.raises(TrainingError, match="was not added"):
        remove(network, NEW)


@pytest.mark.parametrize("tumor", ["liver_tumor", "a.b", "", "keys", "0"])
def test_a_tumor_that_cannot_be_added_is_refused(tumor: str) -> None:
    with pytest.raises(TrainingError):
        adapt_to(small_network(), tumor)


def test_a_network_without_experts_cannot_be_adapted() -> None:
    with pytest.raises(TrainingError, match="without experts"):
        adapt_to(small_network(experts=False), NEW)
