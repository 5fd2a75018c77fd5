"""Slicer's four-up layout as one picture: Red and 3D above, Green and Yellow below."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import slicer
from numpy.typing import NDArray
from PIL import Image

from . import frame
from .slice_view import SliceView
from .three_d_view import ThreeDView

GAP = 2
_BETWEEN = (40, 40, 40)
_LAYOUT = (("Red", "1"), ("Green", "Yellow"))


class FourViews:
    """The views of a scene, rendered offscreen by Slicer's own displayable managers.

    View nodes, slice logics and the camera are made where the scene or the application logic lacks them, so the same
    scene can be shown before and after it is changed. ``close`` when done, or use it in a ``with`` statement.

    Attributes:
        slices: the slice views "Red", "Green" and "Yellow".
        three_d: the 3D view "1".
    """

    def __init__(self, scene, app_logic, size: tuple[int, int] = (1200, 900), titles: bool = True) -> None:
        self.scene, self.size, self.titles = scene, size, titles
        self._areas = _areas(size, frame.HEADER if titles else 0)
        self.slices = {
            name: SliceView(scene, app_logic, name, self._areas[name][2:])
            for row in _LAYOUT
            for name in row
            if name != "1"
        }
        self.three_d = ThreeDView(scene, app_logic, self._areas["1"][2:])

    def __enter__(self) -> FourViews:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def show(self, volume_node) -> None:
        """Put a volume (or None) into the slice views and fit all views."""
        for view in self.slices.values():
            view.show(volume_node)
        self.three_d.look()

    def jump_to(self, ras: Sequence[float]) -> None:
        """Move every slice through a point in RAS millimeters, as a click in a table does."""
        for view in self.slices.values():
            slicer.vtkMRMLSliceNode.JumpSliceByOffsetting(view.node, *ras)

    def zoom(self, factor: float) -> None:
        """Enlarge the slices about their centers; above 1 shows less."""
        for view in self.slices.values():
            width, height, depth = view.node.GetFieldOfView()
            view.node.SetFieldOfView(width / factor, height / factor, depth)

    def area(self, view: str) -> tuple[int, int, int, int]:
        """Left, top, width and height in the picture of a view ("Red", "Green", "Yellow", "1") without its header."""
        return self._areas[view]

    def pixel(self, view: str, ras: Sequence[float]) -> tuple[int, int]:
        """Row and column in the picture where a view ("Red", "Green", "Yellow", "1") shows a point in RAS."""
        left, top, _, _ = self._areas[view]
        row, column = (self.three_d if view == "1" else self.slices[view]).pixel(ras)
        return top + row, left + column

    def image(self) -> NDArray[np.uint8]:
        """Render everything; pixels ``[row, column, 3]``, row 0 at the top."""
        picture = Image.new("RGB", self.size, _BETWEEN)
        for name, view in self.slices.items():
            self._paste(picture, name, view)
            self._annotate(picture, name, view)
        self._paste(picture, "1", self.three_d)
        return np.asarray(picture)

    def render(self, path: str | Path) -> Path:
        """Write the picture as a PNG file."""
        path = Path(path)
        Image.fromarray(self.image()).save(path)
        return path

    def close(self) -> None:
        """Free the graphics contexts; the nodes stay in the scene."""
        for view in (*self.slices.values(), self.three_d):
            view.close()

    def _paste(self, picture: Image.Image, name: str, view: SliceView | ThreeDView) -> None:
        left, top, width, _ = self._areas[name]
        picture.paste(Image.fromarray(view.image()), (left, top))
        if self.titles:
            color, label = view.node.GetLayoutColor(), view.node.GetLayoutLabel()
            frame.draw_header(picture, left, top - frame.HEADER, width, color, label)

    def _annotate(self, picture: Image.Image, name: str, view: SliceView) -> None:
        volume = view.volume()
        if not self.titles or volume is None:
            return
        left, top, width, _ = area = self._areas[name]
        letter, value, place = view.offset()
        frame.draw_offset(picture, left, top - frame.HEADER, width, f"{letter}: {value:.2f} mm", place)
        frame.draw_letters(picture, area, *view.edge_letters())
        frame.draw_corner(picture, area, f"B: {volume.GetName()}")


def render_four_views(
    scene, app_logic, path: str | Path, size: tuple[int, int] = (1200, 900), titles: bool = True
) -> Path:
    """Write what the four-up layout shows of a scene as a PNG file.

    The slices show the volume that their views already have in the background, else the scene's first volume.
    """
    with FourViews(scene, app_logic, size, titles) as views:
        if all(view.volume() is None for view in views.slices.values()):
            views.show(scene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode"))
        return views.render(path)


def _areas(size: tuple[int, int], header: int) -> dict[str, tuple[int, int, int, int]]:
    """Left, top, width and height of each view's pixels, below its header."""
    columns = ((size[0] - GAP) // 2, size[0] - GAP - (size[0] - GAP) // 2)
    rows = ((size[1] - GAP) // 2, size[1] - GAP - (size[1] - GAP) // 2)
    areas = {}
    for i, names in enumerate(_LAYOUT):
        for j, name in enumerate(names):
            left, top = j * (columns[0] + GAP), i * (rows[0] + GAP) + header
            areas[name] = (left, top, columns[j], rows[i] - header)
    return areas
