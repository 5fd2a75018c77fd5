"""Teaching and lesions in a real browser, with the tiny teacher and models that take what is bright."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fakes3d import CENTER
from tumor_tools import inside, ramp_volume
from web_tools import CHROMIUM, need, running

need("aiohttp", "slicer", "playwright")
if not CHROMIUM.exists():
    pytest.skip(f"There is no Chromium at {CHROMIUM}.", allow_module_level=True)

from playwright.sync_api import Browser  # noqa: E402
from teach_tools import CENTERS, finished_folder  # noqa: E402
from web_user import User, chromium  # noqa: E402

from MoESegLib.core.results import MaskPatch  # noqa: E402
from MoESegLib.core.segmentation_file import SegmentRecord, write_segmentation  # noqa: E402
from MoESegLib.core.volume import Volume  # noqa: E402

pytestmark = pytest.mark.weights
LARGE, SMALL = CENTER + (0, -14, 0), CENTER + (0, 14, 0)


@pytest.fixture(scope="module")
def volume() -> Volume:
    return ramp_volume((24, 44, 40), np.diag([-1.5, -1.5, 2.0, 1.0]), ((LARGE, 9.0), (SMALL, 6.0)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, volume: Volume) -> Path:
    """A CT with two lesions, its organs, and a folder of finished cases; all of it allowed."""
    folder = tmp_path_factory.mktemp("allowed")
    volume.write(folder / "ct.nrrd")
    liver = SegmentRecord("liver", "liver", MaskPatch.of(inside(volume, CENTER, 30.0)))
    write_segmentation(folder / "organs.seg.nrrd", volume, [liver])
    finished_folder(folder / "finished", *CENTERS)
    return folder


@pytest.fixture(scope="module")
def address(folder: Path, lite_medsam_path: Path, tmp_path_factory) -> Iterator[str]:
    home = tmp_path_factory.mktemp("home")
    (home / "models").mkdir()
    shutil.copytree(lite_medsam_path.parent, home / "models" / "lite-medsam")
    script, image = str(Path(__file__).parent / "teach_app.py"), str(folder / "ct.nrrd")
    with running(script, image, str(folder), MOESEG_HOME=str(home), STEP_SECONDS="0.15") as (address, _):
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def user(browser: Browser, address: str, folder: Path) -> Iterator[User]:
    context = browser.new_context(viewport={"width": 1366, "height": 768}, accept_downloads=True)
    user = User(context.new_page()).open(address).start_over(folder / "ct.nrrd")
    yield user
    assert user.problems == []
    context.close()


def click_on(user: User, volume: Volume, ras: np.ndarray) -> None:
    """Go to the slice of a place and click there."""
    view, ijk = volume.view(volume.axis_of("axial")), volume.ras_to_ijk(ras)
    user.show("axial", round(float(ijk[view.axis])))
    user.click(*view.to_pixels(ijk))


def rows(user: User) -> list[list[str]]:
    return user.page.evaluate(
        "[...document.querySelectorAll('#lesions tbody tr')].map(row => [...row.children].map(cell => cell.innerText))"
    )


def test_an_expert_is_taught_while_the_user_clicks_and_answers_when_it_is_kept(user: User, volume: Volume) -> None:
    page = user.page
    page.click("#teach")
    page.wait_for_selector("#teach-reason:has-text('at least two patients')")
    assert page.is_disabled("#start-teaching")
    page.click("#teach-folder")
    page.click("dialog .list li:has-text('allowed')")
    page.click("dialog .list li:has-text('finished')")
    page.click("text=Use this folder")
    page.wait_for_selector("dialog:has-text('3 images of 3 patients')")
    page.wait_for_selector("#teach-reason:has-text('Give the expert a name')")
    page.fill("#expert-name", "ball-mine")
    page.wait_for_selector("#start-teaching:enabled")
    page.click("#start-teaching")
    page.wait_for_selector("#cancel-teaching:visible")
    page.click("dialog >> text=Close")
    user.tool("positive")
    click_on(user, volume, LARGE)
    user.segmented()
    assert "Teaching ball-mine" in page.inner_text("#teach-status")
    page.wait_for_function(
        "() => document.getElementById('teach-status').innerText.includes('has learned')", timeout=60_000
    )
    page.click("#teach-status")
    page.wait_for_selector("#teach-result:has-text('is ready')")
    result = page.inner_text("#teach-result")
    assert "ball-mine is ready" in result and "A box" in result and "Before" in result
    page.click("#keep-expert")
    page.wait_for_function("() => document.getElementById('message').innerText.includes('is installed')")
    page.click("dialog >> text=Close")
    user.wait("moeseg.store.state.why === '' && !moeseg.store.state.busy")
    user.wait("moeseg.store.state.experts.includes('ball-mine')")
    page.select_option("#expert", "ball-mine")
    user.wait("moeseg.store.state.answer?.expert === 'ball-mine'")


def test_lesions_are_found_by_a_phrase_shown_by_a_click_and_refined(user: User, volume: Volume, tmp_path: Path) -> None:
    page = user.page
    page.click("#lesions summary")
    page.click("#find-lesions")
    page.fill("#tumor", "HCC")
    page.wait_for_selector("#needs:has-text('A liver tumor lies in: liver')")
    page.click("dialog >> text=Open …")
    page.click("dialog .list li:has-text('allowed')")
    page.click("dialog .list li:has-text('organs.seg.nrrd')")
    page.wait_for_selector("#needs:has-text('Organs for a liver tumor: liver')")
    page.click("#start-finding")
    user.wait("document.querySelectorAll('#lesions tbody tr').length === 2")
    assert [row[0] for row in rows(user)] == ["liver tumor 1", "liver tumor 2"]
    with page.expect_download() as waiting:
        page.click("#lesions >> text=CSV")
    waiting.value.save_as(tmp_path / "lesions.csv")
    table = list(csv.DictReader((tmp_path / "lesions.csv").read_text().splitlines()))
    assert [f"{float(row['volume (mL)']):.2f}" for row in table] == [row[1] for row in rows(user)]
    page.click("#lesions tbody tr:nth-child(2)")
    index = round(float(volume.ras_to_ijk(SMALL)[volume.axis_of("coronal")]))
    user.wait(f"Math.abs(moeseg.store.views.coronal.index - {index}) <= 1")
    page.click("#refine-lesion")
    user.wait("moeseg.store.tool === 'positive' && moeseg.store.state.model === 'sam-med3d'")
    assert [segment["name"] for segment in user.segments] == ["liver tumor", "liver tumor 2"]
    click_on(user, volume, SMALL)
    user.wait("moeseg.store.state.prompts.length === 2 && moeseg.store.state.answer !== null")
    page.keyboard.press("u")
    page.keyboard.press("u")
    user.wait("moeseg.store.state.segments.length === 1")


def test_every_click_is_a_new_lesion_in_the_table(user: User, volume: Volume) -> None:
    user.page.select_option("#model", "segmote-lite")
    user.wait("!document.getElementById('tool-box').disabled")
    user.page.click("#lesions summary")
    user.page.check("#lesions label:has-text('Every click') input")
    user.tool("positive")
    click_on(user, volume, LARGE)
    user.segmented(0)
    click_on(user, volume, SMALL)
    user.segmented(1)
    user.wait("document.querySelectorAll('#lesions tbody tr').length === 2")
    assert [row[0] for row in rows(user)] == ["Lesion 1", "Lesion 2"]
    user.page.uncheck("#lesions label:has-text('Every click') input")
