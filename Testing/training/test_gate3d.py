"""A taught gate: the specialist at home, the base everywhere else, and nothing forgotten."""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass, replace

import pytest
import torch
from gate_toy import cases_of, toy_mixture
from torch import Tensor, nn

from MoESegLib.models.sam_med3d_moe.mixture import SamMed3DMoE
from MoESegLib.training.gate3d import (
    MAY_LOSE,
    GateCase,
    GateExamples,
    TauChoice,
    best_tau,
    choose_tau,
    dice_of,
    examples_of,
    mixture_dice,
    train_gate,
)


def hash_of(network: nn.Module) -> str:
    return hashlib.sha256(b"".join(value.numpy().tobytes() for value in network.state_dict().values())).hexdigest()


@dataclass(frozen=True, eq=False)
class Taught:
    """The toy after all stages; ``before`` and ``after`` are hashes of everything but the gate."""

    model: SamMed3DMoE
    cases: list[GateCase]
    test: GateExamples
    choice: TauChoice
    history: list[float]
    before: list[str]
    after: list[str]


def frozen_parts(model: SamMed3DMoE) -> list[str]:
    parts = (model.image_encoder, model.prompt_encoder, model.mask_decoder, model.specialists.decoder("shell"))
    return [hash_of(part) for part in parts]


@pytest.fixture(scope="module")
def taught() -> Taught:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # on networks this small more threads only wait for each other
    try:
        model = toy_mixture()
        before = frozen_parts(model)
        train, validation, test = (cases_of(model, number, seed) for number, seed in ((60, 20), (40, 30), (20, 40)))
        history = train_gate(model.gate, examples_of(model, train))
        choice = choose_tau(model.gate, examples_of(model, validation))
        model.tau = choice.tau
        return Taught(model, test, examples_of(model, test), choice, history, before, frozen_parts(model))
    finally:
        torch.set_num_threads(threads)


def at_home(examples: GateExamples) -> Tensor:
    return torch.tensor([home is not None for home in examples.homes])


def test_the_toy_has_two_families(taught: Taught) -> None:
    home, dice = at_home(taught.test), taught.test.dice
    assert dice[home, 1].mean() > dice[home, 0].mean() + 0.1
    assert dice[~home, 0].mean() > dice[~home, 1].mean() + 0.1


def test_the_mixture_is_within_a_point_of_the_better_one_in_both_families(taught: Taught) -> None:
    home, dice = at_home(taught.test), taught.test.dice
    found = mixture_dice(taught.model.gate, taught.test, taught.choice.tau)
    assert found[home].mean() >= dice[home].mean(dim=0).max() - 0.01
    assert found[~home].mean() >= dice[~home].mean(dim=0).max() - 0.01


def test_unrelated_validation_targets_lose_no_more_than_they_may(taught: Taught) -> None:
    choice = taught.choice
    assert 0.3 <= choice.tau < 1
    assert choice.unrelated is not None and choice.general_unrelated is not None
    assert choice.unrelated >= choice.general_unrelated - MAY_LOSE
    assert choice.in_task > choice.general_in_task + 0.1


def test_only_the_gate_was_trained(taught: Taught) -> None:
    assert taught.after == taught.before
    assert taught.history[-1] < taught.history[0]


def test_the_measured_dice_is_that_of_the_network(taught: Taught) -> None:
    pe = taught.model.prompt_encoder.get_dense_pe()  # type: ignore[operator]
    found = mixture_dice(taught.model.gate, taught.test, taught.choice.tau)
    seen = []
    for number in (0, 1, 20, 21):
        case = taught.cases[number]
        with torch.inference_mode():
            answer = taught.model(
                image_embeddings=case.image_embedding,
                image_pe=pe,
                sparse_prompt_embeddings=case.sparse,
                dense_prompt_embeddings=case.dense,
            )
        seen.append(answer.choice.expert)
        assert dice_of(answer.logits[:, 0], case.target[None])[0] == pytest.approx(float(found[number]), abs=0.01)
    assert seen == [None, None, "shell", "shell"]


