"""A whole SAM-Med3D is trained: it learns, goes on where it stopped, and is measured on other patients."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from moe_tools import TINY

from MoESegLib.core.cancel import CancelToken
from MoESegLib.core.errors import Cancelled, TrainingError
from MoESegLib.engines.convert import MASK_LOGIT
from MoESegLib.models import build_model
from MoESegLib.models.sam_med3d import SamMed3DConfig
from MoESegLib.training import base3d
from MoESegLib.training.base3d import COMPACT, BaseData, BasePlan, BaseTraining, fresh_network, held_out_dice
from MoESegLib.training.crops3d import Target3D
from MoESegLib.training.rounds3d import (
    PADDING,
    Batch3D,
    clicked_dice,
    continued,
    corrected,
    first_question,
    train_rounds,
)

CONFIG = SamMed3DConfig(**TINY)  # type: ignore[arg-type]
SIZE, CELLS = CONFIG.image_size, CONFIG.mask_size


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Few synthetic volumes to measure on, and one thread, which is faster for a network this small."""
    monkeypatch.setattr(base3d, "HELD_OUT_SYNTHETIC", 2)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def ball(center: tuple[float, float, float], radius: float, patient: str = "p", dataset: str = "balls") -> Target3D:
    """A bright ball in noise, clicked in its middle."""
    places = np.indices((SIZE,) * 3).astype(float) - np.reshape(center, (3, 1, 1, 1))
    mask = np.linalg.norm(places, axis=0) < radius
    noise = np.random.default_rng(int(10 * radius)).normal(0, 0.3, mask.shape)
    click = tuple(int(round(place)) for place in center)
    return Target3D(
        (2.0 * mask + noise).astype(np.float16), mask.astype(np.uint8), click, "ball", "c", patient, dataset
    )  # type: ignore[arg-type]


def weights_of(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def silent(fraction: float, message: str) -> None:
    """Report nothing."""


class Interrupted(CancelToken):
    """Is cancelled at its n-th check."""

    def __init__(self, checks: int) -> None:
        super().__init__()
        self.left = checks

    def check(self) -> None:
        self.left -= 1
        if self.left < 0:
            self.cancel()
        super().check()


def training(folder: Path, plan: BasePlan, data: BaseData | None = None) -> BaseTraining:
    return BaseTraining(fresh_network(CONFIG, plan.seed), data or BaseData(), plan, folder / "checkpoint")


def test_every_part_learns_two_crops_by_heart() -> None:
    targets = [ball((6, 8, 7), 4.0), ball((9, 8, 8), 5.5)]
    batch, network = Batch3D.of(targets, CELLS), fresh_network(CONFIG, 0)
    before, untrained = weights_of(network), clicked_dice(network.eval(), batch, 1).mean()
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3)
    losses = []
    for step in range(45):
        optimizer.zero_grad()
        losses.append(train_rounds(network.train(), batch, [np.random.default_rng((step, row)) for row in range(2)]))
        optimizer.step()
    dice = clicked_dice(network.eval(), batch, 3)
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])
    assert dice[:, 0].min() > max(0.85, untrained + 0.3)
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    asleep = {"prompt_encoder.no_mask_embed.weight", "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"}
    assert asleep.isdisjoint(changed)  # there is always a mask prompt
    for part in ("image_encoder.patch_embed", "image_encoder.neck", "prompt_encoder.mask_downscaling", "mask_decoder"):
        assert any(name.startswith(part) for name in changed)


def test_targets_of_one_crop_are_learned_as_if_each_had_the_crop_alone() -> None:
    first = ball((6, 8, 7), 4.0)
    again = replace(first, click=(7, 8, 7))
    losses, gradients = [], []
    for each in (1, 2):
        network = fresh_network(CONFIG, 0)
        batch = Batch3D.of([first, again], CELLS, each)
        assert len(batch.pixels) == 2 // each
        losses.append(train_rounds(network, batch, [np.random.default_rng(row) for row in range(2)]))
        gradients.append(torch.cat([value.grad.flatten() for value in network.parameters() if value.grad is not None]))
    assert losses[0] == pytest.approx(losses[1], rel=0.01)
    assert torch.nn.functional.cosine_similarity(*gradients, dim=0) > 0.99
    assert gradients[0].norm() == pytest.approx(float(gradients[1].norm()), rel=0.05)


