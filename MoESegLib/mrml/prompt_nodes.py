"""Prompts as markups the user can see, drag and delete.

Points of one segment and sign share a point list; a box is a ROI, a scribble an open curve, a lasso a closed one. The
nodes are a view of the prompts in the segment's tags: :meth:`PromptNodes.show` makes them match,
:meth:`PromptNodes.read` tells what the user made of them. Automatic prompts, phrases and masks have no markups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray

from ..core.geometry import PLANES, Plane
from ..core.prompts import BoxPrompt, PointPrompt, PolygonPrompt, Prompt, ScribblePrompt, as_point
from ..core.volume import Volume
from .prompt_shapes import box_from_roi, curve_points, roi_from_box
from .views import keep_placing, plane_under_cursor, remove_node

SEGMENTATION_ROLE = "MoESeg.segmentation"
SEGMENT, KIND, PROMPT, PLANE = "MoESeg.Segment", "MoESeg.Kind", "MoESeg.Prompt", "MoESeg.Plane"

NODE_CLASSES = {
    "point": "vtkMRMLMarkupsFiducialNode",
    "box": "vtkMRMLMarkupsROINode",
    "scribble": "vtkMRMLMarkupsCurveNode",
    "polygon": "vtkMRMLMarkupsClosedCurveNode",
}
_TITLES = {
    "point+": "inside",
    "point-": "outside",
    "box+": "box",
    "scribble+": "scribble inside",
    "scribble-": "scribble outside",
    "polygon+": "outline",
}
POSITIVE_COLOR, NEGATIVE_COLOR = (0.0, 0.75, 0.95), (1.0, 0.5, 0.0)
"""Blue and orange stay apart for every kind of color blindness; glyph (cross, dash) and label (+1, -1) say it too."""
_TOLERANCE = 1e-3  # millimeters


class PromptNodes:
    """The markups of one segmentation's prompts.

    Args:
        scene: where they live.
        segmentation: whose segments they speak of.
        transform_id: returns the ID of the volume's parent transform; the markups follow it.
        volume: returns the image as the engine sees it.
    """

    def __init__(
        self,
        scene: slicer.vtkMRMLScene,
        segmentation: slicer.vtkMRMLSegmentationNode,
        transform_id: Callable[[], str | None],
        volume: Callable[[], Volume],
    ) -> None:
        self.scene = scene
        self.segmentation_id = segmentation.GetID()
        self._transform_id = transform_id
        self._volume = volume
        self._observed: dict[str, tuple[Any, list[int]]] = {}
        self._dragged: set[str] = set()
        self._dirty: set[str] = set()
        self._quiet = 0
        self._known: dict[str, dict[str, Prompt]] = {}
        for node in self._find():
            self._observe(node)

    # Looking -----------------------------------------------------------------------------------------------------

    def nodes(self, segment_id: str) -> list[Any]:
        """The markups of a segment."""
        return [node for node in self._find() if node.GetAttribute(SEGMENT) == segment_id]

    def changed_segments(self) -> set[str]:
        """Segments whose markups the user changed since the last call, but for those still being dragged or placed."""
        busy = {segment for segment in self._dirty if any(self._is_busy(node) for node in self.nodes(segment))}
        changed, self._dirty = self._dirty - busy, busy
        return changed

    def read(self, segment_id: str) -> list[Prompt]:
        """The prompts that the markups of a segment stand for, those known before in their order, new ones last."""
        known = self._known.get(segment_id, {})
        found: dict[str, Prompt] = {}
        for node in self.nodes(segment_id):
            for prompt in self._prompts_of(node, segment_id):
                same = known.get(prompt.id)
                found[prompt.id] = same if same is not None and _close(same, prompt) else prompt
        order = [*[key for key in known if key in found], *[key for key in found if key not in known]]
        return [found[key] for key in order]

    # Showing -----------------------------------------------------------------------------------------------------

    def show(self, segment_id: str, name: str, prompts: Sequence[Prompt]) -> None:
        """Make the markups of a segment match its prompts; what matches already is not touched."""
        wanted = {prompt.id: prompt for prompt in prompts if has_markups(prompt)}
        present = self.read(segment_id)
        self._known[segment_id] = wanted
        if {prompt.id: prompt.content for prompt in present} == {key: p.content for key, p in wanted.items()}:
            return
        with self._silence():
            for sign in ("+", "-"):
                points = [p for p in wanted.values() if isinstance(p, PointPrompt) and p.positive == (sign == "+")]
                self._show_points(segment_id, name, f"point{sign}", points)
            for node in self.nodes(segment_id):
                if not node.GetAttribute(KIND).startswith("point") and node.GetAttribute(PROMPT) not in wanted:
                    self._remove(node)
            for prompt in wanted.values():
                if not isinstance(prompt, PointPrompt):
                    self._show_shape(segment_id, name, prompt)

    def show_only(self, segment_ids: Sequence[str]) -> None:
        """Hide the markups of all other segments."""
        for node in self._find():
            display = node.GetDisplayNode()
            visible = node.GetAttribute(SEGMENT) in segment_ids
            if display is not None and bool(display.GetVisibility()) != visible:
                display.SetVisibility(visible)

    def remove_segment(self, segment_id: str) -> None:
        """Remove the markups of a segment that is gone."""
        self._known.pop(segment_id, None)
        with self._silence():
            for node in self.nodes(segment_id):
                self._remove(node)

    def clear_points(self, segment_id: str) -> None:
        """Remove the placed points of a segment and keep their lists, which may be placed into."""
        self._known.pop(segment_id, None)
        with self._silence():
            for node in self.nodes(segment_id):
                for index in reversed(range(node.GetNumberOfControlPoints())):
                    if node.GetNthControlPointPositionStatus(index) == slicer.vtkMRMLMarkupsNode.PositionDefined:
                        node.RemoveNthControlPoint(index)

    def remove_unused(self) -> None:
        """Remove markups that were made for placing and got no point."""
        with self._silence():
            for node in self._find():
                if node.GetNumberOfDefinedControlPoints() == 0 and not self._is_placed_into(node):
                    self._remove(node)

    def new_node(self, segment_id: str, name: str, kind: str) -> Any:
        """Markups to place into: the point list of that sign, or a new shape.

        Args:
            kind: a kind of prompt and its sign, for example "point-" or "box+".
        """
        if kind.startswith("point"):
            found = [node for node in self.nodes(segment_id) if node.GetAttribute(KIND) == kind]
            if found:
                return found[0]
        with keep_placing(self.scene):
            node = self.scene.AddNewNodeByClass(NODE_CLASSES[kind[:-1]], f"{name} {_TITLES[kind]}")
        node.SetAttribute(SEGMENT, segment_id)
        node.SetAttribute(KIND, kind)
        node.SetNodeReferenceID(SEGMENTATION_ROLE, self.segmentation_id)
        node.SetAndObserveTransformNodeID(self._transform_id())
        _style(node, kind)
        self._observe(node)
        return node

    def close(self) -> None:
        """Stop observing; the markups stay in the scene."""
        for node, tags in self._observed.values():
            for tag in tags:
                node.RemoveObserver(tag)
        self._observed.clear()

    # Inside ------------------------------------------------------------------------------------------------------

    def _find(self) -> list[Any]:
        found = []
        for name in NODE_CLASSES.values():
            collection = self.scene.GetNodesByClass(name)
            for index in range(collection.GetNumberOfItems()):
                node = collection.GetItemAsObject(index)
                # GetNodesByClass also gives subclasses: a closed curve is a curve.
                if node.GetClassName() == name and node.GetNodeReferenceID(SEGMENTATION_ROLE) == self.segmentation_id:
                    found.append(node)
        return found

    def _prompts_of(self, node: Any, segment_id: str) -> list[Prompt]:
        kind = node.GetAttribute(KIND)
        positive = kind.endswith("+")
        if kind.startswith("point"):
            return self._read_points(node, segment_id, positive)
        if self._is_busy(node):
            return []
        plane = node.GetAttribute(PLANE)
        if node.GetAttribute(PROMPT) is None:
            plane = plane_under_cursor(self.scene, self._volume())
        common: dict[str, Any] = {"segment": segment_id, "plane": plane if plane in PLANES else None}
        if node.GetAttribute(PROMPT) is not None:
            common["id"] = node.GetAttribute(PROMPT)
        prompt: Prompt
        if kind.startswith("box"):
            corners = box_from_roi(node, self._volume(), common["plane"])
            if corners is None:
                return []
            prompt = BoxPrompt(corner_a=corners[0], corner_b=corners[1], **common)
        else:
            points = curve_points(node)
            if len(points) < (3 if kind.startswith("polygon") else 1):
                return []
            if kind.startswith("polygon"):
                prompt = PolygonPrompt(points=points, **common)
            else:
                prompt = ScribblePrompt(points=points, positive=positive, **common)
        if node.GetAttribute(PROMPT) is None:
            with self._silence():
                node.SetAttribute(PROMPT, prompt.id)
                node.SetAttribute(PLANE, common["plane"])
                if isinstance(prompt, BoxPrompt):
                    roi_from_box(node, self._volume(), prompt)  # Slicer draws a new box as deep as it is wide
        return [prompt]

    def _read_points(self, node: Any, segment_id: str, positive: bool) -> list[Prompt]:
        prompts: list[Prompt] = []
        position = [0.0, 0.0, 0.0]
        seen: set[str] = set()
        for index in range(node.GetNumberOfControlPoints()):
            if node.GetNthControlPointPositionStatus(index) != slicer.vtkMRMLMarkupsNode.PositionDefined:
                continue
            node.GetNthControlPointPositionWorld(index, position)
            prompt_id, plane = _described(node.GetNthControlPointDescription(index))
            if prompt_id in seen:
                prompt_id = ""  # a copied point is a new prompt
            if not prompt_id:
                plane = plane_under_cursor(self.scene, self._volume())
            common: dict[str, Any] = {"id": prompt_id} if prompt_id else {}
            point = PointPrompt(ras=as_point(position), positive=positive, segment=segment_id, plane=plane, **common)
            seen.add(point.id)
            prompts.append(point)
            if not prompt_id:
                with self._silence():
                    _describe(node, index, point, index)
        return prompts

    def _show_points(self, segment_id: str, name: str, kind: str, points: Sequence[PointPrompt]) -> None:
        existing = [node for node in self.nodes(segment_id) if node.GetAttribute(KIND) == kind]
        for surplus in existing[1:]:
            self._remove(surplus)
        if not points and not existing:
            return
        node = existing[0] if existing else self.new_node(segment_id, name, kind)
        if not points and not self._is_placed_into(node):
            self._remove(node)
            return
        modifying = node.StartModify()
        node.RemoveAllControlPoints()
        for index, point in enumerate(points):
            node.AddControlPointWorld(vtk.vtkVector3d(*point.ras))
            _describe(node, index, point, index)
        node.EndModify(modifying)

    def _show_shape(self, segment_id: str, name: str, prompt: Prompt) -> None:
        kind = f"{prompt.kind}{'+' if getattr(prompt, 'positive', True) else '-'}"
        node = next((node for node in self.nodes(segment_id) if node.GetAttribute(PROMPT) == prompt.id), None)
        if node is not None and node.GetAttribute(KIND) != kind:
            self._remove(node)
            node = None
        node = node if node is not None else self.new_node(segment_id, name, kind)
        node.SetAttribute(PROMPT, prompt.id)
        node.SetAttribute(PLANE, prompt.plane)
        modifying = node.StartModify()
        if isinstance(prompt, BoxPrompt):
            roi_from_box(node, self._volume(), prompt)
        elif isinstance(prompt, ScribblePrompt | PolygonPrompt):
            node.RemoveAllControlPoints()
            for point in prompt.points:
                node.AddControlPointWorld(vtk.vtkVector3d(*point))
        node.EndModify(modifying)

    def _is_busy(self, node: Any) -> bool:
        """Whether the user still drags it, or still places a shape."""
        if node.GetID() in self._dragged:
            return True
        return not node.GetAttribute(KIND).startswith("point") and self._is_placed_into(node)

    def _is_placed_into(self, node: Any) -> bool:
        selection = self.scene.GetFirstNodeByClass("vtkMRMLSelectionNode")
        interaction = self.scene.GetFirstNodeByClass("vtkMRMLInteractionNode")
        if selection is None or interaction is None:
            return False
        return (
            interaction.GetCurrentInteractionMode() == interaction.Place
            and selection.GetActivePlaceNodeID() == node.GetID()
        )

    def _remove(self, node: Any) -> None:
        _, tags = self._observed.pop(node.GetID(), (None, []))
        for tag in tags:
            node.RemoveObserver(tag)
        self._dragged.discard(node.GetID())
        remove_node(self.scene, node)

    def _observe(self, node: Any) -> None:
        markups = slicer.vtkMRMLMarkupsNode
        changed = (
            markups.PointPositionDefinedEvent,
            markups.PointModifiedEvent,
            markups.PointRemovedEvent,
            vtk.vtkCommand.ModifiedEvent,
        )
        tags = [node.AddObserver(event, self._on_change) for event in changed]
        tags.append(node.AddObserver(markups.PointStartInteractionEvent, self._on_drag))
        tags.append(node.AddObserver(markups.PointEndInteractionEvent, self._on_drop))
        self._observed[node.GetID()] = (node, tags)

    def _on_change(self, node: Any, _event: str) -> None:
        if not self._quiet and node.GetAttribute(SEGMENT):
            self._dirty.add(node.GetAttribute(SEGMENT))

    def _on_drag(self, node: Any, _event: str) -> None:
        self._dragged.add(node.GetID())

    def _on_drop(self, node: Any, _event: str) -> None:
        self._dragged.discard(node.GetID())
        self._on_change(node, "")

    def node_removed(self, node: Any) -> None:
        """Tell that the scene lost a node, so that its prompts go too."""
        if self._observed.pop(node.GetID(), None) is not None:
            self._dragged.discard(node.GetID())
            self._on_change(node, "")

    @contextmanager
    def _silence(self) -> Iterator[None]:
        """Changes made in here are not the user's."""
        self._quiet += 1
        try:
            yield
        finally:
            self._quiet -= 1


