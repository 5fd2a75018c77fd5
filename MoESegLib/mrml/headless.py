"""A scene in a process without the Slicer application: logics, image, slice views that nobody draws.

The browser app works in such a scene with the same workbench as the panel. Its slice nodes are never rendered; they
only say which slice the user looks at, which is where phrases apply and what is encoded ahead.
"""

from __future__ import annotations

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import numpy_to_vtk  # type: ignore[import-untyped]

from ..core.geometry import PLANES, Plane
from ..core.volume import Volume

_SINGLETONS = {
    "vtkMRMLSelectionNode": "Singleton",
    "vtkMRMLInteractionNode": "Singleton",
    "vtkMRMLCrosshairNode": "default",
}
_LOGICS = ("vtkSlicerSegmentationsModuleLogic", "vtkSlicerMarkupsLogic", "vtkSlicerTransformLogic")


class HeadlessScene:
    """An MRML scene with what the workbench expects of Slicer.

    Attributes:
        scene: the vtkMRMLScene.
    """

    def __init__(self) -> None:
        self.scene = slicer.vtkMRMLScene()
        for name, tag in _SINGLETONS.items():
            node = self.scene.CreateNodeByClass(name)
            node.SetSingletonTag(tag)
            self.scene.AddNode(node)
            node.UnRegister(None)
        application = slicer.vtkSlicerApplicationLogic()
        application.SetMRMLScene(self.scene)
        self._logics = [application]  # the scene does not keep them
        for name in _LOGICS:
            logic = getattr(slicer, name)()
            logic.SetMRMLApplicationLogic(application)
            logic.SetMRMLScene(self.scene)
            self._logics.append(logic)
        self._shared: list[NDArray] = []
        self._slices: dict[Plane, slicer.vtkMRMLSliceNode] = {}
        for plane in PLANES:
            node = self.scene.AddNewNodeByClass("vtkMRMLSliceNode", plane)
            node.SetLayoutName(plane)
            self._slices[plane] = node

    def add_volume(self, volume: Volume) -> slicer.vtkMRMLVolumeNode:
        """Put an image into the scene; the voxels are shared with it, not copied."""
        kind = "vtkMRMLVectorVolumeNode" if volume.color else "vtkMRMLScalarVolumeNode"
        node = self.scene.AddNewNodeByClass(kind, volume.name or "Image")
        image = vtk.vtkImageData()
        image.SetDimensions(*volume.size)
        voxels = np.ascontiguousarray(volume.array).reshape(-1, 3 if volume.color else 1)
        image.GetPointData().SetScalars(numpy_to_vtk(voxels))
        self._shared.append(voxels)  # VTK does not keep them
        node.SetAndObserveImageData(image)
        node.SetIJKToRASMatrix(_vtk_matrix(volume.ijk_to_ras))
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self.scene)
        if hierarchy is not None and volume.modality:
            hierarchy.SetItemAttribute(
                hierarchy.CreateItem(hierarchy.GetSceneItemID(), node), "DICOM.Modality", volume.modality
            )
        return node

    def look(self, volume: Volume, plane: Plane, index: int) -> None:
        """Say that a view of that plane shows slice ``index`` of a volume."""
        axis = volume.axis_of(plane)
        middle = (np.array(volume.size, float) - 1) / 2
        middle[axis] = index
        directions = volume.ijk_to_ras[:3, :3] / np.linalg.norm(volume.ijk_to_ras[:3, :3], axis=0)
        matrix = np.eye(4)
        others = [other for other in range(3) if other != axis]
        matrix[:3, :3] = directions[:, [*others, axis]]
        matrix[:3, 3] = volume.to_ras(middle)
        node = self._slices[plane]
        node.GetSliceToRAS().DeepCopy(_vtk_matrix(matrix))
        node.UpdateMatrices()

    def point_at(self, plane: Plane) -> None:
        """Say that the mouse is over the view of that plane."""
        crosshair = self.scene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
        crosshair.SetCursorPositionXYZ([0.0, 0.0, 0.0], self._slices[plane])

    def close(self) -> None:
        """Empty the scene."""
        self.scene.Clear(1)
        self._shared.clear()


def _vtk_matrix(array: NDArray[np.float64]) -> vtk.vtkMatrix4x4:
    matrix = vtk.vtkMatrix4x4()
    for row in range(4):
        for column in range(4):
            matrix.SetElement(row, column, float(array[row, column]))
    return matrix
