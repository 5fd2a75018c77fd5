"""Boxes and curves between markups and patient space."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import slicer
import vtk

from ..core.geometry import Plane, Point
from ..core.prompts import BoxPrompt, as_point
from ..core.volume import Volume
from .volumes import to_array, world_from_local

_ONE_SLICE = 1.001  # voxels: up to this a box is flat


def box_from_roi(node: Any, volume: Volume, plane: Plane | None) -> tuple[Point, Point] | None:
    """Opposite corners (RAS) of the smallest box along the voxel axes that holds a ROI; None when it has no size.

    Args:
        plane: flatten it to the slice of that orientation through its center.
    """
    if node.GetNumberOfDefinedControlPoints() == 0:
        return None
    size = np.array(node.GetSize())
    # Not GetObjectToWorldMatrix: under a parent transform that scales unevenly it gives the nearest right-angled box
    # (20 voxels were read back as 25), while the ROI's own coordinates are exact.
    matrix = world_from_local(node) @ to_array(node.GetObjectToNodeMatrix())
    signs = np.array(list(itertools.product((-0.5, 0.5), repeat=3)))
    corners = np.c_[signs * size, np.ones(8)] @ matrix.T
    ijk = volume.ras_to_ijk(corners[:, :3])
    low, high = ijk.min(axis=0), ijk.max(axis=0)
    if plane is not None:
        axis = volume.axis_of(plane)
        low[axis] = high[axis] = np.rint((low[axis] + high[axis]) / 2)
    flat = high - low < _ONE_SLICE
    low[flat] = high[flat] = ((low + high) / 2)[flat]
    return as_point(volume.to_ras(low)), as_point(volume.to_ras(high))


def roi_from_box(node: Any, volume: Volume, prompt: BoxPrompt) -> None:
    """Place a ROI where a box prompt is, along the voxel axes; the ROI is under the volume's own transform.

    A volume whose own axes are not at right angles gets a ROI along the nearest axes that are, with the same center
    and edge lengths.
    """
    corners = volume.ras_to_ijk([prompt.corner_a, prompt.corner_b])
    low, high = corners.min(axis=0), corners.max(axis=0)
    local = np.linalg.inv(world_from_local(node)) @ volume.ijk_to_ras
    directions, lengths = local[:3, :3], np.linalg.norm(local[:3, :3], axis=0)
    u, _, vt = np.linalg.svd(directions / lengths)
    axes = u @ vt  # the nearest matrix with right angles
    center = local @ np.append((low + high) / 2, 1)
    object_to_node = vtk.vtkMatrix4x4()
    for row in range(3):
        for column in range(3):
            object_to_node.SetElement(row, column, float(axes[row, column]))
        object_to_node.SetElement(row, 3, float(center[row]))
    node.GetObjectToNodeMatrix().DeepCopy(object_to_node)
    # A flat box is drawn one slice thick: without any depth a slice view shows no handles to drag.
    thickness = np.where(high - low < _ONE_SLICE, 1.0, high - low)
    node.SetSize(*[float(value) for value in thickness * lengths])


def curve_points(node: Any) -> tuple[Point, ...]:
    """The control points (RAS) of a curve, those still being placed left out."""
    points: list[Point] = []
    position = [0.0, 0.0, 0.0]
    for index in range(node.GetNumberOfControlPoints()):
        if node.GetNthControlPointPositionStatus(index) == slicer.vtkMRMLMarkupsNode.PositionDefined:
            node.GetNthControlPointPositionWorld(index, position)
            points.append(as_point(position))
    return tuple(points)
