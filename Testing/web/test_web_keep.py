"""Work kept on disk while it is done: what is there, who may write it, what comes back, and what is removed."""

from __future__ import annotations

import json
import os
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fakes import blob_volume
from web_tools import FakeModels, need, settle

need("slicer")

from MoESegLib.core.errors import MoESegError, VolumeError  # noqa: E402
from MoESegLib.core.volume import Volume  # noqa: E402
from MoESegLib.mrml.segmentations import segment_ids, segment_mask  # noqa: E402
from MoESegLib.web import commands, keep  # noqa: E402
from MoESegLib.web.desk import Desk  # noqa: E402
from MoESegLib.web.keep import SEGMENTS, STATE, WorkFolder, Works  # noqa: E402
from MoESegLib.web.keeper import Keeper, describe_work, read_image  # noqa: E402
from MoESegLib.web.snapshot import snapshot  # noqa: E402


class Program:
    """What one start of MoESeg holds: a desk and its keeper."""

    def __init__(self, works: Works) -> None:
        self.desk = Desk(FakeModels())
        self.keeper = Keeper(self.desk, works)

    def open(self, image: Path) -> Program:
        self.keeper.leave()
        self.keeper.begin(self.desk.show(Volume.read(image), image))
        settle(self.desk)
        return self

    def do(self, command: str, **more) -> None:
        commands.run(self.desk, {"do": command, **more})
        settle(self.desk)

    def click(self, x: float, positive: bool = True) -> None:
        self.do("prompt", kind="point", plane="axial", index=4, xy=[[x, 20]], positive=positive)

    def kept(self, timeout: float = 20.0) -> Program:
        """Wait until everything is on disk."""
        deadline, before = time.monotonic() + timeout, self.keeper.kept
        while self.keeper.kept == before:
            self.keeper.look()
            assert time.monotonic() < deadline, self.keeper.problem
            time.sleep(0.005)
        self.keeper._finish()
        return self

    def crash(self) -> None:
        """Stop without a word: the locks are gone, nothing more is written."""
        self.keeper._writer.shutdown()
        if self.keeper._folder is not None:
            self.keeper._folder.close()
        self.desk.close()

    def masks(self) -> dict[str, np.ndarray]:
        case = self.desk.ready()
        return {key: segment_mask(case.segmentation, key, case.node) for key in segment_ids(case.segmentation)}


@pytest.fixture
def works(tmp_path: Path) -> Works:
    return Works(tmp_path / "home" / "work")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return blob_volume().write(tmp_path / "ball.nrrd")


@pytest.fixture
def program(works: Works, image: Path) -> Iterator[Program]:
    """With an accepted liver, a spleen of two clicks, and everything on disk."""
    program = Program(works).open(image)
    program.do("add_segment", name="liver")
    program.click(20)
    program.do("accept")
    program.do("add_segment", name="spleen")
    program.click(27)
    program.click(31, positive=False)
    program.kept()
    yield program
    program.desk.close()


def resumed(works: Works) -> Program:
    program = Program(works)
    program.keeper.resume()
    settle(program.desk)
    return program


def test_after_a_crash_everything_is_back(program: Program, works: Works) -> None:
    program.do("extent", value="volume")
    program.do("overlap", value="none")
    liver, spleen = segment_ids(program.desk.ready().segmentation)
    program.do("select_segment", id=liver)
    program.do("show_segment", id=spleen, on=False)
    program.kept()
    before, masks = snapshot(program.desk), program.masks()
    program.crash()
    again = resumed(works)
    after = snapshot(again.desk)
    for key in ("selected", "extent", "overlap", "model", "prompts"):
        assert after[key] == before[key], key
    for row, expected in zip(after["segments"], before["segments"], strict=True):
        assert row["color"] == pytest.approx(expected["color"], abs=1e-5)
        same = ("id", "name", "visible", "locked", "milliliters")
        assert [row[key] for key in same] == [expected[key] for key in same]
    assert [row["locked"] for row in after["segments"]] == [True, False]
    for key, mask in again.masks().items():
        assert mask.any() and np.array_equal(mask, masks[key])
    again.do("select_segment", id=spleen)
    assert [prompt["positive"] for prompt in snapshot(again.desk)["prompts"]] == [True, False]
    again.do("extent", value="slice")
    again.click(24)
    assert len(snapshot(again.desk)["prompts"]) == 3
    again.desk.close()


