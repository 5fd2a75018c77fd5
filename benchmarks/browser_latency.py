"""How long the browser app takes from the mouse to the screen, in a real Chromium, beside the model's own time.

``python benchmarks/browser_latency.py [--clicks 40] [--model segmote-lite] [--out FILE]`` starts ``moeseg app --demo``,
clicks into organs, scrolls with the wheel, and prints medians and 95th percentiles in milliseconds as JSON:

* ``click``: from the release of the mouse until all three views show the mask, and ``model``: the model's share of it;
* ``scroll new`` and ``scroll again``: from a notch of the wheel until the slice is drawn, for slices that the page has
  not seen yet and those it has;
* ``start``: from the command to a page whose first click is answered, with the memory of the server's process.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
ORGANS = ((140, 300), (180, 330), (332, 349), (262, 297), (120, 330), (345, 330))
"""Displayed pixels of liver, spleen and aorta in the demo's middle slice."""


def start(model: str) -> tuple[subprocess.Popen, str]:
    """The server and its address."""
    command = [sys.executable, "-m", "MoESegLib", "app", "--demo", "--no-browser", "--model", model]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "is ready: " in line:
            return process, line.split("is ready: ")[1].strip()
    raise SystemExit("The server did not start.")


def summary(values: list[float]) -> dict[str, float]:
    """Median and 95th percentile in milliseconds."""
    ordered = sorted(values)
    high = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    return {"n": len(ordered), "median": round(statistics.median(ordered), 1), "p95": round(high, 1)}


def position(page: Page, x: float, y: float) -> tuple[float, float]:
    """Where a displayed pixel of the axial view lies on the screen."""
    script = """([x, y]) => {
        const view = moeseg.store.views.axial, box = view.stage.getBoundingClientRect(), place = view.place();
        return [box.x + (place.left + (x + .5) * place.scaleX) / view.ratio,
                box.y + (place.top + (y + .5) * place.scaleY) / view.ratio];
    }"""
    left, top = page.evaluate(script, [x, y])
    return left, top


def clicks(page: Page, count: int) -> tuple[list[float], list[float]]:
    """Milliseconds of clicks, and the model's share."""
    page.click("#tool-positive")
    for number in range(count + 2):
        if number % 3 == 0:
            page.fill("#segment-name", f"segment {number}")
            page.press("#segment-name", "Enter")
        x, y = ORGANS[number % len(ORGANS)]
        page.mouse.click(*position(page, x + 3 * (number % 7), y + 2 * (number % 5)))
        page.wait_for_function(f"() => moeseg.timings.length === {number + 1}", timeout=60_000)
        page.wait_for_timeout(150)
    timings = page.evaluate("() => moeseg.timings")[2:]  # the first ones encode the slice
    return [entry["ms"] for entry in timings], [entry["engine"] for entry in timings]


def scrolls(page: Page) -> list[float]:
    """Milliseconds from every notch of the wheel to the picture."""
    page.evaluate("""() => {
        window.scrolled = [];
        const view = moeseg.store.views.axial, draw = view.draw.bind(view);
        let began = 0;
        view.stage.addEventListener('wheel', () => { began = performance.now(); }, true);
        view.draw = () => { draw(); if (began) { window.scrolled.push(performance.now() - began); began = 0; } };
    }""")
    page.mouse.move(*position(page, 256, 256))
    for direction in (-100, 100, -100):
        for _ in range(9):
            page.mouse.wheel(0, direction)
            page.wait_for_timeout(120)
    return page.evaluate("() => window.scrolled")


def memory(process: subprocess.Popen) -> float:
    """Megabytes that the server holds."""
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clicks", type=int, default=40)
    parser.add_argument("--model", default="segmote-lite")
    parser.add_argument("--chromium", default=os.environ.get("CHROMIUM", "/usr/bin/chromium"))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    began = time.perf_counter()
    process, address = start(args.model)
    seconds = {"server": round(time.perf_counter() - began, 1)}
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=args.chromium, args=ARGUMENTS)
            page = browser.new_page(viewport={"width": 1366, "height": 768})
            page.goto(address)
            page.wait_for_function("() => window.moeseg?.store.views?.axial?.data", timeout=60_000)
            seconds["first slice"] = round(time.perf_counter() - began, 1)
            page.wait_for_function("() => !document.getElementById('tool-box').disabled", timeout=120_000)
            seconds["model loaded"] = round(time.perf_counter() - began, 1)
            scrolled = scrolls(page)
            page.evaluate("() => moeseg.store.views.axial.show(10)")
            page.wait_for_timeout(5_000)  # the slice is encoded while the user looks at it
            total, model = clicks(page, args.clicks)
            browser.close()
        rest = [whole - part for whole, part in zip(total, model, strict=True)]
        result = {
            "start, seconds": seconds,
            "click": summary(total),
            "model": summary(model),
            "app's share": summary(rest),
            "scroll new": summary(scrolled[:9]),
            "scroll again": summary(scrolled[9:]),
            "memory, MB": memory(process),
        }
    finally:
        process.terminate()
        process.wait(20)
    text = json.dumps(result, indent=1)
    print(text)
    if args.out is not None:
        args.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
