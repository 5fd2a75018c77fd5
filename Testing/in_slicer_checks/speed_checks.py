"""Speed, memory, and the real model."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import slicer

from .fake_engine import ball
from .runner import Checks, Skipped, require

checks = Checks("Speed and the real model")
check = checks.check
LIMIT_MS = 100.0
_GROWTH_MB = 50.0


@check("The window never stands still for more than 100 ms with a 512 x 512 x 200 volume", application=True)
def longest_block(site: Any) -> str:
    site.start(ball((200, 512, 512), np.diag([-0.7, -0.7, 1.5, 1.0])))
    segment = site.add_segment("target")
    site.pause(1.0)
    blocks = {}
    for name, ijk in (("first prompt", (256, 256, 100)), ("second prompt", (300, 256, 100))):
        site.longest_block = 0.0
        site.point_at(segment, ijk)
        blocks[name] = 1000 * site.longest_block
    for name, step in (("undo", site.ui.undoButton), ("redo", site.ui.redoButton)):
        site.longest_block = 0.0
        started = time.perf_counter()
        step.click()
        blocks[name] = 1000 * (time.perf_counter() - started)
        site.settle()
        blocks[name] = max(blocks[name], 1000 * site.longest_block)
    text = ", ".join(f"{name} {value:.0f} ms" for name, value in blocks.items())
    site.close_scene()
    require(max(blocks.values()) <= LIMIT_MS, text)
    return text


@check("Forty prompts with undo and redo leave no memory behind")
def memory(site: Any) -> str:
    site.start()
    segment = site.add_segment("target")
    _prompts_and_back(site, segment, 10)  # caches and undo states fill up first
    before = _resident_mb()
    _prompts_and_back(site, segment, 40)
    grown = _resident_mb() - before
    require(grown < _GROWTH_MB, f"{grown:.0f} MB more")
    return f"{grown:.1f} MB more"


def _prompts_and_back(site: Any, segment: str, times: int) -> None:
    from MoESegLib.core.prompts import PointPrompt

    for index in range(times):
        site.workbench.add(PointPrompt(ras=site.ras((20 + index % 8, 24, 12)), segment=segment, plane="axial"))
        site.wait(lambda: not site.workbench.is_busy, "the prediction ends")
        site.ui.undoButton.click()
        site.wait(lambda: not site.workbench.is_busy, "undo ends")


def _resident_mb() -> float:
    status = Path("/proc/self/statm")
    if status.exists():
        return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    if sys.platform == "darwin":
        import subprocess

        shown = subprocess.run(["ps", "-o", "rss=", "-p", str(os.getpid())], capture_output=True, check=True, text=True)
        return int(shown.stdout) / 1e3
    raise Skipped("memory is not measured on this system; look at the Task Manager")


@check("LiteMedSAM segments the liver of the demo CT from one box", application=True)
def real_model(site: Any) -> str:
    if importlib.util.find_spec("torch") is None:
        raise Skipped("PyTorch is not installed in Slicer's Python")
    from MoESegLib.core.prompts import BoxPrompt
    from MoESegLib.core.volume import Volume
    from MoESegLib.mrml.model_library import ModelLibrary
    from MoESegLib.resources import resource_path

    if ModelLibrary().state("lite-medsam") != "installed":
        raise Skipped("LiteMedSAM is not on this computer; press Get in the panel and run again")
    site.start(Volume.read(resource_path("Demo", "ct")), _real_engine())
    segment = site.add_segment("liver")
    low, high = (-15.1, 70.3, -784.5), (147.0, 248.1, -784.5)
    started = time.perf_counter()
    site.workbench.add(BoxPrompt(corner_a=low, corner_b=high, segment=segment, plane="axial"))
    site.wait(lambda: site.mask(segment).any(), "the liver appears", 120.0)
    seconds = time.perf_counter() - started
    slicer.util.forceRenderAllViews()
    site.ui.MoESeg.window().grab().save(str(site.folder / "liver.png"))
    count = int(site.mask(segment).sum())
    require(count > 5000, f"only {count} voxels")
    return f"{count} voxels after {seconds:.1f} s"


def _real_engine() -> Any:
    from MoESegLib.engines import load_engine

    return load_engine("lite-medsam")
