"""The 3D view: closed surfaces, markups and the box with its letters."""

from __future__ import annotations

import math
from collections.abc import Sequence

import slicer

from .mrml_view import MRMLView, singleton_view_node

MANAGERS = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager3D",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLTransformsDisplayableManager3D",
)
NAME = "1"
FILL = 0.9  # how much of the view the fitted scene takes
COLOR = (0.459, 0.514, 0.886)


class ThreeDView(MRMLView):
    """The view "1"; its view node is made when the scene has none."""

    def __init__(self, scene, app_logic, size: tuple[int, int]) -> None:
        super().__init__(slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance(), MANAGERS, app_logic, size)
        self.node = singleton_view_node(scene, "vtkMRMLViewNode", NAME)
        self.node.SetLayoutLabel(NAME)
        self.node.SetLayoutColor(*COLOR)
        self.node.SetMappedInLayout(1)
        self.renderer.SetUseDepthPeeling(True)
        self.window.SetAlphaBitPlanes(1)
        cameras = scene.GetNumberOfNodesByClass("vtkMRMLCameraNode")
        self.managers.SetMRMLDisplayableNode(self.node)
        if scene.GetNumberOfNodesByClass("vtkMRMLCameraNode") > cameras:
            self.look()

    def camera_node(self):
        """The camera node which the camera manager gave this view."""
        return self.manager("vtkMRMLCameraDisplayableManager").GetCameraNode()

    def look(self, azimuth: float = 0.0, elevation: float = 0.0) -> None:
        """Look at everything visible from the front, turned by degrees toward the patient's left and from above."""
        self.camera_node().RotateTo(slicer.vtkMRMLCameraNode.Anterior)
        camera = self.renderer.GetActiveCamera()
        camera.Azimuth(azimuth)
        camera.Elevation(elevation)
        camera.OrthogonalizeViewUp()
        self.window.Render()
        self.renderer.ResetCameraScreenSpace(FILL)
        self.renderer.ResetCameraClippingRange()

    def pixel(self, ras: Sequence[float]) -> tuple[int, int]:
        """Row and column in this view of a point in RAS millimeters, hidden or not."""
        r, a, s = ras
        self.renderer.SetWorldPoint(r, a, s, 1.0)
        self.renderer.WorldToDisplay()
        x, y, _ = self.renderer.GetDisplayPoint()
        return self.size[1] - 1 - math.floor(y), math.floor(x)
