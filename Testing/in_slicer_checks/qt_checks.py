"""Conversions between Python and Qt that the panel relies on."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import qt
import slicer

from . import mouse
from .runner import Checks, require

checks = Checks("Python and Qt")
check = checks.check


@check("A picture is made of the bytes of a PNG")
def pixmap(site: Any) -> None:
    picture = qt.QPixmap()
    require(picture.loadFromData(qt.QByteArray(_png(3, 2))), "QPixmap.loadFromData refused a QByteArray of bytes")
    require((mouse.read(picture.width), mouse.read(picture.height)) == (3, 2), "the picture has another size")


def _png(width: int, height: int) -> bytes:
    """A black picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(width + 1) * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@check("The selection mode of the segments table is set with an int")
def selection_mode(site: Any) -> None:
    site.ui.segmentsTable.setSelectionMode(int(qt.QAbstractItemView.SingleSelection))


@check("A completer is made of a list and suggests structures")
def completer(site: Any) -> str:
    made = site.panel.structure_completer(site.ui.textEdit)
    made.setCompletionPrefix("kidney")
    count = made.completionCount()
    require(count > 0, "nothing is suggested for 'kidney'")
    return f"{count} suggestions for 'kidney'"


@check("Text goes to the clipboard and comes back")
def clipboard(site: Any) -> None:
    board = qt.QApplication.clipboard()
    before = board.text()
    board.setText("name,volume (mL)\nLesion 1,2.5\n")
    text = board.text()
    board.setText(before)
    require(text.splitlines() == ["name,volume (mL)", "Lesion 1,2.5"], f"it came back as {text!r}")


@check("A slot with a default argument gets the signal's argument and keeps its default")
def default_argument(site: Any) -> None:
    seen: list[tuple] = []
    button = qt.QToolButton()
    button.setCheckable(True)
    require(button.connect("clicked(bool)", lambda on, name="positive": seen.append((on, name))), "not connected")
    button.click()
    button.click()
    require(seen == [(True, "positive"), (False, "positive")], f"it got {seen}")


@check("A slot without arguments may be connected to a signal that has some")
def fewer_arguments(site: Any) -> None:
    seen: list[str] = []
    table = qt.QTableWidget(2, 2)
    table.connect("cellDoubleClicked(int,int)", lambda row, column: seen.append(f"{row},{column}"))
    table.connect("itemSelectionChanged()", lambda: seen.append("selected"))
    table.setItem(1, 0, qt.QTableWidgetItem("x"))
    table.selectRow(1)
    require(seen == ["selected"], f"it got {seen}")


@check("Items keep the data they were given, and tables their texts")
def items(site: Any) -> None:
    item = qt.QListWidgetItem("expert")
    item.setData(qt.Qt.UserRole, "wide")
    require(item.data(qt.Qt.UserRole) == "wide", "QListWidgetItem lost its data")
    combo = qt.QComboBox()
    combo.addItem("Title", "name")
    require(combo.itemData(0) == "name" and combo.count == 1, "QComboBox lost its data")
    table = qt.QTableWidget(1, 1)
    table.setHorizontalHeaderLabels(["Prompt"])
    table.setItem(0, 0, qt.QTableWidgetItem("1. Point"))
    require(table.item(0, 0).text() == "1. Point", "QTableWidget lost its text")


@check("A click on an item of a list calls the slot with that item", application=True)
def item_clicked(site: Any) -> None:
    seen: list[Any] = []
    listing = qt.QListWidget()
    item = qt.QListWidgetItem("expert")
    item.setData(qt.Qt.UserRole, "wide")
    listing.addItem(item)
    listing.connect("itemClicked(QListWidgetItem*)", lambda clicked: seen.append(clicked.data(qt.Qt.UserRole)))
    listing.show()
    slicer.app.processEvents()
    middle = qt.QPointF(listing.visualItemRect(item).center())
    mouse.send_to(listing.viewport(), qt.QEvent.MouseButtonPress, middle, mouse.LEFT, mouse.LEFT)
    mouse.send_to(listing.viewport(), qt.QEvent.MouseButtonRelease, middle, mouse.LEFT)
    slicer.app.processEvents()
    listing.hide()
    require(seen == ["wide"], f"the slot got {seen}")


@check("Signals can be blocked, and blocking tells what was before")
def blocked(site: Any) -> None:
    seen: list[bool] = []
    box = qt.QCheckBox()
    box.connect("toggled(bool)", seen.append)
    before = box.blockSignals(True)
    box.setChecked(True)
    inside = box.blockSignals(before)
    box.setChecked(False)
    require((before, inside, seen) == (False, True, [False]), f"got {(before, inside, seen)}")


@check("Controls take properties of our own")
def own_property(site: Any) -> None:
    button = qt.QPushButton()
    require(not button.property("moesegToolTip"), "a property that was never set is not empty")
    button.setProperty("moesegToolTip", "why")
    require(button.property("moesegToolTip") == "why", "the property got lost")


@check("A disabled control says why in its tooltip")
def reasons(site: Any) -> None:
    site.close_scene()
    site.enter()
    site.panel.refresh()
    for name in ("positiveTool", "boxTool", "addSegmentButton"):
        control = getattr(site.ui, name)
        require(not control.enabled, f"{name} is enabled without an image")
        require("Choose an image first." in control.toolTip, f"{name} says {control.toolTip!r}")


@check("Every button with an icon shows it")
def icons(site: Any) -> None:
    controls = [*site.panel.prompts.tools.values(), site.ui.runButton, site.ui.undoButton, site.ui.acceptButton]
    empty = [mouse.read(control.objectName) for control in controls if mouse.read(control.icon).isNull()]
    require(not empty, f"no icon: {', '.join(empty)}")
