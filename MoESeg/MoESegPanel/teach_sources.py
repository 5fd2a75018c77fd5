"""What an expert may learn from: finished segments of the scene, and a folder."""

from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from .widgets import connect, enable, set_silently

FOLDER = "folder"


class TeachSources:
    """Two lists with check marks: where to learn from, and which structures."""

    def __init__(self, ui, panel, desk, changed):
        self.ui = ui
        self.panel = panel
        self.desk = desk
        self.changed = changed
        self.folder = None
        self.survey = None
        self._finished = []
        self._unchecked = {ui.teachSourcesList.objectName: set(), ui.teachClassesList.objectName: set()}
        self._shown = {}
        for listing in (ui.teachSourcesList, ui.teachClassesList):
            connect(listing, "itemChanged(QListWidgetItem*)", lambda item, listing=listing: self.onTick(listing, item))
        connect(ui.teachFolderButton, "clicked()", self.onFolder)

    def onTick(self, listing, item):
        unchecked = self._unchecked[listing.objectName]
        key = item.data(qt.Qt.UserRole)
        if item.checkState() == qt.Qt.Checked:
            unchecked.discard(key)
        else:
            unchecked.add(key)
        self.changed()

    def onFolder(self):
        path = qt.QFileDialog.getExistingDirectory(self.ui.MoESeg, _("Folder of finished segmentations"))
        if path:
            self.panel.run(lambda: self.open_folder(Path(path)))

    def open_folder(self, folder):
        """Start to read a folder, which replaces the one before.

        Raises:
            TrainingError: there is nothing in it, or images and labels do not pair up.
        """
        self.desk.look_into(folder)
        self.folder, self.survey = folder, None

    def pump(self):
        """Take what was found in the folder."""
        from MoESegLib.core.errors import MoESegError

        try:
            found = self.desk.take_survey()
        except (MoESegError, OSError, RuntimeError, MemoryError) as error:
            self.folder = None
            self.panel.say(str(error))
            self.changed()
            return
        if found is not None:
            self.survey = found
            if found.problems:
                text = _("{count} images are left out. The first: {problem}")
                self.panel.say(text.format(count=len(found.problems), problem=found.problems[0]))
            self.changed()

    # Looking

    def checked(self):
        """The finished segments of the scene that are ticked, and the cases of the folder if it is."""
        off = self._unchecked[self.ui.teachSourcesList.objectName]
        scene = [source for source in self._finished if self.key(source) not in off]
        in_folder = self.survey.found if self.survey is not None and FOLDER not in off else ()
        return scene, list(in_folder)

    def found(self):
        """What the ticked sources hold, as :class:`MoESegLib.training.survey.Found`."""
        from MoESegLib.training.survey import Found

        scene, in_folder = self.checked()
        return [*(Found(source.patient, source.classes) for source in scene), *in_folder]

    def classes(self):
        """The ticked structures."""
        from MoESegLib.training.survey import counts_of

        off = self._unchecked[self.ui.teachClassesList.objectName]
        return tuple(name for name in counts_of(self.found()) if name not in off)

    def patients(self):
        """The patients who have one of the ticked structures."""
        from MoESegLib.training.survey import patients_of

        return patients_of(self.found(), self.classes())

    def key(self, source):
        """Tells one source from another."""
        return f"{source.volume} {source.segmentation}"

    # Showing

    def refresh(self, busy):
        """Show what there is now."""
        from MoESegLib.mrml.finished_cases import finished_segments
        from MoESegLib.training.survey import counts_of

        self._finished = finished_segments(slicer.mrmlScene)
        entries = [(self.key(source), self.scene_text(source)) for source in self._finished]
        if self.folder is not None:
            entries.append((FOLDER, self.folder_text()))
        self.show(self.ui.teachSourcesList, entries, busy)
        classes = [
            (
                name,
                _("{name} (images: {cases}, patients: {patients})").format(name=name, cases=cases, patients=patients),
            )
            for name, (cases, patients) in counts_of(self.found()).items()
        ]
        self.show(self.ui.teachClassesList, classes, busy)
        enable(self.ui.teachFolderButton, busy)
        count = len(self.patients())
        self.ui.teachPatientsLabel.text = _("Patients: {count}").format(count=count) if entries else ""

    def show(self, listing, entries, busy):
        """Fill a list, ticked as it was."""
        unchecked = self._unchecked[listing.objectName]
        enable(listing, busy)
        if self._shown.get(listing.objectName) == (entries, set(unchecked)):
            return
        self._shown[listing.objectName] = entries, set(unchecked)

        def fill():
            listing.clear()
            for key, text in entries:
                item = qt.QListWidgetItem(text)
                item.setData(qt.Qt.UserRole, key)
                item.setCheckState(qt.Qt.Unchecked if key in unchecked else qt.Qt.Checked)
                item.setToolTip(text)
                listing.addItem(item)

        set_silently(listing, fill)

    def scene_text(self, source):
        """One segmentation of the scene in words."""
        text = f"{source.title}: {', '.join(source.classes)}"
        if source.title.startswith(f"{source.patient} / "):
            return text  # the image stands for the patient
        return text + _(" (patient {patient})").format(patient=source.patient)

    def folder_text(self):
        """The folder in words."""
        if self.survey is None:
            return _("Folder {name}: reading ...").format(name=self.folder.name)
        text = _("Folder {name}: images: {cases}, patients: {patients}")
        patients = len({entry.patient for entry in self.survey.found})
        return text.format(name=self.folder.name, cases=len(self.survey.found), patients=patients)

    def untick_classes_but(self, names):
        """Tick exactly these structures."""
        from MoESegLib.training.survey import counts_of

        off = set(counts_of(self.found())) - set(names)
        self._unchecked[self.ui.teachClassesList.objectName] = off
