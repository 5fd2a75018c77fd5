"""What the slice views tell: the plane a prompt is drawn in, the place mode, jumping to a point, removing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import slicer

from ..core.geometry import Plane, Point
from ..core.prompts import as_point
from ..core.volume import Volume
from .volumes import to_array


def plane_under_cursor(scene: slicer.vtkMRMLScene, volume: Volume) -> Plane | None:
    """The anatomical plane of the slice view the mouse is in, None when it is in none (or in 3D)."""
    crosshair = scene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    if crosshair is None:
        return None
    slice_node = crosshair.GetCursorPositionXYZ([0.0, 0.0, 0.0])
    return None if slice_node is None else plane_of_view(slice_node, volume)


def plane_of_view(slice_node: slicer.vtkMRMLSliceNode, volume: Volume) -> Plane:
    """The anatomical plane whose voxel axis is nearest to the normal of a slice view."""
    normal = to_array(slice_node.GetSliceToRAS())[:3, 2]
    directions = volume.ijk_to_ras[:3, :3] / np.linalg.norm(volume.ijk_to_ras[:3, :3], axis=0)
    return volume.plane_of(int(np.argmax(np.abs(directions.T @ normal))))


def slice_in_view(scene: slicer.vtkMRMLScene, volume: Volume) -> tuple[Point, Plane] | None:
    """A point (RAS) in the slice that the mouse is over, or that the first visible slice view shows, and its plane.

    None where there are no slice views, or the view shows nothing of the volume.
    """
    crosshair = scene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    node = crosshair.GetCursorPositionXYZ([0.0, 0.0, 0.0]) if crosshair is not None else None
    node = node if node is not None else _first_slice_node(scene)
    if node is None:
        return None
    plane = plane_of_view(node, volume)
    axis = volume.axis_of(plane)
    view = to_array(node.GetSliceToRAS())
    normal = view[:3, 2] / np.linalg.norm(view[:3, 2])
    middle = (np.array(volume.size, float) - 1) / 2
    center = volume.to_ras(middle)
    seen = center - normal * np.dot(center - view[:3, 3], normal)  # on the view's plane, below the volume's center
    middle[axis] = np.rint(volume.ras_to_ijk(seen)[axis])
    if not 0 <= middle[axis] < volume.size[axis]:
        return None
    return as_point(volume.to_ras(middle)), plane


def _first_slice_node(scene: slicer.vtkMRMLScene) -> slicer.vtkMRMLSliceNode | None:
    """The first one that the layout shows; the first of all where no layout shows any."""
    collection = scene.GetNodesByClass("vtkMRMLSliceNode")
    nodes = [collection.GetItemAsObject(index) for index in range(collection.GetNumberOfItems())]
    return next((node for node in nodes if node.IsMappedInLayout()), nodes[0] if nodes else None)


def jump_to(scene: slicer.vtkMRMLScene, ras: Point) -> None:
    """Move all slice views to a point, without changing what lies where in them."""
    slicer.vtkMRMLSliceNode.JumpAllSlices(scene, *ras, slicer.vtkMRMLSliceNode.OffsetJumpSlice)


def start_placing(scene: slicer.vtkMRMLScene, node: Any, persistent: bool) -> None:
    """Let the next clicks in the views place points of a markups node.

    Args:
        persistent: keep placing after the first one.
    """
    selection = scene.GetFirstNodeByClass("vtkMRMLSelectionNode")
    interaction = scene.GetFirstNodeByClass("vtkMRMLInteractionNode")
    selection.SetReferenceActivePlaceNodeClassName(node.GetClassName())
    selection.SetActivePlaceNodeID(node.GetID())
    interaction.SetPlaceModePersistence(1 if persistent else 0)
    interaction.SetCurrentInteractionMode(interaction.Place)


def stop_placing(scene: slicer.vtkMRMLScene) -> None:
    """Back to ordinary mouse clicks."""
    interaction = scene.GetFirstNodeByClass("vtkMRMLInteractionNode")
    if interaction is not None and interaction.GetCurrentInteractionMode() == interaction.Place:
        interaction.SetCurrentInteractionMode(interaction.ViewTransform)


@contextmanager
def keep_placing(scene: slicer.vtkMRMLScene) -> Iterator[None]:
    """Markups added in here do not become the ones that clicks are placed into, as the Markups logic would have it."""
    selection = scene.GetFirstNodeByClass("vtkMRMLSelectionNode")
    before = (selection.GetActivePlaceNodeClassName(), selection.GetActivePlaceNodeID()) if selection else ("", "")
    yield
    if selection is not None:
        selection.SetReferenceActivePlaceNodeClassName(before[0] or "")
        selection.SetActivePlaceNodeID(before[1])


def is_placing(scene: slicer.vtkMRMLScene) -> bool:
    """Whether the next click in a view places something."""
    interaction = scene.GetFirstNodeByClass("vtkMRMLInteractionNode")
    return interaction is not None and interaction.GetCurrentInteractionMode() == interaction.Place


def remove_node(scene: slicer.vtkMRMLScene, node: Any) -> None:
    """Remove a node and how it is displayed; the scene alone would keep its display nodes, and save them."""
    displays = [node.GetNthDisplayNode(index) for index in range(node.GetNumberOfDisplayNodes())]
    scene.RemoveNode(node)
    for display in displays:
        if display is not None and display.GetScene() is scene and display.GetDisplayableNode() is None:
            scene.RemoveNode(display)
