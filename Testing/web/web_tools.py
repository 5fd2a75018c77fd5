"""What the tests of the browser app share: a fake model, and a server of its own in another process."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fakes import ThresholdModel

from MoESegLib.engines.slice_engine import SliceEngine
from MoESegLib.mrml.model_library import ModelLibrary

if TYPE_CHECKING:
    from MoESegLib.web.desk import Desk

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))
EVERYTHING = frozenset({"box", "point", "scribble", "polygon", "text", "automatic"})


class FakeModels(ModelLibrary):
    """Every model is here, and answers what is bright."""

    def __init__(self, experts: int = 2) -> None:
        super().__init__(load=lambda name: SliceEngine(ThresholdModel(native=EVERYTHING, experts=experts)))

    def state(self, name: str) -> str:
        return "installed"


def need(*modules: str) -> None:
    """Skip a file of tests when the extra, or the tool that drives a browser, is not installed."""
    for module in modules:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed", allow_module_level=True)


def settle(desk: Desk, timeout: float = 20.0) -> list[str]:
    """Pump until nothing runs; returns the messages."""
    messages, deadline = [], time.monotonic() + timeout
    while True:
        busy = desk.ready().workbench.is_busy
        update = desk.pump()
        messages += update.messages
        if not busy and not update.answers and not desk.ready().workbench.is_busy:
            return messages
        assert time.monotonic() < deadline
        time.sleep(0.002)


@contextmanager
def running(*command: str, **environment: str) -> Iterator[tuple[str, subprocess.Popen]]:
    """A server in a process of its own; gives its address and ends it as Ctrl+C would."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "Testing"), str(Path(__file__).parent), *sys.path])
    process = subprocess.Popen(
        [sys.executable, *command],
        env={**os.environ, "PYTHONPATH": path, **environment},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield _address(process), process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def _address(process: subprocess.Popen, timeout: float = 60.0) -> str:
    deadline, lines = time.monotonic() + timeout, []
    assert process.stderr is not None
    while time.monotonic() < deadline:
        line = process.stderr.readline()
        lines.append(line)
        if "is ready: " in line:
            return line.split("is ready: ")[1].strip()
        if process.poll() is not None:
            break
    raise AssertionError(f"The server did not start: {''.join(lines)}")
