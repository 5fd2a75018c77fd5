"""Behavior of the widgets that show and choose segments."""

from __future__ import annotations

from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from . import glyphs
from .node_widgets import Observations
from .stand_ins import Behavior, behavior, stand_in_class
from .value_widgets import row_layout

# ruff: noqa: N802 - qMRML's names

VISIBLE, COLOR, STATUS, NAME = range(4)
_ID_ROLE = QtCore.Qt.ItemDataRole.UserRole
_STATUS_TAG = "Segmentation.Status"
_STATUS_NAMES = ("notstarted", "inprogress", "completed", "flagged")
_STATUS_GLYPHS = ("○", "◐", "●", "⚑")
_EDITABLE = QtCore.Qt.ItemFlag.ItemIsEditable


def _status(segment: Any) -> int:
    import vtk

    value = vtk.reference("")
    known = segment.GetTag(_STATUS_TAG, value)
    return _STATUS_NAMES.index(str(value)) if known and str(value) in _STATUS_NAMES else 0


@behavior(
    "qMRMLSegmentsTableView",
    kept=(
        "opacityColumnVisible",
        "layerColumnVisible",
        "jumpToSelectedSegmentEnabled",
        "filterBarVisible",
        "useTerminologySelectorSettingsKey",
        "useTerminologySelector",
        "terminologySelectorOptionVisible",
        "terminologySelectorAutoDisable",
    ),
)
class SegmentsTableView(Behavior):
    """A table of the segments of one node: eye, color, status, name; clicks change the node as in Slicer."""

    def build(self: Any) -> None:
        self._values.update(readOnly=False, textFilter="", headerVisible=True)
        self._node: Any = None
        self._hidden: list[str] = []
        self._filling = False
        self._node_events, self._scene_events = Observations(self), Observations(self)
        self._table = QtWidgets.QTableWidget(0, 4)
        self._table.setHorizontalHeaderLabels(["", "", "⚐", "Name"])
        self._table.horizontalHeaderItem(VISIBLE).setIcon(glyphs.eye(opened=True, color="#808080"))
        self._table.horizontalHeaderItem(COLOR).setIcon(glyphs.swatches("#d9534f", "#5cb85c", "#428bca"))
        self._table.verticalHeader().hide()
        self._table.horizontalHeader().setStretchLastSection(True)
        for column in (VISIBLE, COLOR, STATUS):
            self._table.setColumnWidth(column, 28)
        self._table.setSelectionBehavior(QtWidgets.QAbstractItemView.SelectionBehavior.SelectRows)
        row_layout(self).addWidget(self._table)
        self._table.selectionModel().selectionChanged.connect(self._selection_changed)
        self._table.itemClicked.connect(self._clicked)
        self._table.itemChanged.connect(self._edited)

    def setMRMLScene(self: Any, scene: Any) -> None:
        if scene is self._scene:
            return
        self._scene = scene
        self._scene_events.clear()
        if scene is not None:
            self._scene_events.add(scene, scene.EndCloseEvent, lambda caller, event: self.setSegmentationNode(None))
        self.send("mrmlSceneChanged(vtkMRMLScene*)", scene)

    # rows
    def setSegmentationNode(self: Any, node: Any) -> None:
        if node is self._node:
            return
        self._node = node
        self._node_events.clear()
        if node is not None:
            segmentation = node.GetSegmentation()
            for event in (
                segmentation.SegmentAdded,
                segmentation.SegmentRemoved,
                segmentation.SegmentModified,
                segmentation.SegmentsOrderModified,
            ):
                # The node tells after its display node has heard, the segmentation itself before.
                self._node_events.add(node, event, lambda caller, event: self._fill())
            self._node_events.add(node, node.DisplayModifiedEvent, lambda caller, event: self._fill())
        self._fill()

    def segmentationNode(self: Any) -> Any:
        return self._node

    def displayedSegmentIDs(self: Any) -> list[str]:
        if self._node is None or self._node.GetScene() is None:
            return []
        segmentation = self._node.GetSegmentation()
        wanted = self._values["textFilter"].lower()
        return [
            segment_id
            for segment_id in segmentation.GetSegmentIDs()
            if segment_id not in self._hidden and wanted in segmentation.GetSegment(segment_id).GetName().lower()
        ]

    def _fill(self: Any) -> None:
        ids = self.displayedSegmentIDs()
        selected = self.selectedSegmentIDs()
        self._filling = True
        same_rows = ids == [self.segmentIDForRow(row) for row in range(self._table.rowCount())]
        if not same_rows:
            self._table.setRowCount(0)
            self._table.setRowCount(len(ids))
        for row, segment_id in enumerate(ids):
            self._fill_row(row, segment_id)
        self._filling = False
        if not same_rows:
            self.setSelectedSegmentIDs([segment_id for segment_id in selected if segment_id in ids])

    def _fill_row(self: Any, row: int, segment_id: str) -> None:
        segment = self._node.GetSegmentation().GetSegment(segment_id)
        display = self._node.GetDisplayNode()
        shown = display is None or display.GetSegmentVisibility(segment_id)
        self._cell(row, VISIBLE).setIcon(glyphs.eye(bool(shown)))
        self._cell(row, NAME).setText(segment.GetName())
        self._cell(row, STATUS).setText(_STATUS_GLYPHS[_status(segment)])
        self._cell(row, COLOR).setIcon(glyphs.swatches(QtGui.QColor.fromRgbF(*segment.GetColor())))
        self._cell(row, NAME).setData(_ID_ROLE, segment_id)
        for column in (VISIBLE, COLOR, STATUS):
            self._cell(row, column).setFlags(self._cell(row, column).flags() & ~_EDITABLE)
        flags = self._cell(row, NAME).flags()
        self._cell(row, NAME).setFlags(flags & ~_EDITABLE if self._values["readOnly"] else flags | _EDITABLE)

    def _cell(self: Any, row: int, column: int) -> QtWidgets.QTableWidgetItem:
        item = self._table.item(row, column)
        if item is None:
            item = QtWidgets.QTableWidgetItem()
            self._table.setItem(row, column, item)
        return item

    def rowForSegmentID(self: Any, segment_id: str) -> int:
        rows = range(self._table.rowCount())
        return next((row for row in rows if self.segmentIDForRow(row) == segment_id), -1)

    def segmentIDForRow(self: Any, row: int) -> str:
        item = self._table.item(row, NAME)
        return "" if item is None else item.data(_ID_ROLE) or ""

    def tableWidget(self: Any) -> QtWidgets.QTableWidget:
        return self._table

    def get_segmentCount(self: Any) -> int:
        return self._table.rowCount()

    # what a user does in the table
    def _clicked(self: Any, item: QtWidgets.QTableWidgetItem) -> None:
        if self._values["readOnly"] or self._node is None:
            return
        segment_id = self.segmentIDForRow(item.row())
        if item.column() == VISIBLE:
            display = self._node.GetDisplayNode()
            display.SetSegmentVisibility(segment_id, not display.GetSegmentVisibility(segment_id))
        elif item.column() == STATUS:
            segment = self._node.GetSegmentation().GetSegment(segment_id)
            following = (_status(segment) + 1) % len(_STATUS_NAMES)
            self.send("segmentAboutToBeModified(QString)", segment_id)
            segment.SetTag(_STATUS_TAG, _STATUS_NAMES[following])
            self._fill()

    def _edited(self: Any, item: QtWidgets.QTableWidgetItem) -> None:
        if self._filling or item.column() != NAME or self._node is None:
            return
        segment_id = self.segmentIDForRow(item.row())
        self.send("segmentAboutToBeModified(QString)", segment_id)
        self._node.GetSegmentation().GetSegment(segment_id).SetName(item.text())

    # selection
    def _selection_changed(self: Any, selected: Any, deselected: Any) -> None:
        self.send("selectionChanged(QItemSelection,QItemSelection)", selected, deselected)

    def selectedSegmentIDs(self: Any) -> list[str]:
        rows = sorted(index.row() for index in self._table.selectionModel().selectedRows())
        return [self.segmentIDForRow(row) for row in rows]

    def setSelectedSegmentIDs(self: Any, segment_ids: list[str]) -> None:
        model = self._table.model()
        selection = QtCore.QItemSelection()
        for row in (self.rowForSegmentID(segment_id) for segment_id in segment_ids):
            if row >= 0:
                selection.select(model.index(row, VISIBLE), model.index(row, NAME))
        flags = QtCore.QItemSelectionModel.SelectionFlag
        self._table.selectionModel().select(selection, flags.ClearAndSelect | flags.Rows)

    def clearSelection(self: Any) -> None:
        self._table.clearSelection()

    def setHideSegments(self: Any, segment_ids: list[str]) -> None:
        self._hidden = list(segment_ids)
        self._fill()

    def hideSegments(self: Any) -> list[str]:
        return list(self._hidden)

    # looks
    def get_selectionMode(self: Any) -> int:
        return self._table.selectionMode().value

    def set_selectionMode(self: Any, mode: int) -> None:
        self._table.setSelectionMode(QtWidgets.QAbstractItemView.SelectionMode(int(mode)))

    def setSelectionMode(self: Any, mode: int) -> None:
        self.set_selectionMode(mode)

    def set_readOnly(self: Any, read_only: bool) -> None:
        self._values["readOnly"] = read_only
        self._fill()

    def setReadOnly(self: Any, read_only: bool) -> None:
        self.set_readOnly(read_only)

    def set_textFilter(self: Any, text: str) -> None:
        self._values["textFilter"] = text
        self._fill()

    def setTextFilter(self: Any, text: str) -> None:
        self.set_textFilter(text)

    def set_headerVisible(self: Any, visible: bool) -> None:
        self._values["headerVisible"] = visible
        self._table.horizontalHeader().setVisible(visible)

    def get_visibilityColumnVisible(self: Any) -> bool:
        return not self._table.isColumnHidden(VISIBLE)

    def set_visibilityColumnVisible(self: Any, visible: bool) -> None:
        self._table.setColumnHidden(VISIBLE, not visible)

    def get_colorColumnVisible(self: Any) -> bool:
        return not self._table.isColumnHidden(COLOR)

    def set_colorColumnVisible(self: Any, visible: bool) -> None:
        self._table.setColumnHidden(COLOR, not visible)

    def get_statusColumnVisible(self: Any) -> bool:
        return not self._table.isColumnHidden(STATUS)

    def set_statusColumnVisible(self: Any, visible: bool) -> None:
        self._table.setColumnHidden(STATUS, not visible)

    def setHeaderVisible(self: Any, visible: bool) -> None:
        self.set_headerVisible(visible)

    def setVisibilityColumnVisible(self: Any, visible: bool) -> None:
        self.set_visibilityColumnVisible(visible)

    def setColorColumnVisible(self: Any, visible: bool) -> None:
        self.set_colorColumnVisible(visible)

    def setStatusColumnVisible(self: Any, visible: bool) -> None:
        self.set_statusColumnVisible(visible)

    def setOpacityColumnVisible(self: Any, visible: bool) -> None:
        self._values["opacityColumnVisible"] = visible

    def setLayerColumnVisible(self: Any, visible: bool) -> None:
        self._values["layerColumnVisible"] = visible

    def setFilterBarVisible(self: Any, visible: bool) -> None:
        self._values["filterBarVisible"] = visible


