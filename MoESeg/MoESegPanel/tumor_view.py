"""Looking for the lesions of a tumor type: phrase, organs, and what is missing."""

import html

import qt
import slicer
from slicer.i18n import tr as _

from .widgets import connect, enable, fill, set_silently


class TumorView:
    """The section "Find lesions", which is there while a model is chosen that finds them."""

    def __init__(self, ui, panel):
        self.ui = ui
        self.panel = panel
        self._offered = None
        self._shown = None
        self._completer = None
        self._problem = ""
        connect(ui.tumorSelector, "activated(int)", lambda index: self.onPhrase())
        connect(ui.tumorSelector.lineEdit(), "editingFinished()", self.onPhrase)
        connect(ui.anatomySelector, "currentNodeChanged(vtkMRMLNode*)", self.onAnatomy)
        connect(ui.organsButton, "clicked()", self.onOrgans)
        connect(ui.paintedSelector, "activated(int)", self.onPainted)
        connect(ui.paintedOrganSelector, "activated(int)", self.onPaintedOrgan)
        connect(ui.findButton, "clicked()", self.onFind)
        connect(ui.stopFindButton, "clicked()", panel.prompts.onCancel)

    # Doing

    def onPhrase(self):
        phrase = self.ui.tumorSelector.currentText.strip()
        if phrase != self.panel.workbench.parameters.phrase:
            self.panel.workbench.parameters.phrase = phrase
            self.panel.workbench.search.refusal = ""
            self.panel.refresh()

    def onAnatomy(self, node):
        self.panel.workbench.parameters.anatomy = node
        self.panel.refresh()

    def onPainted(self, index):
        parameters = self.panel.workbench.parameters
        parameters.organ_segment = self.ui.paintedSelector.itemData(index) or ""
        organs = self.needs().organs
        if parameters.organ not in organs:
            parameters.organ = organs[0] if organs else ""
        self.panel.refresh()

    def onPaintedOrgan(self, index):
        self.panel.workbench.parameters.organ = self.ui.paintedOrganSelector.itemData(index) or ""
        self.panel.refresh()

    def onFind(self):
        self.onPhrase()
        phrase = self.panel.workbench.parameters.phrase
        if phrase and self.panel.run(lambda: self.find(phrase)):
            self.ui.lesionSection.collapsed = False

    def find(self, phrase):
        """Search, and say which organs cannot be used."""
        self.panel.say(" ".join(self.panel.workbench.search.find(phrase)))

    def onOrgans(self):
        self.panel.run(self.run_totalsegmentator)

    def run_totalsegmentator(self):
        """Segment the organs, after asking unless they are known from before."""
        organs = self.panel.workbench.organs
        consent = organs.consent()
        title = _("Run TotalSegmentator")
        if not consent:
            organs.start()
        elif slicer.util.confirmOkCancelDisplay(consent, windowTitle=title):
            organs.start(self.panel.logic.totalSegmentatorProgram())

    # Showing

    def refusal(self):
        """Why there was or can be no search, for the answer card, or an empty text."""
        search = self.panel.workbench.search
        return (self._problem or search.refusal) if search.is_chosen else ""

    def refresh(self):
        """Show what is looked for, what it needs and what of it is there."""
        workbench = self.panel.workbench
        is_chosen = workbench.search.is_chosen
        if self.ui.tumorSection.visible != is_chosen:
            self.ui.tumorSection.setVisible(is_chosen)
        if not is_chosen:
            return
        self.refresh_phrases()
        selector, node = self.ui.anatomySelector, workbench.parameters.anatomy
        if selector.currentNode() is not node:
            set_silently(selector, lambda: selector.setCurrentNode(node))
        needs = self.needs()
        reason = workbench.why_not()
        self._problem = needs.problem if workbench.parameters.phrase and not reason else ""
        self.refresh_painted(needs)
        self.ui.needsLabel.text = self.text(needs)
        waits = _("Wait for the answer, or cancel it.") if workbench.is_busy else ""
        enable(self.ui.findButton, reason or needs.problem or waits)
        is_slice = workbench.parameters.extent == "slice"
        self.ui.findButton.text = _("Find lesions on this slice") if is_slice else _("Find lesions")
        enable(self.ui.stopFindButton, "" if workbench.is_busy else _("Nothing runs."))
        enable(self.ui.organsButton, self.panel.logic.whyNoTotalSegmentator() or workbench.organs.why_not())

    def needs(self):
        """What the phrase needs."""
        from MoESegLib.mrml.lesion_search import Needs

        workbench = self.panel.workbench
        phrase = workbench.parameters.phrase
        if not phrase:
            return Needs(workbench.why_not() or _("Choose or type what to look for."))
        return workbench.search.needs(phrase)

    def text(self, needs):
        """Organs that are there and that are missing, or why there can be no search."""
        if needs.problem:
            return html.escape(needs.problem)
        lines = []
        there = [name if count == 1 else f"{name} ({count})" for name, count in needs.there]
        if there:
            lines.append(_("Organs for a {tumor}: <b>{names}</b>.").format(tumor=needs.tumor, names=", ".join(there)))
        if needs.missing:
            text = _("Missing: <b>{names}</b>.") if there else _("A {tumor} lies in: {names}. <b>Not given.</b>")
            lines.append(text.format(tumor=needs.tumor, names=", ".join(needs.missing)))
        if needs.locked:
            text = _(
                "{names} is accepted and locked in this segmentation, so no lesion can be written there: unlock it."
            )
            lines.append(text.format(names=html.escape(", ".join(needs.locked))))
        return "<br>".join(lines)

    def refresh_phrases(self):
        """Offer what the model was taught; what the user typed stays."""
        combo = self.ui.tumorSelector
        names = self.panel.workbench.search.phrases()
        if names != self._offered:
            self._offered = names
            set_silently(combo, combo.clear)
            set_silently(combo, lambda: combo.addItems(list(names)))
            self._completer = qt.QCompleter(list(names), combo)
            self._completer.setCaseSensitivity(qt.Qt.CaseInsensitive)
            self._completer.setFilterMode(qt.Qt.MatchContains)
            combo.setCompleter(self._completer)
            combo.lineEdit().setPlaceholderText(_("For example: liver tumor"))
            self._shown = None
        phrase = self.panel.workbench.parameters.phrase
        if phrase != self._shown:  # not while the user types
            self._shown = phrase
            set_silently(combo, lambda: combo.setEditText(phrase))
        enable(combo, self.panel.workbench.why_not())

    def refresh_painted(self, needs):
        """Offer the segments that may be painted organs, and the organs of the tumor."""
        parameters = self.panel.workbench.parameters
        ids = self.panel.segment_ids()
        names = [self.panel.segment_name(segment_id) for segment_id in ids]
        fill(self.ui.paintedSelector, ["", *ids], [_("None"), *names], parameters.organ_segment)
        organs = list(needs.organs)
        if parameters.organ and parameters.organ not in organs:
            organs.append(parameters.organ)
        fill(self.ui.paintedOrganSelector, organs, organs, parameters.organ)
        enable(self.ui.paintedSelector, "" if ids else _("There are no segments yet. Add one, and paint the organ."))
        unchosen = parameters.organ_segment not in ids
        enable(self.ui.paintedOrganSelector, _("Choose the painted segment first.") if unchosen else "")
