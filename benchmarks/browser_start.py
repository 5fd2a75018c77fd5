"""How long it takes from the command to the first slice and the first mask, and where the time goes.

``python benchmarks/browser_start.py [--model segmote-lite] [--out FILE]`` starts ``moeseg demo`` twice with a home of
its own that holds nothing but the weights: the first start is that of a fresh machine (the image encoder is converted
for the processor, nothing is encoded yet), the second one finds what the first one left. The page is clicked as soon as
the tools can be used. Then a process without a page does the same, cold and warm, and says how long each part takes by
itself. Files that the operating system holds in memory stay there; a start right after the computer was switched on
also reads about 1 GB of Python packages from the disk.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from browser_latency import ARGUMENTS, position
from playwright.sync_api import sync_playwright

from MoESegLib.weights.store import models_home, owner_of

SPLEEN = (332, 349)
"""Displayed pixel of the demo's middle slice."""
IMPORTS = ("numpy", "SimpleITK", "aiohttp", "slicer", "torch", "openvino", "MoESegLib.engines", "MoESegLib.web.launch")
LIMIT = 300_000


def fresh_home(model: str, folder: Path) -> dict[str, str]:
    """An environment whose MoESeg knows the weights and nothing else."""
    owner = owner_of(model).name
    there = models_home() / "models" / owner
    if there.exists():
        shutil.copytree(there, folder / "models" / owner)
    return {**os.environ, "MOESEG_HOME": str(folder)}


def with_page(model: str, chromium: str, environment: dict[str, str]) -> dict[str, float]:
    """Seconds after the command at which the user sees something."""
    began, seconds = time.perf_counter(), {}

    def mark(name: str) -> None:
        seconds[name] = round(time.perf_counter() - began, 1)

    command = [sys.executable, "-m", "MoESegLib", "demo", "--no-browser", "--model", model]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stderr is not None
    try:
        address = next(line for line in process.stderr if "is ready: " in line).split("is ready: ")[1].strip()
        mark("address printed")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
            page = browser.new_page(viewport={"width": 1366, "height": 768})
            page.goto(address)
            page.wait_for_function("() => window.moeseg?.store.views?.axial?.data", timeout=LIMIT)
            mark("first slice")
            page.wait_for_function("() => !document.getElementById('tool-positive').disabled", timeout=LIMIT)
            mark("tools can be used")
            page.click("#tool-positive")
            page.mouse.click(*position(page, *SPLEEN))
            page.wait_for_function("() => moeseg.timings.length === 1", timeout=LIMIT)
            mark("first mask")
            browser.close()
    finally:
        process.terminate()
        process.wait(20)
    return seconds


def parts(model: str) -> dict[str, float]:
    """Seconds of each part, one after the other, in this process."""
    seconds, last = {}, time.perf_counter()

    def mark(name: str) -> None:
        nonlocal last
        seconds[name], last = round(time.perf_counter() - last, 1), time.perf_counter()

    for name in IMPORTS:
        importlib.import_module(name)
        mark(f"import {name}")
    from MoESegLib import PointPrompt, Session, Volume, load_engine
    from MoESegLib.cli.app_command import demo_image

    volume = Volume.read(demo_image())
    mark("read the image")
    engine = load_engine(model)
    mark("load the model")
    axis = volume.axis_of("axial")
    with Session(volume, engine, prefetch=False) as session:
        for step, name in enumerate(("encode a slice and answer the click", "answer a click on the same slice")):
            pixel = SPLEEN[0] + 5 * step, SPLEEN[1]
            point = tuple(volume.to_ras(volume.view(axis).to_ijk(pixel, volume.size[axis] // 2)).tolist())
            session.add(PointPrompt(point, segment=name, plane="axial"))
            session.wait()
            mark(name)
    return seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="segmote-lite")
    parser.add_argument("--chromium", default=os.environ.get("CHROMIUM", "/usr/bin/chromium"))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--parts", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.parts:
        print(json.dumps(parts(args.model)))
        return
    result: dict[str, dict[str, float]] = {}
    for number in range(2):
        with tempfile.TemporaryDirectory() as folder:
            environment = fresh_home(args.model, Path(folder))
            for name in ("fresh machine", "later"):
                if number == 0:
                    result[name] = with_page(args.model, args.chromium, environment)
                    continue
                command = [sys.executable, __file__, "--parts", "--model", args.model]
                done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
                result[f"parts, {name}"] = json.loads(done.stdout.splitlines()[-1])
    text = json.dumps(result, indent=1)
    print(text)
    if args.out is not None:
        args.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