@behavior("qMRMLSegmentSelectorWidget", kept=("editEnabled", "horizontalLayout", "selectNodeUponCreation"))
class SegmentSelectorWidget(Behavior):
    """A node combo box and, beside it, a combo box over the segments of the chosen node."""

    def build(self: Any) -> None:
        self._values.update(noneEnabled=False, multiSelection=False)
        self._events = Observations(self)
        self._known = ""
        self._nodes = stand_in_class("qMRMLNodeComboBox")()
        self._nodes.set_nodeTypes(["vtkMRMLSegmentationNode"])
        self._nodes.set_addEnabled(False)
        self._nodes.set_noneEnabled(True)
        self._segments = QtWidgets.QComboBox()
        layout = row_layout(self)
        layout.addWidget(self._nodes)
        layout.addWidget(self._segments)
        from .object_proxy import find_signal

        find_signal(self._nodes, "currentNodeChanged(vtkMRMLNode*)").connect(self._node_changed)
        self._segments.currentIndexChanged.connect(lambda index: self._announce())

    def setMRMLScene(self: Any, scene: Any) -> None:
        self._scene = scene
        self._nodes.setMRMLScene(scene)

    def _node_changed(self: Any, node: Any) -> None:
        self._events.clear()
        if node is not None:
            segmentation = node.GetSegmentation()
            for event in (segmentation.SegmentAdded, segmentation.SegmentRemoved, segmentation.SegmentModified):
                self._events.add(segmentation, event, lambda caller, event: self._fill())
        self._fill()
        self.send("currentNodeChanged(vtkMRMLNode*)", node)
        self.send("currentNodeChanged(bool)", node is not None)

    def _fill(self: Any) -> None:
        chosen = self._known
        with QtCore.QSignalBlocker(self._segments):
            self._segments.clear()
            if self._values["noneEnabled"]:
                self._segments.addItem("None", "")
            node = self.currentNode()
            for segment_id in self.segmentIDs():
                self._segments.addItem(node.GetSegmentation().GetSegment(segment_id).GetName(), segment_id)
            found = self._segments.findData(chosen)
            self._segments.setCurrentIndex(found if found >= 0 else min(0, self._segments.count() - 1))
        self._announce()

    def _announce(self: Any) -> None:
        if self.currentSegmentID() != self._known:
            self._known = self.currentSegmentID()
            self.send("currentSegmentChanged(QString)", self._known)

    def set_noneEnabled(self: Any, enabled: bool) -> None:
        self._values["noneEnabled"] = enabled
        self._fill()

    def get_segmentationNodeSelectorVisible(self: Any) -> bool:
        return not self._nodes.isHidden()

    def set_segmentationNodeSelectorVisible(self: Any, visible: bool) -> None:
        self._nodes.setVisible(visible)

    def currentNode(self: Any) -> Any:
        return self._nodes.currentNode()

    def currentNodeID(self: Any) -> str:
        return self._nodes.get_currentNodeID()

    def setCurrentNode(self: Any, node: Any) -> None:
        self._nodes.setCurrentNode(node)

    def setCurrentNodeID(self: Any, node_id: str) -> None:
        self._nodes.set_currentNodeID(node_id)

    def currentSegmentID(self: Any) -> str:
        return self._segments.currentData() or ""

    def setCurrentSegmentID(self: Any, segment_id: str) -> None:
        self._segments.setCurrentIndex(self._segments.findData(segment_id or ""))

    def segmentIDs(self: Any) -> list[str]:
        node = self.currentNode()
        return [] if node is None else list(node.GetSegmentation().GetSegmentIDs())
