"""The stories of the demo: they play by themselves, wait for visitors, and leave nothing behind."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from toy_models import ToyModels
from web_tools import FakeModels, need

need("slicer")

from MoESegLib.cli.app_command import demo_image  # noqa: E402
from MoESegLib.core.errors import MoESegError, PromptError, TrainingError  # noqa: E402
from MoESegLib.core.volume import Volume  # noqa: E402
from MoESegLib.web import commands  # noqa: E402
from MoESegLib.web.demo_labels import LIVER, demo_labels  # noqa: E402
from MoESegLib.web.desk import Desk  # noqa: E402
from MoESegLib.web.snapshot import snapshot  # noqa: E402
from MoESegLib.web.stage import QUIET_SECONDS, Stage  # noqa: E402
from MoESegLib.web.stories import Story, stories_of  # noqa: E402
from MoESegLib.web.story_lesion import lesion_story  # noqa: E402
from MoESegLib.web.story_lesson import lesson_story  # noqa: E402


class Clock:
    """Goes only when it is told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


class Booth:
    """A desk with a stage whose waits take no time."""

    def __init__(self, desk: Desk, volume: Volume, *names: str, loop: bool = False) -> None:
        self.desk = desk
        self.clock = Clock()
        self.messages: list[str] = []
        desk.show(volume)
        stories = [story for story in stories_of(volume) if not names or story.name in names]
        self.stage = Stage(desk, volume, stories, loop, self.clock)

    def tell(self, story: Story) -> None:
        """Play another story to its end."""
        self.stage = Stage(self.desk, self.desk.ready().volume, [story], clock=self.clock)
        self.do("play", name=story.name)
        self.until(lambda: self.shown["phase"] == "over", 100.0)  # the first model of a kind imports its packages

    def do(self, act: str, **more: str) -> None:
        self.stage.take({"do": "stage", "act": act, **more})

    @property
    def shown(self) -> dict:
        return self.stage.describe()

    def until(self, condition, seconds: float = 30.0) -> None:
        """Let the stage play until something is so; whatever it waits for comes at once."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.shown
            self.messages += self.desk.pump().messages
            self.messages += self.stage.tick()
            self.clock.now += 0.5
            time.sleep(0.001)

    def scene(self) -> tuple[int, list[str], bool]:
        """What could pile up: nodes of the scene, segments, and steps to undo."""
        case = self.desk.ready()
        state = snapshot(self.desk)
        return case.workbench.scene.GetNumberOfNodes(), [one["name"] for one in state["segments"]], state["canUndo"]


@pytest.fixture(scope="module")
def volume() -> Volume:
    return Volume.read(demo_image())


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk(FakeModels(), "segmote-lite")
    yield desk
    desk.close()


def test_a_story_plays_to_its_end_without_a_problem(desk, volume) -> None:
    for story in stories_of(volume):
        booth = Booth(desk, volume)
        booth.do("play", name=story.name)
        booth.until(lambda booth=booth: booth.shown["phase"] == "over")
        assert booth.messages == []
        assert booth.shown["number"] == len(story.steps)
        assert all(row["milliliters"] > 0 for row in snapshot(desk)["segments"])


def test_two_rounds_of_a_story_leave_the_same_scene(desk, volume) -> None:
    booth = Booth(desk, volume, "organ", loop=True)
    scenes = []
    for number in (2, 3):  # the round that ends is the one before
        booth.until(lambda number=number: booth.shown["round"] == number - 1 and booth.shown["phase"] == "looking")
        booth.until(lambda: booth.shown["number"] == booth.shown["count"] and booth.shown["phase"] == "looking")
        scenes.append(booth.scene())
        booth.until(lambda number=number: booth.shown["round"] == number)
        assert booth.scene()[1:] == ([], False)
    assert scenes[0] == scenes[1]
    assert scenes[0][1] != []


def test_a_visitor_pauses_the_loop_and_it_begins_again_a_minute_later(desk, volume) -> None:
    booth = Booth(desk, volume, "organ", loop=True)
    booth.until(lambda: booth.shown["number"] == 2)
    booth.do("touch")
    assert not booth.shown["playing"]
    assert booth.shown["visited"]
    commands.run(desk, {"do": "add_segment", "name": "mine"})
    left = booth.clock.now
    booth.until(lambda: booth.clock.now > left + QUIET_SECONDS - 10)
    booth.do("touch")
    booth.until(lambda: booth.clock.now > left + QUIET_SECONDS + 10)
    assert "mine" in booth.scene()[1]
    booth.until(lambda: booth.shown["playing"])
    assert booth.clock.now >= left + 2 * QUIET_SECONDS - 10
    assert "mine" not in booth.scene()[1]


def test_another_image_that_a_visitor_opened_is_left_by_the_next_story(desk, volume) -> None:
    booth = Booth(desk, volume, "organ")
    booth.do("play", name="organ")
    desk.show(Volume(volume.array[:4], volume.ijk_to_ras))
    booth.do("reset")
    assert desk.ready().volume is volume


def test_pause_holds_and_next_goes_one_step_further(desk, volume) -> None:
    booth = Booth(desk, volume)
    booth.do("play", name="organ")
    booth.do("pause")
    before = booth.clock.now
    booth.until(lambda: booth.clock.now > before + 30)
    assert (booth.shown["number"], booth.shown["phase"]) == (1, "reading")
    assert booth.scene()[1] == []
    booth.do("next")
    booth.until(lambda: booth.shown["phase"] == "looking")
    assert len(booth.scene()[1]) == 1
    booth.do("next")
    assert booth.shown["number"] == 2
    booth.until(lambda: booth.shown["phase"] == "looking")
    assert not booth.shown["playing"]
    booth.do("reset")
    assert (booth.shown["number"], booth.scene()[1]) == (1, [])


def test_a_story_whose_model_is_missing_says_so_and_the_loop_leaves_it_out(desk, volume, monkeypatch) -> None:
    monkeypatch.setattr(desk.models, "state", lambda name: "missing")
    booth = Booth(desk, volume, loop=True)
    assert all("is not on this machine" in story["why"] for story in booth.shown["stories"])
    with pytest.raises(MoESegError, match="is not on this machine"):
        booth.do("play", name="organ")
    before = booth.clock.now
    booth.until(lambda: booth.clock.now > before + 10)
    assert booth.shown["name"] == ""
    monkeypatch.setattr(desk.models, "state", lambda name: "installed")
    booth.until(lambda: booth.shown["playing"])


def test_a_lesson_is_shown_with_what_came_of_it_and_forgotten(desk, volume, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MOESEG_HOME", str(tmp_path / "home"))
    seen = []

    def teach(cases, name, *, cache, progress, **_) -> None:
        seen.append(cache)
        assert [case.patient for case in cases] == ["lower half", "upper half"]
        assert sum(len(case.load().volume.array) for case in cases) == len(volume.array)
        for epoch, click in enumerate((0.2, 0.6)):
            progress(0.5, "learning", {"epoch": epoch, "box": 0.8, "click": click, "base_box": 0.7, "base_click": 0.1})

    booth = Booth(desk, volume)
    booth.tell(lesson_story(volume, 10, teach))
    assert booth.messages == []
    assert "one click 0.20 before, 0.60 after" in booth.shown["told"]
    assert seen[0].is_dir()
    assert snapshot(desk)["segments"][0]["milliliters"] == pytest.approx(146, abs=10)
    booth.do("reset")
    assert booth.shown["told"] == ""
    booth.until(lambda: not seen[0].exists())
    assert not (tmp_path / "home" / "teaching").exists()


def test_a_lesion_is_drawn_and_looked_for_in_the_organ(volume, monkeypatch) -> None:
    desk = Desk(ToyModels(), "segmote-lite")
    booth = Booth(desk, volume)
    booth.tell(lesion_story(volume, 10))
    assert booth.messages == []
    case = desk.ready()
    changed = case.volume.array != volume.array
    assert 500 < changed[10].sum() < 10_000
    assert (demo_labels(volume)[changed] == LIVER).mean() > 0.8
    names = [segment["name"] for segment in snapshot(desk)["segments"]]
    assert names[0].lower() == "liver"
    (search,) = case.workbench.session.prompts(snapshot(desk)["selected"])[:1]
    assert search.text == "liver tumor"
    assert {"mask"} == {prompt.kind for prompt in case.workbench.session.prompts(snapshot(desk)["selected"])[1:]}
    monkeypatch.setattr(desk.models, "state", lambda name: "missing")
    assert "is missing from this installation" in booth.shown["stories"][0]["why"]
    desk.close()


def test_a_lesson_that_fails_says_why(desk, volume) -> None:
    def teach(*_: object, **__: object) -> None:
        raise TrainingError("There is nothing to learn from.")

    booth = Booth(desk, volume)
    booth.tell(lesson_story(volume, 10, teach))
    assert booth.shown["told"] == "There is nothing to learn from."


def test_buttons_that_do_not_exist_are_refused(desk, volume) -> None:
    booth = Booth(desk, volume)
    for message in ({"act": "explode"}, {"act": "play", "name": "no such story"}, {}):
        with pytest.raises(PromptError):
            booth.stage.take(message)
