"""The ``harness`` fixture: one application for all tests, an empty scene and no memory for each."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from panel_harness import Harness


@pytest.fixture
def harness() -> Iterator[Harness]:
    """The harness, emptied before the test; afterwards the panel is unloaded and must have raised nothing."""
    pytest.importorskip("slicer", reason="slicer-core is not installed")
    from panel_harness import Harness

    started = Harness.start()
    started.reset()
    yield started
    for loaded in list(started.loaded):
        started.unload(loaded)
    started.check()


@pytest.fixture
def demo_module(tmp_path: Path) -> Path:
    """A small scripted module with a ``.ui`` file, copied so that a test may spoil it."""
    folder = tmp_path / "PanelDemo"
    shutil.copytree(Path(__file__).parent / "demo_module", folder)
    return folder / "PanelDemo.py"