def test_what_is_kept_is_private(program: Program, works: Works) -> None:
    assert stat.S_IMODE(works.home.stat().st_mode) == 0o700
    [folder] = works.home.iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_what_was_accepted_does_not_wait_for_its_turn(program: Program, works: Works) -> None:
    program.keeper._next_write = time.monotonic() + 1000
    program.click(26)
    time.sleep(0.06)
    program.keeper.look()
    assert program.keeper._writing is None
    program.do("accept")
    program.kept()
    assert [segment["locked"] for segment in works.all()[0].data["segments"]] == [True, True]


def test_a_prompt_without_its_answer_is_kept_too(works: Works, image: Path) -> None:
    program = Program(works).open(image)
    commands.run(program.desk, {"do": "prompt", "kind": "point", "plane": "axial", "index": 4, "xy": [[20, 20]]})
    program.desk.ready().workbench.cancel()
    program.kept()
    program.crash()
    again = resumed(works)
    assert len(snapshot(again.desk)["prompts"]) == 1
    assert snapshot(again.desk)["unanswered"] and snapshot(again.desk)["segments"][0]["milliliters"] == 0
    again.do("run")
    assert snapshot(again.desk)["segments"][0]["milliliters"] > 0
    again.desk.close()


def test_two_programs_never_write_into_one_folder(program: Program, works: Works, image: Path) -> None:
    with pytest.raises(MoESegError, match="open in another MoESeg"):
        Program(works).keeper.resume()
    other = Program(works).open(image)
    other.click(20)
    other.kept()
    assert len(works.all()) == 2
    assert other.keeper.others() == []
    with pytest.raises(MoESegError, match="open in another"):
        other.keeper.find(program.keeper._folder.path.name)
    program.crash()
    other.keeper.find(works.all()[1].name)[0].close()
    other.crash()


def test_names_from_the_page_reach_nothing_but_kept_works(program: Program, works: Works, tmp_path: Path) -> None:
    shutil.copytree(next(works.home.iterdir()), tmp_path / "elsewhere")
    for name in ("../../elsewhere", "..", "", str(tmp_path / "elsewhere"), "0" * 16):
        with pytest.raises(MoESegError, match="not kept any more"):
            program.keeper.find(name)


def test_work_that_was_saved_is_removed_in_the_end_and_other_work_stays(
    program: Program, works: Works, image: Path, tmp_path: Path
) -> None:
    mark = program.keeper.mark()
    program.desk.ready().save(tmp_path / "ball.seg.nrrd")
    program.keeper.saved(mark)
    program.open(image)
    assert works.all() == []
    program.click(20)
    program.open(image)
    assert len(works.all()) == 1
    program.open(image)  # nothing was done
    program.keeper.close()
    assert not program.keeper.left and len(list(works.home.iterdir())) == 1


def test_work_that_changed_after_it_was_saved_stays(program: Program, works: Works) -> None:
    mark = program.keeper.mark()
    program.click(26)
    program.keeper.saved(mark)
    program.keeper.close()
    assert program.keeper.left and len(works.all()) == 1


def test_an_image_that_was_only_opened_leaves_nothing(works: Works, image: Path) -> None:
    program = Program(works).open(image)
    program.keeper.look()
    program.keeper.close()
    assert not works.home.exists()
    with pytest.raises(MoESegError, match="no kept work"):
        Program(works).keeper.resume()
    program.desk.close()


def test_uploaded_files_are_there_after_a_crash(works: Works, image: Path, tmp_path: Path) -> None:
    uploaded = tmp_path / "upload"
    uploaded.mkdir()
    shutil.move(image, uploaded / "ball.nrrd")
    program = Program(works)
    source, folder = program.keeper.take_upload(uploaded / "ball.nrrd", uploaded)
    assert source is not None and not uploaded.exists()
    program.keeper.begin(program.desk.show(Volume.read(source), source), folder)
    settle(program.desk)
    program.click(20)
    program.kept()
    program.crash()
    program = resumed(works)
    assert program.desk.ready().volume.name == "ball"
    program.keeper.close()
    program.desk.close()


def test_another_image_in_its_place_is_refused_and_the_work_stays(program: Program, works: Works, image: Path) -> None:
    program.crash()
    blob_volume(radius=5).write(image)
    with pytest.raises(VolumeError, match="has changed"):
        resumed(works)
    image.unlink()
    with pytest.raises(VolumeError, match="no image"):
        resumed(works)
    assert len(works.all()) == 1


