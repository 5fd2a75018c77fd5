"""The experts on this computer that suit the chosen model: switch on and off, import, remove."""

from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from .expert_kinds import Packs, Specialists
from .widgets import connect, enable, set_silently


class ExpertsView:
    """Lists the experts that came with MoESeg and the user's own: packs, or specialists for SAM-Med3D-MoE."""

    def __init__(self, ui, panel):
        self.ui = ui
        self.panel = panel
        self.packs = Packs(panel)
        self.specialists = Specialists(panel)
        self._listed = None
        connect(ui.expertsList, "itemChanged(QListWidgetItem*)", self.onSwitch)
        connect(ui.expertsList, "itemSelectionChanged()", self.refresh_buttons)
        connect(ui.importExpertButton, "clicked()", self.onImport)
        connect(ui.removeExpertButton, "clicked()", self.onRemove)
        connect(ui.expertsSection, "contentsCollapsed(bool)", lambda collapsed: self.refresh())

    def kind(self):
        """What the list holds with the chosen model."""
        workbench = self.panel.workbench
        return self.specialists if workbench.models.takes_specialists(workbench.parameters.model) else self.packs

    def onSwitch(self, item):
        from MoESegLib.experts.store import set_enabled

        name, on = item.data(qt.Qt.UserRole), item.checkState() == qt.Qt.Checked
        self.change(lambda: set_enabled(name, on))

    def onImport(self):
        kind = self.kind()
        path = qt.QFileDialog.getOpenFileName(self.ui.MoESeg, _("Import expert"), "", _("Experts (*.safetensors)"))
        if path and self.panel.install_dependencies():
            self.change(lambda: kind.import_file(Path(path)))

    def onRemove(self):
        kind, item = self.kind(), self.selected()
        if slicer.util.confirmOkCancelDisplay(kind.question(item), windowTitle=_("Remove expert")):
            self.change(lambda: kind.remove(item))

    def change(self, action):
        """Change the experts; the model loads them anew, prompts and segments stay."""

        def act():
            action()
            self.panel.reload_experts()

        self._listed = None
        self.panel.run(act)

    def selected(self):
        """The expert of the selected row, or None."""
        row = self.ui.expertsList.currentRow
        return self._listed[row].item if self._listed and 0 <= row < len(self._listed) else None

    def refresh(self):
        """List the experts, while the list is open."""
        if self.ui.expertsSection.collapsed:
            return
        kind = self.kind()
        rows = kind.rows()
        if rows != self._listed:
            self._listed = rows
            self.ui.expertsList.toolTip = kind.list_tip()
            set_silently(self.ui.expertsList, self.fill_list)
        self.refresh_buttons()

    def fill_list(self):
        listing = self.ui.expertsList
        listing.clear()
        for row in self._listed:
            item = qt.QListWidgetItem(row.text)
            item.setData(qt.Qt.UserRole, row.item.name)
            if row.on is not None:
                item.setCheckState(qt.Qt.Checked if row.on else qt.Qt.Unchecked)
            item.setToolTip(row.tip)
            listing.addItem(item)

    def refresh_buttons(self):
        """Only the user's own experts can be removed."""
        item = self.selected()
        reason = _("Select an expert first.") if item is None else ""
        if item is not None and item.shipped:
            reason = self.kind().instead_of_removal()
        enable(self.ui.removeExpertButton, reason)
