"""The experts on this computer: switch on and off, import, remove."""

import html

import qt
import slicer
from slicer.i18n import tr as _

from .widgets import connect, enable, set_silently


class ExpertsView:
    """Lists the experts that came with MoESeg and the user's own."""

    def __init__(self, ui, panel):
        self.ui = ui
        self.panel = panel
        self._listed = None
        self._packs = []
        self._stamp = None
        connect(ui.expertsList, "itemChanged(QListWidgetItem*)", self.onSwitch)
        connect(ui.expertsList, "itemSelectionChanged()", self.refresh_buttons)
        connect(ui.importExpertButton, "clicked()", self.onImport)
        connect(ui.removeExpertButton, "clicked()", self.onRemove)
        connect(ui.expertsSection, "contentsCollapsed(bool)", lambda collapsed: self.refresh())

    def installed(self):
        """All experts; none when the file that says which are switched off is damaged, which is then said."""
        from MoESegLib.core.errors import WeightsError
        from MoESegLib.experts.store import list_packs

        stamp = self.panel.workbench.models.experts_stamp()
        if stamp != self._stamp:  # reading the cards of ten experts takes too long to do it every second
            self._stamp = stamp
            try:
                self._packs = list_packs()
            except WeightsError as error:
                self._packs = []
                self.panel.say(str(error))
        return self._packs

    def onSwitch(self, item):
        from MoESegLib.experts.store import set_enabled

        name, on = item.data(qt.Qt.UserRole), item.checkState() == qt.Qt.Checked
        self.change(lambda: set_enabled(name, on))

    def onImport(self):
        from pathlib import Path

        from MoESegLib.experts.store import import_pack

        path = qt.QFileDialog.getOpenFileName(self.ui.MoESeg, _("Import expert"), "", _("Experts (*.safetensors)"))
        if path and self.panel.install_dependencies():
            self.change(lambda: import_pack(Path(path)))

    def onRemove(self):
        from MoESegLib.experts.store import remove_pack

        name = self.selected().name
        text = _("Delete the expert {name} from this computer?").format(name=name)
        if slicer.util.confirmOkCancelDisplay(text, windowTitle=_("Remove expert")):
            self.change(lambda: remove_pack(name))

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
        return self._listed[row] if self._listed and 0 <= row < len(self._listed) else None

    def refresh(self):
        """List the experts, while the list is open."""
        if self.ui.expertsSection.collapsed:
            return
        packs = self.installed()
        if packs != self._listed:
            self._listed = packs
            set_silently(self.ui.expertsList, self.fill_list)
        self.refresh_buttons()

    def fill_list(self):
        listing = self.ui.expertsList
        listing.clear()
        for pack in self._listed:
            item = qt.QListWidgetItem(self.title(pack))
            item.setData(qt.Qt.UserRole, pack.name)
            item.setCheckState(qt.Qt.Checked if pack.enabled else qt.Qt.Unchecked)
            item.setToolTip(self.tip(pack))
            listing.addItem(item)

    def refresh_buttons(self):
        """Only the user's own experts can be removed."""
        pack = self.selected()
        reason = _("Select an expert first.") if pack is None else ""
        if pack is not None and pack.shipped:
            reason = _("It came with MoESeg. Untick it, and it is not used.")
        enable(self.ui.removeExpertButton, reason)

    def title(self, pack):
        """Name and classes, or that it cannot be used."""
        if pack.problem:
            return _("{name}: cannot be used").format(name=pack.name)
        own = "" if pack.shipped else _(" (yours)")
        return f"{pack.name}{own}: {pack.card.title}"

    def tip(self, pack):
        """What the card says."""
        if pack.problem:
            return html.escape(pack.problem)
        card = pack.card
        measured = "; ".join(
            _("{prompt} {dice:.2f} (without it {base})").format(
                prompt=entry.prompt,
                dice=entry.dice,
                base="?" if entry.base_dice is None else f"{entry.base_dice:.2f}",
            )
            for entry in card.measured
        )
        rows = [
            card.description,
            _("Structures: {names}").format(names=", ".join(entry.name for entry in card.classes)),
            _("Images: {modalities}").format(modalities=", ".join(card.modalities) or _("not stated")),
            _("Prompts: {prompts}").format(prompts=", ".join(card.prompts)),
            _("Measured (Dice): {measured}").format(measured=measured or _("nothing yet")),
            _("License: {license}. Made {date}.").format(license=card.license, date=card.created),
        ]
        return "<br>".join(html.escape(row) for row in rows)
