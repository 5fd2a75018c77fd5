"""The ``harness`` fixture: one application for all tests, an empty scene and no memory for each."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from panel_harness import Harness
    from panel_helpers import OpenPanel

    from MoESegLib.core.volume import Volume


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


@pytest.fixture
def open_panel(harness: Harness) -> Callable[..., OpenPanel]:
    """Opens the real panel on a volume (a small bright ball unless told otherwise) with a fake or real engine."""
    from panel_helpers import default_volume, make_panel

    missing = object()

    def make(volume: Any = missing, *, transform: Any = None, experts: int = 1, load: Any = None) -> OpenPanel:
        return make_panel(harness, default_volume() if volume is missing else volume, transform, experts, load)

    return make


@pytest.fixture
def oblique_volume() -> Volume:
    """The bright ball on an oblique, anisotropic grid."""
    from fakes import blob_volume

    turn = np.array([[0.8, -0.6, 0.0], [0.6 * 0.8, 0.8 * 0.8, -0.6], [0.36, 0.48, 0.8]])
    matrix = np.eye(4)
    matrix[:3, :3] = turn @ np.diag([0.9, 1.1, 2.3])
    matrix[:3, 3] = (-40.0, 12.0, 80.0)
    return blob_volume(ijk_to_ras=matrix)


@pytest.fixture
def oblique_transform() -> np.ndarray:
    """Turned about S and scaled unevenly, so that the voxels are sheared in the world."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.diag([1.2, 0.9, 1.1]) @ np.array([[0.96, -0.28, 0.0], [0.28, 0.96, 0.0], [0.0, 0.0, 1.0]])
    matrix[:3, 3] = (5.0, -7.0, 3.0)
    return matrix


@pytest.fixture
def open_moe(harness: Harness, home: Path, tmp_path: Path) -> Callable[..., OpenPanel]:
    """Opens the panel with the real library of models, a tiny SAM-Med3D, the specialist "cord" and the gate "spine".

    One click is answered; the volume is grainy, so that general model and specialist differ.
    """
    from moe_tools import install_mixture
    from panel_helpers import MODULE, OpenPanel, add_volume

    from MoESegLib.core.volume import Volume
    from MoESegLib.experts.gate_store import remove_gate

    grain = np.random.default_rng(0).normal(100, 30, (20, 22, 24)).astype(np.float32)

    def make(gate: bool = True) -> OpenPanel:
        install_mixture(tmp_path)
        if not gate:
            remove_gate("spine")
        loaded = harness.load_module(MODULE)
        node = add_volume(harness.scene, Volume(grain, np.diag([1.5, 1.5, 1.5, 1.0])))
        harness.enter(loaded)
        opened = OpenPanel(harness, loaded, node, None)  # type: ignore[arg-type]
        opened.ui.volumeSelector.setCurrentNode(node)
        harness.choose(opened.ui.modelSelector, "SAM-Med3D-MoE")
        opened.settle()
        assert opened.workbench.why_not() == ""
        opened.add_segment("target")
        harness.click(opened.ui.positiveTool)
        opened.click_at((12, 10, 9))
        return opened

    return make
