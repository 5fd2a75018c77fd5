"""Nodes vanish, the scene closes, a model is removed, cancel is pressed: at 20 random moments of a prediction each."""

from __future__ import annotations

import random
import time

import numpy as np
import pytest
from panel_helpers import OpenPanel, add_volume, corners, default_volume, paint

MOMENTS = 20
LONGEST = 0.12  # seconds; a prediction of the slowed model takes about 0.1


def slow_down(panel: OpenPanel) -> None:
    """The model now takes 60 ms to encode, cancellable in between, and 40 ms to decode."""

    def encode(cancel):
        for _ in range(6):
            cancel.check()
            time.sleep(0.01)

    panel.model.before_encode = encode
    panel.model.before_decode = lambda: time.sleep(0.04)


def prompts_in_flight(panel: OpenPanel, moment: float, k: int) -> None:
    """Two prompts on a slice that was not encoded yet; returns after a while, in the middle of things."""
    panel.harness.click(panel.ui.boxTool)
    panel.harness.place_box(*corners(panel, (10, 8), (30, 32), k))
    panel.harness.pump(moment / 2)
    if not panel.ui.positiveTool.checked:
        panel.harness.click(panel.ui.positiveTool)
    panel.harness.place_point(panel.ras((26, 20, k)))
    panel.harness.pump(moment / 2)


def moments(seed: int) -> list[float]:
    return [random.Random(seed).uniform(0, LONGEST) for _ in range(MOMENTS)]


def prepared(open_panel) -> tuple[OpenPanel, np.ndarray]:
    """A panel with a finished, painted segment and another one to work on."""
    panel = open_panel()
    panel.add_segment("finished")
    panel.box((10, 8), (38, 32))
    paint(panel, "finished", (2, 4, 2, 4, 8, 8))
    panel.settle()
    panel.add_segment("target")
    panel.choose_overlap("Allow overlap")
    slow_down(panel)
    return panel, panel.mask("finished")


def assert_usable(panel: OpenPanel) -> None:
    """A new segment and a box give a mask."""
    panel.harness.check()
    panel.harness.dialogs.assert_none()
    panel.settle()
    name = f"after {len(panel.names())}"
    panel.add_segment(name)
    panel.box((10, 8), (38, 32))
    assert panel.mask(name).sum() > 50


@pytest.mark.parametrize("seed", [1])
def test_cancel_at_any_moment_keeps_voxels_and_prompts(open_panel, seed: int):
    panel, finished = prepared(open_panel)
    for number, moment in enumerate(moments(seed)):
        prompts_in_flight(panel, moment, number % 8)
        if panel.ui.cancelButton.enabled:
            panel.harness.click(panel.ui.cancelButton)
        panel.settle()
        assert np.array_equal(panel.mask("finished"), finished)
    if panel.ui.runButton.enabled:
        panel.harness.click(panel.ui.runButton)
        panel.settle()
    assert panel.workbench.session.is_settled(panel.segment("target"))
    assert_usable(panel)


@pytest.mark.parametrize("seed", [2])
def test_closing_the_scene_at_any_moment(open_panel, seed: int):
    panel, _ = prepared(open_panel)
    for number, moment in enumerate(moments(seed)):
        prompts_in_flight(panel, moment, number % 8)
        panel.harness.scene.Clear(0)
        panel.harness.pump(0.15)
        assert not panel.ui.boxTool.enabled and "image" in panel.ui.boxTool.toolTip
        panel.volume = add_volume(panel.harness.scene, default_volume())
        panel.ui.volumeSelector.setCurrentNode(panel.volume)
        panel.settle()
        panel.add_segment("target")
    assert_usable(panel)


@pytest.mark.parametrize("seed", [3])
def test_deleting_the_volume_at_any_moment(open_panel, seed: int):
    panel, finished = prepared(open_panel)
    for number, moment in enumerate(moments(seed)):
        prompts_in_flight(panel, moment, number % 8)
        panel.harness.scene.RemoveNode(panel.volume)
        panel.harness.pump(0.15)
        panel.volume = add_volume(panel.harness.scene, default_volume())
        panel.ui.volumeSelector.setCurrentNode(panel.volume)
        panel.settle()
        assert np.array_equal(panel.mask("finished"), finished)
    assert_usable(panel)


@pytest.mark.parametrize("seed", [4])
def test_deleting_the_segmentation_at_any_moment(open_panel, seed: int):
    panel, _ = prepared(open_panel)
    for number, moment in enumerate(moments(seed)):
        prompts_in_flight(panel, moment, number % 8)
        panel.harness.scene.RemoveNode(panel.segmentation)
        panel.harness.pump(0.15)
        panel.workbench.select(volume=panel.volume)
        panel.settle()
        panel.add_segment("target")
    assert_usable(panel)


@pytest.mark.parametrize("seed", [5])
def test_removing_the_model_at_any_moment(open_panel, seed: int):
    panel, finished = prepared(open_panel)
    library = panel.workbench.models
    present = {"lite-medsam": True}
    library.state = lambda name: "installed" if present["lite-medsam"] else "missing"

    def remove(name: str) -> int:
        present["lite-medsam"] = False
        library._engine = None
        return 39_000_000

    library.remove = remove
    panel.harness.dialogs.answer("confirmOkCancelDisplay", True)
    for number, moment in enumerate(moments(seed)):
        prompts_in_flight(panel, moment, number % 8)
        panel.harness.click(panel.ui.removeModelButton)
        panel.harness.pump(0.15)
        assert not panel.ui.boxTool.enabled and "not on this machine" in panel.ui.boxTool.toolTip
        assert np.array_equal(panel.mask("finished"), finished)
        present["lite-medsam"] = True
        panel.settle()
        panel.select("target")
    panel.harness.dialogs.reset()
    assert_usable(panel)
