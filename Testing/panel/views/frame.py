"""What surrounds the pixels in the application: header bars, orientation letters, the volume's name."""

from __future__ import annotations

from PIL import Image, ImageDraw, ImageFont

HEADER = 24
_INK = (20, 20, 20)
_TRACK = (60, 60, 60)
_HANDLE = (245, 245, 245)
_NOTE = (250, 250, 210)
_MARGIN = 6


def draw_header(picture: Image.Image, left: int, top: int, width: int, color: tuple[float, ...], label: str) -> None:
    """A view's colored bar with its letter, ``HEADER`` pixels high."""
    draw = ImageDraw.Draw(picture)
    draw.rectangle((left, top, left + width - 1, top + HEADER - 1), fill=_bytes(color))
    draw.text((left + 14, top + HEADER / 2), label, fill=_INK, font=_font(15), anchor="mm")


def draw_offset(picture: Image.Image, left: int, top: int, width: int, text: str, place: float) -> None:
    """The slice slider (place 0 to 1) and its value, drawn into a header bar."""
    draw = ImageDraw.Draw(picture)
    middle = top + HEADER // 2
    box = (left + width - 104, top + 3, left + width - 4, top + HEADER - 4)
    draw.rounded_rectangle(box, radius=3, fill=_HANDLE)
    draw.text((box[2] - 6, middle), text, fill=_INK, font=_font(13), anchor="rm")
    start, stop = left + 34, box[0] - 12
    draw.line((start, middle, stop, middle), fill=_TRACK, width=3)
    x = round(start + place * (stop - start))
    draw.rounded_rectangle((x - 5, top + 4, x + 5, top + HEADER - 5), radius=3, fill=_HANDLE, outline=_TRACK)


def draw_letters(picture: Image.Image, area: tuple[int, int, int, int], left: str, top: str) -> None:
    """The patient's sides at the four edges of an area (left, top, width, height)."""
    x, y, width, height = area
    _note(picture, (x + _MARGIN, y + height // 2), left, "lm", 16)
    _note(picture, (x + width - _MARGIN, y + height // 2), opposite(left), "rm", 16)
    _note(picture, (x + width // 2, y + _MARGIN), top, "mt", 16)
    _note(picture, (x + width // 2, y + height - _MARGIN), opposite(top), "mb", 16)


def draw_corner(picture: Image.Image, area: tuple[int, int, int, int], text: str) -> None:
    """A line of text in the lower left corner of an area (left, top, width, height)."""
    x, y, _, height = area
    _note(picture, (x + _MARGIN, y + height - _MARGIN), text, "lb", 13)


def opposite(letter: str) -> str:
    """The other end of an anatomical axis."""
    return dict(zip("RLAPSI", "LRPAIS", strict=True))[letter]


def _note(picture: Image.Image, place: tuple[int, int], text: str, anchor: str, size: int) -> None:
    draw = ImageDraw.Draw(picture)
    draw.text(place, text, fill=_NOTE, font=_font(size), anchor=anchor, stroke_width=1, stroke_fill=(0, 0, 0))


def _font(size: int):
    return ImageFont.load_default(size)


def _bytes(color: tuple[float, ...]) -> tuple[int, int, int]:
    red, green, blue = (round(255 * channel) for channel in color)
    return red, green, blue
