"""Image, segmentation, and the table of segments."""

import qt
from slicer.i18n import tr as _

from .widgets import connect, enable, fill, set_silently


class SegmentsView:
    """Selectors at the top of the panel."""

    def __init__(self, ui, panel):
        self.ui = ui
        self.panel = panel
        self._completer = None
        connect(ui.volumeSelector, "currentNodeChanged(vtkMRMLNode*)", self.onVolume)
        connect(ui.segmentationSelector, "currentNodeChanged(vtkMRMLNode*)", self.onSegmentation)
        connect(ui.segmentsTable, "selectionChanged(QItemSelection,QItemSelection)", self.onSelection)
        connect(ui.overlapSelector, "activated(int)", self.onOverlap)
        connect(ui.addSegmentButton, "clicked()", self.onAdd)
        connect(ui.segmentNameEdit, "returnPressed()", self.onAdd)
        ui.segmentsTable.setSelectionMode(int(qt.QAbstractItemView.SingleSelection))

    def onVolume(self, node):
        if node is not None:
            self.panel.run(lambda: self.panel.workbench.select(volume=node))

    def onSegmentation(self, node):
        if node is not None:
            self.panel.run(lambda: self.panel.workbench.select(segmentation=node))

    def onSelection(self, *_selection):
        ids = self.ui.segmentsTable.selectedSegmentIDs()
        if ids and ids[0] != self.panel.workbench.parameters.segment:
            self.panel.select_segment(ids[0])

    def onOverlap(self, index):
        self.panel.workbench.overwrite_mode = self.ui.overlapSelector.itemData(index)

    def onAdd(self):
        name = self.ui.segmentNameEdit.text.strip()
        if self.panel.run(lambda: self.panel.workbench.add_segment(name)):
            self.ui.segmentNameEdit.clear()

    def refresh(self):
        """Show what the parameters say."""
        parameters = self.panel.workbench.parameters
        for selector, node in (
            (self.ui.volumeSelector, parameters.volume),
            (self.ui.segmentationSelector, parameters.segmentation),
        ):
            if selector.currentNode() is not node:
                set_silently(selector, lambda selector=selector, node=node: selector.setCurrentNode(node))
        table = self.ui.segmentsTable
        if table.segmentationNode() is not parameters.segmentation:
            table.setSegmentationNode(parameters.segmentation)
        selected = [parameters.segment] if parameters.segment in self.panel.segment_ids() else []
        if list(table.selectedSegmentIDs()) != selected:
            set_silently(table, lambda: table.setSelectedSegmentIDs(selected))
        modes = {
            "visible": _("Overwrite visible segments"),
            "all": _("Overwrite all segments"),
            "none": _("Allow overlap"),
        }
        fill(self.ui.overlapSelector, list(modes), list(modes.values()), self.panel.workbench.overwrite_mode)
        reason = _("Choose an image first.") if parameters.segmentation is None else ""
        for control in (self.ui.addSegmentButton, self.ui.segmentNameEdit):
            enable(control, reason)
        if self._completer is None:
            self._completer = self.panel.structure_completer(self.ui.segmentNameEdit)
