"""The gate of SAM-Med3D-MoE over the real LiteMedSAM, by the lines of the documentation."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from MoESegLib.core.errors import WeightsError
from MoESegLib.experts.specialist_gate import load_mixture
from MoESegLib.training.gate3d import dice_of

pytestmark = pytest.mark.weights

PAGE = Path(__file__).resolve().parents[2] / "docs" / "sam-med3d-moe.md"
_BLOCK = re.compile(r"## The same gate over a model of slices.*?```python\n(.*?)```", re.DOTALL)


@pytest.fixture(scope="module")
def example(lite_medsam_path: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the example of the documentation leaves behind."""
    found = _BLOCK.search(PAGE.read_text("utf-8"))
    assert found is not None
    names: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng(devices=[]):
        patch.chdir(tmp_path_factory.mktemp("example"))
        torch.manual_seed(0)
        exec(compile(found[1], str(PAGE), "exec"), names)
        names["again"].specialists.decoder("t12")  # read while the folder is the current one
    return names


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.inference_mode():
        yield


def dice(logits: torch.Tensor, case: Any) -> float:
    return float(dice_of(logits[:, 0], case.target[None]))


def test_the_gate_asks_the_specialist_for_what_it_was_taught_and_nobody_else(example: dict[str, Any]) -> None:
    assert [answer.choice.expert for answer in example["answers"]] == ["t12", None, None, None]
    assert 0 < example["moe"].tau < 1


def test_where_the_gate_asks_nobody_litemedsam_answers_to_the_last_bit(example: dict[str, Any]) -> None:
    moe, base = example["moe"], example["base"]
    for case, answer in zip(example["unseen"], example["answers"], strict=True):
        alone = base.mask_decoder(**example["asked"](case), multimask_output=False)[0]
        assert torch.equal(answer.general, alone)
        assert torch.equal(answer.logits, alone) == (answer.choice.expert is None)
    [vertebra, *_], tau = example["unseen"], moe.tau
    moe.tau = example["answers"][0].choice.weight
    assert torch.equal(moe(**example["asked"](vertebra)).logits, example["answers"][0].general)
    moe.tau = tau


def test_whoever_answered_the_first_prompt_of_a_target_stays(example: dict[str, Any]) -> None:
    moe, [vertebra, *others] = example["moe"], example["answers"]
    for case, first in zip(example["unseen"][1:], others, strict=True):
        assert moe(**example["asked"](case), kept=vertebra.choice.answered_by).choice.expert == "t12"
        again = moe(**example["asked"](example["unseen"][0]), kept=first.choice.answered_by)
        assert again.choice.expert is None and torch.equal(again.logits, vertebra.general)


def test_the_fused_mask_is_better_than_the_base_on_a_slice_that_nobody_was_taught(example: dict[str, Any]) -> None:
    case, answer = example["unseen"][0], example["answers"][0]
    w = answer.choice.weight
    assert torch.allclose(answer.logits, w * answer.special + (1 - w) * answer.general, atol=1e-4)
    general, fused = dice(answer.general, case), dice(answer.logits, case)
    print(f"Dice of the vertebra: {general:.2f} by LiteMedSAM, {fused:.2f} by the mixture, tau {example['moe'].tau:g}")
    assert fused > general + 0.05


def test_specialist_and_gate_answer_from_their_files_as_before(example: dict[str, Any]) -> None:
    again = example["again"]
    assert (again.tau, again.fusion) == (example["moe"].tau, example["moe"].fusion)
    for case, answer in zip(example["unseen"], example["answers"], strict=True):
        assert torch.equal(again(**example["asked"](case)).logits, answer.logits)


def test_they_are_refused_on_another_base(example: dict[str, Any], tmp_path: Path) -> None:
    from MoESegLib.experts.specialist_gate import write_gate

    gate = tmp_path / "vertebrae.safetensors"
    write_gate(gate, example["moe"].gate, example["gate_card"])
    with pytest.raises(WeightsError, match="taught on lite-medsam"):
        load_mixture(example["base"], "b" * 64, gate, [])