def test_where_the_gate_is_not_sure_the_answer_is_the_base_s_to_the_last_bit(taught: Taught) -> None:
    model, case = taught.model, taught.cases[0]
    arguments = (case.image_embedding, model.prompt_encoder.get_dense_pe(), case.sparse, case.dense)  # type: ignore
    names = ("image_embeddings", "image_pe", "sparse_prompt_embeddings", "dense_prompt_embeddings")
    with torch.inference_mode():
        answer = model(**dict(zip(names, arguments, strict=True)))
        assert torch.equal(answer.logits, model.mask_decoder(*arguments, False)[0])


def test_a_specialist_that_is_added_and_taught_alone_changes_no_weight_of_another(taught: Taught) -> None:
    gate = copy.deepcopy(taught.model.gate)
    before = [gate.read(row[None], ("shell",)).weights["shell"] for row in taught.test.features]
    gate.add("solid")
    swapped = replace(
        taught.test,
        experts=("shell", "solid"),
        logits=taught.test.logits[:, [0, 0, 0]],
        dice=torch.cat([taught.test.dice, (~at_home(taught.test)).float()[:, None] * 1.5], dim=1),
        homes=tuple(home or "solid" for home in taught.test.homes),
    )
    train_gate(gate, swapped, only="solid")
    readings = [gate.read(row[None], gate.experts) for row in taught.test.features]
    assert [reading.weights["shell"] for reading in readings] == before
    first = sum(reading.weights["solid"] for reading in readings[:20])
    assert first > sum(reading.weights["solid"] for reading in readings[20:])


def told(weights: list[float], general: list[float], special: list[float], homes: str) -> TauChoice:
    """The threshold for these weights and Dice; "h" is at home, "u" unrelated."""
    numbers = (torch.tensor(values) for values in (weights, special, general))
    return best_tau(*numbers, at_home=[home == "h" for home in homes])


def test_tau_is_as_low_as_unrelated_targets_allow() -> None:
    choice = told([0.9, 0.62, 0.58, 0.4], [0.5, 0.5, 0.8, 0.8], [0.9, 0.9, 0.2, 0.79], "hhuu")
    assert choice.tau == 0.6
    assert choice.in_task == pytest.approx(0.9)
    assert choice.unrelated == choice.general_unrelated


def test_unrelated_targets_may_lose_a_fifth_of_a_point_and_no_more() -> None:
    weights, general = [0.5, 0.9], [0.5, 0.8]
    assert told(weights, general, [0.9, 0.7985], "hu").tau == 0.4
    assert told(weights, general, [0.9, 0.7975], "hu").tau == 1.0


def test_tau_lies_in_the_middle_of_what_is_as_good() -> None:
    assert told([0.81, 0.33], [0.5, 0.8], [0.9, 0.2], "hu").tau == 0.6


def test_where_every_threshold_harms_the_general_decoder_answers_alone() -> None:
    choice = told([0.9, 0.99], [0.5, 0.8], [0.9, 0.2], "hu")
    assert choice.tau == 1.0
    assert choice.in_task == choice.general_in_task
    assert told([0.9], [0.5], [0.4], "h").tau == 1.0


def test_without_unrelated_targets_only_the_gain_counts() -> None:
    choice = told([0.52, 0.72], [0.5, 0.5], [0.4, 0.9], "hh")
    assert (choice.tau, choice.in_task) == (0.65, pytest.approx(0.7))
    assert choice.unrelated is None


def test_the_right_class_is_the_specialist_that_was_taught_such_targets_whatever_its_answer() -> None:
    dice = torch.tensor([[0.5, 0.1, 0.9], [0.5, 0.6, 0.1], [0.02, 0.9, 0.9]])
    nothing = torch.zeros(3, 1)
    examples = GateExamples(("a", "b"), nothing, nothing, nothing, dice, ("a", "b", None))
    assert examples.labels.tolist() == [1, 2, 0]


def test_dice_is_measured_at_the_size_of_the_target() -> None:
    logits = torch.full((1, 2, 2, 2), -1.0)
    logits[0, 0] = 1.0
    target = torch.zeros(1, 4, 4, 4)
    target[0, :2] = 1
    assert dice_of(logits, target).tolist() == [1.0]
    assert dice_of(-torch.ones(1, 2, 2), torch.zeros(1, 2, 2)).tolist() == [1.0]
