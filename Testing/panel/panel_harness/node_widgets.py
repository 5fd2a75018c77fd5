"""Behavior of the widgets that choose MRML nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import shiboken6
from PySide6 import QtCore, QtWidgets

from .stand_ins import Behavior, behavior
from .value_widgets import row_layout

# ruff: noqa: N802 - qMRML's names

_CREATE = "+"  # marks the entries that make a new node


class Observations:
    """The VTK observers of one stand-in, all removable at once; they end with their widget."""

    def __init__(self, owner: QtWidgets.QWidget) -> None:
        self._owner = owner
        self._tags: list[tuple[Any, int]] = []

    def add(self, caller: Any, event: int | str, function: Callable[..., None]) -> None:
        def deliver(node: Any, name: str) -> None:
            if shiboken6.isValid(self._owner):
                function(node, name)
            else:
                self.clear()

        self._tags.append((caller, caller.AddObserver(event, deliver)))

    def clear(self) -> None:
        for caller, tag in self._tags:
            caller.RemoveObserver(tag)
        self._tags.clear()


@behavior(
    "qMRMLNodeComboBox",
    kept=(
        "baseName",
        "editEnabled",
        "renameEnabled",
        "removeEnabled",
        "selectNodeUponCreation",
        "interactionNodeSingletonTag",
        "sizeAdjustPolicy",
    ),
)
class NodeComboBox(Behavior):
    """A combo box over the nodes of some classes, kept in step with the scene."""

    def build(self: Any) -> None:
        self._values.update(nodeTypes=[], hideChildNodeTypes=[], noneDisplay="None", showChildNodeTypes=True)
        self._values.update(noneEnabled=False, addEnabled=True, removeEnabled=True, selectNodeUponCreation=True)
        self._values.update(showHidden=False, editEnabled=False, renameEnabled=False)
        self._scene: Any = None
        self._attributes: list[tuple[str, str, Any]] = []
        self._entries: list[str] = []
        self._labels: dict[str, str] = {}
        self._known = ""
        self._scene_events, self._name_events = Observations(self), Observations(self)
        self._combo = QtWidgets.QComboBox()
        row_layout(self).addWidget(self._combo)
        self.setFocusProxy(self._combo)
        self._combo.currentIndexChanged.connect(self._picked)
        self._combo.activated.connect(self._activated)

    # scene
    def setMRMLScene(self: Any, scene: Any) -> None:
        if scene is self._scene:
            return
        self._scene = scene
        self._scene_events.clear()
        if scene is not None:
            for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndBatchProcessEvent):
                self._scene_events.add(scene, event, lambda caller, event: self._fill())
        self._fill()

    def mrmlScene(self: Any) -> Any:
        return self._scene

    def _accepts(self: Any, node: Any) -> bool:
        if node.GetHideFromEditors() and not self._values["showHidden"]:
            return False
        if any(node.IsA(hidden) for hidden in self._values["hideChildNodeTypes"]):
            return False
        exact = not self._values["showChildNodeTypes"]
        for wanted in self._values["nodeTypes"]:
            if (node.GetClassName() == wanted) if exact else node.IsA(wanted):
                return all(
                    node.GetAttribute(name) is not None and (value is None or node.GetAttribute(name) == str(value))
                    for type_name, name, value in self._attributes
                    if type_name == wanted
                )
        return False

    def _nodes(self: Any) -> list[Any]:
        if self._scene is None:
            return []
        nodes = (self._scene.GetNthNode(index) for index in range(self._scene.GetNumberOfNodes()))
        return [node for node in nodes if self._accepts(node)]

    def _fill(self: Any) -> None:
        if self._scene is not None and self._scene.IsBatchProcessing():
            return
        nodes = self._nodes()
        entries = [("", self._values["noneDisplay"])] if self._values["noneEnabled"] else []
        entries += [(node.GetID(), node.GetName() or "") for node in nodes]
        if self._values["addEnabled"] and self._scene is not None:
            types = self._values["nodeTypes"]
            entries += [(_CREATE + name, f"Create new {self.nodeTypeLabel(name)}") for name in types]
        first = entries[0][0] if entries and not entries[0][0].startswith(_CREATE) else None
        ids = [entry[0] for entry in entries]
        chosen = self._known if self._known in ids else first
        with QtCore.QSignalBlocker(self._combo):
            self._combo.clear()
            self._combo.addItems([entry[1] for entry in entries])
            self._entries = ids
            self._combo.setCurrentIndex(ids.index(chosen) if chosen in ids else -1)
        self._name_events.clear()
        for node in nodes:
            self._name_events.add(node, "ModifiedEvent", self._node_modified)
        self._announce()

    def _node_modified(self: Any, node: Any, event: str) -> None:
        if node.GetID() not in self._entries:
            return
        index = self._entries.index(node.GetID())
        if self._combo.itemText(index) != (node.GetName() or ""):
            self._combo.setItemText(index, node.GetName() or "")
            if node.GetID() == self._known:
                self.send("currentNodeRenamed(QString)", node.GetName())

    # choice
    def _picked(self: Any, index: int) -> None:
        if not (0 <= index < len(self._entries) and self._entries[index].startswith(_CREATE)):
            self._announce()

    def _activated(self: Any, index: int) -> None:
        entry = self._entries[index]
        if entry.startswith(_CREATE):
            node = self._create(entry.removeprefix(_CREATE))
            self.setCurrentNode(node)
            self.send("nodeAddedByUser(vtkMRMLNode*)", node)
        else:
            self.send("nodeActivated(vtkMRMLNode*)", self.currentNode())

    def _announce(self: Any) -> None:
        current = self.get_currentNodeID()
        if current == self._known:
            return
        self._known = current
        node = self.currentNode()
        self.send("currentNodeChanged(vtkMRMLNode*)", node)
        self.send("currentNodeChanged(bool)", node is not None)
        self.send("currentNodeIDChanged(QString)", current)

    def get_currentNodeID(self: Any) -> str:
        index = self._combo.currentIndex()
        entry = self._entries[index] if 0 <= index < len(self._entries) else ""
        return "" if entry.startswith(_CREATE) else entry

    def set_currentNodeID(self: Any, node_id: str) -> None:
        if node_id in self._entries:
            self._combo.setCurrentIndex(self._entries.index(node_id))
        elif not node_id:
            self._combo.setCurrentIndex(-1)

    def get_currentNodeId(self: Any) -> str:
        return self.get_currentNodeID()

    def set_currentNodeId(self: Any, node_id: str) -> None:
        self.set_currentNodeID(node_id)

    def setCurrentNodeID(self: Any, node_id: str) -> None:
        self.set_currentNodeID(node_id)

    def setCurrentNode(self: Any, node: Any) -> None:
        if node is not None and not isinstance(node, str) and not hasattr(node, "GetID"):
            raise TypeError(f"setCurrentNode takes a node, a node ID or None, not {node!r}")
        self.set_currentNodeID(node if isinstance(node, str) else node.GetID() if node is not None else "")

    def setCurrentNodeIndex(self: Any, index: int) -> None:
        self.setCurrentNode(self.nodeFromIndex(index))

    def currentNode(self: Any) -> Any:
        node_id = self.get_currentNodeID()
        return self._scene.GetNodeByID(node_id) if node_id and self._scene is not None else None

    def currentNodeId(self: Any) -> str:
        return self.get_currentNodeID()

    def nodeCount(self: Any) -> int:
        return len(self._nodes())

    def nodeFromIndex(self: Any, index: int) -> Any:
        nodes = self._nodes()
        return nodes[index] if 0 <= index < len(nodes) else None

    # making and removing nodes
    def _create(self: Any, class_name: str) -> Any:
        name = self._values.get("baseName") or self.nodeTypeLabel(class_name)
        node = self._scene.AddNewNodeByClass(class_name, self._scene.GenerateUniqueName(name))
        for type_name, attribute, value in self._attributes:
            if type_name == class_name:
                node.SetAttribute(attribute, "" if value is None else str(value))
        self._fill()
        self.send("nodeAdded(vtkMRMLNode*)", node)
        return node

    def addNode(self: Any, class_name: str = "") -> Any:
        node = self._create(class_name or self._values["nodeTypes"][0])
        if self._values["selectNodeUponCreation"]:
            self.setCurrentNode(node)
        return node

    def removeCurrentNode(self: Any) -> None:
        node = self.currentNode()
        self.send("nodeAboutToBeRemoved(vtkMRMLNode*)", node)
        self._scene.RemoveNode(node)

    def addAttribute(self: Any, class_name: str, name: str, value: Any = None) -> None:
        self._attributes.append((class_name, name, value))
        self._fill()

    def removeAttribute(self: Any, class_name: str, name: str) -> None:
        self._attributes = [entry for entry in self._attributes if entry[:2] != (class_name, name)]
        self._fill()

    def nodeTypeLabel(self: Any, class_name: str) -> str:
        return self._labels.get(class_name, class_name.removeprefix("vtkMRML").removesuffix("Node"))

    def setNodeTypeLabel(self: Any, label: str, class_name: str) -> None:
        self._labels[class_name] = label
        self._fill()

    # what the list shows
    def _set(self: Any, name: str, value: Any) -> None:
        self._values[name] = value
        self._fill()

    def set_nodeTypes(self: Any, names: list[str]) -> None:
        self._set("nodeTypes", [names] if isinstance(names, str) else list(names))

    def set_hideChildNodeTypes(self: Any, names: list[str]) -> None:
        self._set("hideChildNodeTypes", list(names))

    def set_showHidden(self: Any, shown: bool) -> None:
        self._set("showHidden", shown)

    def set_showChildNodeTypes(self: Any, shown: bool) -> None:
        self._set("showChildNodeTypes", shown)

    def set_noneEnabled(self: Any, enabled: bool) -> None:
        self._set("noneEnabled", enabled)

    def set_addEnabled(self: Any, enabled: bool) -> None:
        self._set("addEnabled", enabled)

    def set_noneDisplay(self: Any, text: str) -> None:
        self._set("noneDisplay", text)


@behavior("qMRMLCheckableNodeComboBox")
class CheckableNodeComboBox(Behavior):
    """A node combo box with a check mark before every node."""

    def build(self: Any) -> None:
        self._checked: set[str] = set()
        self._values["addEnabled"] = False

    def check(self: Any, node: Any) -> None:
        self.setCheckState(node, QtCore.Qt.CheckState.Checked)

    def uncheck(self: Any, node: Any) -> None:
        self.setCheckState(node, QtCore.Qt.CheckState.Unchecked)

    def setCheckState(self: Any, node: Any, state: Any) -> None:
        before = set(self._checked)
        if QtCore.Qt.CheckState(state) == QtCore.Qt.CheckState.Checked:
            self._checked.add(node.GetID())
        else:
            self._checked.discard(node.GetID())
        if self._checked != before:
            self.send("checkedNodesChanged()")

    def checkState(self: Any, node: Any) -> Any:
        checked = node.GetID() in self._checked
        return QtCore.Qt.CheckState.Checked if checked else QtCore.Qt.CheckState.Unchecked

    def checkedNodes(self: Any) -> list[Any]:
        return [node for node in self._nodes() if node.GetID() in self._checked]

    def uncheckedNodes(self: Any) -> list[Any]:
        return [node for node in self._nodes() if node.GetID() not in self._checked]

    def allChecked(self: Any) -> bool:
        return not self.uncheckedNodes()

    def noneChecked(self: Any) -> bool:
        return not self.checkedNodes()
