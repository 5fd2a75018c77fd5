"""The learning curve as a picture."""

import qt

BOX, BOX_ON_DARK, CLICK, AUTOMATIC = "#0072b2", "#56b4e9", "#d55e00", "#009e73"
"""Colors that color-blind people can tell apart (Okabe and Ito)."""

_LEFT, _RIGHT, _TOP, _BOTTOM = 34, 110, 8, 22


def curve_pixmap(points, base, titles, width, height, background, foreground):
    """Held-out Dice by epoch, the base as dashed lines.

    Args:
        points, base: as in :class:`MoESegLib.training.lesson.Notes`.
        titles: of the axis, and of the lines "box", "click" and "automatic".
        background, foreground: colors.
    """
    pixmap = qt.QPixmap(width, height)
    pixmap.fill(background)
    painter = qt.QPainter()
    painter.begin(pixmap)
    painter.setRenderHint(qt.QPainter.Antialiasing)
    frame = _Frame(painter, width, height, points, foreground)
    frame.draw_axes(titles["axis"])
    lines = [("box", BOX_ON_DARK if background.lightness() < 128 else BOX), ("click", CLICK), ("automatic", AUTOMATIC)]
    shown = [(name, color) for name, color in lines if getattr(points[-1], name) is not None]
    for name, color in shown:
        frame.draw_line([(point.epoch, getattr(point, name)) for point in points], qt.QColor(color))
        if base is not None and getattr(base, name) is not None:
            frame.draw_base(getattr(base, name), qt.QColor(color))
    frame.draw_titles([(titles[name], getattr(points[-1], name), qt.QColor(color)) for name, color in shown])
    painter.end()
    return pixmap


class _Frame:
    """Places epochs and Dice on the picture."""

    def __init__(self, painter, width, height, points, foreground):
        self.painter, self.width, self.height, self.foreground = painter, width, height, foreground
        self.last = max(1, points[-1].epoch)

    def x(self, epoch):
        return round(_LEFT + epoch / self.last * (self.width - _LEFT - _RIGHT))

    def y(self, dice):
        return round(_TOP + (1 - dice) * (self.height - _TOP - _BOTTOM))

    def draw_axes(self, title):
        """Lines at 0, 0.5 and 1, and the epochs."""
        faint = qt.QColor(self.foreground)
        faint.setAlpha(60)
        for dice in (0.0, 0.5, 1.0):
            self.painter.setPen(faint)
            self.painter.drawLine(self.x(0), self.y(dice), self.x(self.last), self.y(dice))
            self.painter.setPen(self.foreground)
            self.painter.drawText(6, self.y(dice) + 4, f"{dice:.1f}")
        self.painter.drawText(self.x(0) - 3, self.height - 5, "0")
        self.painter.drawText(self.x(0) + 24, self.height - 5, title)
        self.painter.drawText(self.x(self.last) - 6, self.height - 5, str(self.last))

    def draw_line(self, places, color):
        pen = qt.QPen(color)
        pen.setWidth(2)
        self.painter.setPen(pen)
        spots = [(self.x(epoch), self.y(dice)) for epoch, dice in places]
        for (x0, y0), (x1, y1) in zip(spots, spots[1:], strict=False):
            self.painter.drawLine(x0, y0, x1, y1)
        for x, y in spots:
            self.painter.drawEllipse(x - 2, y - 2, 4, 4)

    def draw_base(self, dice, color):
        pen = qt.QPen(color)
        pen.setStyle(qt.Qt.DashLine)
        self.painter.setPen(pen)
        self.painter.drawLine(self.x(0), self.y(dice), self.x(self.last), self.y(dice))

    def draw_titles(self, titles):
        """Names at the ends of the lines, moved apart where they would overlap."""
        lowest = 0
        for title, dice, color in sorted(titles, key=lambda entry: -entry[1]):
            lowest = max(self.y(dice) + 4, lowest + 15)
            self.painter.setPen(color)
            self.painter.drawText(self.x(self.last) + 8, lowest, f"{title} {dice:.2f}")
