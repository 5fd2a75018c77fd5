"""The prompt log: what was done, in order, as lines of JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime

import pytest
from fakes import blob_volume
from web_tools import FakeModels, need, settle

need("slicer")

from MoESegLib.core.errors import MoESegError  # noqa: E402
from MoESegLib.core.prompts import PointPrompt, prompt_from_dict  # noqa: E402
from MoESegLib.evaluation.metrics import dice  # noqa: E402
from MoESegLib.mrml.segmentations import segment_ids, segment_mask  # noqa: E402
from MoESegLib.web import commands  # noqa: E402
from MoESegLib.web.desk import Desk  # noqa: E402
from MoESegLib.web.prompt_log import LOG_FORMAT  # noqa: E402

CLICK = {"do": "prompt", "kind": "point", "plane": "axial", "index": 4}


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk(FakeModels())
    desk.show(blob_volume())
    settle(desk)
    yield desk
    desk.close()


def run(desk: Desk, **message) -> None:
    commands.run(desk, message)
    settle(desk)


def entries(desk: Desk) -> list[dict]:
    return [json.loads(line) for line in desk.ready().log.text().splitlines()]


def test_every_action_and_every_answer_is_a_line_in_order(desk: Desk) -> None:
    run(desk, do="add_segment", name="liver")
    run(desk, **CLICK, xy=[[20, 20]])
    run(desk, **CLICK, xy=[[30, 20]], positive=False)
    run(desk, do="undo")
    run(desk, do="accept")
    log = entries(desk)
    assert [entry["action"] for entry in log] == [
        "opened", "add_segment", "prompt", "answer", "prompt", "answer", "undo", "accept"
    ]  # fmt: skip
    assert log[0]["format"] == LOG_FORMAT and log[0]["image"]["size"] == [48, 40, 9]
    times = [datetime.fromisoformat(entry["time"]) for entry in log]
    assert times == sorted(times) and times[0].tzinfo is not None
    assert {entry["name"] for entry in log[1:]} == {"liver"}
    assert log[6]["removed"] == [log[4]["prompts"][0]["id"]]
    assert log[7]["locked"]


def test_a_logged_prompt_is_the_prompt(desk: Desk) -> None:
    run(desk, **CLICK, xy=[[20, 20]])
    [data] = entries(desk)[1]["prompts"]
    prompt = prompt_from_dict(data)
    [placed] = desk.ready().workbench.ready().prompts(data["segment"])
    assert isinstance(prompt, PointPrompt) and prompt.content == placed.content and prompt.id == placed.id


def test_an_answer_says_who_how_long_and_how_much_it_changed(desk: Desk) -> None:
    run(desk, **CLICK, xy=[[18, 20]])
    case = desk.ready()
    [segment] = segment_ids(case.segmentation)
    first = segment_mask(case.segmentation, segment, case.node)
    run(desk, **CLICK, xy=[[27, 20]])
    second = segment_mask(case.segmentation, segment, case.node)
    one, two = (entry for entry in entries(desk) if entry["action"] == "answer")
    assert one["diceToPrevious"] is None
    assert two["diceToPrevious"] == pytest.approx(dice(first, second), abs=1e-4) and 0 < two["diceToPrevious"] < 1
    assert (two["expert"], two["model"]) == ("expert0", case.workbench.parameters.model)
    assert two["seconds"] >= 0 and two["added"] == int(second.sum() - first.sum())


def test_moved_flipped_and_removed_prompts_are_told(desk: Desk) -> None:
    run(desk, **CLICK, xy=[[18, 20]])
    [prompt] = entries(desk)[1]["prompts"]
    run(desk, do="move_prompt", id=prompt["id"], plane="axial", index=4, xy=[[22, 20]])
    run(desk, do="flip_prompt", id=prompt["id"])
    run(desk, do="remove_prompt", id=prompt["id"])
    moved, flipped, removed = (entry for entry in entries(desk) if str(entry["action"]).endswith("_prompt"))
    assert moved["changed"][0]["ras"] != prompt["ras"]
    assert flipped["changed"][0]["positive"] is False
    assert removed["removed"] == [prompt["id"]]


def test_looking_around_and_what_was_refused_are_not_told(desk: Desk) -> None:
    before = entries(desk)
    run(desk, do="look", plane="axial", index=2)
    run(desk, do="overlays", changes=True, confidence=False)
    with pytest.raises(MoESegError):
        run(desk, do="accept")
    assert entries(desk) == before
