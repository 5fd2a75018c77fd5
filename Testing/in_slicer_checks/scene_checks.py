"""Scenes: saving, loading, closing, sequences, and nodes that go at a bad moment."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import slicer

from MoESegLib.core.prompts import PointPrompt

from .fake_engine import BrightEngine, ball
from .runner import Checks, require

checks = Checks("Scenes")
check = checks.check
_DELAY = 0.15  # seconds a prediction takes while nodes go


@check("Segments and editable prompts are back after saving as .mrb, closing and loading")
def save_and_load(site: Any) -> str:
    node = site.start()
    segment = site.add_segment("target")
    site.point_at(segment, (20, 24, 12))
    before, prompts = site.state(), site.prompts(segment)
    name = node.GetName()
    with tempfile.TemporaryDirectory(dir=site.folder) as folder:
        path = Path(folder) / "scene.mrb"
        site.save_scene(path)
        site.close_scene()
        require(site.workbench.parameters.volume is None, "closing the scene left a volume behind")
        site.load_scene(path)
    parameters = site.workbench.parameters
    require(parameters.volume is not None and parameters.volume.GetName() == name, "the chosen image is not back")
    site.wait(lambda: site.workbench.why_not() == "", "the model is ready again")
    site.settle()
    require(parameters.segment == segment, "another segment is selected")
    require(site.state() == before, "voxels or prompts differ")
    require([p.content for p in site.prompts(segment)] == [p.content for p in prompts], "the prompts differ")
    require(site.ui.promptTable.rowCount == 1, "the list of prompts is empty")
    markups = site.workbench.session.nodes.nodes(segment)
    site.drag_point("Red", markups[0], 0, site.ras((27, 24, 12)))
    site.settle()
    require(
        (np.frombuffer(site.state()[segment][0], bool) != np.frombuffer(before[segment][0], bool)).any(),
        "moving a restored prompt changes nothing",
    )
    return f"{int(site.mask(segment).sum())} voxels after moving the prompt"


@check("Closing the scene empties the panel and leaves it usable")
def close(site: Any) -> None:
    site.start()
    site.point_at(site.add_segment("target"), (24, 24, 12))
    site.close_scene()
    require(site.ui.volumeSelector.currentNode() is None, "the image is still chosen")
    require(site.ui.promptTable.rowCount == 0, "prompts are still listed")
    _still_works(site)


def _still_works(site: Any) -> None:
    site.start()
    segment = site.add_segment("after")
    site.point_at(segment, (24, 24, 12))
    require(site.mask(segment).any(), "the panel answers no prompt any more")


def _at_random_moments(site: Any, act: Callable[[], None], name: str) -> str:
    """Do something during a prediction, each time a little earlier or later."""
    moments = random.Random(name)
    for _ in range(site.moments):
        site.start(engine=BrightEngine(delay=_DELAY))
        segment = site.add_segment("target")
        site.workbench.add(PointPrompt(ras=site.ras((24, 24, 12)), segment=segment, plane="axial"))
        site.pause(moments.uniform(0.0, 1.5 * _DELAY))
        act()
        site.pause(0.2)
        errors = site.take_errors()
        require(not errors, "; ".join(errors))
    _still_works(site)
    return f"{site.moments} moments"


@check("The scene may be closed at any moment of a prediction")
def close_while_running(site: Any) -> str:
    return _at_random_moments(site, site.close_scene, "scene")


@check("The image may be deleted at any moment of a prediction")
def delete_volume(site: Any) -> str:
    return _at_random_moments(site, lambda: slicer.mrmlScene.RemoveNode(site.workbench.parameters.volume), "volume")


@check("The segmentation may be deleted at any moment of a prediction")
def delete_segmentation(site: Any) -> str:
    return _at_random_moments(
        site, lambda: slicer.mrmlScene.RemoveNode(site.workbench.parameters.segmentation), "segmentation"
    )


@check("A prediction may be cancelled at any moment; no voxel is lost")
def cancel(site: Any) -> str:
    return _at_random_moments(site, lambda: site.panel.prompts.onCancel(), "cancel")


@check("Deleting a markup in the scene takes its prompt back")
def delete_markup(site: Any) -> None:
    site.start()
    segment = site.add_segment("target")
    site.point_at(segment, (24, 24, 12))
    slicer.mrmlScene.RemoveNode(site.workbench.session.nodes.nodes(segment)[0])
    site.settle()
    require(site.prompts(segment) == (), "the prompt is still there")
    require(not site.mask(segment).any(), "its voxels are still there")


@check("Another frame of a sequence is another image; finished voxels stay")
def sequence(site: Any) -> None:
    site.start()
    browser = _two_frames(site)
    node = browser.GetProxyNode(browser.GetMasterSequenceNode())
    site.show_volume(node)
    site.workbench.select(volume=node)
    site.wait(lambda: site.workbench.why_not() == "", "the model is ready")
    segment = site.add_segment("target")
    site.point_at(segment, (24, 24, 12))
    first = site.mask(segment)
    browser.SetSelectedItemNumber(1)
    site.settle()
    require((site.mask(segment) == first).all(), "changing the frame changed the mask")
    other = site.add_segment("second frame")
    site.point_at(other, (24, 24, 12))
    require(site.mask(other).sum() < first.sum(), "the prompt was answered on the first frame")


def _two_frames(site: Any) -> Any:
    """A sequence of a large ball and an empty image with one bright spot, shown by a browser."""
    scene = slicer.mrmlScene
    sequence_node = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "Frames")
    whole = ball()
    spot = whole.like(np.where(np.indices(whole.shape)[2] % 48 == 24, whole.array, 30).astype(np.int16))
    for index, volume in enumerate((whole, spot)):
        node = site.add_volume(volume, f"frame {index}")
        sequence_node.SetDataNodeAtValue(node, str(index))
        scene.RemoveNode(node)
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "Browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence_node.GetID())
    browser.SetSelectedItemNumber(0)
    slicer.modules.sequences.logic().UpdateAllProxyNodes()
    site.pause(0.1)
    return browser


@check("The segmentation has its place in the subject hierarchy", application=True)
def subject_hierarchy(site: Any) -> None:
    site.start()
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    parameters = site.workbench.parameters
    for node in (parameters.volume, parameters.segmentation):
        require(hierarchy.GetItemByDataNode(node), f"{node.GetName()} has no item")


@check("Nothing that only helps looking is saved with the scene")
def not_saved(site: Any) -> None:
    site.start()
    site.point_at(site.add_segment("target"), (24, 24, 12))
    site.ui.changesCheckBox.setChecked(True)
    site.ui.confidenceCheckBox.setChecked(True)
    site.pause(0.1)
    for name in ("MoESeg changes", "MoESeg confidence (%)"):
        node = slicer.mrmlScene.GetFirstNodeByName(name)
        require(node is not None and not node.GetSaveWithScene(), f"{name} would be saved, or is not there")
    site.ui.changesCheckBox.setChecked(False)
    site.ui.confidenceCheckBox.setChecked(False)