def test_a_damaged_folder_is_passed_over(program: Program, works: Works, image: Path) -> None:
    program.open(image)
    program.click(20)
    program.keeper.leave()
    newest, older = works.all()
    (works.home / newest.name / STATE).write_text("{")
    assert [work.name for work in works.all()] == [older.name]
    (works.home / older.name / SEGMENTS).write_bytes(b"NRRD")
    again = Program(works)
    with pytest.raises(VolumeError):
        again.keeper.resume()
    settle(again.desk)
    again.click(20)  # the image is open, and what is done now is kept as a new work
    again.kept()
    again.crash()


def test_a_full_disk_is_told_and_work_goes_on(program: Program, works: Works) -> None:
    shutil.rmtree(works.home)
    program.click(26)
    deadline = time.monotonic() + 20
    while not program.keeper.problem:
        program.keeper._next_write = 0.0
        program.keeper.look()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert "not kept" in program.keeper.problem


def test_whatever_fails_while_it_is_written_is_told_leaves_no_folder_and_is_tried_again(
    program: Program, works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    program.keeper.leave()
    shutil.rmtree(works.home)
    program.keeper.begin(program.desk.ready())

    def broken(*_: object) -> None:
        raise ZeroDivisionError("a fault of the program")

    with monkeypatch.context() as patched:
        patched.setattr(keep.WorkFolder, "write", broken)
        program.click(26)
        deadline = time.monotonic() + 20
        while not program.keeper.problem:
            program.keeper.look()
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert "a fault of the program" in program.keeper.problem
    assert list(works.home.iterdir()) == []
    program.keeper._next_write = 0.0
    program.kept()
    assert program.keeper.problem == "" and len(works.all()) == 1


def test_old_works_and_too_many_are_removed_but_none_that_is_open(
    program: Program, works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    [first] = works.all()

    def copy(name: str, days: float) -> None:
        shutil.copytree(works.home / first.name, works.home / name)
        data = {**first.data, "changed": time.time() - days * 86400}
        (works.home / name / STATE).write_text(json.dumps(data))

    def left() -> set[str]:
        return {work.name for work in works.all()} - {first.name}

    for number in range(3):
        copy(f"new{number}", number + 1)
    copy("old", 31)
    (works.home / "empty").mkdir()
    works.clean_up()
    assert left() == {"new0", "new1", "new2"} and not (works.home / "empty").exists()
    monkeypatch.setattr(keep, "MOST_WORKS", 2)
    works.clean_up()
    assert left() == {"new0"}
    os.utime(works.home)
    (works.home / first.name / STATE).write_text(json.dumps({**first.data, "changed": 1.0}))
    works.clean_up()
    assert first.name in {work.name for work in works.all()}  # open, however old


def test_works_are_removed_when_they_are_too_large_together(program: Program, works: Works, monkeypatch) -> None:
    [first] = works.all()
    program.crash()
    shutil.copytree(works.home / first.name, works.home / "second")
    (works.home / "second" / STATE).write_text(json.dumps({**first.data, "changed": first.changed - 5}))
    monkeypatch.setattr(keep, "MOST_BYTES", 1)
    works.clean_up()
    assert [work.name for work in works.all()] == [first.name]  # the newest is never too large


def test_a_folder_is_locked_by_one_program(tmp_path: Path) -> None:
    folder = WorkFolder.take(tmp_path)
    assert folder is not None and WorkFolder.take(tmp_path) is None
    folder.close()
    again = WorkFolder.take(tmp_path)
    assert again is not None
    again.close(remove=True)
    assert not tmp_path.exists()


def test_the_page_is_told_what_a_kept_work_is_about(program: Program, works: Works) -> None:
    [work] = works.all()
    told = describe_work(work)
    assert (told["name"], told["segments"], told["locked"]) == ("ball", ["liver", "spleen"], 1)
    assert read_image(work).name == "ball"


def test_the_prompt_log_goes_on_after_a_crash(program: Program, works: Works) -> None:
    lines = program.desk.ready().log.lines
    program.crash()
    again = resumed(works)
    assert again.desk.ready().log.lines[: len(lines)] == lines
    again.click(26)
    actions = [json.loads(line)["action"] for line in again.desk.ready().log.lines[len(lines) :]]
    assert actions == ["resumed", "prompt", "answer"]
    again.desk.close()
