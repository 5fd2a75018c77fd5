"""The demo's stories in a real browser: they play, pause for a visitor, and outlive a reload."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from web_tools import CHROMIUM, need, running

need("aiohttp", "slicer", "playwright")
if not CHROMIUM.exists():
    pytest.skip(f"There is no Chromium at {CHROMIUM}.", allow_module_level=True)

from playwright.sync_api import Browser  # noqa: E402
from web_user import User, chromium  # noqa: E402

DEMO = str(Path(__file__).parent / "fake_demo.py")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def visitor(browser: Browser, request: pytest.FixtureRequest) -> Iterator[User]:
    """Somebody at a demo of their own."""
    with running(DEMO, *getattr(request, "param", ())) as (address, _):
        context = browser.new_context(viewport={"width": 1366, "height": 768})
        user = User(context.new_page()).open(address)
        yield user
        assert user.problems == []
        context.close()


def test_a_story_is_told_step_by_step_and_asks_before_it_removes_segments(visitor: User) -> None:
    visitor.add_segment("mine")
    visitor.page.click("[data-story=organ]")
    assert "will be removed" in visitor.page.inner_text("#stage")
    visitor.page.click("#stage >> text=Keep")
    assert [segment["name"] for segment in visitor.segments] == ["mine"]
    visitor.page.click("[data-story=organ]")
    visitor.page.click("#stage >> text=Remove and play")
    visitor.wait("moeseg.store.stage.number === 1 && moeseg.store.stage.playing")
    visitor.page.click("#stage [aria-label=Pause]")
    assert "1 of 6" in visitor.page.inner_text("#stage")
    assert visitor.page.is_visible(".hand")
    visitor.page.click("#stage [aria-label='Next step']")
    visitor.segmented()
    visitor.wait("!moeseg.store.stage.playing")
    visitor.page.click("#stage [aria-label='Next step']")
    visitor.wait("moeseg.store.state.segments[0].locked")
    visitor.page.click("#stage [aria-label='From the beginning']")
    visitor.wait("moeseg.store.state.segments.length === 0 && moeseg.store.stage.number === 1")
    visitor.page.click("#stage [aria-label='End the story']")
    visitor.page.wait_for_selector("[data-story=organ]")


@pytest.mark.parametrize("visitor", [["--loop"]], indirect=True)
def test_the_loop_begins_by_itself_outlives_a_reload_and_pauses_for_a_visitor(visitor: User) -> None:
    visitor.wait("moeseg.store.stage?.playing")
    visitor.segmented()
    visitor.page.reload()
    visitor.wait("moeseg.store.stage?.playing && moeseg.store.views.axial.data")
    assert "of 6" in visitor.page.inner_text("#stage")
    visitor.segmented()
    visitor.page.mouse.move(*visitor.at("axial", 256, 256))
    assert visitor.page.evaluate("moeseg.store.stage.playing")
    visitor.tool("positive")
    visitor.wait("!moeseg.store.stage.playing && moeseg.store.stage.visited")
    visitor.page.click("#stage [aria-label='Go on']")
    visitor.wait("moeseg.store.stage.playing && !moeseg.store.stage.visited")
