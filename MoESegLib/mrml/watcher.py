"""Watches the nodes of a session: what was changed or removed by somebody else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
import vtk


class SceneWatcher:
    """Notes changes of a volume and a segmentation, and tells when they go.

    Events only set flags, which the session takes in its own time; removal is told at once, because the node is invalid
    afterwards.

    Args:
        scene: that both are in.
        volume, segmentation: the nodes.
        on_gone: called when either is removed or the scene is closed.
        on_node_removed: called with every other node that is removed one by one.
    """

    def __init__(
        self,
        scene: slicer.vtkMRMLScene,
        volume: Any,
        segmentation: Any,
        on_gone: Callable[[], None],
        on_node_removed: Callable[[Any], None],
    ) -> None:
        self._nodes = (volume, segmentation)
        self._on_gone = on_gone
        self._on_node_removed = on_node_removed
        self._segments_changed = False
        self._volume_changed = False
        self._scene = scene
        content = segmentation.GetSegmentation()
        self._observed: list[tuple[Any, int]] = []
        for event in (
            slicer.vtkSegmentation.SegmentAdded,
            slicer.vtkSegmentation.SegmentRemoved,
            slicer.vtkSegmentation.SegmentModified,
            slicer.vtkSegmentation.SourceRepresentationModified,
        ):
            self._watch(content, event, self._on_segments)
        self._watch(volume, slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent, self._on_volume)
        self._watch(volume, slicer.vtkMRMLTransformableNode.TransformModifiedEvent, self._on_volume)
        self._watch(scene, slicer.vtkMRMLScene.NodeAboutToBeRemovedEvent, self._on_removal)
        self._watch(scene, slicer.vtkMRMLScene.StartCloseEvent, self._on_close)

    def take_segments_changed(self) -> bool:
        """Whether segments, their tags or voxels changed since the last call."""
        changed, self._segments_changed = self._segments_changed, False
        return changed

    def take_volume_changed(self) -> bool:
        """Whether the image or its place in the world changed since the last call."""
        changed, self._volume_changed = self._volume_changed, False
        return changed

    def close(self) -> None:
        """Stop watching."""
        for observed, tag in self._observed:
            observed.RemoveObserver(tag)
        self._observed.clear()

    def _watch(self, observed: Any, event: int, callback: Callable[..., None]) -> None:
        self._observed.append((observed, observed.AddObserver(event, callback)))

    def _on_segments(self, _caller: Any, _event: str) -> None:
        self._segments_changed = True

    def _on_volume(self, _caller: Any, _event: str) -> None:
        self._volume_changed = True

    def _on_close(self, _caller: Any, _event: str) -> None:
        self._on_gone()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _on_removal(self, _caller: Any, _event: str, node: Any) -> None:
        if any(node is own for own in self._nodes):
            self._on_gone()
        elif not self._scene.IsClosing() and not self._scene.IsBatchProcessing():
            self._on_node_removed(node)
