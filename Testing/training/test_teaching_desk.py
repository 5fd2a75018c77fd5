"""The desk: what is taught waits for a decision, what is interrupted goes on, and nothing is lost or left over."""

from __future__ import annotations

import dataclasses
import random
import shutil
import time
from pathlib import Path

import pytest
from desk_tools import tiny_desk, wait
from safetensors.torch import load_file
from tiny_teaching import ball_cases

from MoESegLib.core.errors import TrainingError, UnknownModelError, WeightsError
from MoESegLib.core.results import MaskPatch
from MoESegLib.experts.store import list_packs, packs_home
from MoESegLib.training.cases import Structure
from MoESegLib.training.lesson import Lesson, name_problem

pytestmark = pytest.mark.weights
LESSON = Lesson("ball", ("ball",), 1.0)


@pytest.fixture(autouse=True)
def installed(home: Path, lite_medsam_path: Path) -> None:
    """LiteMedSAM is on this machine: an expert's card names its file."""
    (home / "models").mkdir(parents=True)
    shutil.copytree(lite_medsam_path.parent, home / "models" / "lite-medsam")


def own_packs() -> list[str]:
    return [pack.name for pack in list_packs() if not pack.shipped]


def test_a_taught_expert_waits_and_is_installed_when_it_is_kept() -> None:
    desk = tiny_desk()
    desk.start(LESSON, ball_cases())
    assert desk.is_running and desk.result() is None
    assert wait(desk) == ""
    card = desk.result()
    assert card is not None and card.name == "ball" and [entry.name for entry in card.classes] == ["ball"]
    assert own_packs() == []
    assert [point.epoch for point in desk.notes.curve] == [0, 1, 2]
    assert desk.notes.base is not None and 0 <= desk.notes.base.box <= 1
    assert tiny_desk().result() == card  # also after the application was started again
    desk.keep()
    assert own_packs() == ["ball"] and desk.result() is None and desk.lesson is None
    assert sorted(path.name for path in desk.folder.iterdir()) == ["embeddings"]


def test_a_discarded_expert_leaves_nothing() -> None:
    desk = tiny_desk(1)
    desk.start(LESSON, ball_cases())
    assert wait(desk) == ""
    with pytest.raises(TrainingError, match="keep or discard"):
        desk.start(LESSON, ball_cases())
    desk.discard_result()
    assert own_packs() == [] and desk.result() is None
    assert sorted(path.name for path in desk.folder.iterdir()) == ["embeddings"]


def test_an_exported_expert_still_waits(tmp_path: Path) -> None:
    desk = tiny_desk(1)
    desk.start(LESSON, ball_cases())
    wait(desk)
    desk.export(tmp_path / "ball.safetensors")
    assert (tmp_path / "ball.json").exists() and desk.result() is not None
    assert load_file(tmp_path / "ball.safetensors").keys() == load_file(desk.result_file).keys()


def test_a_run_interrupted_at_random_moments_ends_as_an_undisturbed_one() -> None:
    undisturbed = tiny_desk(3)
    undisturbed.start(LESSON, ball_cases())
    assert wait(undisturbed) == ""
    expected, curve = load_file(undisturbed.result_file), undisturbed.notes.curve
    undisturbed.discard_result()
    chance = random.Random(4)
    for _ in range(10):
        desk = tiny_desk(3, seconds_a_step=0.02)  # each time as after a start of the application
        desk.start(LESSON, ball_cases())
        time.sleep(chance.uniform(0.0, 0.5))
        desk.close()
        if desk.poll() == "":
            break
        assert desk.result() is None and own_packs() == []
        assert tiny_desk().is_interrupted or not list(desk.folder.glob("*.run.safetensors"))
    desk = tiny_desk(3)
    if desk.result() is None:
        desk.start(LESSON, ball_cases())
        assert wait(desk) == ""
    found = load_file(desk.result_file)
    assert all(found[key].equal(value) for key, value in expected.items())
    assert desk.notes.curve == curve


def test_cancel_says_how_to_go_on() -> None:
    desk = tiny_desk(50, seconds_a_step=0.01)
    desk.start(LESSON, ball_cases())
    while not desk.notes.curve:
        time.sleep(0.01)
    desk.cancel()
    assert "press Teach to go on" in wait(desk)
    assert desk.is_interrupted and desk.lesson == LESSON
    assert tiny_desk().lesson == LESSON
    desk.forget()
    assert tiny_desk().lesson is None and not list(desk.folder.glob("*.run.safetensors"))


def test_what_cannot_be_taught_is_said_and_leaves_the_desk_free() -> None:
    desk = tiny_desk(1)
    one = [case for case in ball_cases() if case.patient == "patient0"]
    desk.start(LESSON, one)
    assert "at least two patients" in wait(desk)
    assert desk.lesson is None and not desk.is_interrupted
    empty = [dataclasses.replace(case, labels=(Structure("ball", MaskPatch()),)) for case in ball_cases()]
    desk.start(LESSON, empty)
    assert "are empty" in wait(desk)
    desk.start(dataclasses.replace(LESSON, classes=("liver",)), ball_cases())
    assert "structure" in wait(desk)
    with pytest.raises(UnknownModelError, match="missing"):
        desk.start(dataclasses.replace(LESSON, start_from="missing"), ball_cases())
    desk.start(LESSON, ball_cases())
    assert wait(desk) == ""


def test_a_name_that_was_taken_meanwhile_is_refused_and_the_expert_still_waits() -> None:
    desk = tiny_desk(1)
    desk.start(LESSON, ball_cases())
    wait(desk)
    packs_home().mkdir(parents=True)
    (packs_home() / "ball.safetensors").write_bytes(b"another")
    with pytest.raises(WeightsError, match="already"):
        desk.keep()
    assert desk.result() is not None


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "Give"),
        ("Liver", "lower-case"),
        ("liver mine", "lower-case"),
        ("-liver", "lower-case"),
        ("l" * 49, "48"),
        ("../x", "lower-case"),
        ("base", "taken by MoESeg"),
        ("there", "already"),
        ("liver-mine", ""),
    ],
)
def test_names_are_judged_as_they_are_typed(name: str, why: str) -> None:
    problem = name_problem(name, ["there"])
    assert why in problem and bool(problem) == bool(why)


def test_damaged_notes_are_as_none(home: Path) -> None:
    folder = home / "teaching"
    folder.mkdir()
    for text in ("", "{}", '{"lesson": {"classes": 3}}', '{"lesson": {"classes": [], "new": 1}, "curve": []}'):
        (folder / "lesson.json").write_text(text)
        assert tiny_desk().lesson is None
