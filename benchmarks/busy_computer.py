"""How long answers take while another program keeps one core busy, by how the threads of PyTorch wait for each other.

``python benchmarks/busy_computer.py [--times 5]`` asks each question with GNU OpenMP's own number of turns and with
MoESeg's (:mod:`MoESegLib.core.threads`), on the quiet computer and beside a program of one busy thread. Median seconds.
Nothing else should run. Needs the weights of LiteMedSAM (``moeseg models get lite-medsam``).
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from MoESegLib import BoxPrompt, MaskPrompt, PointPrompt, TextPrompt, Volume, load_engine
from MoESegLib.core.threads import SPINS
from MoESegLib.engines.cache import EngineCache
from MoESegLib.engines.protocol import Context
from MoESegLib.resources import resource_path

if TYPE_CHECKING:
    from MoESegLib import Prompt

BUSY = "import torch\ntorch.set_num_threads(1)\na = torch.rand(700, 700)\nwhile True: a @ a"
LIVER = 5  # in the labels of the demo
AS_IT_IS = "300000"


def main() -> None:
    """Ask in four processes; print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=5, help="questions of each kind")
    parser.add_argument("--ask", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ask:
        print(json.dumps({name: measured(ask, options.times) for name, ask in questions()}))
        return
    columns = []
    for around in (contextlib.nullcontext, other_program):
        for spins in (AS_IT_IS, SPINS):
            with around():
                columns.append(asked(spins, options.times))
    print("| median seconds | quiet | quiet, MoESeg | busy | busy, MoESeg |\n|---|---|---|---|---|")
    for name in columns[0]:
        print(f"| {name} | " + " | ".join(f"{column[name]:.2f}" for column in columns) + " |")


def asked(spins: str, times: int) -> dict[str, float]:
    """Seconds by question, of a process whose threads make so many turns."""
    command = [sys.executable, __file__, "--ask", "--times", str(times)]
    environment = {**os.environ, "GOMP_SPINCOUNT": spins}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


@contextlib.contextmanager
def other_program() -> Iterator[None]:
    """A program with one busy thread, in a session of its own as the programs of a desktop are."""
    program = subprocess.Popen([sys.executable, "-c", BUSY], start_new_session=True)
    try:
        time.sleep(3)
        yield
    finally:
        program.kill()
        program.wait()


def questions() -> Iterator[tuple[str, Callable[[], object]]]:
    """A name, and what is timed."""
    ct = Volume.read(resource_path("Demo", "ct"))
    labels = Volume.read(resource_path("Demo", "labels.nii.gz"))
    liver = MaskPrompt(mask=labels.array == LIVER, ijk_to_ras=labels.ijk_to_ras, role="anatomy", structure="liver")
    moves = itertools.count()

    def box() -> list[Prompt]:
        return [BoxPrompt((147.0, 248.0, -784.5), (-15.0 - next(moves), 70.0, -784.5))]

    def click() -> list[Prompt]:
        return [PointPrompt((66.0 + next(moves), 159.0, -784.5))]

    for name, prompts in (("lite-medsam", box), ("segmote-lite", click), ("sam-med3d-compact", click)):
        engine, cache = load_engine(name, runtime="torch"), EngineCache()
        extent = "volume" if name.startswith("sam-med3d") else "slice"
        yield f"{name}: first answer", lambda e=engine, p=prompts, x=extent: e.predict(ct, p(), Context(x))
        yield (
            f"{name}: next one",
            lambda e=engine, p=prompts, x=extent, c=cache: e.predict(ct, p(), Context(x, cache=c)),
        )
    finder = load_engine("mast-pro", runtime="torch")
    tumors = [TextPrompt("liver tumor"), liver]
    yield "mast-pro: the liver in 20 slices", lambda: finder.predict(ct, tumors, Context("volume"))


def measured(ask: Callable[[], object], times: int) -> float:
    """Median seconds, after one that is not counted."""
    ask()
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        ask()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


if __name__ == "__main__":
    main()