def test_a_resumed_run_gives_the_weights_of_an_undisturbed_one(tmp_path: Path) -> None:
    plan = BasePlan(steps=5, batch=1, warm_up=2, measure_every=100, synthetic=0.5)
    data = BaseData([ball((7, 8, 8), 4.0)], [ball((8, 8, 8), 5.0, "other")])
    whole = training(tmp_path / "whole", plan, data)
    whole.checkpoint.parent.mkdir()
    history = whole.run(silent, CancelToken())
    stopped = training(tmp_path, plan, data)
    with pytest.raises(Cancelled):
        stopped.run(silent, Interrupted(3))
    resumed = training(tmp_path, plan, data)
    assert resumed.run(silent, CancelToken())[-1]["dice"] == history[-1]["dice"]
    assert stopped.at.step == 3
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name]), name


def test_a_longer_plan_goes_on_and_another_run_begins_anew(tmp_path: Path) -> None:
    short = BasePlan(steps=1, batch=1)
    training(tmp_path, short).run(silent, CancelToken())
    longer = training(tmp_path, BasePlan(steps=2, minutes=60, batch=1))
    longer.run(silent, CancelToken())
    assert [line["step"] for line in longer.at.history] == [1, 2]
    other = training(tmp_path, BasePlan(steps=1, batch=1, seed=1))
    other.run(silent, CancelToken())
    assert [line["step"] for line in other.at.history] == [1]


def test_it_is_measured_on_patients_it_did_not_learn_from() -> None:
    seen, unseen = ball((7, 8, 8), 4.0), ball((8, 8, 8), 5.0, "other", "more")
    dice = held_out_dice(fresh_network(CONFIG, 0).eval(), BaseData([seen], [unseen]))
    assert sorted(dice) == ["more", "synthetic"]
    assert all(len(scores) == 3 and 0 <= min(scores) <= max(scores) <= 1 for scores in dice.values())
    with pytest.raises(TrainingError, match="p is both learned from and measured on"):
        BaseData([seen], [ball((8, 8, 8), 5.0)])


def test_a_plan_says_how_long() -> None:
    with pytest.raises(ValueError, match="how long"):
        BasePlan()


def test_a_correction_is_a_click_into_the_error_with_all_clicks_and_logits_before() -> None:
    batch = Batch3D.of([ball((8, 8, 8), 5.0)], CELLS)
    asked = first_question(batch)
    assert (asked.masks == 0).all() and asked.labels.tolist() == [[1]]
    nothing = torch.full((1, CELLS, CELLS, CELLS), -3.0)
    missed = corrected(asked, nothing, batch, None)
    assert missed.labels.tolist() == [[1, 1]]
    assert torch.equal(missed.masks[:, 0], nothing)
    assert batch.masks[(0, *missed.points[0, 1].int().tolist())] == 1
    everything = corrected(missed, -nothing, batch, [np.random.default_rng(0)])
    assert everything.labels.tolist() == [[1, 1, 0]]
    assert batch.masks[(0, *everything.points[0, 2].int().tolist())] == 0
    perfect = corrected(asked, 2 * batch.shares - 1 + 1e-3, batch, None)
    assert perfect.labels.tolist() == [[1, PADDING]]


def test_a_mask_to_go_on_with_is_known_on_one_side_and_undecided_beyond() -> None:
    batch = Batch3D.of([ball((8, 8, 8), 6.0)] * 8, CELLS)
    asked = continued(batch, [np.random.default_rng(seed) for seed in range(8)])
    for row in range(8):
        known = asked.masks[row, 0] != 0
        assert 0.2 < known.float().mean() < 0.8
        truth = batch.shares[row][known] >= 0.5
        assert torch.equal(asked.masks[row, 0][known] > 0, truth & (batch.shares[row][known] > 0.5))
        assert asked.masks.abs().max() == MASK_LOGIT
        place = tuple((batch.clicks[row, 0] * CELLS / SIZE).int().tolist())
        assert (asked.labels[row, 0] == 1) == bool(known[place])


def test_the_compact_network_has_the_keys_of_the_published_one_and_is_small() -> None:
    network = fresh_network(COMPACT, 0)
    published = build_model("sam_med3d", depth=COMPACT.depth, global_blocks=COMPACT.global_blocks[:1]).state_dict()
    assert set(network.state_dict()) == set(published)
    assert 2 * sum(value.numel() for value in network.state_dict().values()) < 8e6
    assert (COMPACT.image_size, COMPACT.mask_size) == (64, 32)
