"""What an expert may learn from: accepted segments of opened images, and a folder below the allowed ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import MoESegError
from ..mrml.finished_cases import FinishedSegments, finished_segments, read_finished
from ..training.case_files import find_cases
from ..training.cases import Case, Structure
from ..training.desk import TeachingDesk
from ..training.scene_files import SUFFIX as SCENE_SUFFIX
from ..training.survey import Found, Survey, counts_of, patients_of
from .desk import Desk
from .files import Folders, check_content

FOLDER = "folder"
_FAILURES = (MoESegError, OSError, RuntimeError, MemoryError)


@dataclass(frozen=True)
class Source:
    """One line of the list.

    Attributes:
        key: tells it from the others.
        kind: "open" (the image that is open now), "remembered" or "folder".
        text: for the user.
        found: images, patients and structures.
    """

    key: str
    kind: str
    text: str
    found: tuple[Found, ...]


class FinishedCases:
    """Where an expert may learn from. The program has one image open at a time, so others are remembered.

    Args:
        desk: the work.
        folders: what may be read.
        teacher: reads folders in the background.

    Attributes:
        folder: the chosen folder, or None.
        problem: why images of it are left out.
    """

    def __init__(self, desk: Desk, folders: Folders, teacher: TeachingDesk) -> None:
        self._desk = desk
        self._folders = folders
        self._teacher = teacher
        self._remembered: dict[str, Case] = {}
        self._survey: Survey | None = None
        self.folder: Path | None = None
        self.problem = ""

    # Looking -----------------------------------------------------------------------------------------------------

    def sources(self) -> list[Source]:
        """All of them; reads no voxels."""
        found = [
            Source(key, "open", source.title, (Found(source.patient, source.classes),))
            for key, source in self._open().items()
        ]
        known = {source.key for source in found}
        for key, case in self._remembered.items():
            if key not in known:
                found.append(Source(key, "remembered", case.name, (Found(case.patient, _classes_of(case), case),)))
        if self.folder is not None:
            entries = self._survey.found if self._survey is not None else ()
            patients = len({entry.patient for entry in entries})
            read = f"{len(entries)} images of {patients} patients" if self._survey is not None else "reading …"
            found.append(Source(FOLDER, "folder", f"Folder {self.folder.name}: {read}", entries))
        return found

    def is_remembered(self, key: str) -> bool:
        """Whether a source stays when another image is opened."""
        return key in self._remembered

    def _open(self) -> Mapping[str, FinishedSegments]:
        """Accepted segments of the open image by key."""
        case = self._desk.case
        if case is None:
            return {}
        found = finished_segments(case.workbench.scene)
        return {f"{case.number} {source.segmentation}": source for source in found}

    # Choosing ----------------------------------------------------------------------------------------------------

    def remember(self) -> None:
        """Copy what is accepted on the open image, so that it can be learned from when another image is open.

        Raises:
            MoESegError: nothing is accepted, or it cannot be read.
        """
        sources = self._open()
        if not sources:
            raise MoESegError("Nothing is accepted on this image. Press Accept (A) on segments that are right.")
        self._remembered.update({key: self._read(source) for key, source in sources.items()})

    def forget(self, key: str) -> None:
        """Leave a remembered image, or the folder, for good."""
        self._remembered.pop(key, None)
        if key == FOLDER:
            self._teacher.stop_looking()
            self.folder = self._survey = None
            self.problem = ""

    def look_into(self, folder: Path) -> None:
        """Start to read a folder; every file must lie below the allowed folders and be what its name says.

        Raises:
            FileRefusedError: one does not.
            TrainingError: there is nothing in it, or images and labels do not pair up.
        """
        self._teacher.look_into(folder)
        self.folder, self._survey, self.problem = folder, None, ""

    def check_folder(self, text: str) -> Path:
        """The folder of that path, after a look at its files; may run on any thread.

        Raises:
            FileRefusedError, TrainingError: see :meth:`look_into`.
        """
        folder = self._folders.find(text)
        for case in find_cases(folder):
            for path in {path for path in (case.image, case.labels) if isinstance(path, Path)}:
                if self._folders.find_image(str(path)).is_file() and path.suffix != SCENE_SUFFIX:
                    check_content(path)
        return folder

    def pump(self) -> bool:
        """Take what was found in the folder; whether something changed."""
        try:
            survey = self._teacher.take_survey()
        except _FAILURES as error:
            self.forget(FOLDER)
            self.problem = str(error)
            return True
        if survey is None:
            return False
        self._survey = survey
        if survey.problems:
            self.problem = f"{len(survey.problems)} images are left out. The first: {survey.problems[0]}"
        return True

    # Learning ----------------------------------------------------------------------------------------------------

    def cases(self, left_out: frozenset[str], classes: tuple[str, ...]) -> list[Case]:
        """Copies of what is chosen.

        Raises:
            MoESegError: it cannot be read.
        """
        wanted = [source for source in self.sources() if source.key not in left_out]
        opened = self._open()
        cases = [self._read(opened[source.key]) for source in wanted if source.kind == "open"]
        for source in wanted:
            entries = source.found if source.kind != "open" else ()
            cases += [entry.case for entry in entries if entry.case and not set(classes).isdisjoint(entry.classes)]
        return cases

    def _read(self, source: FinishedSegments) -> Case:
        found = read_finished(self._desk.ready().workbench.scene, source)
        structures = tuple(Structure(name, patch) for name, patch in found.segments)
        return Case(found.name, found.patient, found.volume, structures, modality=found.volume.modality)


def found_in(sources: list[Source], left_out: frozenset[str]) -> list[Found]:
    """What the sources hold that are not left out."""
    return [entry for source in sources if source.key not in left_out for entry in source.found]


def too_little(found: list[Found], classes: tuple[str, ...]) -> str:
    """Why nothing can be learned from this, "" when something can."""
    if not found:
        return "Accept segments (A) on images of at least two patients, or choose a folder of finished cases."
    if not classes:
        return "Choose a structure to learn."
    patients = sorted(patients_of(found, classes))
    if len(patients) < 2:
        return (
            f"All is of one patient ({', '.join(patients)}). An expert is measured on patients it did not learn from: "
            "remember this image, open one of another patient and accept segments there, or choose a folder."
        )
    return ""


def structures_of(found: list[Found]) -> list[dict[str, object]]:
    """The structures to choose from, with the number of their images and patients."""
    return [
        {"name": name, "images": images, "patients": patients} for name, (images, patients) in counts_of(found).items()
    ]


def _classes_of(case: Case) -> tuple[str, ...]:
    structures = case.labels if isinstance(case.labels, tuple) else ()
    return tuple(sorted({structure.name for structure in structures}))
