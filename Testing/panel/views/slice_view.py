"""One slice view: the resliced image below, segments and markups above."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray

from .mrml_view import MRMLView, singleton_view_node

MANAGERS = (
    "vtkMRMLVolumeGlyphSliceDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLTransformsDisplayableManager2D",
)
LABELS = {"Red": "R", "Green": "G", "Yellow": "Y"}
ORIENTATIONS = {"Red": "Axial", "Green": "Coronal", "Yellow": "Sagittal"}
COLORS = {"Red": (0.953, 0.290, 0.200), "Green": (0.431, 0.690, 0.294), "Yellow": (0.929, 0.835, 0.298)}


class SliceView(MRMLView):
    """The Red, Green or Yellow view; its slice node and logic are made when the scene has none."""

    def __init__(self, scene, app_logic, name: str, size: tuple[int, int]) -> None:
        super().__init__(slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance(), MANAGERS, app_logic, size)
        self.name = name
        self.logic = _slice_logic(scene, app_logic, name)
        self.node = self.logic.GetSliceNode()
        self.node.SetLayoutLabel(LABELS[name])
        self.node.SetLayoutColor(*COLORS[name])
        self.node.SetMappedInLayout(1)
        self._mapper = vtk.vtkImageMapper()
        # The logic delivers RGBA after window and level; the mapper must pass it through unchanged.
        self._mapper.SetColorWindow(255)
        self._mapper.SetColorLevel(127.5)
        self._picture = vtk.vtkActor2D()
        self._picture.SetMapper(self._mapper)
        self._picture.GetProperty().SetDisplayLocationToBackground()
        self.renderer.AddViewProp(self._picture)
        self.renderer.GetActiveCamera().ParallelProjectionOn()
        self.logic.ResizeSliceNode(*size)
        self.managers.SetMRMLDisplayableNode(self.node)
        # Without an update after a first render, interaction handles of an ROI that was there before stay invisible.
        self.window.Render()
        self.node.Modified()

    def show(self, volume_node) -> None:
        """Put a volume (or None) in the background and fit the slice to it."""
        self.logic.GetSliceCompositeNode().SetBackgroundVolumeID(volume_node.GetID() if volume_node else None)
        if volume_node is not None:
            self.logic.FitSliceToBackground()
            self.logic.SnapSliceOffsetToIJK()

    def volume(self):
        """The volume node in the background, or None."""
        return self.logic.GetBackgroundLayer().GetVolumeNode()

    def image(self) -> NDArray[np.uint8]:
        """Render; pixels ``[row, column, 3]``, row 0 at the top."""
        connection = self.logic.GetImageDataConnection()
        self._picture.SetVisibility(connection is not None)
        self._mapper.SetInputConnection(connection)
        return super().image()

    def pixel(self, ras: Sequence[float]) -> tuple[int, int]:
        """Row and column in this view of a point in RAS millimeters, whether it lies in the slice or not."""
        xy_to_ras = _array(self.node.GetXYToRAS())
        x, y = np.linalg.solve(xy_to_ras, [*ras, 1.0])[:2]
        return self.size[1] - 1 - round(float(y)), round(float(x))

    def edge_letters(self) -> tuple[str, str]:
        """The patient's side at the left edge and at the top edge of the view."""
        axes = _array(self.node.GetXYToRAS())[:3, :2]
        return direction_letter(-axes[:, 0]), direction_letter(axes[:, 1])

    def offset(self) -> tuple[str, float, float]:
        """The axis letter (R, A, S), the slice's place along it in millimeters and its place in the range (0 to 1)."""
        normal = _array(self.node.GetSliceToRAS())[:3, 2]
        bounds, resolution = [0.0, 0.0], vtk.reference(1.0)
        value = self.logic.GetSliceOffset()
        known = self.logic.GetSliceOffsetRangeResolution(bounds, resolution) and bounds[1] > bounds[0]
        place = (value - bounds[0]) / (bounds[1] - bounds[0]) if known else 0.5
        axis = int(np.argmax(np.abs(normal)))
        # The sagittal preset's normal points to the left, so its offset is the negative of R.
        return "RAS"[axis], value * float(np.sign(normal[axis])), min(max(place, 0.0), 1.0)


def direction_letter(direction) -> str:
    """The anatomical letter (R, L, A, P, S, I) nearest to a direction in RAS."""
    axis = int(np.argmax(np.abs(direction)))
    return ("RAS" if direction[axis] > 0 else "LPI")[axis]


def _slice_logic(scene, app_logic, name: str):
    if app_logic.GetSliceLogics() is None:
        app_logic.SetSliceLogics(vtk.vtkCollection())
    logic = app_logic.GetSliceLogicByLayoutName(name)
    if logic is not None:
        return logic
    logic = slicer.vtkMRMLSliceLogic()
    logic.SetMRMLApplicationLogic(app_logic)
    logic.SetMRMLScene(scene)
    logic.SetSliceNode(_slice_node(scene, name))
    app_logic.GetSliceLogics().AddItem(logic)
    return logic


def _slice_node(scene, name: str):
    known = scene.GetSingletonNode(name, "vtkMRMLSliceNode") is not None
    node = singleton_view_node(scene, "vtkMRMLSliceNode", name)
    if not known:
        node.SetOrientation(ORIENTATIONS[name])
    return node


def _array(matrix) -> np.ndarray:
    return np.array([[matrix.GetElement(i, j) for j in range(4)] for i in range(4)])