def remove_segmentation(scene: slicer.vtkMRMLScene, segmentation: slicer.vtkMRMLSegmentationNode) -> None:
    """Remove a segmentation that no session uses any more, with the markups of its prompts."""
    markups = scene.GetNodesByClass("vtkMRMLMarkupsNode")
    for node in [markups.GetItemAsObject(index) for index in range(markups.GetNumberOfItems())]:
        if node.GetNodeReferenceID(SEGMENTATION_ROLE) == segmentation.GetID():
            remove_node(scene, node)
    remove_node(scene, segmentation)


def has_markups(prompt: Prompt) -> bool:
    """Whether a prompt is drawn in the views; automatic prompts, phrases and masks are not."""
    return prompt.kind in NODE_CLASSES


def after_drawing(before: Sequence[Prompt], drawn: Iterable[Prompt]) -> tuple[Prompt, ...]:
    """Prompts of a segment after the user drew: those without markups stay, drawn ones are in the place they had."""
    new = {prompt.id: prompt for prompt in drawn}
    kept = [new.pop(old.id, None) if has_markups(old) else old for old in before]
    return tuple(prompt for prompt in (*kept, *new.values()) if prompt is not None)


def _style(node: Any, kind: str) -> None:
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    if display is None:
        return
    positive = kind.endswith("+")
    color = POSITIVE_COLOR if positive else NEGATIVE_COLOR
    display.SetSelectedColor(*color)
    display.SetColor(*color)
    if kind.startswith("point"):
        node.SetControlPointLabelFormat("+%d" if positive else "\N{MINUS SIGN}%d")
        display.SetGlyphType(display.ThickCross2D if positive else display.Dash2D)
        display.SetPointLabelsVisibility(True)
        display.SetPropertiesLabelVisibility(False)
    else:
        display.SetPropertiesLabelVisibility(True)
        display.SetPointLabelsVisibility(False)
    if kind.startswith("box"):
        display.SetFillVisibility(False)


def _describe(node: Any, index: int, point: PointPrompt, number: int) -> None:
    """Label for the user, ID and plane for us, in the control point itself, so that they survive saving."""
    sign = "+" if point.positive else "\N{MINUS SIGN}"
    node.SetNthControlPointLabel(index, f"{sign}{number + 1}")
    node.SetNthControlPointDescription(index, f"{point.id} {point.plane or ''}".strip())


def _described(description: str) -> tuple[str, Plane | None]:
    prompt_id, _, plane = (description or "").partition(" ")
    return prompt_id, plane if plane in PLANES else None  # type: ignore[return-value]


def _close(first: Prompt, second: Prompt) -> bool:
    """Whether two prompts differ by rounding only."""
    if first.kind != second.kind or getattr(first, "positive", True) != getattr(second, "positive", True):
        return False
    a: NDArray[np.float64] = np.array(first.ras_points)
    b: NDArray[np.float64] = np.array(second.ras_points)
    return a.shape == b.shape and bool(np.abs(a - b).max(initial=0.0) < _TOLERANCE)
