"""Who answers the first click inside a target stays for the later ones, as a user of a session sees it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fakes3d import at, field_volume, positions
from moe_tools import card_for, gate_for, install_base, specialist_state

from MoESegLib import Session
from MoESegLib.core.prompts import MaskPrompt, Prompt
from MoESegLib.core.results import SegmentResult
from MoESegLib.core.volume import Volume
from MoESegLib.engines import load_engine
from MoESegLib.engines.protocol import Context
from MoESegLib.experts.gate_store import install_gate
from MoESegLib.experts.specialist_store import install_specialist

CORD = at(np.array([18.0, 15.0, 20.0]))
OTHER = at(np.array([12.0, 18.0, 15.0]))
CORRECTIONS = at(np.array([16.0, 18.0, 15.0])), at(np.array([20.0, 20.0, 16.0]), False)
SURE, UNSURE = 2.0, -2.0
"""Log-odds of the specialist: weights of 88 % and 12 %; the threshold is 65 %."""


@pytest.fixture(scope="module")
def volume() -> Volume:
    grain = np.random.default_rng(0)
    return field_volume((22, 22, 22), np.diag([1.5, 1.5, 1.5, 1.0]), lambda points: grain.normal(100, 30, (22, 22, 22)))


@pytest.fixture
def engine(nothing_shipped: Path, tmp_path: Path, volume: Volume) -> Any:
    """Its gate is sure of a first click on the cord, also where that corrects another click, and of nothing else."""
    base, model = install_base(tmp_path)
    card = install_specialist(specialist_state(base, 1), card_for(base=model))
    gate, gate_card = gate_for(card)
    install_gate(gate, gate_card)
    untaught = load_engine("sam-med3d-moe", runtime="torch")
    untaught.max_crops = 1
    wanted = {
        (CORD,): SURE,
        (CORD, CORRECTIONS[0]): UNSURE,
        (CORD, *CORRECTIONS): UNSURE,
        (OTHER,): UNSURE,
        (OTHER, CORD): SURE,
        (CORRECTIONS[0],): UNSURE,
    }
    inner = np.array([[*activations(untaught, volume, clicks), 1.0] for clicks in wanted])
    solved = torch.from_numpy(np.linalg.lstsq(inner, np.array([*wanted.values()]), rcond=None)[0]).float()
    with torch.no_grad():
        gate.rows["cord"].weight[0] = solved[:-1]
        gate.rows["cord"].bias[0] = solved[-1]
    install_gate(gate, gate_card, replace=True)
    return load_engine("sam-med3d-moe", runtime="torch")


def activations(engine: Any, volume: Volume, clicks: Sequence[Prompt]) -> list[float]:
    """What the rows of the gate get when it reads these clicks."""
    seen: list[list[float]] = []
    hook = engine.model.mixture.gate.dropout.register_forward_hook(lambda *call: seen.append(call[2][0].tolist()))
    engine.predict(volume, clicks, Context("volume"))
    hook.remove()
    return seen[-1]


@pytest.fixture
def session(engine: Any, volume: Volume) -> Iterator[Session]:
    with Session(volume, engine, extent="volume") as session:
        yield session


def result(session: Session, segment: int = 0) -> SegmentResult:
    return session.result(session.segments[segment])


def voxels_of_base(volume: Volume, *clicks: Prompt) -> np.ndarray:
    with Session(volume, load_engine("sam-med3d", runtime="torch"), extent="volume") as session:
        for click in clicks:
            session.add(click)
        return session.mask(session.segments[0])


def test_corrections_keep_the_specialist_of_the_first_click_however_unsure_the_gate_is(session: Session) -> None:
    session.add(CORD)
    first = result(session)
    assert first.expert == "base + cord" and first.gate_weight == pytest.approx(0.88, abs=0.01)
    assert any("cord answers together with the general model: the gate gives cord 88 %" in n for n in first.notes)
    for click in CORRECTIONS:
        session.add(click)
        later = result(session)
        assert later.expert == "base + cord" and later.gate_weight == pytest.approx(0.65)
        told = "The specialist cord stays since the first click: weight 65 %, at least the threshold tau 65 %."
        assert told in later.notes
    session.choose_expert(session.segments[0], "base")
    assert "The gate gives cord 12 % (threshold tau 65 %)." in result(session).notes


def test_the_general_model_stays_when_a_later_click_speaks_for_a_specialist(session: Session, volume: Volume) -> None:
    session.add(OTHER)
    assert result(session).expert == "base"
    session.add(CORD)
    later = result(session)
    assert (later.expert, later.alternatives) == ("base", ())
    assert "The general model stays since the first click." in later.notes
    assert np.array_equal(session.mask(session.segments[0]), voxels_of_base(volume, OTHER, CORD))
    session.choose_expert(session.segments[0], "base")
    assert "The gate gives cord 88 % (threshold tau 65 %)." in result(session).notes


def test_a_second_target_asks_the_gate_anew(session: Session) -> None:
    session.add(CORD)
    session.add(CORRECTIONS[0])
    session.add(at(np.array(OTHER.ras), segment="Segment_2"))
    assert [result(session, number).expert for number in (0, 1)] == ["base + cord", "base"]
    assert any("answers alone: the gate gives cord 12 %" in note for note in result(session, 1).notes)


def test_a_choice_by_hand_wins_and_the_gate_s_comes_back_when_it_is_taken_back(
    session: Session, volume: Volume
) -> None:
    session.add(CORD)
    segment = session.segments[0]
    session.choose_expert(segment, "base")
    session.add(CORRECTIONS[0])
    assert result(session).expert == "base"
    assert np.array_equal(session.mask(segment), voxels_of_base(volume, CORD, CORRECTIONS[0]))
    session.choose_expert(segment, "cord")
    assert result(session).expert == "cord"
    session.choose_expert(segment, None)
    assert result(session).expert == "base + cord"
    assert any("stays since the first click" in note for note in result(session).notes)


def test_the_gate_is_asked_again_when_the_first_click_is_moved_or_everything_is_deleted(session: Session) -> None:
    point = session.add(CORD)
    session.replace(point, OTHER)
    assert result(session).expert == "base"
    assert any("the gate gives cord 12 %" in note for note in result(session).notes)
    session.undo()
    assert result(session).expert == "base + cord"
    session.remove(point)
    session.add(OTHER)
    assert result(session).expert == "base"
    session.add(CORD)
    assert result(session).expert == "base"


def test_without_its_first_click_a_target_is_whose_its_second_is(session: Session) -> None:
    first = session.add(CORD)
    session.add(CORRECTIONS[0])
    assert result(session).expert == "base + cord"
    session.remove(first)
    assert result(session).expert == "base"
    assert any("the gate gives cord 12 %" in note for note in result(session).notes)


def test_a_mask_to_start_from_leaves_the_choice_to_the_first_click(session: Session, volume: Volume) -> None:
    session.add(MaskPrompt(np.linalg.norm(positions(volume) - [18, 15, 19.5], axis=-1) < 6))  # about the cord
    assert result(session).expert == "base"
    told = "The general model answers alone: the gate is asked at the first click inside the target."
    assert told in result(session).notes
    session.add(CORD)
    assert result(session).expert == "base + cord"
    assert any("the gate gives cord 88 %" in note for note in result(session).notes)
    session.add(CORRECTIONS[0])
    assert result(session).expert == "base + cord"
