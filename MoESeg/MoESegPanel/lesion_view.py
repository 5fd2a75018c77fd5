"""Volumes and diameters of many lesions."""

import qt
from slicer.i18n import tr as _

from .widgets import cell, connect, enable


class LesionView:
    """The table of lesions, and copying it."""

    def __init__(self, ui, panel):
        self.ui = ui
        self.panel = panel
        connect(ui.measureButton, "clicked()", self.measure)
        connect(ui.copyLesionsButton, "clicked()", self.onCopy)
        ui.lesionTable.setColumnCount(4)
        ui.lesionTable.setHorizontalHeaderLabels(
            [_("Segment"), _("Volume (mL)"), _("Long axis (mm)"), _("Short axis (mm)")]
        )
        ui.lesionTable.horizontalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        ui.lesionTable.horizontalHeader().setStretchLastSection(True)
        ui.lesionTable.verticalHeader().setVisible(False)

    def measure(self):
        """Fill the table."""
        rows = self.panel.workbench.lesion_table()
        table = self.ui.lesionTable
        table.setRowCount(len(rows))
        for index, (name, measures) in enumerate(rows):
            values = (
                name,
                f"{measures.volume_ml:.2f}",
                f"{measures.longest_axial_diameter_mm:.1f}",
                f"{measures.perpendicular_diameter_mm:.1f}",
            )
            for column, text in enumerate(values):
                table.setItem(index, column, cell(text))

    def onCopy(self):
        qt.QApplication.clipboard().setText(self.panel.workbench.lesion_csv())
        self.panel.say(_("The lesion table is in the clipboard."))

    def refresh(self):
        """Enable what makes sense; while the mode is on, the table follows the segments."""
        reason = "" if self.panel.segment_ids() else _("There are no segments yet.")
        enable(self.ui.measureButton, reason)
        enable(self.ui.copyLesionsButton, reason)
        if self.panel.workbench.parameters.lesions and not self.panel.workbench.is_busy:
            self.measure()
