"""The server ended by force while it predicts, and started again with ``--resume``; in a real browser."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import blob_volume
from web_tools import CHROMIUM, need, running

need("aiohttp", "slicer", "playwright")
if not CHROMIUM.exists():
    pytest.skip(f"There is no Chromium at {CHROMIUM}.", allow_module_level=True)

from playwright.sync_api import Browser  # noqa: E402
from web_user import CENTER, User, chromium  # noqa: E402

from MoESegLib.resources import resource_path  # noqa: E402

APP = str(Path(__file__).parent / "keep_app.py")
KEPT = "moeseg.store.state.kept && !moeseg.store.state.keeping"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def image(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    center = (CENTER[2], CENTER[1], CENTER[0])
    return blob_volume((25, 64, 80), radius=14, center=center).write(folder / "ball.nrrd")


@pytest.fixture
def user(browser: Browser) -> Iterator[User]:
    context = browser.new_context(viewport={"width": 1366, "height": 768}, accept_downloads=True)
    yield User(context.new_page())
    context.close()


def end_by_force(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait(20)


def work(user: User, home: Path) -> None:
    """An accepted liver; then a second click into the spleen, whose answer never comes."""
    user.show("axial", CENTER[2])
    user.add_segment("liver")
    user.tool("box")
    user.drag((24, 16), (56, 48))
    user.segmented()
    user.page.keyboard.press("a")
    user.wait("moeseg.store.state.segments[0].locked")
    user.add_segment("spleen")
    user.page.select_option("#overlap", "none")
    user.tool("positive")
    user.click(CENTER[0] - 6, CENTER[1])
    user.segmented(1)
    (home / "slow").touch()
    user.click(CENTER[0] + 6, CENTER[1])
    user.wait(f"moeseg.store.state.busy && moeseg.store.state.prompts.length === 2 && {KEPT}")


def seen(user: User) -> list[tuple]:
    return [(row["name"], row["locked"], row["milliliters"]) for row in user.segments]


def test_a_program_that_was_killed_during_a_prediction_loses_nothing(user: User, home: Path, image: Path) -> None:
    home.mkdir()
    with running(APP, "0", str(image)) as (address, process):
        port = address.rsplit(":", 1)[1].strip("/")
        user.open(address)
        work(user, home)
        before, prompts = seen(user), user.page.evaluate("moeseg.store.state.prompts")
        end_by_force(process)
        user.page.wait_for_selector("#curtain:not([hidden])")
        assert user.page.inner_text("#curtain code") == f"moeseg app --resume --port {port}"
    (home / "slow").unlink()
    with running(APP, port, "--resume") as (address, _):
        user.page.wait_for_selector("#curtain", state="hidden", timeout=30_000)  # the page came back by itself
        user.wait("moeseg.store.state.segments?.length === 2 && moeseg.store.opened")
        assert seen(user) == before
        assert [row[1] for row in before] == [True, False] and min(row[2] for row in before) > 0
        assert user.page.evaluate("moeseg.store.state.prompts") == prompts
        user.wait("!document.getElementById('run').disabled")
        user.page.click("#run")  # the answer that never came
        user.wait(f"moeseg.store.state.segments[1].milliliters > {before[1][2]}")
        user.page.click("#segments li:first-child .name")
        user.wait("moeseg.store.state.selected === moeseg.store.state.segments[0].id")
        user.click(CENTER[0] + 9, CENTER[1])  # with the point tool, which the page still holds
        user.wait("document.getElementById('message').textContent.includes('locked')")


def test_an_uploaded_zip_survives_too_and_the_open_dialog_offers_it(
    user: User, home: Path, image: Path, tmp_path: Path
) -> None:
    home.mkdir()
    archive = tmp_path / "my_ct.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for file in resource_path("Demo", "ct").iterdir():
            packed.write(file, f"disc/{file.name}")
    with running(APP, "0", str(image)) as (address, process):
        user.open(address)
        user.page.click("#open")
        user.page.set_input_files("#upload", archive)
        user.wait("moeseg.store.info.size[0] === 512 && moeseg.store.opened && !document.getElementById('dialog').open")
        user.add_segment("liver")
        user.tool("box")
        user.drag((120, 200), (260, 360))
        user.segmented()
        user.wait(KEPT)
        before = seen(user)
        end_by_force(process)
    with running(APP, "0", str(image)) as (address, _):
        user.open(address)
        user.page.click("#open")
        user.page.click("#works li:has-text('liver')")
        user.wait("moeseg.store.info.size[0] === 512 && moeseg.store.state.segments.length === 1")
        user.wait("!document.getElementById('dialog').open")
        assert seen(user) == before
        user.page.keyboard.press("Control+s")
        with user.page.expect_download() as waiting:
            user.page.click("#download-dicom")
        assert waiting.value.suggested_filename.endswith(".seg.dcm")
        user.page.keyboard.press("Control+s")
        with user.page.expect_download() as waiting:
            user.page.click("#download-log")
        actions = [json.loads(line)["action"] for line in waiting.value.path().read_text().splitlines()]
        assert actions[0] == "opened" and actions[-1] == "resumed" and "answer" in actions


def test_earlier_work_can_be_removed_in_the_page(user: User, home: Path, image: Path) -> None:
    home.mkdir()
    with running(APP, "0", str(image)) as (address, process):
        user.open(address)
        user.show("axial", CENTER[2])
        user.tool("positive")
        user.click(*CENTER[:2])
        user.segmented()
        user.wait(KEPT)
        end_by_force(process)
    with running(APP, "0", str(image)) as (address, _):
        user.open(address)
        user.page.click("#open")
        user.page.click("#works button[aria-label='Remove this work']")
        user.page.wait_for_selector("#works", state="hidden")
        assert list((home / "work").iterdir()) == []


def test_an_image_without_dicom_says_why_there_is_no_dicom_segmentation(user: User, home: Path, image: Path) -> None:
    with running(APP, "0", str(image)) as (address, _):
        user.open(address)
        user.page.keyboard.press("Control+s")
        assert user.page.is_disabled("#download-dicom")
        assert "there are none for this image" in user.page.inner_text("dialog")
        with user.page.expect_download() as waiting:
            user.page.click("#download-scene")
        assert zipfile.is_zipfile(waiting.value.path())


def test_nothing_to_resume_is_said(home: Path, tmp_path: Path) -> None:
    shutil.rmtree(home, ignore_errors=True)
    command = [sys.executable, "-m", "MoESegLib", "app", "--resume", "--no-browser"]
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=60, env={**os.environ, "MOESEG_HOME": str(home)}
    )
    assert ended.returncode == 2 and "no kept work" in ended.stderr
    ended = subprocess.run([*command, "--demo"], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2 and "not both" in ended.stderr
