"""Model, expert, and the model's card."""

import html

import qt
import slicer
from slicer.i18n import tr as _

from .widgets import connect, enable, fill


class ModelView:
    """Chooses a model and an expert; gets, imports and removes weights."""

    def __init__(self, ui, panel):
        self.ui = ui
        self.panel = panel
        self._card = None
        connect(ui.modelSelector, "activated(int)", self.onModel)
        connect(ui.expertSelector, "activated(int)", self.onExpert)
        connect(ui.getModelButton, "clicked()", self.onGet)
        connect(ui.importModelButton, "clicked()", self.onImport)
        connect(ui.removeModelButton, "clicked()", self.onRemove)

    def onModel(self, index):
        workbench, name = self.panel.workbench, self.ui.modelSelector.itemData(index)
        extent = "volume" if workbench.search.is_model(name) else None  # lesions are looked for in the whole image
        self.panel.run(lambda: workbench.select(model=name, extent=extent))

    def onExpert(self, index):
        name = self.ui.expertSelector.itemData(index) or None
        segment = self.panel.workbench.parameters.segment
        self.panel.run(lambda: self.panel.workbench.ready().choose_expert(segment, name))

    def onGet(self):
        models = self.panel.workbench.models
        card = models.card(self.panel.workbench.parameters.model)
        if not self.panel.install_dependencies() or models.state(card.name) == "installed":
            self.panel.refresh()
            return
        weights = models.weights_card(card.name)
        text = _(
            "Download {title} ({size}) from {source}?\n\nLicense: {license}. The file is checked and stays on this "
            "computer until you remove it; nothing about your images is sent."
        ).format(title=weights.title, size=weights.size_text, source=weights.source_url, license=weights.license)
        if slicer.util.confirmOkCancelDisplay(text, windowTitle=_("Get model")):
            models.get(card.name)
            self.panel.refresh()

    def onImport(self):
        models = self.panel.workbench.models
        name = self.panel.workbench.parameters.model
        path = qt.QFileDialog.getOpenFileName(self.ui.MoESeg, _("Weights of the model"), "", _("Weights (*)"))
        if path and self.panel.install_dependencies():
            self.panel.run(lambda: models.import_file(name, path))

    def onRemove(self):
        models = self.panel.workbench.models
        card = models.card(self.panel.workbench.parameters.model)
        titles = ", ".join(models.card(name).title for name in models.sharers(card.name))
        size = models.weights_card(card.name).size_text
        text = _("Delete the file of {titles} ({size}) from this computer?").format(titles=titles, size=size)
        if slicer.util.confirmOkCancelDisplay(text, windowTitle=_("Remove model")):
            self.panel.run(lambda: self.panel.remove_model(card.name))

    def refresh(self):
        """Show the card of the chosen model and what can be done with it."""
        workbench = self.panel.workbench
        models, chosen = workbench.models, workbench.parameters.model
        names = models.names()
        fill(self.ui.modelSelector, names, [models.card(name).title for name in names], chosen)
        card, state = models.card(chosen), models.state(chosen)
        self.ui.modelCard.text = self.card_text(card, state)
        if self._card != (chosen, state):
            self._card = chosen, state
            self.ui.modelCardSection.collapsed = state == "installed"  # then the room is better used by the prompts
        here = state != "missing"
        busy = _("Wait until the download ends, or cancel it.") if models.getting is not None else ""
        complete = _("The model is on this computer already.") if here and not models.missing() else ""
        enable(self.ui.getModelButton, complete or busy or ("" if here else self.local(card)))
        enable(self.ui.importModelButton, _("The model is on this computer already.") if here else busy)
        kept = _("The model is part of MoESeg.") if models.weights_card(chosen).provider["kind"] == "shipped" else busy
        enable(self.ui.removeModelButton, kept if here else _("The model is not on this computer."))
        self.refresh_experts()

    def local(self, card):
        """Why a model cannot be downloaded from here, "" when it can."""
        card = self.panel.workbench.models.weights_card(card.name)
        if card.provider["kind"] != "local":
            return ""
        return _("This model cannot be downloaded from here. {how}").format(how=card.provider["instructions"])

    def refresh_experts(self):
        """Offer the experts that answered the selected segment, and those that can be asked by name."""
        workbench = self.panel.workbench
        result = workbench.result(workbench.parameters.segment)
        experts = set()
        if result is not None:
            experts = {result.expert, *[alternative.expert for alternative in result.alternatives]}
        if self.panel.prompts_of_selected():  # they may be asked before anybody has answered in this session
            experts.update(getattr(workbench.session.engine, "experts", ()))
        names, titles = ["", *sorted(experts)], [_("Chosen by the model"), *sorted(experts)]
        fill(self.ui.expertSelector, names, titles, (self.panel.expert_of_selected() or "") if experts else "")
        reason = "" if len(names) > 2 else _("This model has no experts to choose from, or none has answered yet.")
        enable(self.ui.expertSelector, reason)

    def card_text(self, card, state):
        """What a user must know before trusting a model."""
        states = {"installed": _("on this computer"), "missing": _("not on this computer"), "broken": _("damaged")}
        measured = "; ".join(
            f"{html.escape(str(item.get('data', '')))}: Dice {html.escape(str(item.get('dice', '')))}"
            for item in card.measured
        )
        license_text = html.escape(card.license)
        if card.license_url:
            license_text = f'<a href="{html.escape(card.license_url)}">{license_text}</a>'
        weights = self.panel.workbench.models.weights_card(card.name)
        rows = [
            html.escape(card.description),
            _("Understands: {prompts}").format(prompts=html.escape(", ".join(card.prompts))),
            _("Images: {dimension}, {modalities}").format(
                dimension=card.dimension.upper(), modalities=html.escape(", ".join(card.modalities))
            ),
            _("Size: {size}, {state}").format(size=weights.size_text, state=states[state]),
            _("License: {license}").format(license=license_text),
            _("Measured: {measured}").format(measured=measured or _("nothing yet")),
        ]
        if card.notes:
            rows.append(html.escape(card.notes))
        return "<br>".join(rows)
