"""A scene with everything the Slicer application puts around it: singletons, slice views, logics.

The order matters: the Markups logic wants a selection node, the Volumes logic wants "Colors" in the application logic.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from typing import Any

_SINGLETONS = (
    ("vtkMRMLSelectionNode", "Singleton"),
    ("vtkMRMLInteractionNode", "Singleton"),
    ("vtkMRMLCrosshairNode", "default"),
)
_SLICES = (("Red", "Axial", "R"), ("Green", "Coronal", "G"), ("Yellow", "Sagittal", "Y"))
_LOGICS = (
    ("SubjectHierarchy", "vtkSlicerSubjectHierarchyModuleLogic"),
    ("Units", "vtkSlicerUnitsLogic"),
    ("Terminologies", "vtkSlicerTerminologiesModuleLogic"),
    ("Annotations", "vtkSlicerAnnotationModuleLogic"),
    ("Volumes", "vtkSlicerVolumesLogic"),
    ("Segmentations", "vtkSlicerSegmentationsModuleLogic"),
    ("Markups", "vtkSlicerMarkupsLogic"),
    ("Models", "vtkSlicerModelsLogic"),
    ("Transforms", "vtkSlicerTransformLogic"),
    ("CropVolume", "vtkSlicerCropVolumeLogic"),
    ("Sequences", "vtkSlicerSequencesLogic"),
    ("Tables", "vtkSlicerTablesLogic"),
    ("Texts", "vtkSlicerTextsLogic"),
)


@dataclass
class SlicerScene:
    """The scene and its logics."""

    scene: Any
    application_logic: Any
    logics: dict[str, Any] = field(default_factory=dict)
    slice_logics: dict[str, Any] = field(default_factory=dict)


def boot_scene() -> SlicerScene:
    """A fresh scene as Slicer has it right after start, without the color and terminology files."""
    import slicer
    import vtk

    # The color and terminology files are not in slicer-core; VTK would say so at length.
    vtk.vtkObject.GlobalWarningDisplayOff()
    scene = slicer.vtkMRMLScene()
    for class_name, tag in _SINGLETONS:
        node = scene.CreateNodeByClass(class_name)
        node.SetSingletonTag(tag)
        scene.AddNode(node)
        node.UnRegister(None)
    _add_cache(scene)
    application_logic = slicer.vtkSlicerApplicationLogic()
    application_logic.SetMRMLScene(scene)
    booted = SlicerScene(scene, application_logic)
    _add_color_logic(booted)
    for name, class_name in _LOGICS:
        logic = getattr(slicer, class_name)()
        logic.SetMRMLApplicationLogic(application_logic)
        application_logic.SetModuleLogic(name, logic)
        logic.SetMRMLScene(scene)
        booted.logics[name] = logic
    _add_slices(booted)
    vtk.vtkObject.GlobalWarningDisplayOn()
    return booted


def _add_cache(scene: Any) -> None:
    """Reading a ``.mrb`` unpacks it into the cache folder."""
    import slicer

    cache = slicer.vtkCacheManager()
    cache.SetRemoteCacheDirectory(tempfile.mkdtemp(prefix="slicer-panel-harness-cache-"))
    cache.SetMRMLScene(scene)
    manager = slicer.vtkDataIOManager()
    manager.SetCacheManager(cache)
    scene.SetCacheManager(cache)
    scene.SetDataIOManager(manager)


def _add_color_logic(booted: SlicerScene) -> None:
    import slicer

    color = slicer.vtkSlicerColorLogic()
    booted.application_logic.SetColorLogic(color)
    color.SetMRMLApplicationLogic(booted.application_logic)
    color.SetMRMLScene(booted.scene)
    booted.application_logic.SetModuleLogic("Colors", color)
    booted.logics["Colors"] = color


def _add_slices(booted: SlicerScene) -> None:
    import slicer
    import vtk

    collection = vtk.vtkCollection()
    for name, _, label in _SLICES:
        logic = slicer.vtkMRMLSliceLogic()
        logic.SetMRMLApplicationLogic(booted.application_logic)
        logic.SetMRMLScene(booted.scene)
        node = logic.AddSliceNode(name)
        node.SetName(name)
        node.SetLayoutLabel(label)
        collection.AddItem(logic)
        booted.slice_logics[name] = logic
    booted.application_logic.SetSliceLogics(collection)
    _reset_slices(booted)


def _reset_slices(booted: SlicerScene) -> None:
    for name, orientation, _ in _SLICES:
        node = booted.slice_logics[name].GetSliceNode()
        node.SetDimensions(400, 400, 1)
        node.SetXYZOrigin(0, 0, 0)
        node.SetFieldOfView(250, 250, 1)
        node.GetSliceToRAS().Identity()
        node.SetOrientation(orientation)
        node.UpdateMatrices()
        composite = booted.slice_logics[name].GetSliceCompositeNode()
        composite.SetBackgroundVolumeID(None)
        composite.SetForegroundVolumeID(None)
        composite.SetLabelVolumeID(None)


def clear_scene(booted: SlicerScene) -> None:
    """What "Close scene" does: all nodes but the singletons go; the views look at nothing."""
    booted.scene.Clear(0)
    interaction = booted.application_logic.GetInteractionNode()
    interaction.SetPlaceModePersistence(0)
    interaction.SetCurrentInteractionMode(interaction.ViewTransform)
    booted.application_logic.GetSelectionNode().SetActivePlaceNodeID(None)
    _reset_slices(booted)


def shut_down_scene(booted: SlicerScene) -> None:
    """Take the logics off the scene before Python ends.

    Python drops them in any order; a slice logic that outlives the color logic's last event crashes.
    """
    import vtk

    vtk.vtkObject.GlobalWarningDisplayOff()
    for logic in booted.slice_logics.values():
        logic.SetMRMLScene(None)
    for logic in reversed(list(booted.logics.values())):
        logic.SetMRMLScene(None)
    booted.application_logic.SetMRMLScene(None)
