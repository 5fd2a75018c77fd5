"""Saving as .mrb, closing, loading: segments and editable prompts are back in the panel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from panel_helpers import OpenPanel, paint

from MoESegLib import Session
from MoESegLib.engines.slice_engine import SliceEngine
from MoESegLib.mrml.volumes import volume_from_node


def reload(panel: OpenPanel, path: Path) -> None:
    """Save the scene as a bundle, close it, load it."""
    scene = panel.harness.scene
    for node_class in ("vtkMRMLScalarVolumeNode", "vtkMRMLSegmentationNode", "vtkMRMLMarkupsNode"):
        nodes = scene.GetNodesByClass(node_class)
        for index in range(nodes.GetNumberOfItems()):
            nodes.GetItemAsObject(index).AddDefaultStorageNode()
    assert scene.WriteToMRB(str(path))
    scene.Clear(0)
    panel.harness.pump(0.1)
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    assert scene.ReadFromMRB(str(path))
    panel.settle()
    panel.volume = panel.workbench.parameters.volume


def test_a_saved_scene_comes_back_with_prompts_that_can_be_moved(open_panel, tmp_path: Path):
    panel = open_panel()
    panel.add_segment("target")
    panel.harness.click(panel.ui.positiveTool)
    panel.click_at((20, 20, 4))
    panel.click_at((27, 20, 4))
    panel.box((12, 10), (36, 30), k=5)
    paint(panel, "target", (2, 4, 2, 4, 8, 8))
    panel.settle()
    before, prompts = panel.mask("target"), panel.prompts("target")

    reload(panel, tmp_path / "scene.mrb")
    assert panel.volume is not None
    assert np.array_equal(panel.mask("target"), before)
    restored = panel.prompts("target")
    assert [prompt.kind for prompt in restored] == ["point", "point", "box"]
    for old, new in zip(prompts, restored, strict=True):
        assert np.allclose(old.ras_points, new.ras_points) and old.id == new.id
    panel.select("target")
    assert panel.ui.promptTable.rowCount == 3

    points = next(node for node in panel.nodes("target") if node.GetAttribute("MoESeg.Kind") == "point+")
    panel.harness.drag_point(points, 1, panel.ras((24, 26, 4)))
    panel.settle()
    session = Session(volume_from_node(panel.volume), SliceEngine(panel.model))
    for prompt in panel.prompts("target"):
        session.add(prompt)
    expected = session.mask(panel.segment("target"))
    expected[8, 2:5, 2:5] = 1  # the brush stroke
    assert np.array_equal(panel.mask("target"), expected)
    assert not np.array_equal(expected, before)


@pytest.mark.parametrize("locked", [False, True])
def test_status_and_settings_come_back(open_panel, tmp_path: Path, locked: bool):
    panel = open_panel()
    panel.add_segment("target")
    panel.box((12, 10), (36, 30))
    if locked:
        panel.harness.click(panel.ui.acceptButton)
    panel.harness.click(panel.ui.volumeButton)
    panel.settle()
    reload(panel, tmp_path / "scene.mrb")
    assert panel.ui.volumeButton.checked
    panel.select("target")
    assert panel.ui.acceptButton.text == ("Unlock" if locked else "Accept and lock")
    assert panel.ui.segmentationSelector.currentNode() is panel.segmentation
