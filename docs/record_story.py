"""Record a story of the demo as an animated picture: ``python docs/record_story.py [--out FILE.webp]``.

It starts ``moeseg demo`` with the real model, plays the story in Chromium, and takes a screenshot whenever the page
looks different. Waiting for the model is shown for at most half a second, so that the length does not depend on the
computer. Needs the extras ``web`` and ``test``, a Chromium, and the weights of LiteMedSAM.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import time
from pathlib import Path

from PIL import Image, ImageChops
from playwright.sync_api import Page, sync_playwright

WINDOW, WIDTH = (1120, 640), 900
QUALITY = 60
LONGEST_WORK, LONGEST, LAST = 0.5, 2.4, 4.0
"""Seconds that a picture of the model's work, any other, and the last one are shown at most."""
READY = "() => window.moeseg?.store.views?.axial?.data && !document.getElementById('tool-box').disabled"
CHROMIUM = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
Shot = tuple[Image.Image, float]


def play(page: Page, story: str) -> list[Shot]:
    """Screenshots of a story with the seconds that each is shown."""
    page.wait_for_function(READY, timeout=300_000)
    page.wait_for_timeout(8_000)  # the slice is encoded meanwhile
    page.click(f"[data-story={story}]")
    page.wait_for_function("() => moeseg.store.stage.playing")
    shots: list[Shot] = []
    phase, last = "", time.perf_counter()
    while phase != "over":
        phase = page.evaluate("() => moeseg.store.stage.phase")
        picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        now = time.perf_counter()
        seconds, last = now - last, now
        shown = min(seconds, LONGEST_WORK) if phase == "working" else seconds
        if shots and ImageChops.difference(shots[-1][0], picture).getbbox() is None:
            shots[-1] = shots[-1][0], shots[-1][1] + shown
        else:
            shots.append((picture, shown))
    return shots


def write(shots: list[Shot], path: Path) -> None:
    """Scale and write."""
    size = WIDTH, round(WIDTH * WINDOW[1] / WINDOW[0])
    small = [picture.resize(size, Image.Resampling.LANCZOS) for picture, _ in shots]
    durations = [max(60, round(1000 * min(seconds, LONGEST))) for _, seconds in shots[:-1]] + [round(1000 * LAST)]
    small[0].save(path, save_all=True, append_images=small[1:], duration=durations, loop=0, quality=QUALITY, method=6)
    print(f"{path}: {len(small)} pictures, {sum(durations) / 1000:.0f} s, {path.stat().st_size / 1e6:.2f} MB")


def main() -> None:
    """Record and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--story", default="organ")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "browser-story.webp")
    parser.add_argument("--chromium", default=os.environ.get("CHROMIUM", "/usr/bin/chromium"))
    args = parser.parse_args()
    command = [sys.executable, "-m", "MoESegLib", "demo", "--no-browser"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        address = next(line for line in process.stderr if "is ready: " in line).split("is ready: ")[1].strip()
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=args.chromium, args=CHROMIUM)
            page = browser.new_page(viewport={"width": WINDOW[0], "height": WINDOW[1]})
            page.goto(address)
            shots = play(page, args.story)
            browser.close()
    finally:
        process.terminate()
        process.wait(20)
    write(shots, args.out)


if __name__ == "__main__":
    main()
