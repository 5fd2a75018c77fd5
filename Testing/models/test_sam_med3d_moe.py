"""A mixture answers as its base unless the gate is sure, whatever is on its shelf."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from moe_tools import TINY, mixture, prompt_for, say, slice_base, specialist, specialist_state, tiny_base
from torch import Tensor, nn

from MoESegLib.core.errors import PromptError, UnknownModelError, WeightsError
from MoESegLib.models import build_model
from MoESegLib.models.sam_med3d_moe.gate import Gate
from MoESegLib.models.sam_med3d_moe.mixture import SamMed3DMoE
from MoESegLib.models.sam_med3d_moe.selector import GENERAL
from MoESegLib.models.sam_med3d_moe.shelf import Shelf, Specialist

BASES = [tiny_base, slice_base]


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.inference_mode():
        yield


def answer_of_base(base: Any, prompt: dict[str, Tensor]) -> Tensor:
    return base.mask_decoder(**prompt, multimask_output=False)[0]


@pytest.mark.parametrize("make", BASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_below_tau_the_answer_is_the_base_s_to_the_last_bit(make: Callable[[], nn.Module], dtype: torch.dtype) -> None:
    base = make()
    prompt = {name: tensor.to(dtype) for name, tensor in prompt_for(base).items()}
    base.to(dtype)
    expected = answer_of_base(base, prompt).clone()
    for fusion in ("weighted", "mean", "replace", "max"):
        moe = mixture(base, fusion=fusion).to(dtype)
        for log_odds in (-3.0, -0.01, 0.0, 0.8):
            say(moe.gate, a=log_odds)
            moe.tau = 0.7
            answer = moe(**prompt)
            assert answer.choice.expert is None
            assert answer.special is None and answer.overlap is None
            assert answer.logits.dtype == dtype
            assert torch.equal(answer.logits, expected)


@pytest.mark.parametrize("make", BASES)
def test_above_tau_the_best_specialist_is_fused_with_the_general_decoder(make: Callable[[], nn.Module]) -> None:
    base = make()
    prompt = prompt_for(base)
    moe = mixture(base)
    say(moe.gate, a=0.5, b=2.0)
    special = moe.specialists.decoder("b")(**prompt, multimask_output=False)[0]
    general = answer_of_base(base, prompt)
    w = 1 / (1 + 2.718281828459045**-2.0)
    expected = {
        "weighted": w * special + (1 - w) * general,
        "mean": (special + general) / 2,
        "replace": special,
        "max": torch.where(special > general, special, general),
    }
    for fusion, logits in expected.items():
        moe.fusion = fusion  # type: ignore[assignment]
        answer = moe(**prompt)
        assert answer.choice.expert == "b"
        assert answer.choice.weight == pytest.approx(w)
        assert torch.allclose(answer.logits, logits, atol=1e-5)
        assert torch.equal(answer.general, general)
        assert torch.equal(answer.special, special)


def test_the_overlap_of_both_masks_is_their_dice() -> None:
    base = tiny_base()
    moe = mixture(base)
    say(moe.gate, a=5.0)
    answer = moe(**prompt_for(base))
    general, special = answer.general > 0, answer.special > 0
    assert 0 < answer.overlap < 1
    assert answer.overlap == pytest.approx(float(2 * (general & special).sum() / (general.sum() + special.sum())))


def test_a_gate_that_was_not_taught_answers_as_the_base_even_with_a_low_tau() -> None:
    base = tiny_base()
    prompt = prompt_for(base)
    assert torch.equal(mixture(base, tau=0.1)(**prompt).logits, answer_of_base(base, prompt))


def test_without_specialists_it_is_the_base() -> None:
    base = tiny_base()
    prompt = prompt_for(base)
    assert torch.equal(mixture(base, names=())(**prompt).logits, answer_of_base(base, prompt))


def test_one_specialist_is_enough_and_can_be_rejected() -> None:
    base = tiny_base()
    moe = mixture(base, names=("only",))
    say(moe.gate, only=-1.0)
    assert moe(**prompt_for(base)).choice.expert is None
    say(moe.gate, only=1.0)
    assert moe(**prompt_for(base)).choice.expert == "only"


def test_a_further_specialist_changes_no_answer_that_goes_elsewhere() -> None:
    base = tiny_base()
    torch.manual_seed(3)
    gate = Gate(48, ("a", "b"))
    for row in gate.rows.values():
        nn.init.normal_(row.weight)
    moe = mixture(base, gate=gate)
    prompts = [prompt_for(base, (4.0, 8.0, float(k)), seed=k) for k in range(12)]
    before = [moe(**prompt) for prompt in prompts]
    assert {answer.choice.expert for answer in before} == {None, "a", "b"}
    moe.gate.add("new")
    moe.specialists.put(specialist(base, "new", seed=9))
    after = [moe(**prompt) for prompt in prompts]
    nn.init.normal_(moe.gate.rows["new"].weight, std=1.5)  # as taught on something else
    taught = [moe(**prompt) for prompt in prompts]
    for first, second, third in zip(before, after, taught, strict=True):
        assert torch.equal(first.logits, second.logits)
        assert third.choice.expert == "new" or torch.equal(first.logits, third.logits)
    assert 0 < sum(answer.choice.expert == "new" for answer in taught) < len(prompts)


def test_no_tensor_of_the_base_changes_or_is_copied() -> None:
    base = tiny_base()
    tensors = {key: value.data_ptr() for key, value in base.state_dict().items()}
    before = hash_of(base)
    moe = mixture(base)
    say(moe.gate, a=3.0)
    moe(**prompt_for(base))
    assert hash_of(base) == before
    found = {key: value.data_ptr() for key, value in moe.state_dict().items() if not key.startswith("gate.")}
    assert found == tensors


def hash_of(network: nn.Module) -> str:
    return hashlib.sha256(b"".join(value.numpy().tobytes() for value in network.state_dict().values())).hexdigest()


@pytest.mark.parametrize("make", BASES)
def test_the_specialist_that_answered_first_stays_with_a_weight_of_tau_at_least(make: Callable[[], nn.Module]) -> None:
    base = make()
    moe = mixture(base)
    prompt = prompt_for(base)
    say(moe.gate, a=1.0)
    first = moe(**prompt).choice
    assert (first.expert, first.kept, first.answered_by) == ("a", False, "a")
    for a, b, weight in [(0.3, 5.0, 0.574), (-0.5, -0.4, 0.5), (-30.0, 30.0, 0.5)]:
        say(moe.gate, a=a, b=b)
        answer = moe(**prompt, kept=first.answered_by)
        assert (answer.choice.expert, answer.choice.kept) == ("a", True)
        assert answer.choice.weight == pytest.approx(weight, abs=1e-3)
        fused = torch.lerp(answer.general, answer.special, answer.choice.weight)
        assert torch.allclose(answer.logits, fused, atol=1e-5)


@pytest.mark.parametrize("make", BASES)
def test_the_general_decoder_that_answered_first_stays_to_the_last_bit(make: Callable[[], nn.Module]) -> None:
    base = make()
    moe = mixture(base)
    prompt = prompt_for(base)
    say(moe.gate, a=-1.0)
    first = moe(**prompt).choice
    assert (first.expert, first.answered_by) == (None, GENERAL)
    say(moe.gate, a=30.0)
    answer = moe(**prompt, kept=first.answered_by)
    assert (answer.choice.expert, answer.choice.kept, answer.special) == (None, True, None)
    assert torch.equal(answer.logits, answer_of_base(base, prompt))
    assert moe(**prompt).choice.expert == "a"
    assert moe(**prompt, kept=GENERAL, asked="a").choice.expert == "a"


def test_tau_one_switches_the_specialists_off_at_once() -> None:
    base = tiny_base()
    moe = mixture(base)
    say(moe.gate, a=30.0)
    assert moe(**prompt_for(base)).choice.expert == "a"
    moe.tau = 1
    assert moe(**prompt_for(base), kept="a").choice.expert is None


@pytest.mark.parametrize("tau", [-0.01, 1.01, float("nan"), float("inf")])
def test_a_tau_out_of_range_is_refused(tau: float) -> None:
    base = tiny_base()
    moe = mixture(base)
    with pytest.raises(PromptError, match="tau is .* from 0 .* to 1"):
        moe.tau = tau
    assert moe.tau == 0.5
    with pytest.raises(PromptError, match="tau"):
        mixture(base, tau=tau)


def test_an_unknown_fusion_is_refused_by_name() -> None:
    with pytest.raises(PromptError, match="'sum'; known are weighted, mean, replace, max"):
        mixture(tiny_base(), fusion="sum")


def test_a_specialist_is_read_once_when_it_is_first_asked() -> None:
    base = tiny_base()
    reads = []

    def read(name: str) -> dict[str, Tensor]:
        reads.append(name)
        return specialist_state(base, 1)

    moe = SamMed3DMoE(base, [Specialist(name, lambda name=name: read(name)) for name in ("a", "b")])
    say(moe.gate, a=-1.0)
    moe(**prompt_for(base))
    assert reads == []
    say(moe.gate, b=1.0)
    moe(**prompt_for(base))
    moe(**prompt_for(base))
    assert reads == ["b"]


def test_memory_stays_within_its_budget_and_the_ones_used_last_stay() -> None:
    base: Any = tiny_base()
    names = [f"s{number}" for number in range(30)]
    size = sum(4 * value.numel() for value in base.mask_decoder.state_dict().values())
    shelf = Shelf(base.mask_decoder, [specialist(base, name) for name in names], budget=3 * size)
    for name in names:
        shelf.decoder(name)
        assert shelf.bytes_in_memory <= shelf.budget
    assert shelf.in_memory == ("s27", "s28", "s29")
    shelf.decoder("s27")
    shelf.decoder("s0")
    assert shelf.in_memory == ("s29", "s27", "s0")
    shelf.budget = 1
    shelf.decoder("s5")
    assert shelf.in_memory == ("s5",)


def test_a_specialist_follows_the_type_of_its_base() -> None:
    base = tiny_base()
    moe = mixture(base)
    say(moe.gate, a=3.0)
    moe(**prompt_for(base))
    moe.double()
    answer = moe(**prompt_for(base))
    assert answer.special is not None and answer.special.dtype == answer.logits.dtype == torch.float64


def test_a_half_precision_file_serves_a_float32_base() -> None:
    base = tiny_base()
    moe = SamMed3DMoE(base, [Specialist("a", lambda: {k: v.half() for k, v in specialist_state(base, 1).items()})])
    say(moe.gate, a=3.0)
    assert moe(**prompt_for(base)).logits.dtype == torch.float32


def test_a_specialist_of_another_form_is_refused_with_the_tensor_that_differs() -> None:
    base = tiny_base()
    state = specialist_state(base, 1)
    state["iou_token.weight"] = torch.zeros(1, 96)
    del state["mask_tokens.weight"]
    moe = SamMed3DMoE(base, [Specialist("a", lambda: state)])
    say(moe.gate, a=3.0)
    with pytest.raises(WeightsError, match=r"a does not fit this base: .*mask_tokens.*iou_token"):
        moe(**prompt_for(base))
    assert moe.specialists.in_memory == ()


def test_an_unknown_specialist_is_refused_with_those_there_are() -> None:
    with pytest.raises(UnknownModelError, match="'c' here; known are a, b"):
        mixture(tiny_base()).specialists.decoder("c")


def test_in_place_of_one_that_left_the_shelf_the_gate_is_asked() -> None:
    base = tiny_base()
    moe = mixture(base)
    say(moe.gate, a=3.0, b=1.0)
    moe.specialists.remove("a")
    choice = moe(**prompt_for(base), kept="a").choice
    assert (choice.expert, choice.kept) == ("b", False)
    say(moe.gate, a=3.0, b=-1.0)
    assert moe(**prompt_for(base), kept="a").choice.expert is None


def test_it_is_built_by_name_with_a_gate_and_tau() -> None:
    moe: Any = build_model("sam_med3d_moe", experts=["organ", "brain"], **TINY)
    assert moe.gate.experts == ("organ", "brain")
    assert moe.tau == 0.5
    base: Any = build_model("sam_med3d", **TINY)
    assert [key for key in moe.state_dict() if not key.startswith("gate.")] == list(base.state_dict())
    say(moe.gate, organ=3.0)
    answer = moe(**prompt_for(moe))
    assert torch.equal(answer.special, answer.general)


def test_it_is_built_over_slices_too() -> None:
    moe: Any = build_model("sam_med3d_moe", experts=["liver"], backbone="lite_medsam")
    say(moe.gate, liver=3.0)
    assert moe(**prompt_for(moe, (100.0, 40.0))).logits.shape == (1, 1, 256, 256)
