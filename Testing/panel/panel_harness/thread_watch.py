"""Notices when another thread than the main one touches widgets or nodes, which crashes Slicer now and then."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

_main_thread = threading.get_ident()


class WrongThreadError(RuntimeError):
    """Qt or MRML was touched outside the main thread."""


def require_main_thread(what: str) -> None:
    """Raise WrongThreadError in any other thread."""
    if threading.get_ident() != _main_thread:
        raise WrongThreadError(f"{what} was touched in the thread {threading.current_thread().name}")


def watch_scene(scene: Any, report: Callable[[WrongThreadError], None]) -> None:
    """Report nodes that are added, removed or changed in another thread."""
    import slicer
    import vtk

    def check(caller: Any, event: str) -> None:
        try:
            require_main_thread(f"{caller.GetClassName()} ({event})")
        except WrongThreadError as error:
            report(error)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def added(caller: Any, event: str, node: Any) -> None:
        check(caller, event)
        node.AddObserver("ModifiedEvent", check)
        if node.IsA("vtkMRMLSegmentationNode"):
            for changed in (slicer.vtkSegmentation.SegmentAdded, slicer.vtkSegmentation.SourceRepresentationModified):
                node.AddObserver(changed, check)
        elif node.IsA("vtkMRMLMarkupsNode"):
            node.AddObserver(node.PointModifiedEvent, check)
        elif node.IsA("vtkMRMLVolumeNode"):
            node.AddObserver(node.ImageDataModifiedEvent, check)

    scene.AddObserver(scene.NodeAddedEvent, added)
    scene.AddObserver(scene.NodeRemovedEvent, check)
