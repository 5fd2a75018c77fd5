"""What a ``.ui`` file uses, checked against the manifest."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

from PySide6 import QtWidgets

from .manifest import ClassFacts, class_entry, class_facts, is_slicer_class, normalize, signature_name

_DESIGNER_CLASSES = {"Line": "QFrame"}


def ui_classes(root: ET.Element) -> dict[str, str]:
    """Object name to class name of every widget and action in a file."""
    found = {}
    for element in root.iter():
        if element.tag == "widget":
            found[element.get("name", "")] = element.get("class", "")
        elif element.tag == "action":
            found[element.get("name", "")] = "QAction"
    return found


def check_ui(path: Path) -> list[str]:
    """Everything in a ``.ui`` file that Slicer would refuse or silently ignore; empty when all is well."""
    root = ET.fromstring(path.read_text("utf-8"))
    problems = _repeated_names(root)
    for widget in root.iter("widget"):
        problems += _check_widget(widget)
    classes = ui_classes(root)
    for connection in root.iter("connection"):
        problems += _check_connection(connection, classes)
    return [f"{path.name}: {problem}" for problem in problems]


def _repeated_names(root: ET.Element) -> list[str]:
    names = [element.get("name", "") for element in root.iter() if element.tag in ("widget", "action")]
    return [f"the name {name} is used twice" for name in sorted({n for n in names if names.count(n) > 1})]


def _check_widget(widget: ET.Element) -> list[str]:
    name, class_name = widget.get("name", ""), widget.get("class", "")
    real = _DESIGNER_CLASSES.get(class_name, class_name)
    if not is_slicer_class(real) and not hasattr(QtWidgets, real):
        return [f"{name}: there is no class {class_name}"]
    if class_entry(real) is None:
        return []
    facts = class_facts(real)
    problems = []
    for element in widget.findall("property"):
        if element.get("stdset") == "0" or (class_name == "Line" and element.get("name") == "orientation"):
            continue
        problems += [f"{name}: {problem}" for problem in _check_property(element, facts)]
    return problems


def _check_property(element: ET.Element, facts: ClassFacts) -> list[str]:
    name = element.get("name", "")
    if name not in facts.properties:
        return [f"{facts.name} has no property {name}"]
    if not facts.properties[name].writable:
        return [f"property {name} of {facts.name} is not writable"]
    problems = []
    for value in enum_values(element):
        scope, _, key = value.rpartition("::")
        if is_slicer_class(scope.split("::")[0]) and key not in class_facts(scope.split("::")[0]).enums:
            problems.append(f"{scope} has no value {key}")
    return problems


def enum_values(element: ET.Element) -> list[str]:
    """The values of an ``<enum>`` or ``<set>`` property, with their scope."""
    found = [element.find("enum"), element.find("set")]
    return [value.strip() for item in found if item is not None for value in (item.text or "").split("|")]


def _check_connection(connection: ET.Element, classes: dict[str, str]) -> list[str]:
    sender, signal, receiver, slot = connection_parts(connection)
    problems = [f"connection: there is no {name}" for name in (sender, receiver) if name not in classes]
    if problems:
        return problems
    known = class_facts(classes[sender]).signals.get(signature_name(signal), ())
    if normalize(signal) not in known:
        problems.append(f"connection: {sender} ({classes[sender]}) has no signal {signal}")
    target = class_facts(classes[receiver])
    is_signal = normalize(slot) in target.signals.get(signature_name(slot), ())
    if normalize(slot) not in target.slots and not is_signal:
        problems.append(f"connection: {receiver} ({classes[receiver]}) has no slot {slot}")
    return problems


def connection_parts(connection: ET.Element) -> tuple[str, str, str, str]:
    """Sender, signal, receiver, slot of one ``<connection>``."""
    sender, signal, receiver, slot = (connection.findtext(key, "") for key in ("sender", "signal", "receiver", "slot"))
    return sender, signal, receiver, slot
