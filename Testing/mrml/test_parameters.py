"""The panel's state in its parameter node: typed, saved with the scene, and quiet when nothing changes."""

from __future__ import annotations

import pytest
import slicer
import vtk
from fakes import blob_volume

from MoESegLib.mrml.parameters import Parameters
from MoESegLib.mrml.workbench import Workbench

DEFAULTS = {
    "segment": "",
    "model": "segmote-lite",
    "extent": "slice",
    "auto_run": True,
    "lesions": False,
    "show_changes": False,
    "show_confidence": False,
}
OTHER = {
    "segment": "Segment_3",
    "model": "segmote",
    "extent": "volume",
    "auto_run": False,
    "lesions": True,
    "show_changes": True,
    "show_confidence": True,
}


@pytest.fixture
def parameters(scene) -> Parameters:
    return Parameters(scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "MoESeg"))


def values(parameters: Parameters) -> dict:
    return {name: getattr(parameters, name) for name in DEFAULTS}


def test_a_new_node_has_the_defaults(parameters) -> None:
    assert values(parameters) == DEFAULTS
    assert parameters.volume is None and parameters.segmentation is None


def test_every_value_comes_back_with_its_type(parameters) -> None:
    for name, value in OTHER.items():
        setattr(parameters, name, value)
    assert values(parameters) == OTHER
    again = Parameters(parameters.node)
    assert values(again) == OTHER
    assert {type(value) for value in values(again).values()} == {str, bool}
    for name, value in DEFAULTS.items():
        setattr(again, name, value)
    assert values(parameters) == DEFAULTS


def test_setting_what_is_set_already_makes_no_event(parameters, volume_node) -> None:
    parameters.volume, parameters.model, parameters.auto_run = volume_node, "segmote", False
    events = []
    parameters.node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: events.append(1))
    parameters.volume, parameters.model, parameters.auto_run = volume_node, "segmote", False
    assert events == []
    parameters.model = "lite-medsam"
    assert len(events) == 1


def test_nodes_are_references_and_may_go(scene, parameters, volume_node, segmentation) -> None:
    parameters.volume, parameters.segmentation = volume_node, segmentation
    assert parameters.volume is volume_node and parameters.segmentation is segmentation
    scene.RemoveNode(volume_node)
    assert parameters.volume is None and parameters.segmentation is segmentation
    parameters.segmentation = None
    assert parameters.segmentation is None


def test_the_state_survives_saving_into_a_scene_with_other_nodes(scene, parameters, add_volume, tmp_path) -> None:
    volume = add_volume(blob_volume(), name="mine")
    parameters.volume, parameters.extent, parameters.lesions = volume, "volume", True
    scene.SetURL(str(tmp_path / "scene.mrml"))
    scene.SetRootDirectory(str(tmp_path))
    scene.SetSaveToXMLString(1)
    assert scene.Commit()
    text = scene.GetSceneXMLString()
    other = slicer.vtkMRMLScene()
    for _ in range(2):
        other.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "theirs")
    other.SetLoadFromXMLString(1)
    other.SetSceneXMLString(text)
    other.Import()
    collection = other.GetNodesByClass("vtkMRMLScriptedModuleNode")
    found = Parameters(collection.GetItemAsObject(0))
    assert found.volume.GetName() == "mine" and found.volume.GetID() != volume.GetID()
    assert found.extent == "volume" and found.lesions is True and found.model == "segmote-lite"
    other.Clear(1)


def test_a_workbench_makes_a_node_of_its_own_or_takes_one(scene, parameters) -> None:
    parameters.extent = "volume"
    assert Workbench(scene, parameters.node).parameters.extent == "volume"
    own = Workbench(scene)
    assert own.parameters.node is not parameters.node and own.parameters.node.GetScene() is scene
