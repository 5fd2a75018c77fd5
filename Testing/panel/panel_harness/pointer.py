"""What a user does with the mouse in a slice view, told to the MRML nodes in the order Slicer tells it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from .errors import HarnessError
from .scene import SlicerScene

Point = Sequence[float]


class Pointer:
    """The mouse over the slice views. All points are world RAS, in millimeters.

    In place mode a preview point follows the mouse: it is in the node's list, but not defined. It goes when the mouse
    leaves the view or place mode ends; code that counts all control points counts it too, here as in Slicer.
    """

    def __init__(self, booted: SlicerScene) -> None:
        self._booted = booted
        self._scene = booted.scene
        self._previewed: Any = None
        interaction = booted.application_logic.GetInteractionNode()
        interaction.AddObserver(interaction.InteractionModeChangedEvent, self._mode_changed)

    # moving
    def move_to(self, ras: Point, view: str = "Red") -> None:
        """Scroll a view to a point and hold the mouse over it."""
        slice_node = self._slice(view)
        slice_node.JumpSliceByOffsetting(*ras)
        crosshair = self._scene.GetNodeByID("vtkMRMLCrosshairNodedefault")
        crosshair.SetCursorPositionXYZ(list(self._to_xyz(slice_node, ras)), slice_node)

    def _slice(self, view: str) -> Any:
        if view not in self._booted.slice_logics:
            raise HarnessError(f"there is no slice view {view}; there are {list(self._booted.slice_logics)}")
        return self._booted.slice_logics[view].GetSliceNode()

    @staticmethod
    def _to_xyz(slice_node: Any, ras: Point) -> tuple[float, ...]:
        import vtk

        inverse = vtk.vtkMatrix4x4()
        vtk.vtkMatrix4x4.Invert(slice_node.GetXYToRAS(), inverse)
        return inverse.MultiplyPoint((*ras, 1.0))[:3]

    # placing
    @property
    def placing(self) -> bool:
        interaction = self._booted.application_logic.GetInteractionNode()
        return interaction.GetCurrentInteractionMode() == interaction.Place

    def place_point(self, ras: Point, view: str = "Red") -> Any:
        """A left click in place mode: the active markups node gets a point, and is returned.

        Raises:
            HarnessError: Not in place mode, no class of markups chosen, or the node is locked.
        """
        node = self._active_node()
        self.move_to(ras, view)
        if self._is_second_corner(node):
            # The ROI node turns two points into center and size by itself.
            node.AddControlPointWorld(self._vector(ras))
        else:
            self.hover(ras, view)
            index = self._preview_index(node)
            self._previewed = None
            node.SetNthControlPointPositionWorld(index, *ras, node.PositionDefined)
        if self._is_complete(node):
            self._end_placement()
        if self.placing and not self._is_second_corner(node):
            self.hover(ras, view)  # no hand is so still that the next preview stays away
        return node

    def hover(self, ras: Point, view: str = "Red") -> None:
        """Move the mouse in place mode: the preview point goes along."""
        node = self._active_node()
        self.move_to(ras, view)
        if self._previewed is not None and self._previewed is not node:
            self.leave()
        if self._preview_index(node) < 0:
            self._add_preview(node, ras)
        else:
            node.SetNthControlPointPositionWorld(self._preview_index(node), *ras, node.PositionPreview)
        self._previewed = node

    def leave(self) -> None:
        """The mouse leaves the view: no preview any more."""
        node, self._previewed = self._previewed, None
        if node is None or node.GetScene() is None:
            return  # deleted meanwhile
        if self._preview_index(node) >= 0:
            node.RemoveNthControlPoint(self._preview_index(node))

    def leave_views(self) -> None:
        """The mouse is over no slice view any more, as Slicer's slice views tell the crosshair node."""
        self.leave()
        self._scene.GetNodeByID("vtkMRMLCrosshairNodedefault").SetCursorPositionInvalid()

    def _mode_changed(self, caller: Any, event: str) -> None:
        if not self.placing:
            self.leave()

    @staticmethod
    def _preview_index(node: Any) -> int:
        count = node.GetNumberOfControlPoints()
        previews = (i for i in range(count) if node.GetNthControlPointPositionStatus(i) == node.PositionPreview)
        return next(previews, -1)

    @staticmethod
    def _is_second_corner(node: Any) -> bool:
        return bool(node.IsA("vtkMRMLMarkupsROINode") and node.GetNumberOfDefinedControlPoints())

    def require_class(self, class_name: str) -> None:
        """Raise HarnessError unless place mode is for this class of markups."""
        node = self._active_node()
        if not node.IsA(class_name):
            raise HarnessError(f"place mode is for {node.GetClassName()}, not for {class_name}")

    def finish_placing(self) -> None:
        """The right click or double click that ends a curve."""
        if self.placing:
            self._end_placement()

    def _active_node(self) -> Any:
        if not self.placing:
            raise HarnessError("a click places nothing: the mouse is not in place mode")
        selection = self._booted.application_logic.GetSelectionNode()
        node_id = selection.GetActivePlaceNodeID()
        node = self._scene.GetNodeByID(node_id) if node_id else None
        if node is None:
            class_name = selection.GetActivePlaceNodeClassName()
            if not class_name:
                raise HarnessError("place mode has no class of markups to place")
            node = self._booted.logics["Markups"].AddNewMarkupsNode(class_name)
            selection.SetActivePlaceNodeID(node.GetID())
        if node.GetLocked():
            raise HarnessError(f"{node.GetName()} is locked")
        return node

    def _add_preview(self, node: Any, ras: Point) -> None:
        with _silenced(node, node.PointPositionDefinedEvent, node.PointPositionUndefinedEvent):
            index = node.AddControlPointWorld(self._vector(ras))
            if index < 0:
                raise HarnessError(f"{node.GetName()} takes no more points")
            node.SetNthControlPointPositionWorld(index, *ras, node.PositionPreview)

    @staticmethod
    def _vector(ras: Point) -> Any:
        import vtk

        return vtk.vtkVector3d(*ras)

    def _is_complete(self, node: Any) -> bool:
        if node.IsA("vtkMRMLMarkupsFiducialNode"):
            return True
        if node.IsA("vtkMRMLMarkupsROINode"):
            return max(node.GetSize()) > 0
        return bool(node.GetControlPointPlacementComplete())

    def _end_placement(self) -> None:
        logic = self._booted.application_logic
        interaction, selection = logic.GetInteractionNode(), logic.GetSelectionNode()
        if not interaction.GetPlaceModePersistence():
            interaction.SetCurrentInteractionMode(interaction.ViewTransform)
            return
        self.leave()
        if selection.GetActivePlaceNodeClassName() != "vtkMRMLMarkupsFiducialNode":
            selection.SetActivePlaceNodeID(None)  # the next click starts another node

    # dragging
    def drag_point(self, node: Any, index: int, ras: Point, steps: int = 4) -> None:
        """Take a control point with the mouse and let it go elsewhere.

        Raises:
            HarnessError: The node or the point is locked, or there is no such point.
        """
        if not 0 <= index < node.GetNumberOfControlPoints():
            raise HarnessError(f"{node.GetName()} has no point {index}")
        if node.GetLocked() or node.GetNthControlPointLocked(index):
            raise HarnessError(f"{node.GetName()} or its point {index} is locked")
        start = [0.0, 0.0, 0.0]
        node.GetNthControlPointPositionWorld(index, start)
        with self._interaction(node, index):
            for step in range(1, steps + 1):
                part = step / steps
                between = [a + part * (b - a) for a, b in zip(start, ras, strict=True)]
                node.SetNthControlPointPositionWorld(index, *(ras if step == steps else between))

    def drag_box(self, node: Any, center: Point, size: Point) -> None:
        """Move and resize a ROI by its handles to a center and a size in millimeters."""
        if node.GetLocked():
            raise HarnessError(f"{node.GetName()} is locked")
        with self._interaction(node, 0):
            node.SetSize(*size)
            node.SetCenter(*center)

    @contextmanager
    def _interaction(self, node: Any, index: int) -> Iterator[None]:
        node.InvokeEvent(node.PointStartInteractionEvent, index)
        yield
        node.InvokeEvent(node.PointEndInteractionEvent, index)


@contextmanager
def _silenced(node: Any, *events: int) -> Iterator[None]:
    """No observer hears these events: Slicer's own widget adds a preview point without them."""
    tags = []
    for event in events:

        def swallow(caller: Any, name: str, node: Any = node, position: int = len(tags)) -> None:
            node.GetCommand(tags[position]).SetAbortFlag(1)

        tags.append(node.AddObserver(event, swallow, 1e9))
    try:
        yield
    finally:
        for tag in tags:
            node.RemoveObserver(tag)
