"""What the slice and 3D views share: an offscreen window filled by Slicer's displayable managers."""

from __future__ import annotations

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from vtkmodules.util.numpy_support import vtk_to_numpy

MULTI_SAMPLES = 8


def singleton_view_node(scene, class_name: str, layout_name: str):
    """The slice or 3D view node of a layout name, added when the scene has none."""
    node = scene.GetSingletonNode(layout_name, class_name)
    if node is not None:
        return node
    node = scene.CreateNodeByClass(class_name)
    node.UnRegister(None)
    node.SetSingletonTag(layout_name)
    node.SetLayoutName(layout_name)
    node.SetName(f"View{layout_name}" if layout_name.isdigit() else layout_name)
    return scene.AddNode(node)


class MRMLView:
    """An offscreen render window whose content comes from displayable managers, as in the application."""

    def __init__(self, factory, managers: tuple[str, ...], app_logic, size: tuple[int, int]) -> None:
        self.size = size
        self.renderer = vtk.vtkRenderer()
        self.window = vtk.vtkRenderWindow()
        self.window.SetOffScreenRendering(1)
        self.window.SetMultiSamples(MULTI_SAMPLES)
        self.window.SetSize(*size)
        self.window.AddRenderer(self.renderer)
        # The markups and crosshair managers ask the renderer's window for its interactor.
        self.interactor = vtk.vtkGenericRenderWindowInteractor()
        self.interactor.SetRenderWindow(self.window)
        self.managers = self._create_managers(factory, managers, app_logic)

    def _create_managers(self, factory, names: tuple[str, ...], app_logic):
        factory.SetMRMLApplicationLogic(app_logic)
        for name in names:
            if not factory.IsDisplayableManagerRegistered(name):
                factory.RegisterDisplayableManager(name)
        group = slicer.vtkMRMLDisplayableManagerGroup()
        group.SetRenderer(self.renderer)
        group.Initialize(factory, self.renderer)
        return group

    def manager(self, name: str):
        """One displayable manager of this view by its class name."""
        return self.managers.GetDisplayableManagerByClassName(name)

    def image(self) -> NDArray[np.uint8]:
        """Render; pixels ``[row, column, 3]``, row 0 at the top."""
        self.window.Render()
        grab = vtk.vtkWindowToImageFilter()
        grab.SetInput(self.window)
        grab.SetInputBufferTypeToRGB()
        grab.ReadFrontBufferOff()
        grab.ShouldRerenderOff()
        grab.Update()
        picture = grab.GetOutput()
        columns, rows, _ = picture.GetDimensions()
        pixels = vtk_to_numpy(picture.GetPointData().GetScalars()).reshape(rows, columns, -1)
        return np.ascontiguousarray(pixels[::-1, :, :3])

    def close(self) -> None:
        """Let go of the scene and the graphics context; the view cannot be used afterwards."""
        self.managers.SetMRMLDisplayableNode(None)
        self.interactor.SetRenderWindow(None)
        self.window.Finalize()
