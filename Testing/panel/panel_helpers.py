"""The panel as a test's user sees it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import vtk
from fakes import ThresholdModel, blob_volume
from panel_harness.values import unwrap
from vtk.util.numpy_support import numpy_to_vtk

from MoESegLib.core.results import MaskPatch
from MoESegLib.core.volume import Volume
from MoESegLib.engines.slice_engine import SliceEngine
from MoESegLib.mrml.model_library import ModelLibrary
from MoESegLib.mrml.segmentations import get_tag, segment_ids, segment_mask, segment_of
from MoESegLib.mrml.volumes import local_ijk_to_ras
from MoESegLib.mrml.writer import oriented_image

MODULE = Path(__file__).resolve().parents[2] / "MoESeg" / "MoESeg.py"


class FakeLibrary(ModelLibrary):
    """Every model is on this machine and is the one a test gives."""

    def state(self, name: str) -> str:
        return "installed"


def vtk_matrix(array: Any) -> vtk.vtkMatrix4x4:
    matrix = vtk.vtkMatrix4x4()
    for row in range(4):
        for column in range(4):
            matrix.SetElement(row, column, float(array[row][column]))
    return matrix


def add_volume(scene: Any, volume: Volume, transform: Any = None, name: str = "CT") -> Any:
    """A volume node, under a linear transform if one is given."""
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    image = vtk.vtkImageData()
    image.SetDimensions(*volume.size)
    image.GetPointData().SetScalars(numpy_to_vtk(volume.array.ravel(), deep=True))
    node.SetAndObserveImageData(image)
    node.SetIJKToRASMatrix(vtk_matrix(volume.ijk_to_ras))
    node.CreateDefaultDisplayNodes()
    if transform is not None:
        parent = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Transform")
        parent.SetMatrixTransformToParent(vtk_matrix(transform))
        node.SetAndObserveTransformNodeID(parent.GetID())
    return node


@dataclasses.dataclass
class OpenPanel:
    """The entered panel and what a user does with it."""

    harness: Any
    loaded: Any
    volume: Any
    model: ThresholdModel

    @property
    def ui(self) -> Any:
        return self.loaded.ui

    @property
    def workbench(self) -> Any:
        return self.loaded.widget.logic.workbench

    @property
    def segmentation(self) -> Any:
        return self.workbench.parameters.segmentation

    # Doing

    def settle(self, timeout: float = 60.0) -> None:
        """Let the timer run until nothing is predicted, loaded or waiting."""
        self.harness.pump(0.05)
        self.harness.pump(timeout, until=lambda: not self.workbench.is_busy)
        self.harness.pump(0.1)

    def add_segment(self, name: str) -> None:
        self.harness.type(self.ui.segmentNameEdit, name)
        self.harness.click(self.ui.addSegmentButton)

    def select(self, name: str) -> None:
        self.harness.select_segment(self.ui.segmentsTable, self.segment(name))

    def choose_overlap(self, title: str) -> None:
        self.harness.choose(self.ui.overlapSelector, title)

    def box(self, low: tuple[int, int], high: tuple[int, int], k: int = 4) -> None:
        self.harness.click(self.ui.boxTool)
        self.harness.place_box(*corners(self, low, high, k))
        self.settle()

    def click_at(self, ijk: tuple[int, int, int]) -> None:
        self.harness.place_point(self.ras(ijk))
        self.settle()

    # Looking

    def ras(self, ijk: tuple[int, int, int]) -> tuple[float, float, float]:
        return tuple(self.workbench.session.volume.to_ras(ijk))  # type: ignore[return-value]

    def segment(self, name: str) -> str:
        return self.segmentation.GetSegmentation().GetSegmentIdBySegmentName(name)

    def names(self) -> list[str]:
        return [segment_of(self.segmentation, key).GetName() for key in segment_ids(self.segmentation)]

    def mask(self, name: str) -> np.ndarray:
        return segment_mask(self.segmentation, self.segment(name), self.volume)

    def tag(self, name: str, tag: str) -> str:
        return get_tag(segment_of(self.segmentation, self.segment(name)), tag)

    def prompts(self, name: str) -> tuple:
        return self.workbench.session.prompts(self.segment(name))

    def nodes(self, name: str) -> list[Any]:
        return self.workbench.session.nodes.nodes(self.segment(name))

    def state(self) -> dict[str, tuple]:
        """Voxels and prompts of every segment."""
        return {
            name: (self.mask(name).tobytes(), self.tag(name, "MoESeg.Prompts"), self.tag(name, "Segmentation.Status"))
            for name in self.names()
        }


def corners(panel: OpenPanel, low: tuple[int, int], high: tuple[int, int], k: int) -> tuple:
    return panel.ras((*low, k)), panel.ras((*high, k))


def paint(panel: OpenPanel, name: str, extent: tuple[int, int, int, int, int, int]) -> None:
    """A stroke as the Paint effect of the embedded Segment Editor makes it, on the editor's own undo stack."""
    editor = unwrap(panel.ui.segmentEditor)._logic
    shape = (extent[5] - extent[4] + 1, extent[3] - extent[2] + 1, extent[1] - extent[0] + 1)
    image = oriented_image(MaskPatch(extent, np.ones(shape, np.uint8)), local_ijk_to_ras(panel.volume))
    editor.SaveStateForUndo()
    editor.ModifySegmentByLabelmap(
        panel.segmentation, panel.segment(name), image, editor.ModificationModeAdd, list(extent), False, False
    )


def make_panel(harness: Any, volume: Volume | None, transform: Any, experts: int, load: Any) -> OpenPanel:
    """Load the module, give it a fake or real engine, put the volume in the scene, open the panel."""
    model = ThresholdModel(native=frozenset({"box", "point"}), experts=experts)
    loaded = harness.load_module(MODULE)
    loaded.widget.logic._models = FakeLibrary(load if load is not None else lambda name: SliceEngine(model))
    loaded.widget.logic.close()  # it was opened with the real library when the panel was built
    node = add_volume(harness.scene, volume, transform) if volume is not None else None
    harness.enter(loaded)
    panel = OpenPanel(harness, loaded, node, model)
    if node is not None:
        panel.ui.volumeSelector.setCurrentNode(node)
        panel.settle()
        assert panel.workbench.why_not() == ""
    return panel


def default_volume() -> Volume:
    return blob_volume()
