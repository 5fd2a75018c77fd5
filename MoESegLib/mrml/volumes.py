"""Volume nodes as :class:`~MoESegLib.core.volume.Volume`, with their parent transforms."""

from __future__ import annotations

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import vtk_to_numpy  # type: ignore[import-untyped]

from ..core.errors import GeometryError, VolumeError
from ..core.volume import Volume


def to_array(matrix: vtk.vtkMatrix4x4) -> NDArray[np.float64]:
    """A VTK matrix as an array (4, 4)."""
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def world_from_local(node: slicer.vtkMRMLTransformableNode) -> NDArray[np.float64]:
    """The parent transforms of a node as one matrix (4, 4), from the node's own RAS to the world's RAS.

    Raises:
        GeometryError: one of the transforms is not linear.
    """
    parent = node.GetParentTransformNode()
    if parent is None:
        return np.eye(4)
    if not parent.IsTransformToWorldLinear():
        raise GeometryError(
            f"{node.GetName()} is under the transform {parent.GetName()}, which is not linear, so its voxels are no "
            "regular grid any more. Harden the transform (Transforms module, 'Harden transform'), which resamples the "
            "volume, or take the volume out of it."
        )
    matrix = vtk.vtkMatrix4x4()
    parent.GetMatrixTransformToWorld(matrix)
    return to_array(matrix)


def local_ijk_to_ras(node: slicer.vtkMRMLVolumeNode) -> NDArray[np.float64]:
    """The matrix (4, 4) from voxel indices (i, j, k) to the node's own RAS, without parent transforms."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return to_array(matrix)


def volume_from_node(node: slicer.vtkMRMLVolumeNode) -> Volume:
    """The image of a volume node in world RAS. The voxels are shared with the node, not copied.

    A node that plays a sequence gives the frame shown now.

    Raises:
        VolumeError: no voxels, a label map, a tensor or diffusion volume, or voxels that are not finite.
        GeometryError: under a transform that is not linear.
    """
    name = node.GetName() or "The volume"
    image = node.GetImageData()
    if image is None or image.GetPointData() is None or image.GetPointData().GetScalars() is None:
        raise VolumeError(f"{name} holds no voxels; load an image into it or choose another volume.")
    if isinstance(node, slicer.vtkMRMLLabelMapVolumeNode):
        raise VolumeError(
            f"{name} is a label map, not an image. Choose the image; to edit the labels, import the label map into a "
            "segmentation (Segmentations module, 'Import/export')."
        )
    array, color = _voxels(image, name)
    return Volume(
        array, world_from_local(node) @ local_ijk_to_ras(node), modality=_modality(node), name=name, color=color
    )


def _voxels(image: vtk.vtkImageData, name: str) -> tuple[NDArray, bool]:
    """Voxels ``[k, j, i]`` or ``[k, j, i, 3]`` and whether they are colors."""
    components = image.GetNumberOfScalarComponents()
    array = vtk_to_numpy(image.GetPointData().GetScalars())
    shape = image.GetDimensions()[::-1]
    if components == 1:
        return array.reshape(shape), False
    if components in (3, 4) and array.dtype == np.uint8:
        return array.reshape(*shape, components)[..., :3], True
    raise VolumeError(
        f"{name} has {components} values of type {array.dtype} a voxel; MoESeg takes images with one value, or colors "
        "(3 or 4 values of 8 bits). Convert it with the module Vector to Scalar Volume."
    )


def _modality(node: slicer.vtkMRMLVolumeNode) -> str:
    """As in DICOM, where the subject hierarchy knows it; "" otherwise."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())
    if hierarchy is None:
        return ""
    item = hierarchy.GetItemByDataNode(node)
    return str(hierarchy.GetItemAttribute(item, "DICOM.Modality") or "") if item else ""
