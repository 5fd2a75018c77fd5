"""A scene as the Slicer application sets it up, on slicer-core, and a volume, segmentation and engine in it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
import slicer
import vtk
from fakes import ThresholdModel, blob_volume
from mrml_tools import vtk_matrix
from vtk.util.numpy_support import numpy_to_vtk

from MoESegLib.core.volume import Volume
from MoESegLib.engines.slice_engine import SliceEngine
from MoESegLib.mrml.scene_session import SceneSession
from MoESegLib.mrml.segmentations import create_segmentation
from MoESegLib.mrml.writer import SegmentWriter


@pytest.fixture
def scene() -> Iterator[slicer.vtkMRMLScene]:
    scene = slicer.vtkMRMLScene()
    for name in ("vtkMRMLSelectionNode", "vtkMRMLInteractionNode", "vtkMRMLCrosshairNode"):
        node = scene.CreateNodeByClass(name)
        node.SetSingletonTag("default" if "Crosshair" in name else "Singleton")
        scene.AddNode(node)
        node.UnRegister(None)
    application = slicer.vtkSlicerApplicationLogic()
    application.SetMRMLScene(scene)
    logics = []
    for name in ("vtkSlicerSegmentationsModuleLogic", "vtkSlicerMarkupsLogic", "vtkSlicerTransformLogic"):
        logic = getattr(slicer, name)()
        logic.SetMRMLApplicationLogic(application)
        logic.SetMRMLScene(scene)
        logics.append(logic)
    yield scene
    scene.Clear(1)


@pytest.fixture
def add_volume(scene) -> Callable:
    """Puts a core volume into the scene as a node of that class."""

    def add(volume: Volume, transform=None, name: str = "CT"):
        node = scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode" if volume.color else "vtkMRMLScalarVolumeNode", name)
        image = vtk.vtkImageData()
        image.SetDimensions(*volume.size)
        components = 3 if volume.color else 1
        image.GetPointData().SetScalars(numpy_to_vtk(volume.array.reshape(-1, components), deep=True))
        node.SetAndObserveImageData(image)
        node.SetIJKToRASMatrix(vtk_matrix(volume.ijk_to_ras))
        if transform is not None:
            parent = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Transform")
            parent.SetMatrixTransformToParent(vtk_matrix(transform))
            node.SetAndObserveTransformNodeID(parent.GetID())
        return node

    return add


@pytest.fixture
def volume_node(add_volume):
    return add_volume(blob_volume())


@pytest.fixture
def segmentation(scene, volume_node):
    return create_segmentation(scene, volume_node, "Segmentation")


@pytest.fixture
def writer(scene) -> SegmentWriter:
    return SegmentWriter(scene)


@pytest.fixture
def model() -> ThresholdModel:
    return ThresholdModel(native=frozenset({"box", "point"}))


@pytest.fixture
def open_session(writer, volume_node, segmentation, model) -> Iterator[Callable[..., SceneSession]]:
    """Opens scene sessions, on the blob unless told otherwise, and closes them."""
    opened = []

    def make(volume=None, segments=None, extent="slice", engine=None) -> SceneSession:
        volume = volume_node if volume is None else volume
        segments = segmentation if segments is None else segments
        engine = SliceEngine(model) if engine is None else engine
        opened.append(SceneSession(writer, volume, segments, engine, extent))
        return opened[-1]

    yield make
    for session in opened:
        session.close()


@pytest.fixture
def settle() -> Callable:
    """Pumps until no answer is missing; returns the answers by segment."""

    def pump(session: SceneSession, timeout: float = 20.0) -> dict:
        answers, messages = {}, []
        deadline = time.monotonic() + timeout
        while True:
            running = session.is_running
            update = session.pump()
            answers.update(update.answers)
            messages += update.messages
            if not running and not update.answers and not session.is_running:
                break
            assert time.monotonic() < deadline, "no answer in time"
            time.sleep(0.005)
        answers["messages"] = messages
        return answers

    return pump
