"""Volumes and diameters of many lesions; separating, removing and refining them."""

import qt
from slicer.i18n import tr as _

from .widgets import cell, connect, enable, fill

CERTAINTY = 4  # the column


class LesionView:
    """The table of lesions, and what can be done with them."""

    def __init__(self, ui, panel):
        self.ui = ui
        self.panel = panel
        self._listed = []
        self._model = None
        connect(ui.measureButton, "clicked()", self.measure)
        connect(ui.copyLesionsButton, "clicked()", self.onCopy)
        connect(ui.refineButton, "clicked()", self.onRefine)
        connect(ui.separateButton, "clicked()", self.onSeparate)
        connect(ui.removeLesionButton, "clicked()", self.onRemove)
        connect(ui.refineSelector, "activated(int)", self.onModel)
        connect(ui.lesionTable, "itemSelectionChanged()", self.onSelection)
        labels = [_("Lesion"), _("Volume (mL)"), _("Long (mm)"), _("Short (mm)"), _("Certainty")]
        ui.lesionTable.setColumnCount(len(labels))
        ui.lesionTable.setHorizontalHeaderLabels(labels)
        ui.lesionTable.horizontalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        ui.lesionTable.horizontalHeader().setStretchLastSection(True)
        ui.lesionTable.verticalHeader().setVisible(False)

    # Doing

    def measure(self):
        """Fill the table."""
        selected = self.selected()
        self._listed = self.panel.workbench.lesions.lesions()
        table = self.ui.lesionTable
        blocked = table.blockSignals(True)
        table.setRowCount(len(self._listed))
        for index, lesion in enumerate(self._listed):
            measures = lesion.measures
            values = (
                lesion.name,
                f"{measures.volume_ml:.2f}",
                f"{measures.longest_axial_diameter_mm:.1f}",
                f"{measures.perpendicular_diameter_mm:.1f}",
                "" if lesion.certainty is None else f"{lesion.certainty} %",
            )
            for column, text in enumerate(values):
                table.setItem(index, column, cell(text))
        table.setColumnHidden(CERTAINTY, all(lesion.certainty is None for lesion in self._listed))
        names = [lesion.name for lesion in self._listed]
        if selected is not None and selected.name in names:
            table.selectRow(names.index(selected.name))
        else:
            table.clearSelection()
            table.setCurrentCell(-1, -1)
        table.blockSignals(blocked)
        self.refresh_buttons()

    def onCopy(self):
        qt.QApplication.clipboard().setText(self.panel.workbench.lesion_csv())
        self.panel.say(_("The lesion table is in the clipboard."))

    def onSelection(self):
        lesion = self.selected()
        if lesion is not None:
            self.panel.workbench.lesions.jump_to(lesion)
            self.panel.select_segment(lesion.segment)
        self.refresh_buttons()

    def onRefine(self):
        lesion, model = self.selected(), self.chosen_model()
        if lesion is not None and self.panel.install_dependencies():
            self.panel.run(lambda: self.panel.workbench.lesions.refine(lesion, model))

    def onModel(self, index):
        self._model = self.ui.refineSelector.itemData(index)
        self.refresh_buttons()

    def onSeparate(self):
        together = [lesion for lesion in self._listed if lesion.part is not None]
        self.panel.run(lambda: self.panel.workbench.lesions.separate(together))
        self.measure()

    def onRemove(self):
        lesion = self.selected()
        if lesion is not None:
            self.panel.run(lambda: self.panel.workbench.lesions.remove(lesion))
            self.measure()

    def pump(self, update):
        """Follow a search, and begin to click where a refinement has begun."""
        lesions = self.panel.workbench.lesions
        if lesions.take_started():
            self.panel.refresh()
            self.panel.prompts.onTool("positive", True)
            self.measure()
        elif update.answers or update.prompts_changed:
            self.follow()

    # Looking

    def selected(self):
        """The lesion of the selected row, or None."""
        rows = {item.row() for item in self.ui.lesionTable.selectedItems()}
        row = rows.pop() if len(rows) == 1 else -1
        return self._listed[row] if 0 <= row < len(self._listed) else None

    def chosen_model(self):
        """The model that would answer clicks: the user's choice, else the one that suits the image."""
        return self._model or self.panel.workbench.lesions.refiner()

    # Showing

    def refresh(self):
        """Enable what makes sense; the table follows the segments while lesions are found or clicked."""
        from MoESegLib.mrml.lesion_list import REFINERS

        models = self.panel.workbench.models
        titles = [models.card(name).title for name in REFINERS]
        fill(self.ui.refineSelector, REFINERS, titles, self.chosen_model())
        reason = "" if self.panel.segment_ids() else _("There are no segments yet.")
        enable(self.ui.measureButton, reason)
        enable(self.ui.copyLesionsButton, reason)
        if self.panel.workbench.parameters.lesions or self.panel.workbench.search.is_chosen:
            self.follow()
        self.refresh_buttons()

    def follow(self):
        """Measure anew, when nothing runs and the table is looked at."""
        if not self.panel.workbench.is_busy and not self.ui.lesionSection.collapsed:
            self.measure()

    def refresh_buttons(self):
        """What can be done with the selected lesion."""
        models = self.panel.workbench.models
        none = _("Select a lesion in the table first.") if self.selected() is None else ""
        busy = _("Wait for the answer, or cancel it.") if self.panel.workbench.is_busy else ""
        missing = ""
        model = self.chosen_model()
        if models.state(model) != "installed":
            title = models.card(model).title
            missing = _("{title} is not on this computer. Choose it under 'Model' and get it.").format(title=title)
        enable(self.ui.refineButton, none or missing or busy)
        enable(self.ui.removeLesionButton, none or busy)
        together = any(lesion.part is not None for lesion in self._listed)
        enable(self.ui.separateButton, busy if together else _("No found lesions share a segment."))
