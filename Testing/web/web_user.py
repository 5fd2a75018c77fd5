"""A user of the page in a real browser: what is done with mouse and keys, and what is seen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright
from web_tools import CHROMIUM

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
CENTER = (40, 32, 12)
"""Of the ball that most tests segment, in voxels (i, j, k)."""
TIMEOUT = 30_000


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser; see :data:`~web_tools.CHROMIUM`."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield browser
        browser.close()


class User:
    """What a user does on the page, and what is seen there."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.problems: list[str] = []
        self.requests: list[str] = []
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", lambda line: self.problems.append(line.text) if line.type == "error" else None)
        page.on("request", lambda request: self.requests.append(request.url))

    def open(self, address: str) -> User:
        self.page.goto(address)
        self.wait("moeseg.store.views?.axial?.data && !document.getElementById('tool-box').disabled")
        return self

    def start_over(self, path: Path) -> User:
        """Open the image again, which leaves all segments behind."""
        before = self.page.evaluate("moeseg.store.state.case")
        self.page.click("#open")
        self.page.click(f"dialog li:has-text('{path.parent.name}')")
        self.page.click(f"dialog li:has-text('{path.name}')")
        self.wait(f"moeseg.store.state.case !== '{before}' && moeseg.store.views.axial.data && moeseg.store.opened")
        self.wait("!document.getElementById('tool-box').disabled")
        self.show("axial", CENTER[2])
        return self

    def wait(self, condition: str) -> None:
        self.page.wait_for_function(f"() => window.moeseg && ({condition})", timeout=TIMEOUT)

    def show(self, plane: str, index: int) -> None:
        self.page.evaluate(f"moeseg.store.views.{plane}.show({index})")
        self.wait(f"moeseg.store.views.{plane}.index === {index}")

    def at(self, plane: str, x: float, y: float) -> tuple[float, float]:
        """Where a displayed pixel of a view lies on the screen."""
        script = """([plane, x, y]) => {
            const view = moeseg.store.views[plane], box = view.stage.getBoundingClientRect(), place = view.place();
            return [box.x + (place.left + (x + .5) * place.scaleX) / view.ratio,
                    box.y + (place.top + (y + .5) * place.scaleY) / view.ratio];
        }"""
        return tuple(self.page.evaluate(script, [plane, x, y]))

    def tool(self, name: str) -> None:
        self.page.click(f"#tool-{name}")

    def click(self, x: float, y: float, plane: str = "axial") -> None:
        self.page.mouse.click(*self.at(plane, x, y))

    def drag(self, *path: tuple[float, float], plane: str = "axial", button: Any = "left") -> None:
        self.page.mouse.move(*self.at(plane, *path[0]))
        self.page.mouse.down(button=button)
        for point in path[1:]:
            self.page.mouse.move(*self.at(plane, *point), steps=4)
        self.page.mouse.up(button=button)

    def add_segment(self, name: str) -> None:
        count = len(self.segments)
        self.page.fill("#segment-name", name)
        self.page.press("#segment-name", "Enter")
        self.wait(f"moeseg.store.state.segments.length === {count + 1}")

    @property
    def segments(self) -> list[dict]:
        return self.page.evaluate("moeseg.store.state.segments")

    def segmented(self, number: int = 0) -> None:
        """Wait until a segment has voxels and all three views show the present state."""
        self.wait(f"moeseg.store.state.segments[{number}]?.milliliters > 0")
        self.drawn()

    def drawn(self) -> None:
        same = "(view) => view.data?.revision === moeseg.store.state.revision"  # nothing at first, after a reload
        self.wait(f"moeseg.store.views && Object.values(moeseg.store.views).every({same})")

    def colored(self, plane: str) -> int:
        """How many pixels of a view are colored, as read back from the canvas itself."""
        return self.page.evaluate(
            """(plane) => {
            const canvas = moeseg.store.views[plane].canvas;
            const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
            let count = 0;
            for (let n = 0; n < data.length; n += 4) if (Math.abs(data[n] - data[n + 1]) > 12 || Math.abs(data[n] - data[n + 2]) > 12) count++;
            return count;
        }""",  # noqa: E501
            plane,
        )
