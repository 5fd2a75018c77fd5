"""The answer card: who answered, how sure, what changed, and what others would answer."""

import html

import qt
from slicer.i18n import tr as _

from .widgets import connect, enable, set_silently


class AnswerView:
    """Shows the last answer for the selected segment."""

    def __init__(self, ui, panel, icons):
        self.ui = ui
        self.panel = panel
        self._shown = None
        ui.acceptButton.setIcon(icons("Accept.png"))
        connect(ui.acceptButton, "clicked()", self.onAccept)
        connect(ui.changesCheckBox, "toggled(bool)", self.onChanges)
        connect(ui.confidenceCheckBox, "toggled(bool)", self.onConfidence)
        connect(ui.alternativesList, "itemClicked(QListWidgetItem*)", self.onAlternative)

    def onAccept(self):
        workbench = self.panel.workbench
        segment = workbench.parameters.segment
        if self.panel.selected_is_locked():
            self.panel.run(lambda: workbench.ready().reopen(segment))
        else:
            self.panel.run(lambda: workbench.ready().accept(segment))

    def onChanges(self, checked):
        self.panel.workbench.parameters.show_changes = checked
        self.panel.run(self.panel.workbench.show_overlays)

    def onConfidence(self, checked):
        self.panel.workbench.parameters.show_confidence = checked
        self.panel.run(self.panel.workbench.show_overlays)

    def onAlternative(self, item):
        workbench = self.panel.workbench
        name = item.data(qt.Qt.UserRole)
        segment = workbench.parameters.segment
        self.panel.run(lambda: workbench.ready().choose_expert(segment, name))

    def refresh(self):
        """Show the answer for the selected segment."""
        workbench = self.panel.workbench
        answer = workbench.answers.get(workbench.parameters.segment)
        refusal = self.panel.tumors.refusal()
        reason = _("<b>Not searched.</b> {reason}<br><br>").format(reason=html.escape(refusal)) if refusal else ""
        self.ui.answerLabel.text = reason + self.text(answer)
        for box, value in (
            (self.ui.changesCheckBox, workbench.parameters.show_changes),
            (self.ui.confidenceCheckBox, workbench.parameters.show_confidence),
        ):
            if box.checked != value:
                set_silently(box, lambda box=box, value=value: box.setChecked(value))
        locked = self.panel.selected_is_locked()
        self.ui.acceptButton.text = _("Unlock") if locked else _("Accept and lock")
        enable(self.ui.acceptButton, "" if self.panel.has_segment() else _("Select a segment first."))
        if answer is not self._shown:
            self._shown = answer
            self.refresh_alternatives(answer)

    def text(self, answer):
        """The answer in words."""
        finds = self.panel.workbench.search.is_chosen
        if not self.panel.has_segment():
            return _("Choose what to look for.") if finds else _("Select or add a segment, then place a prompt.")
        if self.panel.selected_is_locked():
            return _("This segment is accepted and locked: neither prompts nor neighbors change it.")
        if answer is None:
            return _("No answer yet.") if finds else _("No answer yet. Place a prompt on the target.")
        result = answer.result
        who = f"<b>{html.escape(self.panel.model_title())}</b>"
        if result.alternatives or result.expert != "base":
            who = _("{model}, expert <b>{expert}</b>").format(model=who, expert=html.escape(result.expert))
        sure = _("does not say how sure it is")
        if finds:
            sure = _("see the lesion table for how sure it is of each") if answer.volume_ml else _("no lesion")
        if result.confidence is not None:
            sure = _("{percent} % sure").format(percent=round(100 * result.confidence))
        gate = ""
        if result.gate_weight is not None:
            gate = _(" (gate {percent} %)").format(percent=round(100 * result.gate_weight))
        change = _("{volume:.2f} mL; {added} voxels added, {removed} removed").format(
            volume=answer.volume_ml, added=f"{answer.added:,}", removed=f"{answer.removed:,}"
        )
        lines = [f"{who}{gate}: {sure}", change, *[html.escape(note) for note in result.notes]]
        return "<br>".join(lines)

    def refresh_alternatives(self, answer):
        """Thumbnails of what the other experts would answer."""
        listing = self.ui.alternativesList
        listing.clear()
        alternatives = answer.result.alternatives if answer is not None else ()
        listing.setVisible(len(alternatives) > 0)
        for alternative in alternatives:
            item = qt.QListWidgetItem(self.alternative_title(alternative))
            item.setData(qt.Qt.UserRole, alternative.expert)
            png = self.panel.workbench.thumbnail(answer, alternative)
            if png:
                pixmap = qt.QPixmap()
                pixmap.loadFromData(qt.QByteArray(png))
                item.setIcon(qt.QIcon(pixmap))
            listing.addItem(item)

    def alternative_title(self, alternative):
        """Name and confidence of an alternative, or what the gate gives it."""
        if alternative.confidence is not None:
            return f"{alternative.expert} ({round(100 * alternative.confidence)} %)"
        if alternative.gate_weight is not None:
            return _("{expert} (gate {percent} %)").format(
                expert=alternative.expert, percent=round(100 * alternative.gate_weight)
            )
        return alternative.expert
