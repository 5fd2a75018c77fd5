"""How long the panel keeps Slicer's event loop waiting: ``python benchmarks/panel_blocking.py [--runtime torch]``.

The real panel runs on its harness with the real LiteMedSAM and a 512 x 512 x 200 CT. A timer that should fire every
millisecond notes the gaps between its calls; the longest gap of each phase is the longest block of the event loop.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "Testing" / "panel"), str(ROOT / "Testing")]
SHAPE = (200, 512, 512)


class Gaps:
    """The longest time between two turns of the event loop, by phase."""

    def __init__(self) -> None:
        from PySide6 import QtCore

        self.longest: dict[str, float] = {}
        self.phase = "idle"
        self._last = time.perf_counter()
        self._timer = QtCore.QTimer()
        self._timer.setTimerType(QtCore.Qt.TimerType.PreciseTimer)
        self._timer.setInterval(1)
        self._timer.timeout.connect(self._tick)
        self._timer.start()

    def _tick(self) -> None:
        now = time.perf_counter()
        self.longest[self.phase] = max(self.longest.get(self.phase, 0.0), now - self._last)
        self._last = now

    def start(self, phase: str) -> None:
        """What comes now is measured under this name."""
        self._tick()
        self.phase = phase
        self._last = time.perf_counter()


def phantom() -> Any:
    """A body with three organs on 512 x 512 x 200 voxels, Hounsfield units with noise."""
    from MoESegLib.core.volume import Volume

    rng = np.random.default_rng(0)
    array = np.full(SHAPE, -1000, np.int16)
    k, j, i = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    array[np.broadcast_to(((j - 256) / 180) ** 2 + ((i - 256) / 220) ** 2 < 1, SHAPE)] = 30
    organs = (
        ((100, 230, 180), (70, 90, 80), 110),
        ((100, 300, 350), (45, 50, 40), 150),
        ((100, 300, 256), (90, 18, 18), 220),
    )
    for center, radius, value in organs:
        inside = sum(((g - c) / r) ** 2 for g, c, r in zip((k, j, i), center, radius, strict=True)) < 1
        array[inside] = value
    array += rng.integers(-12, 13, SHAPE, dtype=np.int16)
    return Volume(array, np.diag([-0.8, -0.8, 2.0, 1.0]), modality="CT", name="phantom")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runtime", default="auto", choices=("auto", "torch", "openvino"))
    runtime = parser.parse_args().runtime
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    from panel_harness import Harness
    from panel_helpers import add_volume, corners, make_panel

    from MoESegLib import load_engine

    engine = load_engine("lite-medsam", runtime=runtime)
    volume = phantom()
    harness = Harness.start()
    gaps = Gaps()
    gaps.start("open the module")
    panel = make_panel(harness, None, None, 1, lambda name: engine)
    harness.pump(0.2)
    gaps.start("(the harness copies the array into a node)")
    panel.volume = add_volume(harness.scene, volume)
    gaps.start("choose the image")
    panel.ui.volumeSelector.setCurrentNode(panel.volume)
    panel.settle()
    for name, low, high in (("liver", (95, 130), (265, 330)), ("spleen", (305, 245), (395, 355))):
        gaps.start(f"{name}: add segment")
        panel.add_segment(name)
        gaps.start(f"{name}: box, encode, predict, write")
        panel.harness.click(panel.ui.boxTool)
        harness.place_box(*corners(panel, low, high, 100))
        panel.settle()
    gaps.start("switch to whole volume")
    harness.click(panel.ui.volumeButton)
    panel.settle()
    panel.add_segment("liver 3D")
    gaps.start("box, propagate through the volume, write")
    panel.harness.click(panel.ui.boxTool)
    harness.place_box(*corners(panel, (95, 130), (265, 330), 100))
    panel.settle(timeout=600)
    print(f"liver 3D: {panel.mask('liver 3D').sum():,} voxels")
    gaps.start("point after it (propagates again), write")
    harness.click(panel.ui.positiveTool)
    harness.place_point(panel.ras((180, 220, 100)))
    panel.settle(timeout=600)
    gaps.start("show changes and confidence")
    harness.click(panel.ui.changesCheckBox)
    harness.click(panel.ui.confidenceCheckBox)
    panel.settle()
    for name, button in (("undo", panel.ui.undoButton), ("redo", panel.ui.redoButton)):
        gaps.start(name)
        harness.click(button)
        panel.settle()
    gaps.start("lesion table of three segments")
    harness.click(panel.ui.measureButton)
    panel.settle()
    gaps.start("end")
    harness.check()
    print(f"\n{'phase':45s} longest block (ms)")
    for phase, seconds in gaps.longest.items():
        print(f"{phase:45s} {1000 * seconds:8.0f}")


if __name__ == "__main__":
    main()
