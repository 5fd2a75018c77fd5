"""What an answer changed, and how sure the model is, drawn over the image. Neither is saved with the scene."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk  # type: ignore[import-untyped]

from ..core.geometry import is_empty, union_extent
from ..core.results import MaskPatch, ProbabilityMap
from .views import remove_node
from .volumes import local_ijk_to_ras
from .writer import oriented_image

ADDED_COLOR, REMOVED_COLOR = (0.0, 0.75, 0.95), (1.0, 0.2, 1.0)
CONFIDENCE_OPACITY = 0.45
_LOWEST = 5  # percent: below, nothing is drawn


class ChangesOverlay:
    """Voxels the last answer added (filled) and removed (outline only, so they differ without color too)."""

    def __init__(self, scene: slicer.vtkMRMLScene) -> None:
        self.scene = scene
        self._node_id = ""

    def show(self, volume: Any, before: MaskPatch, after: MaskPatch) -> None:
        """Draw the difference between two masks on the grid of a volume."""
        node = self._node(volume)
        both = union_extent(before.extent, after.extent)
        was, now = before.within(both), after.within(both)
        changes = {"added": now > was, "removed": was > now} if not is_empty(both) else {}
        for name in ("added", "removed"):
            patch = MaskPatch(both, changes[name].astype(np.uint8)) if name in changes else MaskPatch()
            image = oriented_image(patch, local_ijk_to_ras(volume))
            slicer.vtkSlicerSegmentationsModuleLogic.SetBinaryLabelmapToSegment(
                image, node, name, slicer.vtkSlicerSegmentationsModuleLogic.MODE_REPLACE, image.GetExtent()
            )
        node.GetDisplayNode().SetVisibility(True)

    def hide(self) -> None:
        """Remove the overlay from the scene."""
        node = self.scene.GetNodeByID(self._node_id) if self._node_id else None
        if node is not None:
            remove_node(self.scene, node)
        self._node_id = ""

    def _node(self, volume: Any) -> Any:
        node = self.scene.GetNodeByID(self._node_id) if self._node_id else None
        if node is None:
            node = self.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "MoESeg changes")
            node.SetSaveWithScene(False)
            node.SetHideFromEditors(True)
            node.CreateDefaultDisplayNodes()
            node.GetDisplayNode().SetSaveWithScene(False)
            self._node_id = node.GetID()
            for name, color in (("added", ADDED_COLOR), ("removed", REMOVED_COLOR)):
                node.GetSegmentation().AddEmptySegment(name, name, color)
            display = node.GetDisplayNode()
            display.SetVisibility3D(False)
            display.SetSegmentOpacity2DFill("removed", 0.0)
            display.SetSegmentOpacity2DFill("added", 0.6)
        node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        return node


class ConfidenceOverlay:
    """The model's probability of every voxel as a foreground layer, from 0 to 100 %."""

    def __init__(self, scene: slicer.vtkMRMLScene) -> None:
        self.scene = scene
        self._node_id = ""
        self._before: dict[str, tuple[str | None, float]] = {}

    def show(self, volume: Any, probability: ProbabilityMap) -> None:
        """Draw a probability map on the grid of a volume."""
        node = self._node()
        node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
        extent = probability.extent if not is_empty(probability.extent) else (0, 0, 0, 0, 0, 0)
        percent = probability.percent if not is_empty(probability.extent) else np.zeros((1, 1, 1), np.uint8)
        image = vtk.vtkImageData()
        image.SetDimensions(*percent.shape[::-1])
        image.GetPointData().SetScalars(numpy_to_vtk(percent.ravel(), deep=True))
        matrix = local_ijk_to_ras(volume)
        matrix[:3, 3] = (matrix @ np.array([extent[0], extent[2], extent[4], 1.0]))[:3]
        placed = vtk.vtkMatrix4x4()
        for row in range(4):
            for column in range(4):
                placed.SetElement(row, column, float(matrix[row, column]))
        node.SetIJKToRASMatrix(placed)
        node.SetAndObserveImageData(image)
        self._put_in_front(node)

    def hide(self) -> None:
        """Take the layer away and bring back what was in the foreground."""
        for composite_id, (foreground, opacity) in self._before.items():
            composite = self.scene.GetNodeByID(composite_id)
            if composite is not None and composite.GetForegroundVolumeID() == self._node_id:
                composite.SetForegroundVolumeID(foreground)
                composite.SetForegroundOpacity(opacity)
        self._before.clear()
        node = self.scene.GetNodeByID(self._node_id) if self._node_id else None
        if node is not None:
            remove_node(self.scene, node)
        self._node_id = ""

    def _node(self) -> Any:
        node = self.scene.GetNodeByID(self._node_id) if self._node_id else None
        if node is None:
            node = self.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "MoESeg confidence (%)")
            node.SetSaveWithScene(False)
            node.SetHideFromEditors(True)
            node.CreateDefaultDisplayNodes()
            display = node.GetDisplayNode()
            display.SetSaveWithScene(False)
            display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeWarm1")
            display.SetAutoWindowLevel(False)
            display.SetWindowLevelMinMax(0, 100)
            display.SetApplyThreshold(True)
            display.SetThreshold(_LOWEST, 100)
            self._node_id = node.GetID()
        return node

    def _put_in_front(self, node: Any) -> None:
        composites = self.scene.GetNodesByClass("vtkMRMLSliceCompositeNode")
        for index in range(composites.GetNumberOfItems()):
            composite = composites.GetItemAsObject(index)
            if composite.GetForegroundVolumeID() != node.GetID():
                self._before[composite.GetID()] = (composite.GetForegroundVolumeID(), composite.GetForegroundOpacity())
                composite.SetForegroundVolumeID(node.GetID())
                composite.SetForegroundOpacity(CONFIDENCE_OPACITY)
