"""How long MAST-Pro searches a CT, how much memory it takes, and how soon it stops when it is cancelled.

``python benchmarks/time_tumors.py [--size 512 512 200] [--threads 2] [--whole] [--cancels 8]`` draws a trunk with a
liver of usual size and looks for liver tumors: around the liver, and with ``--whole`` in all of the image. Without
weights in ``Resources/Weights`` the network is the compact one with random weights, which takes as long. Peak memory is
the most that the process holds during the search beyond what it held before (Linux). Cancelling is asked for at moments
spread over the search; the seconds are those until the search has ended.
"""

from __future__ import annotations

import argparse
import os
import threading
import time
from pathlib import Path

import numpy as np
import torch

from MoESegLib.core.cancel import CancelToken
from MoESegLib.core.errors import Cancelled
from MoESegLib.core.prompts import MaskPrompt, Prompt, TextPrompt
from MoESegLib.core.tumor_records import tumor_records
from MoESegLib.core.volume import Volume
from MoESegLib.engines import load_engine
from MoESegLib.engines.mast_pro import MastProEngine
from MoESegLib.engines.protocol import Context
from MoESegLib.engines.tumor_book import tumor_book
from MoESegLib.evaluation.stopwatch import matrix_gflops
from MoESegLib.models.mast_pro import build_mast_pro
from MoESegLib.weights.store import state_of

FIELD_MM = (410.0, 410.0, 500.0)
LIVER_MM = ((70.0, 10.0, 40.0), (95.0, 75.0, 85.0))
"""Center from the middle of the image, and half axes: 2.5 liters within the trunk."""


def main() -> None:
    """Print one row a search."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=3, default=(512, 512, 200), metavar=("I", "J", "K"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--whole", action="store_true", help="also without an organ")
    parser.add_argument("--cancels", type=int, default=8, help="how often a search is cancelled")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    volume, liver = trunk(*options.size)
    engine = engine_here()
    shown = " x ".join(map(str, options.size))
    print(f"{shown} voxels, {options.threads} threads, {matrix_gflops():.0f} GFLOP/s in a matrix product")
    print("search         windows  seconds  preview MB  peak MB  seconds to cancel (median, most)")
    searches: dict[str, list[Prompt]] = {"around the liver": [TextPrompt("liver tumor"), liver]}
    if options.whole:
        searches["whole image"] = [TextPrompt("liver tumor")]
    engine.predict(*trunk(64, 64, 40)[:1], [TextPrompt("liver tumor")], Context("volume"))  # the first run allocates
    for name, prompts in searches.items():
        print(f"{name:<16} {row(engine, volume, prompts, options.cancels)}", flush=True)


def engine_here() -> MastProEngine:
    """The network that ships, or one of its size."""
    if state_of("mast-pro") == "installed":
        return load_engine("mast-pro", runtime="torch")  # pyright: ignore[reportReturnType]
    network = build_mast_pro(tumors=[record.id for record in tumor_records()])
    return MastProEngine(network, "random", tumor_book())


def trunk(i: int, j: int, k: int) -> tuple[Volume, MaskPrompt]:
    """An ellipse of soft tissue in air with noise, and its liver."""
    spacing = np.array(FIELD_MM) / (i, j, k)
    matrix = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    z, y, x = (
        (np.arange(length, dtype=np.float32) - (length - 1) / 2) * step
        for length, step in zip((k, j, i), spacing[::-1], strict=True)
    )
    x, y, z = x[None, None], y[None, :, None], z[:, None, None]
    body = (x[0] / 180) ** 2 + (y[0] / 125) ** 2 < 1
    noise = np.random.default_rng(0).normal(0, 12, (j, i)).astype(np.float32)
    array, liver = np.empty((k, j, i), np.int16), np.empty((k, j, i), np.uint8)
    center, half = LIVER_MM
    for index in range(k):  # one by one: what this takes should not hide what the search takes
        place = (x[0], y[0], z[index, 0, 0])
        liver[index] = sum(((a - c) / h) ** 2 for a, c, h in zip(place, center, half, strict=True)) < 1
        array[index] = np.where(liver[index], 110, np.where(body, 45, -1000)) + noise
    return Volume(array, matrix, "CT"), MaskPrompt(liver, role="anatomy", structure="liver")


def row(engine: MastProEngine, volume: Volume, prompts: list[Prompt], cancels: int) -> str:
    """Cells of the table."""
    cost = engine.preview(volume, prompts)
    started = time.perf_counter()
    with Sampler() as sampler:
        engine.predict(volume, prompts, Context("volume"))
    seconds = time.perf_counter() - started
    moments = [(n + 0.5) / cancels * seconds for n in range(cancels)]
    waits = [
        wait for wait in (cancelled_after(engine, volume, prompts, moment) for moment in moments) if wait is not None
    ]
    waited = f"{np.median(waits):.2f}, {max(waits):.2f}" if waits else "-"
    windows, preview = (cost.windows, cost.bytes / 1e6) if cost is not None else (0, 0.0)
    return f"{windows:>5}  {seconds:>7.1f}  {preview:>10.0f}  {sampler.peak_mb:>7.0f}  {waited}"


class Sampler:
    """Memory of the process while something runs, beyond that before; Linux only."""

    def __enter__(self) -> Sampler:
        self._before, self.peak_mb = _resident_mb(), 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.01):
            self.peak_mb = max(self.peak_mb, _resident_mb() - self._before)


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def cancelled_after(engine: MastProEngine, volume: Volume, prompts: list[Prompt], moment: float) -> float | None:
    """Seconds from cancelling to the end; None where it had ended before."""
    token, asked = CancelToken(), [0.0]

    def cancel() -> None:
        asked[0] = time.perf_counter()
        token.cancel()

    timer = threading.Timer(moment, cancel)
    timer.start()
    try:
        engine.predict(volume, prompts, Context("volume", cancel=token))
    except Cancelled:
        return time.perf_counter() - asked[0]
    finally:
        timer.cancel()
    return None


if __name__ == "__main__":
    main()
