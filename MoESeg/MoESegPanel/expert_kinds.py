"""What the list of experts holds: packs for models of slices, or specialists of SAM-Med3D-MoE with their gates."""

import html
from collections import namedtuple

from slicer.i18n import tr as _

Row = namedtuple("Row", "item text tip on")
"""One row of the list; ``on`` is None for what cannot be switched off."""


class Packs:
    """Experts of slices, which can be switched off."""

    def __init__(self, panel):
        self.panel = panel
        self._packs = []
        self._stamp = None

    def installed(self):
        """All packs; none when the file that says which are switched off is damaged, which is then said."""
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

    def rows(self):
        """What the list shows."""
        return [Row(pack, pack_title(pack), pack_tip(pack), pack.enabled) for pack in self.installed()]

    def list_tip(self):
        """What the list is good for."""
        return _("SegMoTE-lite answers with the experts that are ticked.")

    def import_file(self, path):
        """Take an expert from a file."""
        from MoESegLib.experts.store import import_pack

        import_pack(path)

    def remove(self, pack):
        """Delete an expert."""
        from MoESegLib.experts.store import remove_pack

        remove_pack(pack.name)

    def question(self, pack):
        """Asked before it is deleted."""
        return _("Delete the expert {name} from this computer?").format(name=pack.name)

    def instead_of_removal(self):
        """What to do about one that came with MoESeg."""
        return _("It came with MoESeg. Untick it, and it is not used.")


class Specialists:
    """Specialists of SAM-Med3D-MoE, and the gates that choose among them."""

    def __init__(self, panel):
        self.panel = panel
        self._rows = []
        self._stamp = None

    def rows(self):
        """What the list shows: the specialists, then the gates."""
        from MoESegLib.experts.gate_store import list_gates
        from MoESegLib.experts.specialist_store import list_specialists

        models = self.panel.workbench.models
        base = models.weights_card(self.panel.workbench.parameters.model).name
        stamp = models.specialists_stamp(), base
        if stamp != self._stamp:
            self._stamp = stamp
            items = [*list_specialists(), *list_gates()]
            self._rows = [Row(item, self.title(item, base), self.tip(item), None) for item in items]
        return self._rows

    def list_tip(self):
        """What the list is good for."""
        return _("SAM-Med3D-MoE asks the specialists that its gate was taught with; choose others under Expert.")

    def import_file(self, path):
        """Take a specialist or a gate from a file."""
        from MoESegLib.experts.gate_store import import_specialist_or_gate

        card = import_specialist_or_gate(path)
        self.panel.say(_("{name} is installed.").format(name=card.name))

    def remove(self, item):
        """Delete a specialist or a gate."""
        from MoESegLib.experts.gate_store import remove_gate
        from MoESegLib.experts.specialist_store import remove_specialist

        (remove_gate if item.noun == "gate" else remove_specialist)(item.name)

    def question(self, item):
        """Asked before it is deleted."""
        if item.noun == "gate":
            text = _("Delete the gate {name} from this computer? Specialists without a gate answer only by hand.")
        else:
            text = _("Delete the specialist {name} from this computer?")
        return text.format(name=item.name)

    def instead_of_removal(self):
        """What to do about one that came with MoESeg."""
        return _('It came with MoESeg. Choose "base" under Expert, and it is not asked.')

    def title(self, item, base):
        """Name, title, and what keeps it from answering."""
        if item.problem:
            return _("{name}: cannot be used").format(name=item.name)
        own = "" if item.shipped else _(" (yours)")
        what = _("gate") if item.noun == "gate" else item.card.title
        if item.card.base.name != base:
            return _("{name}{own}: {what}, for {base}").format(
                name=item.name, own=own, what=what, base=self.base_title(item.card)
            )
        idle = "" if self.is_at_work(item) else self.idle(item)
        return f"{item.name}{own}: {what}{idle}"

    def idle(self, item):
        """Why it is not asked, in the row."""
        return _(", not used") if item.noun == "gate" else _(", only by hand")

    def is_at_work(self, item):
        """Whether a gate is the one that is used with its base, or a specialist is known to that one."""
        from MoESegLib.experts.gate_store import gate_for

        gate = gate_for(item.card.base.sha256)
        if item.noun == "gate":
            return gate.name == item.name
        return gate is not None and gate.card.sha256_of(item.name) == item.card.sha256

    def tip(self, item):
        """What the card says, and what the gate has to do with it."""
        if item.problem:
            return html.escape(item.problem)
        card = item.card
        fits = _("Fits: {base}").format(base=self.base_title(card))
        if item.noun == "gate":
            names = ", ".join(expert.name for expert in card.experts)
            rows = [
                card.description,
                _("Chooses among: {names}").format(names=names),
                _("Threshold (tau): {tau} %").format(tau=round(100 * card.tau)),
                fits,
                _("Made {date}.").format(date=card.created),
            ]
        else:
            rows = [*card_rows(card), fits, self.about_gate(card)]
        return "<br>".join(html.escape(row) for row in rows if row)

    def about_gate(self, card):
        """Whether the gate of its base asks a specialist."""
        from MoESegLib.experts.gate_store import gate_for

        gate = gate_for(card.base.sha256)
        known = None if gate is None else gate.card.sha256_of(card.name)
        if known is None:
            return _("No gate was taught with it: it answers when you choose it under Expert.")
        if known != card.sha256:
            text = _(
                "The gate {gate} was taught with another {name}, so the model cannot be loaded: remove one of them."
            )
        else:
            text = _("The gate {gate} was taught with it and asks it where it is sure.")
        return text.format(gate=gate.name, name=card.name)

    def base_title(self, card):
        """The model that it fits, for people."""
        from MoESegLib.core.errors import UnknownModelError

        try:
            return self.panel.workbench.models.card(card.base.name).title
        except UnknownModelError:
            return card.base.name


def pack_title(pack):
    """Name and title, or that it cannot be used."""
    if pack.problem:
        return _("{name}: cannot be used").format(name=pack.name)
    own = "" if pack.shipped else _(" (yours)")
    return f"{pack.name}{own}: {pack.card.title}"


def pack_tip(pack):
    """What the card says."""
    if pack.problem:
        return html.escape(pack.problem)
    return "<br>".join(html.escape(row) for row in card_rows(pack.card))


def card_rows(card):
    """What the cards of packs and of specialists say."""
    measured = "; ".join(
        _("{prompt} {dice:.2f} (without it {base})").format(
            prompt=entry.prompt,
            dice=entry.dice,
            base="?" if entry.base_dice is None else f"{entry.base_dice:.2f}",
        )
        for entry in card.measured
    )
    return [
        card.description,
        _("Structures: {names}").format(names=", ".join(entry.name for entry in card.classes)),
        _("Images: {modalities}").format(modalities=", ".join(card.modalities) or _("not stated")),
        _("Prompts: {prompts}").format(prompts=", ".join(card.prompts)),
        _("Measured (Dice): {measured}").format(measured=measured or _("nothing yet")),
        _("License: {license}. Made {date}.").format(license=card.license, date=card.created),
    ]
