"""A slice with its masks and prompts as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from .files import atomic_path
from .geometry import SliceView
from .intensity import Window, default_window, to_uint8
from .prompts import BoxPrompt, PointPrompt, PolygonPrompt, Prompt, ScribblePrompt
from .volume import Volume

Color = tuple[int, int, int]
Font = ImageFont.ImageFont | ImageFont.FreeTypeFont

_OPACITY = 0.35
_FONT_SIZE = 15
_LINE = 22
_LEGEND_WIDTH = 290
_BAR_MM = (10, 20, 50, 100, 200)
_DIRECTIONS = {0: ("R", "L"), 1: ("A", "P"), 2: ("S", "I")}


@dataclass(frozen=True, eq=False)
class Layer:
    """One segment in the picture.

    Attributes:
        mask: ``[k, j, i]`` on the grid of the volume.
        color: red, green, blue in [0, 1].
        lines: what the legend says below the name.
    """

    name: str
    mask: NDArray
    color: tuple[float, float, float]
    lines: Sequence[str] = ()


def render_slice(
    volume: Volume,
    axis: int,
    index: int,
    layers: Sequence[Layer],
    prompts: Sequence[Prompt],
    path: Path,
    *,
    window: Window | None = None,
    title: str = "",
    height: int = 640,
    width: int = 960,
) -> Path:
    """Draw slice ``index`` along IJK ``axis`` in radiological display, in its physical proportions.

    Masks are half transparent with an outline. Prompts differ by shape, not only by color: a plus or a minus in a
    circle, a dashed box, a line.

    Args:
        height, width: pixels that the slice fills at most; the legend comes in addition.

    Raises:
        OutputError: the picture cannot be written.
    """
    view = volume.view(axis)
    window = window if window is not None else default_window(volume)
    gray = to_uint8(view.extract(volume.array, index), None if volume.color else window)
    rows, columns = view.shape
    row_mm, column_mm = volume.spacing[view.row_axis], volume.spacing[view.column_axis]
    per_mm = min(height / (rows * row_mm), width / (columns * column_mm))
    size = (max(1, round(columns * column_mm * per_mm)), max(1, round(rows * row_mm * per_mm)))
    scale_x, scale_y = size[0] / columns, size[1] / rows
    picture = Image.fromarray(np.ascontiguousarray(gray)).convert("RGB").resize(size, Image.Resampling.BICUBIC)
    for layer in layers:
        picture = _blend(picture, view.extract(layer.mask, index), _rgb(layer.color))
    draw = ImageDraw.Draw(picture)
    for prompt in prompts:
        if _on_slice(volume, view, prompt, index):
            _draw_prompt(draw, volume, view, prompt, (scale_x, scale_y))
    _draw_orientation(draw, volume, view, size)
    _draw_scale_bar(draw, size, 1 / per_mm)
    _draw_position(draw, view, index, None if volume.color else window)
    with atomic_path(path, ".png") as temporary:
        _with_legend(picture, layers, title).save(temporary, format="PNG", optimize=True)
    return path


def _blend(picture: Image.Image, mask: NDArray, color: Color) -> Image.Image:
    """Tint the mask and draw its outline."""
    enlarged = Image.fromarray((mask != 0).astype(np.uint8) * 255).resize(picture.size, Image.Resampling.BILINEAR)
    inside = np.asarray(enlarged) > 127
    pixels = np.asarray(picture).astype(np.float32)
    pixels[inside] = (1 - _OPACITY) * pixels[inside] + _OPACITY * np.array(color)
    border = inside & ~np.asarray(ndimage.binary_erosion(inside, iterations=2), dtype=np.bool_)
    pixels[border] = color
    return Image.fromarray(pixels.astype(np.uint8))


def _on_slice(volume: Volume, view: SliceView, prompt: Prompt, index: int) -> bool:
    if not prompt.ras_points:
        return False
    along = volume.ras_to_ijk(prompt.ras_points)[:, view.axis]
    return bool(along.min() - 0.5 <= index <= along.max() + 0.5)


def _draw_prompt(
    draw: ImageDraw.ImageDraw, volume: Volume, view: SliceView, prompt: Prompt, scale: tuple[float, float]
) -> None:
    pixels = view.to_pixels(volume.ras_to_ijk(prompt.ras_points)) + 0.5
    points = [(float(x * scale[0]), float(y * scale[1])) for x, y in pixels]
    if isinstance(prompt, PointPrompt):
        _draw_click(draw, points[0], prompt.positive)
    elif isinstance(prompt, BoxPrompt):
        (x0, y0), (x1, y1) = np.min(points, axis=0), np.max(points, axis=0)
        for start, end in (((x0, y0), (x1, y0)), ((x1, y0), (x1, y1)), ((x1, y1), (x0, y1)), ((x0, y1), (x0, y0))):
            _dashed(draw, start, end)
    elif isinstance(prompt, PolygonPrompt):
        for start, end in zip(points, [*points[1:], points[0]], strict=True):
            _dashed(draw, start, end)
    elif isinstance(prompt, ScribblePrompt):
        draw.line(points, fill=(0, 0, 0), width=6)
        draw.line(points, fill=(255, 255, 255), width=3)
        _draw_click(draw, points[0], prompt.positive)


def _draw_click(draw: ImageDraw.ImageDraw, center: tuple[float, float], positive: bool) -> None:
    x, y = center
    radius, arm = 9, 5
    fill = (20, 110, 220) if positive else (200, 60, 20)
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill, outline=(255, 255, 255), width=2)
    draw.line((x - arm, y, x + arm, y), fill=(255, 255, 255), width=3)
    if positive:
        draw.line((x, y - arm, x, y + arm), fill=(255, 255, 255), width=3)


def _dashed(draw: ImageDraw.ImageDraw, start: Sequence[float], end: Sequence[float], dash: float = 9.0) -> None:
    a, b = np.asarray(start, float), np.asarray(end, float)
    length = float(np.linalg.norm(b - a))
    steps = np.arange(0, length, 2 * dash) / max(length, 1e-6)
    for begin in steps:
        p, q = a + (b - a) * begin, a + (b - a) * min(1.0, begin + dash / max(length, 1e-6))
        draw.line([tuple(p), tuple(q)], fill=(0, 0, 0), width=4)
        draw.line([tuple(p), tuple(q)], fill=(255, 255, 255), width=2)


def _draw_orientation(draw: ImageDraw.ImageDraw, volume: Volume, view: SliceView, size: tuple[int, int]) -> None:
    """Letters at the four borders: the direction toward which that side of the picture lies."""
    width, height = size
    font = _font()
    up, down = letters(volume, view.row_axis, view.row_flip)
    left, right = letters(volume, view.column_axis, view.column_flip)
    for letter, place, anchor in (
        (up, (width / 2, 6), "ma"),
        (down, (width / 2, height - 6), "md"),
        (left, (8, height / 2), "lm"),
        (right, (width - 8, height / 2), "rm"),
    ):
        draw.text(place, letter, fill=(255, 255, 255), font=font, anchor=anchor, stroke_width=2, stroke_fill=(0, 0, 0))


def letters(volume: Volume, axis: int, flip: bool) -> tuple[str, str]:
    """Anatomical letters at the low and the high displayed index of an IJK axis."""
    direction = volume.ijk_to_ras[:3, axis] * (-1 if flip else 1)
    ras = int(np.argmax(np.abs(direction)))
    positive, negative = _DIRECTIONS[ras]
    return (negative, positive) if direction[ras] > 0 else (positive, negative)


def _draw_scale_bar(draw: ImageDraw.ImageDraw, size: tuple[int, int], mm_per_pixel: float) -> None:
    fitting = [length for length in _BAR_MM if length / mm_per_pixel < size[0] / 4]
    if not fitting:
        return
    length = fitting[-1] / mm_per_pixel
    x1, y = size[0] - 24, size[1] - 20
    draw.line((x1 - length, y, x1, y), fill=(0, 0, 0), width=5)
    draw.line((x1 - length, y, x1, y), fill=(255, 255, 255), width=3)
    draw.text(
        (x1 - length / 2, y - 6), f"{fitting[-1]} mm", fill=(255, 255, 255), font=_font(), anchor="mb", stroke_width=2,
        stroke_fill=(0, 0, 0),
    )  # fmt: skip


def _draw_position(draw: ImageDraw.ImageDraw, view: SliceView, index: int, window: Window | None) -> None:
    """Where the slice lies and how its gray values were windowed, as viewers write them into a corner."""
    text = f"slice {index + 1} of {view.count}"
    if window is not None:
        text += f", W {window[1] - window[0]:.0f} L {(window[0] + window[1]) / 2:.0f}"
    draw.text((8, 6), text, fill=(255, 255, 255), font=_font(12), anchor="la", stroke_width=2, stroke_fill=(0, 0, 0))


def _with_legend(picture: Image.Image, layers: Sequence[Layer], title: str) -> Image.Image:
    """The picture with a dark column on its right that names segments, experts and scores; as high as both need."""
    font, bold = _font(), _font(_FONT_SIZE + 2)
    needed = 16 + (_LINE + 2) * len(title.splitlines()) + 8 + 40
    needed += sum(_LINE + (_LINE - 3) * len(layer.lines) + 10 for layer in layers)
    height = max(picture.height, needed)
    canvas = Image.new("RGB", (picture.width + _LEGEND_WIDTH, height), (24, 26, 30))
    canvas.paste(picture, (0, 0))
    draw = ImageDraw.Draw(canvas)
    x, y = picture.width + 16, 16
    for line in title.splitlines():
        draw.text((x, y), _shorten(line, bold, _LEGEND_WIDTH - 24), fill=(235, 235, 235), font=bold)
        y += _LINE + 2
    y += 8
    for layer in layers:
        draw.rectangle((x, y + 3, x + 14, y + 17), fill=_rgb(layer.color), outline=(255, 255, 255))
        draw.text((x + 24, y), _shorten(layer.name, bold, _LEGEND_WIDTH - 48), fill=(255, 255, 255), font=bold)
        y += _LINE
        for line in layer.lines:
            draw.text((x + 24, y), _shorten(line, font, _LEGEND_WIDTH - 48), fill=(190, 195, 200), font=font)
            y += _LINE - 3
        y += 10
    draw.text((x, height - 26), "Research software, not a medical device", fill=(140, 145, 150), font=_font(11))
    return canvas


def _shorten(text: str, font: Font, width: float) -> str:
    """The text, or as much of it as fits and an ellipsis."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}...") > width:
        text = text[:-1]
    return f"{text.rstrip()}..."


def _rgb(color: tuple[float, float, float]) -> Color:
    red, green, blue = (round(255 * part) for part in color)
    return red, green, blue


def _font(size: int = _FONT_SIZE) -> Font:
    return ImageFont.load_default(size)
