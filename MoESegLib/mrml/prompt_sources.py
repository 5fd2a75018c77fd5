"""What the user made elsewhere in Slicer, as prompts: markups, and the voxels of a segment."""

from __future__ import annotations

from typing import Any

import numpy as np
import vtk

from ..core.errors import PromptError
from ..core.prompts import BoxPrompt, MaskPrompt, PointPrompt, PolygonPrompt, Prompt, ScribblePrompt, as_point
from ..core.results import MaskPatch
from ..core.volume import Volume
from .prompt_nodes import SEGMENTATION_ROLE
from .prompt_shapes import box_from_roi, curve_points
from .segmentations import segment_of, segment_patch

IMPORTABLE = (
    "vtkMRMLMarkupsFiducialNode",
    "vtkMRMLMarkupsROINode",
    "vtkMRMLMarkupsPlaneNode",
    "vtkMRMLMarkupsCurveNode",
    "vtkMRMLMarkupsClosedCurveNode",
)
"""Classes that :func:`prompts_from_markups` understands."""


def prompts_from_markups(node: Any, volume: Volume, segment_id: str) -> list[Prompt]:
    """The prompts a markups node stands for: points inside, a 3D box (ROI), a flat one (plane), a scribble, an outline.

    The node itself is left as it is.

    Raises:
        PromptError: it is of another class, or has no points yet.
    """
    kind = node.GetClassName()
    if node.GetNodeReferenceID(SEGMENTATION_ROLE):
        raise PromptError(f"{node.GetName()} is a prompt already. Choose markups that were made elsewhere.")
    if kind not in IMPORTABLE:
        raise PromptError(
            f"{node.GetName()} is no point list, ROI, plane or curve, so it cannot be a prompt. Choose another markup."
        )
    prompts: list[Prompt] = []
    points = curve_points(node)
    if kind == "vtkMRMLMarkupsFiducialNode":
        prompts = [PointPrompt(ras=point, segment=segment_id) for point in points]
    elif kind == "vtkMRMLMarkupsROINode":
        corners = box_from_roi(node, volume, None)
        if corners is not None:
            prompts = [BoxPrompt(corner_a=corners[0], corner_b=corners[1], segment=segment_id)]
    elif kind == "vtkMRMLMarkupsPlaneNode" and node.GetIsPlaneValid():
        prompts = [_box_from_plane(node, volume, segment_id)]
    elif kind == "vtkMRMLMarkupsCurveNode" and points:
        prompts = [ScribblePrompt(points=points, segment=segment_id)]
    elif kind == "vtkMRMLMarkupsClosedCurveNode" and len(points) >= 3:
        prompts = [PolygonPrompt(points=points, segment=segment_id)]
    if not prompts:
        raise PromptError(f"{node.GetName()} has no points yet; place it in the image first.")
    return prompts


def prompt_from_segment(
    segmentation: Any, source_id: str, volume: Volume, segment_id: str
) -> tuple[MaskPrompt, MaskPatch]:
    """The voxels of a segment as a first guess for another one (or for itself), and as they are.

    Raises:
        PromptError: it has no voxels.
    """
    patch = segment_patch(segmentation, source_id)
    if patch.count == 0:
        name = segment_of(segmentation, source_id).GetName()
        raise PromptError(f"The segment {name} is empty; paint a first guess or choose a segment with voxels.")
    matrix = volume.ijk_to_ras.copy()
    matrix[:3, 3] = volume.to_ras(patch.extent[::2])
    return MaskPrompt(mask=patch.voxels, ijk_to_ras=matrix, segment=segment_id), patch


def _box_from_plane(node: Any, volume: Volume, segment_id: str) -> BoxPrompt:
    """The box around a plane's outline, in the slice through its center that is nearest to it in orientation."""
    outline = vtk.vtkPoints()
    node.GetPlaneCornerPointsWorld(outline)
    corners = np.array([outline.GetPoint(index) for index in range(outline.GetNumberOfPoints())])
    normal = np.array(node.GetNormalWorld())
    directions = volume.ijk_to_ras[:3, :3] / np.linalg.norm(volume.ijk_to_ras[:3, :3], axis=0)
    axis = int(np.argmax(np.abs(directions.T @ normal)))
    ijk = volume.ras_to_ijk(corners)
    low, high = ijk.min(axis=0), ijk.max(axis=0)
    low[axis] = high[axis] = np.rint(ijk[:, axis].mean())
    return BoxPrompt(
        corner_a=as_point(volume.to_ras(low)),
        corner_b=as_point(volume.to_ras(high)),
        plane=volume.plane_of(axis),
        segment=segment_id,
    )
