"""The gate reads the place that was clicked, and its weights are what they are called."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from moe_tools import prompt_for, say, slice_base, tiny_base
from torch import Tensor, nn

from MoESegLib.core.errors import WeightsError
from MoESegLib.models import build_model
from MoESegLib.models.sam_med3d_moe.gate import Gate, gate_features
from MoESegLib.models.sam_med3d_moe.selector import GENERAL, GateReading, select


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.inference_mode():
        yield


def features_of(base: Any, embedding: Tensor, *clicks: tuple[float, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Mean embedding, embedding at the clicks and mean token, ``[C]`` each."""
    prompt = prompt_for(base, *clicks)
    padding = base.prompt_encoder.not_a_point_embed.weight
    features = gate_features(embedding, prompt["image_pe"], prompt["sparse_prompt_embeddings"], padding)
    mean, pooled, token = features[0].chunk(3)
    return mean, pooled, token


def test_in_a_volume_the_clicked_cell_is_read_in_spite_of_the_swapped_axes() -> None:
    torch.manual_seed(0)
    base: Any = build_model("sam_med3d", image_size=64, patch_size=8, width=48, depth=1, heads=4, global_blocks=(0,))
    cells = torch.eye(512)[:384].T.reshape(512, 384).T.reshape(1, 384, 8, 8, 8)  # channel c marks cell c
    for i, j, k in [(0, 3, 5), (5, 1, 7), (2, 4, 0), (4, 4, 4)]:
        _, pooled, _ = features_of(base, cells, (8.0 * i + 3.5, 8.0 * j + 3.5, 8.0 * k + 3.5))
        assert int(pooled.argmax()) == 64 * i + 8 * j + k
        assert pooled.max() > 0.5


def test_in_a_slice_the_clicked_cell_is_read_x_before_y() -> None:
    base: Any = slice_base()
    cells = torch.zeros(1, 256, 4, 4)
    cells[0, :16] = torch.eye(16).reshape(16, 4, 4)
    _, pooled, _ = features_of(base, cells, (8.0 + 16 * 3, 8.0 + 16 * 1))
    assert int(pooled.argmax()) == 4 * 1 + 3


def test_the_other_features_are_the_mean_embedding_and_the_mean_token_without_padding() -> None:
    base: Any = tiny_base()
    prompt = prompt_for(base, (2.0, 8.0, 9.0), (5.0, 4.0, 3.0))
    mean, _, token = features_of(base, prompt["image_embeddings"], (2.0, 8.0, 9.0), (5.0, 4.0, 3.0))
    assert torch.allclose(mean, prompt["image_embeddings"].flatten(2).mean(dim=2)[0], atol=1e-6)
    assert prompt["sparse_prompt_embeddings"].shape[1] == 3
    assert torch.allclose(token, prompt["sparse_prompt_embeddings"][0, :2].mean(dim=0), atol=1e-6)


def test_a_prompt_without_clicks_has_the_image_alone() -> None:
    base: Any = tiny_base()
    prompt = prompt_for(base)
    padding = base.prompt_encoder.not_a_point_embed.weight
    for tokens in (prompt["sparse_prompt_embeddings"][:, :0], padding[None]):
        features = gate_features(prompt["image_embeddings"], prompt["image_pe"], tokens, padding)
        assert features[0, :48].abs().max() > 0
        assert not features[0, 48:].any()


def test_pairwise_weights_do_not_push_each_other_below_tau() -> None:
    gate = Gate(48, ("a", "b"))
    say(gate, a=2.0, b=2.0)
    assert gate.read(torch.zeros(1, 144), ("a", "b")).weights["a"] == pytest.approx(0.8808, abs=1e-4)
    softmax = Gate(48, ("a", "b"), weighing="softmax")
    say(softmax, a=2.0, b=2.0)
    reading = softmax.read(torch.zeros(1, 144), ("a", "b"))
    assert reading.weights["a"] == pytest.approx(0.4683, abs=1e-4)
    assert not reading.general_leads
    assert select(reading, 0.5).expert is None


def test_with_one_specialist_pairwise_and_softmax_are_the_same() -> None:
    logits = torch.randn(5, 2)
    assert torch.allclose(Gate(48, ("a",)).weigh(logits), Gate(48, ("a",), weighing="softmax").weigh(logits), atol=1e-6)


def test_a_literal_gate_cannot_reject_and_needs_two_specialists() -> None:
    gate = Gate(48, ("a", "b"), weighing="literal")
    say(gate, a=-5.0, b=-9.0)
    assert select(gate.read(torch.zeros(1, 144), ("a", "b")), 0.5).expert == "a"
    with pytest.raises(WeightsError, match="two are the fewest"):
        Gate(48, ("a",), weighing="literal")


def test_general_is_a_class_that_can_win_below_any_tau() -> None:
    reading = GateReading({"a": 0.45}, general_leads=True)
    assert select(reading, 0.3).expert is None


def test_the_weight_must_exceed_tau() -> None:
    assert select(GateReading({"a": 0.5}, False), 0.5).expert is None
    assert select(GateReading({"a": 0.51}, False), 0.5).expert == "a"


def test_who_stays_needs_no_reading_that_speaks_for_it() -> None:
    reading = GateReading({"a": 0.1, "b": 0.9}, False)
    assert [select(reading, 0.5, kept).expert for kept in (None, "a", GENERAL, "gone")] == ["b", "a", None, "b"]
    assert [select(reading, 0.5, kept).weight for kept in (None, "a", GENERAL)] == [0.9, 0.5, 0.9]
    assert select(reading, 1.0, "a").expert is None
    assert select(GateReading({}, True), 0.5, "a").expert is None


@pytest.mark.parametrize("name", ["general", "a", "with.dot", "pop", ""])
def test_a_name_that_is_taken_or_cannot_be_a_row_is_refused(name: str) -> None:
    with pytest.raises(WeightsError, match="another name"):
        Gate(48, ("a", name))


def test_an_added_specialist_is_not_chosen_before_it_is_taught() -> None:
    torch.manual_seed(0)
    gate = Gate(48, ("a",))
    nn.init.normal_(gate.rows["general"].weight)
    gate.add("new")
    for _ in range(5):
        reading = gate.read(torch.randn(1, 144), ("a", "new"))
        assert reading.weights["new"] == pytest.approx(0.018, abs=1e-3)


def test_the_gate_of_the_released_width_has_a_third_of_a_million_parameters() -> None:
    assert sum(parameter.numel() for parameter in Gate(384, ("a", "b")).parameters()) == 295_939
