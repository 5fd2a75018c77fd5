"""SAM-Med3D-MoE as an engine: the general answer to the last bit, or a specialist's beside it, and the reason told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fakes import blob_volume
from fakes3d import at, field_volume
from moe_tools import (
    INSTALLED,
    SHA,
    card_for,
    gate_for,
    install_base,
    install_mixture,
    specialist_state,
)

from MoESegLib import Session
from MoESegLib.core.errors import PromptError, UnknownModelError, WeightsError, WeightsMissingError
from MoESegLib.core.results import Prediction
from MoESegLib.core.volume import Volume
from MoESegLib.engines import load_engine
from MoESegLib.engines.protocol import Context
from MoESegLib.engines.protocol3d import CropPrompt
from MoESegLib.engines.registry import engine_names
from MoESegLib.engines.sam_med3d_moe import specialist_in
from MoESegLib.experts.card_rules import BaseModel
from MoESegLib.experts.gate_store import find_gate, gates_home, import_gate, list_gates, remove_gate
from MoESegLib.experts.gate_store import gate_for as stored_gate_for
from MoESegLib.experts.specialist_gate import write_gate
from MoESegLib.experts.specialist_store import find_specialist, install_specialist, remove_specialist, specialists_home
from MoESegLib.weights.store import owner_of, state_of

CLICKS = at(np.array([18.0, 15.0, 20.0])), at(np.array([12.0, 18.0, 15.0])), at(np.array([20.0, 20.0, 12.0]), False)
EMBEDDING = {"image": torch.randn(1, 48, 4, 4, 4, generator=torch.Generator().manual_seed(3))}


@pytest.fixture(scope="module")
def volume() -> Volume:
    grain = np.random.default_rng(0)
    return field_volume((22, 22, 22), np.diag([1.5, 1.5, 1.5, 1.0]), lambda points: grain.normal(100, 30, (22, 22, 22)))


@pytest.fixture
def base(nothing_shipped: Path, tmp_path: Path) -> Any:
    """A tiny base with the specialist "cord" and a gate that gives it 88 % everywhere (threshold 65 %)."""
    return install_mixture(tmp_path)


def engine_of(**options: Any) -> Any:
    return load_engine("sam-med3d-moe", runtime="torch", **options)


def answered(engine: Any, volume: Volume, clicks: int = 1, **context: Any) -> Prediction:
    prompts = CLICKS[:clicks]
    engine.check(volume, prompts, "volume")
    return engine.predict(volume, prompts, Context("volume", **context))


def voxels(prediction: Any, volume: Volume) -> np.ndarray:
    return prediction.patch.to_array(volume.shape)


def one_click(expert: str | None = None, held: str | None = None) -> CropPrompt:
    return CropPrompt(np.full((1, 3), 8, np.float32), np.ones(1, np.int64), expert=expert, held=held)


@pytest.mark.parametrize("clicks", [1, 2, 3])
def test_below_tau_the_answer_is_the_base_to_the_last_bit(base: Any, volume: Volume, clicks: int) -> None:
    alone, moe = load_engine("sam-med3d", runtime="torch"), engine_of(tau=0.9)
    expected, found = answered(alone, volume, clicks), answered(moe, volume, clicks)
    assert expected.patch.count > 0
    assert np.array_equal(voxels(found, volume), voxels(expected, volume))
    assert np.array_equal(found.probability.percent, expected.probability.percent)
    assert (found.expert, found.alternatives) == ("base", ())
    [logits] = alone.model.decode(EMBEDDING, one_click())
    [same] = moe.model.decode(EMBEDDING, one_click())
    assert logits.logits.tobytes() == same.logits.tobytes()
    asked = "The general model answers alone: the gate gives cord 88 % (threshold tau 90 %)."
    assert (asked if clicks == 1 else "The general model stays since the first click.") in found.notes


def test_above_tau_both_masks_are_joined_and_can_be_looked_at(base: Any, volume: Volume) -> None:
    model = engine_of().model
    joined, general, special = model.decode(EMBEDDING, one_click())
    assert [answer.expert for answer in (joined, general, special)] == ["base + cord", "base", "cord"]
    weight = joined.gate_weight
    assert weight == special.gate_weight == pytest.approx(1 / (1 + np.exp(-2)))
    assert general.gate_weight is None
    mixed = weight * special.logits + (1 - weight) * general.logits
    assert np.allclose(joined.logits, mixed, atol=1e-5)
    assert not np.allclose(general.logits, special.logits, atol=0.01)
    result = answered(engine_of(), volume)
    assert (result.expert, [other.expert for other in result.alternatives]) == ("base + cord", ["base", "cord"])
    assert result.gate_weight == pytest.approx(weight)
    numbers = "the gate gives cord 88 % (threshold tau 65 %)"
    assert f"The specialist cord answers together with the general model: {numbers}." in result.notes


def test_the_note_tells_how_much_the_masks_overlap(base: Any) -> None:
    model = engine_of().model
    joined, general, special = model.decode(EMBEDDING, one_click())
    a, b = general.logits > 0, special.logits > 0
    dice = 2 * int((a & b).sum()) / int(a.sum() + b.sum())
    [told] = [note for note in joined.notes if "overlap" in note]
    assert f"a Dice of {dice:.2f}" in told
    assert ("look at both" in told) == (dice < 0.7)


def test_the_specialist_alone_is_the_first_answer_of_replace(base: Any) -> None:
    special, general = engine_of(fusion="replace").model.decode(EMBEDDING, one_click())
    assert (special.expert, general.expert) == ("cord", "base")
    assert np.array_equal(special.logits, engine_of().model.decode(EMBEDDING, one_click("cord"))[0].logits)


@pytest.mark.parametrize(("tau", "asked"), [(0.9, False), (0.65, True)])
def test_who_is_asked_by_name_answers_whatever_the_gate_says(base: Any, tau: float, asked: bool) -> None:
    model = engine_of(tau=tau).model
    assert model.experts == ("base", "cord")
    for name in ("base", "cord", "base + cord"):
        answers = model.decode(EMBEDDING, one_click(name))
        assert answers[0].expert == name
        assert answers[0].notes[0] == "The answer was chosen by hand."
        assert len(answers) == (1 if name == "base" and not asked else 3)
    with pytest.raises(PromptError, match="no expert 'heart'; it has base, cord"):
        model.decode(EMBEDDING, one_click("heart"))


def test_a_forced_expert_answers_in_a_session_and_goes_with_undo(base: Any, volume: Volume) -> None:
    with Session(volume, engine_of(), extent="volume") as session:
        session.add(CLICKS[0])
        segment = session.segments[0]
        fused = session.mask(segment)
        session.choose_expert(segment, "base")
        assert session.result(segment).expert == "base"
        general = session.mask(segment)
        session.choose_expert(segment, "cord")
        assert session.result(segment).expert == "cord"
        assert not np.array_equal(session.mask(segment), general)
        session.undo()
        session.undo()
        assert np.array_equal(session.mask(segment), fused)
    expected = answered(load_engine("sam-med3d", runtime="torch"), volume)
    assert np.array_equal(general, voxels(expected, volume))


def test_undo_and_redo_give_the_same_voxels(base: Any, volume: Volume) -> None:
    with Session(volume, engine_of(), extent="volume") as session:
        masks = []
        for click in CLICKS:
            session.add(click)
            masks.append(session.mask(session.segments[0]))
        assert len({mask.tobytes() for mask in masks}) == 3
        for expected in reversed(masks[:-1]):
            session.undo()
            assert np.array_equal(session.mask(session.segments[0]), expected)
        for expected in masks[1:]:
            session.redo()
            assert np.array_equal(session.mask(session.segments[0]), expected)
    with Session(volume, engine_of(), extent="volume") as again:
        for click in CLICKS:
            again.add(click)
        assert np.array_equal(again.mask(again.segments[0]), masks[-1])


@pytest.mark.parametrize("held", ["cord", "base + cord"])
def test_whoever_answered_the_first_click_is_kept_by_the_name_of_the_answer(base: Any, held: str) -> None:
    model = engine_of(tau=0.99).model
    joined, general, special = model.decode(EMBEDDING, one_click(held=held))
    assert [answer.expert for answer in (joined, general, special)] == ["base + cord", "base", "cord"]
    assert joined.gate_weight == pytest.approx(0.99)
    assert joined.notes[0].startswith("The specialist cord stays since the first click")
    [alone] = engine_of(tau=0.1).model.decode(EMBEDDING, one_click(held="base"))
    assert (alone.expert, alone.notes) == ("base", ("The general model stays since the first click.",))
    assert alone.logits.tobytes() == general.logits.tobytes()
    [off] = engine_of(tau=1).model.decode(EMBEDDING, one_click(held=held))
    assert off.expert == "base" and "answers alone" in off.notes[0]


def test_names_of_answers_tell_the_specialist() -> None:
    assert [specialist_in(name) for name in (None, "base", "cord", "base + cord")] == [None, None, "cord", "cord"]


def test_without_a_gate_it_is_the_base_and_says_so(home: Path, tmp_path: Path, volume: Volume) -> None:
    base, model = install_base(tmp_path)
    expected = answered(load_engine("sam-med3d", runtime="torch"), volume)
    found = answered(engine_of(), volume)
    assert np.array_equal(voxels(found, volume), voxels(expected, volume))
    assert any("No specialist has been taught" in note for note in found.notes)
    assert "The general model is SAM-Med3D (first release)." in found.notes
    install_specialist(specialist_state(base, 1), card_for(base=model))
    engine = engine_of(tau=0.1)
    found = answered(engine, volume)
    assert np.array_equal(voxels(found, volume), voxels(expected, volume))
    assert any("No gate has been taught for cord" in note for note in found.notes)
    special, general = engine.model.decode(EMBEDDING, one_click("cord"))
    assert (special.expert, special.gate_weight, general.expert) == ("cord", None, "base")


def test_what_decides_an_answer_is_in_the_key_of_the_cache(base: Any) -> None:
    ids = {engine_of(**options).model.decoder_id for options in ({}, {"tau": 0.5}, {"fusion": "max"}, {"experts": []})}
    install_specialist(specialist_state(base, 2), card_for("brain", base=find_specialist("cord").card.base))
    ids.add(engine_of().model.decoder_id)
    assert len(ids) == 5
    assert engine_of().model.encoder_id == load_engine("sam-med3d", runtime="torch").model.encoder_id


def test_specialists_and_gates_that_do_not_match_are_told(base: Any, volume: Volume) -> None:
    install_specialist(specialist_state(base, 2), card_for("brain", base=find_specialist("cord").card.base))
    assert any("The gate was not taught with brain" in note for note in answered(engine_of(), volume).notes)
    remove_specialist("cord")
    result = answered(engine_of(), volume)
    assert result.expert == "base"
    assert any("The gate was taught with cord, too" in note for note in result.notes)
    (specialists_home() / "half.safetensors").write_bytes(find_specialist("brain").path.read_bytes()[:500])
    assert any(
        "half was left out" in note and "whole specialist" in note for note in answered(engine_of(), volume).notes
    )


def test_specialists_are_taken_by_name_or_file(base: Any, tmp_path: Path) -> None:
    file = tmp_path / "elsewhere.safetensors"
    file.write_bytes(find_specialist("cord").path.read_bytes())
    assert engine_of(experts=["cord"]).model.experts == engine_of(experts=[file]).model.experts == ("base", "cord")
    assert engine_of(experts=[]).model.experts == ("base",)
    with pytest.raises(UnknownModelError, match="no specialist 'heart'"):
        engine_of(experts=["heart"])


def test_a_truncated_specialist_is_refused_when_it_is_asked_and_the_prompt_is_kept(base: Any, volume: Volume) -> None:
    path = find_specialist("cord").path
    path.write_bytes(path.read_bytes()[:-100])
    with Session(volume, engine_of(), extent="volume") as session:
        session.add(CLICKS[0])
        with pytest.raises(WeightsError, match="not a whole specialist"):
            session.result(session.segments[0])
        session.choose_expert(session.segments[0], "base")
        assert session.segments
    assert answered(engine_of(tau=0.9), volume).expert == "base"


def test_a_specialist_of_another_base_is_not_loaded_and_refused_by_file(base: Any, tmp_path: Path) -> None:
    install_specialist(specialist_state(base, 2), card_for("brain", base=BaseModel("sam-med3d-turbo", SHA)))
    assert engine_of().model.experts == ("base", "cord")
    with pytest.raises(WeightsError, match="brain .* was taught on sam-med3d-turbo"):
        engine_of(experts=[find_specialist("brain").path])


@pytest.mark.parametrize("tau", [-0.1, 1.5, float("nan")])
def test_a_threshold_out_of_range_is_refused(base: Any, tau: float) -> None:
    with pytest.raises(PromptError, match="from 0"):
        engine_of(tau=tau)


def test_options_that_do_not_belong_are_refused(base: Any) -> None:
    with pytest.raises(PromptError, match="cannot be fused by 'sum'"):
        engine_of(fusion="sum")
    with pytest.raises(WeightsError, match="no gate over specialists"):
        load_engine("sam-med3d", tau=0.5)
    with pytest.raises(WeightsError, match="without a window"):
        engine_of(window=(0, 100))


def test_a_single_slice_is_refused(base: Any) -> None:
    picture = blob_volume()
    flat = Volume(picture.array[:1], picture.ijk_to_ras, modality="MR")
    with pytest.raises(PromptError, match="this is a single slice"):
        engine_of().check(flat, [at(flat.to_ras((10, 10, 0)))], "slice")


def test_the_catalog_offers_the_best_base_that_is_here(nothing_shipped: Path, tmp_path: Path) -> None:
    assert {"sam-med3d", "sam-med3d-moe"} <= set(engine_names())
    assert state_of("sam-med3d-moe") == "missing"
    with pytest.raises(WeightsMissingError, match="moeseg models get sam-med3d-turbo"):
        engine_of()
    install_base(tmp_path)
    assert state_of("sam-med3d-moe") == state_of("sam-med3d") == "installed"
    assert owner_of("sam-med3d-moe").name == INSTALLED
    assert load_engine("sam-med3d", runtime="torch").name == INSTALLED


def test_of_several_gates_the_users_newest_is_used(base: Any, tmp_path: Path) -> None:
    card = find_specialist("cord").card
    gate, newer = gate_for(card, name="later", created="2026-12-01", tau=0.4)
    write_gate(tmp_path / "gate.safetensors", gate, newer)
    assert import_gate(tmp_path / "gate.safetensors").name == "later"
    assert [item.name for item in list_gates()] == ["later", "spine"]
    assert stored_gate_for(card.base.sha256).name == "later"
    assert stored_gate_for(SHA) is None
    assert engine_of().model.mixture.tau == 0.4
    assert remove_gate("later") > 0
    assert engine_of().model.mixture.tau == 0.65
    with pytest.raises(UnknownModelError, match="no gate 'later'. Known gates: spine"):
        find_gate("later")
    (gates_home() / "half.safetensors").write_bytes(b"x")
    assert "not a whole gate" in find_gate("half").problem
