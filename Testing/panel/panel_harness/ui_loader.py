"""``qt.QUiLoader``: loads a ``.ui`` file with stand-ins, and refuses what the real classes lack."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from PySide6 import QtCore, QtUiTools, QtWidgets

from .manifest import class_facts, is_slicer_class, signature_name
from .object_proxy import keep
from .stand_ins import stand_in_class
from .ui_files import check_ui, connection_parts, enum_values
from .values import wrap

# ruff: noqa: N802 - Qt's names


class UiLoader(QtUiTools.QUiLoader):
    """Makes stand-ins for Slicer's and CTK's classes; connections and their enums go through the proxies."""

    def createWidget(self, className: str, parent: Any = None, name: str = "") -> QtWidgets.QWidget:
        if not is_slicer_class(className):
            return keep(super().createWidget(className, parent, name))
        widget = stand_in_class(className)(parent) if parent is not None else stand_in_class(className)()
        widget.setObjectName(name)
        return keep(widget)

    def load(self, file: Any, parentWidget: Any = None) -> Any:
        """Load from an open QFile or a path.

        Raises:
            ValueError: The file uses a class, property, signal or slot that Slicer does not have.
        """
        path = Path(file if isinstance(file, str) else file.fileName())
        problems = check_ui(path)
        if problems:
            raise ValueError("\n".join(problems))
        root = ET.fromstring(path.read_text("utf-8"))
        connections = [connection_parts(connection) for connection in root.iter("connection")]
        for section in root.findall("connections"):
            root.remove(section)
        enums = _take_enums(root)
        buffer = QtCore.QBuffer()
        buffer.setData(ET.tostring(root))
        buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
        top = keep(super().load(buffer, parentWidget))
        for name, property_name, value in enums:
            setattr(_find(top, name), property_name, value)
        for sender, signal, receiver, slot in connections:
            _find(top, sender).connect(signal, getattr(_find(top, receiver), signature_name(slot)))
        return top


def _find(top: Any, name: str) -> Any:
    return wrap(top if top.objectName() == name else top.findChild(QtCore.QObject, name))


def _take_enums(root: ET.Element) -> list[tuple[str, str, int]]:
    """Remove and return the enum properties of stand-ins: Qt's loader does not know their enums."""
    taken = []
    for widget in root.iter("widget"):
        class_name = widget.get("class", "")
        if not is_slicer_class(class_name):
            continue
        facts = class_facts(class_name)
        for element in list(widget.findall("property")):
            values = [value.rpartition("::")[2] for value in enum_values(element)]
            if values and all(value in facts.enums for value in values):
                number = 0
                for value in values:
                    number |= facts.enums[value]
                taken.append((widget.get("name", ""), element.get("name", ""), number))
                widget.remove(element)
    return taken
