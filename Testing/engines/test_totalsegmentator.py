"""TotalSegmentator as a program: asked for, run once, cancelled, failed, not installed. A small stand-in is run."""

from __future__ import annotations

import json
import os
import stat
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from fakes import blob_volume
from fakes3d import dice

from MoESegLib.core.anatomy_files import read_anatomy
from MoESegLib.core.cancel import CancelToken
from MoESegLib.core.errors import Cancelled, PromptError, ResourceError
from MoESegLib.core.volume import Volume
from MoESegLib.engines.totalsegmentator import kept_path, segment_organs, task_for

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the stand-in is a script")

_SCRIPT = """#!{python}
import json, os, sys, time
sys.path[:0] = {path}
words = sys.argv[1:]
given = dict(zip(words[0::2], words[1::2])) if "-o" in words[0::2] else {{}}
home = os.environ["TOTALSEG_HOME_DIR"]
with open({calls!r}, "a") as calls:
    calls.write(json.dumps({{"words": words, "config": json.load(open(home + "/config.json"))}}) + "\\n")
if {behavior!r} == "fails":
    print("No weights here.")
    sys.exit(3)
if {behavior!r} == "hangs":
    time.sleep(60)
from MoESegLib.core.volume import Volume
image = Volume.read(given["-i"])
if {behavior!r} == "works":
    image.like((5 * (image.array > 128)).astype("uint8")).write(given["-o"])
"""


@pytest.fixture
def program(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Puts a stand-in on the path; returns a function that makes it work, fail, hang, or give nothing."""

    def make(behavior: str) -> Path:
        calls = tmp_path / "calls.jsonl"
        script = tmp_path / "bin" / "TotalSegmentator"
        script.parent.mkdir(exist_ok=True)
        text = _SCRIPT.format(python=sys.executable, path=sys.path, calls=str(calls), behavior=behavior)
        script.write_text(text, encoding="utf-8")
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", str(script.parent), prepend=os.pathsep)
        return calls

    return make


@pytest.fixture
def ct() -> Volume:
    ball = blob_volume()
    return Volume(ball.array.astype(np.int16), ball.ijk_to_ras, "CT")


def test_it_runs_once_for_an_image_and_reports_nothing_to_its_author(program, ct: Volume) -> None:
    calls = program("works")
    told: list[float] = []
    path = segment_organs(ct, lambda done, text: told.append(done))
    assert segment_organs(ct) == path == kept_path(ct)
    (call,) = (json.loads(line) for line in calls.read_text().splitlines())
    assert call["words"][-4:] == ["--ml", "--fast", "--task", "total"]
    assert call["config"]["send_usage_stats"] is False
    assert told == sorted(told) and all(0 <= share < 1 for share in told)
    (liver,) = read_anatomy(path)
    assert liver.structure == "liver"
    mask = np.zeros(ct.shape, bool)
    k, j, i = (int(round(value)) for value in ct.ras_to_ijk(liver.ijk_to_ras[:3, 3])[::-1])
    depth, rows, columns = liver.mask.shape
    mask[k : k + depth, j : j + rows, i : i + columns] = liver.mask
    assert dice(mask, ct.array > 128) == 1
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_not_installed_is_said_with_what_to_do(home: Path, ct: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ResourceError, match="pip install TotalSegmentator"):
        segment_organs(ct)


@pytest.mark.parametrize(("behavior", "message"), [("fails", "No weights here"), ("gives nothing", "without a result")])
def test_a_failure_is_told_and_nothing_is_kept(program, ct: Volume, behavior: str, message: str) -> None:
    program(behavior)
    with pytest.raises(ResourceError, match=message):
        segment_organs(ct)
    assert list(kept_path(ct).parent.iterdir()) == []


def test_cancelling_ends_the_program(program, ct: Volume) -> None:
    program("hangs")
    token = CancelToken()
    threading.Timer(0.3, token.cancel).start()
    started = time.monotonic()
    with pytest.raises(Cancelled):
        segment_organs(ct, cancel=token)
    assert time.monotonic() - started < 20
    assert not kept_path(ct).exists()


def test_an_image_that_it_was_not_made_for_is_refused(ct: Volume) -> None:
    mr = Volume(ct.array, ct.ijk_to_ras, "MR")
    assert task_for(mr) == "total_mr"
    for volume in (Volume(ct.array[:1], ct.ijk_to_ras, "CT"), Volume(ct.array, ct.ijk_to_ras, "US")):
        with pytest.raises(PromptError, match="volumes of CT and MR"):
            task_for(volume)
