"""The app in a real browser. Skipped without Chromium (set CHROMIUM to its path) or the tools that drive it."""

from __future__ import annotations

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


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Holds a ball to segment; the page may open and write files in it."""
    folder = tmp_path_factory.mktemp("allowed")
    center = (CENTER[2], CENTER[1], CENTER[0])
    blob_volume((25, 64, 80), radius=14, center=center).write(folder / "ball.nrrd")
    return folder


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with running(str(Path(__file__).parent / "fake_app.py"), str(folder / "ball.nrrd"), str(folder)) as (address, _):
        yield address


@pytest.fixture
def user(browser: Browser, address: str, folder: Path) -> Iterator[User]:
    context = browser.new_context(viewport={"width": 1366, "height": 768}, accept_downloads=True)
    user = User(context.new_page()).open(address).start_over(folder / "ball.nrrd")
    yield user
    assert user.problems == []
    assert all(url.startswith((address, "blob:", "data:")) for url in user.requests)
    context.close()


def test_a_click_gives_a_mask_in_all_three_planes_and_in_3d(user: User) -> None:
    assert [user.colored(plane) for plane in ("axial", "coronal", "sagittal")] == [0, 0, 0]
    user.show("coronal", CENTER[1])
    user.show("sagittal", CENTER[0])
    user.tool("positive")
    user.click(CENTER[0], CENTER[1])
    user.segmented()
    assert min(user.colored(plane) for plane in ("axial", "coronal", "sagittal")) > 30
    user.wait("document.querySelector('.solid .hint').textContent === ''")
    assert "sure" in user.page.inner_text("#answer")


def test_a_second_segment_undo_and_redo(user: User) -> None:
    user.add_segment("liver")
    user.tool("positive")
    user.click(CENTER[0] - 6, CENTER[1])
    user.segmented(0)
    user.add_segment("spleen")
    user.click(CENTER[0] + 6, CENTER[1])
    user.segmented(1)
    assert [segment["name"].lower() for segment in user.segments] == ["liver", "spleen"]
    first, second = user.segments
    user.page.keyboard.press("u")
    user.wait("moeseg.store.state.segments[1].milliliters === 0")
    assert user.segments[0]["milliliters"] >= first["milliliters"]
    user.page.keyboard.press("Shift+U")
    user.wait(f"Math.abs(moeseg.store.state.segments[1].milliliters - {second['milliliters']}) < 1e-6")


@pytest.mark.parametrize(
    ("tool", "path"),
    [
        ("box", [(24, 16), (56, 48)]),
        ("lasso", [(26, 18), (54, 18), (54, 46), (26, 46)]),
        ("scribble", [(34, 32), (46, 32)]),
    ],
)
def test_what_is_drawn_with_the_mouse_becomes_a_mask(user: User, tool: str, path: list) -> None:
    user.tool(tool)
    user.drag(*path)
    user.segmented()
    kind = {"lasso": "polygon"}.get(tool, tool)
    assert [prompt["kind"] for prompt in user.page.evaluate("moeseg.store.state.prompts")] == [kind]
    assert user.colored("axial") > 30


def test_a_phrase_makes_a_segment_of_that_name(user: User) -> None:
    user.page.keyboard.press("d")
    user.page.keyboard.type("liver")
    user.page.keyboard.press("Enter")
    user.segmented()
    assert user.segments[0]["name"].lower() == "liver"


def test_a_point_can_be_dragged_to_another_place(user: User) -> None:
    user.tool("positive")
    user.click(CENTER[0], CENTER[1])
    user.segmented()
    user.page.keyboard.press("Escape")
    user.drag((CENTER[0], CENTER[1]), (CENTER[0] + 5, CENTER[1] + 3))
    user.wait(f"Math.abs(moeseg.store.state.prompts[0].places.axial.path[0][0] - {CENTER[0] + 5}) < 1")


PATHS = {
    "box": [(24, 16), (56, 48)],
    "lasso": [(26, 18), (54, 18), (54, 46), (26, 46)],
    "scribble": [(34, 32), (46, 32)],
}


def path_of(user: User) -> list[list[float]]:
    return user.page.evaluate("moeseg.store.state.prompts[0].places.axial.path")


@pytest.mark.parametrize("tool", PATHS)
def test_boxes_and_lines_can_be_dragged_and_back_by_undo(user: User, tool: str) -> None:
    user.tool(tool)
    user.drag(*PATHS[tool])
    user.segmented()
    before, size = path_of(user), user.segments[0]["milliliters"]
    user.page.keyboard.press("Escape")
    (x0, y0), (x1, y1) = PATHS[tool][:2]
    held = ((x0 + x1) / 2, y0 if tool == "box" else (y0 + y1) / 2)
    user.drag(held, (held[0] + 9, held[1] - 5))
    user.wait(f"Math.abs(moeseg.store.state.prompts[0].places.axial.path[0][0] - {before[0][0] + 9}) < 0.5")
    after = path_of(user)
    assert len(after) == len(before)
    assert all(
        (new[0] - old[0], new[1] - old[1]) == pytest.approx((9, -5), abs=0.5)
        for old, new in zip(before, after, strict=True)
    )
    user.wait(f"Math.abs(moeseg.store.state.segments[0].milliliters - {size}) > 0.01")
    user.page.keyboard.press("u")
    user.wait(f"Math.abs(moeseg.store.state.prompts[0].places.axial.path[0][0] - {before[0][0]}) < 0.02")
    user.wait(f"Math.abs(moeseg.store.state.segments[0].milliliters - {size}) < 1e-6")


def test_a_corner_of_a_box_is_dragged_alone_and_a_box_stays_in_the_image(user: User) -> None:
    user.tool("box")
    user.drag((24, 16), (56, 48))
    user.segmented()
    user.page.keyboard.press("Escape")
    user.drag((56, 16), (50, 22))  # the corner between the two that were drawn
    user.wait("moeseg.store.state.prompts[0].places.axial.path[1][0] < 51")
    assert [value for point in path_of(user) for value in point] == pytest.approx([24, 22, 50, 48], abs=0.5)
    user.drag((24, 30), (-20, 30))
    user.wait("moeseg.store.state.prompts[0].places.axial.path[0][0] < 0")
    assert [value for point in path_of(user) for value in point] == pytest.approx([-0.5, 22, 25.5, 48], abs=0.5)
    assert user.page.evaluate("moeseg.store.views.axial.index") == CENTER[2]


def test_saved_here_and_opened_again(user: User, folder: Path, tmp_path: Path) -> None:
    user.add_segment("spleen")
    user.tool("box")
    user.drag((24, 16), (56, 48))
    user.segmented()
    size = user.segments[0]["milliliters"]
    user.page.keyboard.press("Control+s")
    with user.page.expect_download() as waiting:
        user.page.click("#download-nrrd")
    saved = tmp_path / "ball.seg.nrrd"
    waiting.value.save_as(saved)
    user.start_over(folder / "ball.nrrd")
    assert user.segments == []
    user.page.click("#open")
    user.page.check("#as-segmentation")
    user.page.set_input_files("#upload", saved)
    user.segmented()
    assert [(s["name"].lower(), s["milliliters"]) for s in user.segments] == [("spleen", pytest.approx(size))]


def test_answer_and_accept_are_in_sight_beside_many_segments_and_prompts(user: User) -> None:
    for number in range(8):
        user.add_segment(f"structure {number}")
    user.tool("positive")
    for number in range(5):
        user.click(CENTER[0] + number, CENTER[1])
        user.wait(f"moeseg.store.state.prompts.length === {number + 1}")
    user.segmented(7)
    rows = "#segments li:last-child", "#prompts li:last-child", "#changes", "#accept"
    user.page.wait_for_selector("#prompts li:nth-child(5)")
    for wanted in (*rows, "#accept"):
        box = user.page.locator(wanted).bounding_box()
        assert box is not None and box["y"] > 40 and box["y"] + box["height"] < 768 - 24, wanted
    user.page.evaluate("document.querySelector('aside').scrollTop = 9999")
    shown = "(([x, y]) => document.elementFromPoint(x, y).id)"
    box = user.page.locator("#accept").bounding_box()
    assert box is not None
    assert user.page.evaluate(shown, [box["x"] + 20, box["y"] + 9]) == "accept"


def test_accepted_segments_are_locked_and_hidden_ones_not_drawn(user: User) -> None:
    user.tool("positive")
    user.click(CENTER[0], CENTER[1])
    user.segmented()
    user.page.keyboard.press("a")
    user.wait("moeseg.store.state.segments[0].locked")
    user.click(CENTER[0] + 3, CENTER[1])
    user.wait("document.getElementById('message').textContent.includes('locked')")
    user.page.click("#segments .swatch")
    user.wait("!moeseg.store.state.segments[0].visible")
    user.drawn()
    assert user.colored("axial") == 0


def test_what_changed_is_shown(user: User) -> None:
    user.tool("positive")
    user.click(CENTER[0], CENTER[1])
    user.segmented()
    before = user.colored("axial")
    user.page.check("#changes")
    user.wait("moeseg.store.state.changes")
    user.drawn()
    kinds = user.page.evaluate("moeseg.store.views.axial.data.layers.map(layer => layer.kind)")
    assert kinds == ["segment", "added"]
    assert user.colored("axial") >= before


def test_wheel_slider_and_crosshair_choose_the_slices(user: User) -> None:
    user.page.mouse.move(*user.at("axial", 40, 32))
    user.page.mouse.wheel(0, -100)
    user.wait(f"moeseg.store.views.axial.index === {CENTER[2] + 1}")
    user.click(20, 11)
    user.wait("moeseg.store.views.sagittal.index === 20 && moeseg.store.views.coronal.index === 11")
    user.page.evaluate(
        "s => { const i = document.querySelector('.axial input'); i.value = s; i.dispatchEvent(new Event('input')); }",
        3,
    )
    user.wait("moeseg.store.views.axial.index === 3")


def test_the_right_button_changes_the_gray_window(user: User) -> None:
    before = user.page.evaluate("moeseg.store.window")
    user.drag((20, 20), (60, 30), button="right")
    after = user.page.evaluate("moeseg.store.window")
    assert after[1] - after[0] > before[1] - before[0]
    user.page.select_option("#window", "default")
    assert user.page.evaluate("moeseg.store.window") == before


def test_reloading_keeps_the_work_and_a_second_tab_is_told(user: User, browser: Browser, address: str) -> None:
    user.tool("positive")
    user.click(CENTER[0], CENTER[1])
    user.segmented()
    size = user.segments[0]["milliliters"]
    user.page.reload()
    user.segmented()
    assert user.segments[0]["milliliters"] == size
    other = browser.new_context().new_page()
    other.goto(address)
    other.wait_for_selector("#curtain:not([hidden])")
    assert "already open" in other.inner_text("#curtain")
    other.click("text=Continue here")
    other.wait_for_function("() => window.moeseg.store.state?.segments?.length === 1")
    user.page.wait_for_selector("#curtain:not([hidden])")
    user.page.click("text=Continue here")
    user.page.wait_for_selector("#curtain", state="hidden")
    other.context.close()


def test_the_page_asks_for_the_token_where_there_is_one(browser: Browser, folder: Path, tmp_path: Path) -> None:
    script = tmp_path / "open_host.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\nfrom web_tools import FakeModels\n"
        "from MoESegLib.web.launch import Options, serve\n"
        "options = Options(Path(sys.argv[1]), host='0.0.0.0', browser=False)\n"
        "serve(options, lambda text: print(text, file=sys.stderr, flush=True), FakeModels())\n"
    )
    with running(str(script), str(folder / "ball.nrrd")) as (address, process):
        port = address.rsplit(":", 1)[1].split("/")[0]
        token = address.split("token=")[1]
        page = browser.new_context().new_page()
        page.goto(f"http://127.0.0.1:{port}/")
        assert "token" in page.inner_text("body")
        page.goto(f"http://127.0.0.1:{port}/?token={token}")
        page.wait_for_function("() => window.moeseg?.store.views?.axial?.data")
        assert token not in page.url
        page.context.close()


@pytest.mark.weights
def test_one_command_a_click_on_the_spleen_and_the_real_model_answers(browser: Browser, lite_medsam_path: Path) -> None:
    with running("-m", "MoESegLib", "app", "--demo", "--no-browser", "--model", "lite-medsam") as (address, _):
        context = browser.new_context(viewport={"width": 1366, "height": 768})
        user = User(context.new_page())
        user.page.goto(address)
        user.page.wait_for_function("() => window.moeseg?.store.views?.axial?.data", timeout=60_000)
        user.page.wait_for_function("() => !document.getElementById('tool-box').disabled", timeout=60_000)
        user.show("axial", 10)
        user.tool("positive")
        user.click(332, 349)
        user.page.wait_for_function("() => moeseg.store.state.segments[0]?.milliliters > 5", timeout=60_000)
        user.drawn()
        assert user.colored("axial") > 300
        assert user.problems == []
        context.close()
