"""Teach an expert: from finished segments to an expert that is kept or discarded."""

import time
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from .teach_curve import curve_pixmap
from .teach_sources import TeachSources
from .widgets import connect, enable, fill

GENERAL_EXPERT = "click"
"""The shipped expert that was taught a bit of everything; others start from it."""

BASE = "lite-medsam"
WORSE = 0.005
"""Dice by which an expert may be worse than the base before the panel warns."""

_LOOK_SECONDS = 1.0
_CURVE_HEIGHT = 150


class TeachView:
    """The section "Teach an expert". What it starts runs on, whatever module is open and whatever scene is loaded."""

    def __init__(self, ui, panel):
        from MoESegLib.training.desk import TeachingDesk

        self.ui = ui
        self.panel = panel
        self.desk = TeachingDesk()
        self.sources = TeachSources(ui, panel, self.desk, self.refresh)
        self._collecting = None
        self._packs = []
        self._card = None
        self._drawn = None
        self._restored = False
        self._looked = 0.0
        connect(ui.teachNameEdit, "textChanged(QString)", lambda text: self.refresh())
        connect(ui.teachAutomaticCheckBox, "toggled(bool)", lambda on: self.refresh())
        connect(ui.teachSection, "contentsCollapsed(bool)", lambda collapsed: self.refresh())
        connect(ui.teachButton, "clicked()", self.onTeach)
        connect(ui.teachCancelButton, "clicked()", self.onCancel)
        connect(ui.teachKeepButton, "clicked()", self.onKeep)
        connect(ui.teachDiscardButton, "clicked()", self.onDiscard)
        connect(ui.teachExportButton, "clicked()", self.onExport)

    def use_desk(self, desk):
        """Work with a desk; what waits on it is shown: an interrupted run, or an expert to be kept or discarded."""
        self.desk = self.sources.desk = desk
        self._restored = False

    def restore(self):
        """Set the controls as they were when the application ended."""
        lesson = self.desk.lesson
        if lesson is not None:
            self.ui.teachSection.collapsed = False
            self.ui.teachNameEdit.text = lesson.name
            self.ui.teachMinutesSpinBox.value = round(lesson.minutes)
            self.ui.teachAutomaticCheckBox.checked = lesson.automatic
            if lesson.folder and Path(lesson.folder).is_dir():
                self.panel.run(lambda: self.sources.open_folder(Path(lesson.folder)))
        self.read_result()

    def close(self):
        """Interrupt what runs; it can go on another time."""
        self.desk.close()

    # Doing

    def onTeach(self):
        if self.panel.install_dependencies():
            self._collecting = self.lesson(), self.sources.checked()[0], self.cases_of_folder()
            self.panel.say("")
        self.refresh()

    def lesson(self):
        """What the controls say."""
        from MoESegLib.training.lesson import Lesson

        scene, in_folder = self.sources.checked()
        return Lesson(
            name=self.ui.teachNameEdit.text,
            classes=self.sources.classes(),
            minutes=float(self.ui.teachMinutesSpinBox.value),
            start_from=self.start_from(),
            automatic=self.ui.teachAutomaticCheckBox.checked and len(self.sources.classes()) == 1,
            folder=str(self.sources.folder) if in_folder else "",
        )

    def cases_of_folder(self):
        """The cases of the folder that hold a ticked structure."""
        classes = set(self.sources.classes())
        return [entry.case for entry in self.sources.checked()[1] if not classes.isdisjoint(entry.classes)]

    def collect(self):
        """Copy one image and its segments from the scene, so that the event loop is kept no longer; then start."""
        lesson, waiting, cases = self._collecting
        if waiting:
            self._collecting = lesson, waiting[1:], cases
            if not self.panel.run(lambda: cases.append(self.case_of(waiting[0]))):
                self._collecting = None
            return
        self._collecting = None
        self.panel.run(lambda: self.desk.start(lesson, cases))

    def case_of(self, source):
        """Finished segments of the scene as a case."""
        from MoESegLib.mrml.finished_cases import read_finished
        from MoESegLib.training.cases import Case, Structure

        found = read_finished(slicer.mrmlScene, source)
        structures = tuple(Structure(name, patch) for name, patch in found.segments)
        return Case(found.name, found.patient, found.volume, structures, modality=found.volume.modality)

    def onCancel(self):
        self._collecting = None
        self.desk.cancel()
        self.refresh()

    def onKeep(self):
        name = self._card.name

        def keep():
            self.desk.keep()
            self.panel.workbench.select(model="segmote-lite")
            self.panel.reload_experts()

        kept = self.panel.run(keep)
        self.read_result()
        if kept:
            self.ui.teachNameEdit.text = ""
            self.panel.say(_("The expert {name} is installed, and SegMoTE-lite is chosen.").format(name=name))

    def onDiscard(self):
        text = _("Delete what {name} learned?").format(name=self.desk.lesson.name if self.desk.lesson else "")
        if slicer.util.confirmOkCancelDisplay(text, windowTitle=_("Discard")):
            self.panel.run(self.desk.discard_result)
            self.read_result()

    def onExport(self):
        name = f"{self._card.name}.safetensors"
        path = qt.QFileDialog.getSaveFileName(self.ui.MoESeg, _("Export expert"), name, _("Experts (*.safetensors)"))
        if path and self.panel.run(lambda: self.desk.export(Path(path).with_suffix(".safetensors"))):
            self.panel.say(_("The expert was saved as {path}.").format(path=path))

    def read_result(self):
        """Look whether an expert waits."""
        from MoESegLib.core.errors import WeightsError

        try:
            self._card = self.desk.result()
        except WeightsError as error:
            self._card = None
            self.panel.say(str(error))
        self.refresh()

    def pump(self):
        """What the timer does: copy the next case, take what ended, show progress."""
        if self._collecting is not None:
            self.collect()
        self.sources.pump()
        message = self.desk.poll()
        if message is not None:
            if message:
                self.panel.say(message)
            self.read_result()
        if self.is_busy() or self.desk.looking is not None:
            self.show_progress()
        if time.monotonic() - self._looked > _LOOK_SECONDS:
            self.refresh()  # a segment may have been accepted in another module

    def is_busy(self):
        """Whether something is taught, or about to be."""
        return self.desk.is_running or self._collecting is not None

    # Showing

    def refresh(self):
        """Show the whole section, while it is open."""
        self._looked = time.monotonic()
        if not self._restored:
            self._restored = True
            self.restore()
        if self.ui.teachSection.collapsed:
            return
        busy = _("Wait until the expert is taught, or cancel it.") if self.is_busy() else ""
        self._packs = self.panel.experts.packs.installed()
        self.sources.refresh(busy)
        self.refresh_settings(busy)
        reason = self.why_not()
        interrupted = self.desk.is_interrupted and self._card is None
        note = reason
        if interrupted and not reason and self.lesson() == self.desk.lesson:
            note = _("Teaching was interrupted; press Teach to go on.")
        elif interrupted and self.ui.teachNameEdit.text == self.desk.lesson.name:
            note = _("Teaching was interrupted. With the same settings, Teach goes on. {reason}").format(reason=reason)
        self.ui.teachReasonLabel.text = "" if busy else note
        self.ui.teachReasonLabel.setVisible(bool(note) and not busy)
        enable(self.ui.teachButton, busy or reason)
        enable(self.ui.teachCancelButton, "" if busy else _("Nothing is taught."))
        self.refresh_result()
        self.show_progress()

    def refresh_settings(self, busy):
        """Name, time, where to start, and whether it may be asked without a prompt."""
        usable = [pack for pack in self._packs if not pack.problem]
        names = ["", *(pack.name for pack in usable)]
        titles = [_("Nothing (start anew)"), *(f"{pack.name}: {pack.card.title}" for pack in usable)]
        selector = self.ui.teachFromSelector
        current = selector.currentData if selector.count else self.first_choice(usable)
        fill(selector, names, titles, current if current in names else "")
        for control in (self.ui.teachNameEdit, self.ui.teachMinutesSpinBox, selector):
            enable(control, busy)
        one = "" if len(self.sources.classes()) == 1 else _("It is learned for one structure at a time: tick one.")
        enable(self.ui.teachAutomaticCheckBox, busy or one)

    def first_choice(self, usable):
        """What an expert starts from unless the user chooses."""
        if self.desk.lesson is not None:
            return self.desk.lesson.start_from
        general = [pack.name for pack in usable if pack.shipped and pack.name == GENERAL_EXPERT]
        return general[0] if general else ""

    def start_from(self):
        """The expert to start from, "" for none."""
        return self.ui.teachFromSelector.currentData or ""

    def why_not(self):
        """Why nothing can be taught now, "" when it can."""
        from MoESegLib.training.lesson import name_problem

        models = self.panel.workbench.models
        if self._card is not None:
            return _("Keep or discard {name} first.").format(name=self._card.name)
        if models.state(BASE) != "installed":
            return _("{model} is not on this computer. Choose it under Model and press Get.").format(
                model=models.card(BASE).title
            )
        if self.desk.looking is not None:
            return _("Wait until the folder is read.")
        if not self.sources.found():
            return _("Accept segments of at least two patients, or add a folder.")
        if not self.sources.classes():
            return _("Tick a structure to learn.")
        patients = self.sources.patients()
        if len(patients) < 2:
            text = _(
                "All is of one patient ({name}). An expert is measured on patients it did not learn from: accept "
                "segments of another patient too, or add a folder."
            )
            return text.format(name=", ".join(patients))
        return name_problem(self.ui.teachNameEdit.text, [pack.name for pack in self._packs])

    def show_progress(self):
        """Progress of the reading of a folder or of learning, the learning curve, and what it means."""
        looking = self.desk.looking
        fraction, message = looking if looking is not None else self.desk.progress
        bar = self.ui.teachProgressBar
        shown = self.is_busy() or looking is not None
        if bar.visible != shown:
            bar.setVisible(shown)
        if shown:
            bar.setValue(round(100 * fraction))
            left = round(self.desk.seconds_left)
            minutes = _(", at most {minutes}:{seconds:02d} left").format(minutes=left // 60, seconds=left % 60)
            bar.setFormat(message + minutes if left else message)
        self.show_curve()

    def show_curve(self):
        """Draw the curve when it grew."""
        label, notes = self.ui.teachCurveLabel, self.desk.notes
        has_curve = notes is not None and len(notes.curve) > 0
        label.setVisible(has_curve)
        colors = label.palette.color(qt.QPalette.Window), label.palette.color(qt.QPalette.WindowText)
        width = max(320, self.ui.teachIntroLabel.width)
        state = notes, width, colors[0].name()
        if not has_curve or state == self._drawn:
            return
        self._drawn = state
        titles = {
            "axis": _("Dice by epoch; dashed: no expert"),
            "box": _("Box"),
            "click": _("One click"),
            "automatic": _("No prompt"),
        }
        label.setPixmap(curve_pixmap(notes.curve, notes.base, titles, width, _CURVE_HEIGHT, *colors))

    def refresh_result(self):
        """What was reached, and what can be done with it."""
        none = _("Teach an expert first.") if self._card is None else ""
        for button in (self.ui.teachKeepButton, self.ui.teachExportButton):
            enable(button, none)
        enable(self.ui.teachDiscardButton, none if not self.desk.is_interrupted else "")
        text = "" if self._card is None else self.result_text(self._card)
        self.ui.teachResultLabel.text = text
        self.ui.teachResultLabel.setVisible(bool(text))

    def result_text(self, card):
        """The measured Dice in plain words."""
        names = {"box": _("box"), "click": _("one click"), "auto": _("without prompt")}
        parts = []
        for entry in card.measured:
            part = f"{names.get(entry.prompt, entry.prompt)} {entry.dice:.2f}"
            if entry.base_dice is not None:
                part += _(" (without the expert {dice:.2f})").format(dice=entry.base_dice)
            parts.append(part)
        patients = max((entry.cases for entry in card.measured), default=0)
        who = _("1 patient") if patients == 1 else _("{count} patients").format(count=patients)
        text = _("{name} is ready. On {patients} not used for learning, Dice (1 is perfect): {parts}.").format(
            name=card.name, patients=who, parts=", ".join(parts)
        )
        worse = [entry for entry in card.measured if (entry.base_dice or 0.0) > entry.dice + WORSE]
        if worse:
            text += " " + _("With {prompts} it does worse than no expert: give it more time or more patients.").format(
                prompts=", ".join(names.get(entry.prompt, entry.prompt) for entry in worse)
            )
        elif patients < 3:
            text += " " + _("That is a weak test: try it on more patients before you rely on it.")
        return text
