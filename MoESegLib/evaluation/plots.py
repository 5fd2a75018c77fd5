"""Dice against the number of clicks, drawn with Pillow: Slicer has no matplotlib."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from ..core.files import atomic_path
from .summary import ALL, Row

_COLORS = ((0, 90, 181), (220, 80, 20), (30, 140, 90), (150, 60, 160), (120, 120, 20), (90, 90, 90))
"""One an engine: told apart also by people who see red and green alike, by their lightness."""
_PANEL = (430, 330)
_MARGIN = (58, 34, 18, 44)
"""Left, top, right, bottom."""
_SCALE = 2
"""Drawn larger and reduced, which smooths the lines."""
Color = tuple[int, int, int]


def curve_rows(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """By set, the rows of all structures under the protocol with most clicks; {} if there is none of two or more."""
    most = max((row for row in rows if row.protocol.startswith("clicks:")), key=lambda row: row.click, default=None)
    if most is None or most.click < 2:
        return {}
    found: dict[str, list[Row]] = {}
    for row in rows:
        if row.structure == ALL and row.protocol == most.protocol:
            found.setdefault(row.dataset, []).append(row)
    return found


def write_curves(path: Path, rows: Sequence[Row], engines: Sequence[str]) -> bool:
    """One panel per set: mean Dice after each click with its interval over patients, and the box as a dashed line.

    Returns:
        whether there was anything to draw: a protocol of several clicks.

    Raises:
        OutputError: it cannot be written.
    """
    curves = curve_rows(rows)
    if not curves:
        return False
    boxes = {row.dataset: row for row in rows if row.structure == ALL and row.protocol == "box"}
    columns = min(3, len(curves))
    height = _PANEL[1] * math.ceil(len(curves) / columns) + 14 + 20 * len(engines)
    canvas = _Canvas(_PANEL[0] * columns, height)
    for number, (name, points) in enumerate(curves.items()):
        corner = _PANEL[0] * (number % columns), _PANEL[1] * (number // columns)
        _draw_panel(canvas, corner, name, points, boxes.get(name))
    for number, engine in enumerate(engines):
        y = height - 20 * (len(engines) - number) + 4
        canvas.line([(_MARGIN[0], y), (_MARGIN[0] + 28, y)], _color(number), 3)
        canvas.text((_MARGIN[0] + 36, y), engine + (" (dashed: box)" if boxes else ""), "lm")
    with atomic_path(path) as temporary:
        canvas.save(temporary)
    return True


def _draw_panel(canvas: _Canvas, corner: tuple[int, int], name: str, points: Sequence[Row], box: Row | None) -> None:
    left, top = corner[0] + _MARGIN[0], corner[1] + _MARGIN[1]
    right, bottom = corner[0] + _PANEL[0] - _MARGIN[2], corner[1] + _PANEL[1] - _MARGIN[3]
    last = points[-1].click

    def place(click: float, dice: float) -> tuple[float, float]:
        return left + (right - left) * (click - 1) / (last - 1), bottom - (bottom - top) * dice

    for tenth in range(0, 11, 2):
        y = place(1, tenth / 10)[1]
        canvas.line([(left, y), (right, y)], (225, 225, 225), 1)
        canvas.text((left - 6, y), f"{tenth / 10:.1f}", "rm")
    step = max(1, math.ceil(last / 10))
    for click in range(1, last + 1, step):
        canvas.text((place(click, 0)[0], bottom + 6), str(click), "ma")
    title = "mean of the sets" if name == ALL else f"{name} ({points[0].masks} masks)"
    canvas.text(((left + right) / 2, top - 16), title, "mm")
    canvas.text(((left + right) / 2, bottom + 24), "clicks", "ma")
    canvas.text((left - 6, top - 14), "Dice", "rm")
    for number in range(len(points[0].cells)):
        values = [(row.click, row.cells[number].dice) for row in points]
        # Equal curves cover each other: the earlier ones are wider.
        _draw_curve(canvas, values, _color(number), place, 2 + 2 * (len(points[0].cells) - 1 - number))
        in_box = box.cells[number].dice if box is not None else None
        if in_box is not None:
            canvas.dashes(place(1, in_box.mean), place(last, in_box.mean), _color(number))
    canvas.line([(left, top), (left, bottom), (right, bottom)], (60, 60, 60), 1)


def _draw_curve(canvas: _Canvas, points, color: Color, place, width: int) -> None:
    known = [(click, value) for click, value in points if value is not None]
    band = [(click, value) for click, value in known if value.low is not None]
    if len(band) > 1:
        upper = [place(click, value.high) for click, value in band]
        canvas.polygon(upper + [place(click, value.low) for click, value in reversed(band)], color)
    canvas.line([place(click, value.mean) for click, value in known], color, width)
    for click, value in known:
        canvas.dot(place(click, value.mean), color)


def _color(number: int) -> Color:
    return _COLORS[number % len(_COLORS)]


class _Canvas:
    """Pillow in units of the finished picture."""

    def __init__(self, width: int, height: int) -> None:
        self.size = width, height
        self._image = Image.new("RGB", (width * _SCALE, height * _SCALE), "white")
        self._draw = ImageDraw.Draw(self._image, "RGBA")
        self._font = ImageFont.load_default(12 * _SCALE)

    def line(self, points: Sequence[tuple[float, float]], color: Color, width: int) -> None:
        if len(points) > 1:
            self._draw.line(_scaled(points), color, width * _SCALE, joint="curve")

    def dashes(self, start: tuple[float, float], end: tuple[float, float], color: Color) -> None:
        """A dashed line from left to right."""
        x = start[0]
        while x < end[0]:
            self.line([(x, start[1]), (min(x + 7, end[0]), start[1])], color, 1)
            x += 12

    def polygon(self, points: Sequence[tuple[float, float]], color: Color) -> None:
        self._draw.polygon(_scaled(points), (*color, 45))

    def dot(self, center: tuple[float, float], color: Color) -> None:
        x, y = center[0] * _SCALE, center[1] * _SCALE
        self._draw.ellipse((x - 3 * _SCALE, y - 3 * _SCALE, x + 3 * _SCALE, y + 3 * _SCALE), color)

    def text(self, place: tuple[float, float], text: str, anchor: str) -> None:
        self._draw.text((place[0] * _SCALE, place[1] * _SCALE), text, (40, 40, 40), self._font, anchor)

    def save(self, path: Path) -> None:
        self._image.resize(self.size, Image.Resampling.LANCZOS).save(path)


def _scaled(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    return [(x * _SCALE, y * _SCALE) for x, y in points]
