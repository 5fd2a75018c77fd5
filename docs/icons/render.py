"""Render the icons of the panel from their drawings: ``python docs/icons/render.py`` (needs PySide6)."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication, QImage, QPainter
from PySide6.QtSvg import QSvgRenderer

ROOT = Path(__file__).resolve().parents[2]
DRAWINGS = ROOT / "Resources" / "Icons"
TARGET = ROOT / "MoESeg" / "Resources" / "Icons"


def render(drawing: Path, target: Path) -> None:
    """One drawing at its own size, on a transparent background."""
    renderer = QSvgRenderer(str(drawing))
    image = QImage(renderer.defaultSize(), QImage.Format.Format_ARGB32)
    image.fill(Qt.GlobalColor.transparent)
    painter = QPainter(image)
    renderer.render(painter)
    painter.end()
    image.save(str(target))


if __name__ == "__main__":
    application = QGuiApplication([])
    for drawing in sorted(DRAWINGS.glob("*.svg")):
        render(drawing, TARGET / f"{drawing.stem}.png")
