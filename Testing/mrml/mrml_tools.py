"""What the tests of this room share: grids, transforms, prompts given in voxels, brush strokes."""

from __future__ import annotations

import numpy as np
import vtk

from MoESegLib.core.prompts import BoxPrompt, PointPrompt
from MoESegLib.core.results import MaskPatch
from MoESegLib.core.volume import Volume
from MoESegLib.mrml.model_library import ModelLibrary
from MoESegLib.mrml.writer import oriented_image


class OneModel(ModelLibrary):
    """Has the model a test gives, whatever it is called."""

    def state(self, name: str) -> str:
        return "installed"


def vtk_matrix(array) -> vtk.vtkMatrix4x4:
    matrix = vtk.vtkMatrix4x4()
    for row in range(4):
        for column in range(4):
            matrix.SetElement(row, column, float(array[row][column]))
    return matrix


def rotation(x: float, y: float, z: float) -> np.ndarray:
    """(4, 4), degrees."""
    transform = vtk.vtkTransform()
    transform.RotateX(x)
    transform.RotateY(y)
    transform.RotateZ(z)
    return np.array([[transform.GetMatrix().GetElement(r, c) for c in range(4)] for r in range(4)])


def at(*origin: float) -> np.ndarray:
    """(4, 4), a shift in millimeters."""
    matrix = np.eye(4)
    matrix[:3, 3] = origin
    return matrix


OBLIQUE = at(12.5, -40, 7) @ rotation(20, -15, 35) @ np.diag([-0.7, -0.8, 2.5, 1])
LEFT_HANDED = at(3, 5, -9) @ np.diag([0.9, -1.1, 2, 1])
MOVED = at(15, -20, 30) @ rotation(10, 25, -40) @ np.diag([1.3, 0.8, 1.1, 1])
SHEARED = MOVED @ np.array([[1, 0.3, 0, 0], [0, 1, 0.2, 0], [0, 0, 1, 0], [0, 0, 0, 1]], float)


def linear_transform(scene, matrix, name: str = "Transform"):
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name)
    node.SetMatrixTransformToParent(vtk_matrix(matrix))
    return node


def box(volume: Volume, low, high, segment: str, k: float = 4, **more) -> BoxPrompt:
    """An axial box between two voxels (i, j) of slice k."""
    corners = volume.to_ras([[*low, k], [*high, k]])
    values = {"segment": segment, "plane": "axial", **more}
    return BoxPrompt(corner_a=tuple(corners[0]), corner_b=tuple(corners[1]), **values)


def point(volume: Volume, ijk, segment: str, positive: bool = True, **more) -> PointPrompt:
    values = {"segment": segment, "plane": "axial", **more}
    return PointPrompt(ras=tuple(volume.to_ras(ijk)), positive=positive, **values)


def patch_of(extent) -> MaskPatch:
    """All voxels of an extent."""
    shape = (extent[5] - extent[4] + 1, extent[3] - extent[2] + 1, extent[1] - extent[0] + 1)
    return MaskPatch(tuple(extent), np.ones(shape, np.uint8))


def brush(writer, segment_id: str, extent, add: bool = True) -> None:
    """A stroke as the Segment Editor's Paint or Erase effect makes it, with its undo state."""
    matrix = vtk.vtkMatrix4x4()
    writer.volume.GetIJKToRASMatrix(matrix)
    array = [[matrix.GetElement(row, column) for column in range(4)] for row in range(4)]
    logic = writer.logic
    logic.SaveStateForUndo()
    mode = logic.ModificationModeAdd if add else logic.ModificationModeRemove
    image = oriented_image(patch_of(extent), np.array(array))
    logic.ModifySegmentByLabelmap(writer.segmentation, segment_id, image, mode, list(extent), False, False)
