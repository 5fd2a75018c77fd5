"""Keeps the open work on disk while the user works, and brings it back after a crash.

Voxels, prompts and locks are gathered on the main thread, which takes a click 1 ms with 20 segments, since the page was
shown the same masks; a thread of its own writes them (60 to 90 ms for the demo's 512 x 512 x 20). A state that changes
while one is written follows it.
"""

from __future__ import annotations

import contextlib
import logging
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from .. import __version__
from ..core.errors import MoESegError, OutputError, VolumeError
from ..core.segmentation_file import SegmentRecord
from ..core.volume import Volume
from ..mrml.segmentation_files import segment_records
from ..mrml.segmentations import segment_ids, segment_of, voxels_changed
from .desk import Case, Desk
from .keep import SEGMENTS, KeptWork, WorkFolder, Works

_log = logging.getLogger(__name__)
_LOOK_SECONDS = 0.05
_REST = 2.0
"""Times what the last write took: so long the disk and the second core rest before the next one."""


class Keeper:
    """Writes the desk's work into a folder whenever it changed; belongs to the main thread.

    Args:
        desk: the work.
        works: where it is kept; None keeps nothing.

    Attributes:
        kept: of when the newest state on disk is, seconds since the epoch; None while there is none.
        problem: why the last state could not be written, "" when it could.
        behind: what :meth:`is_behind` said last.
        left: see :meth:`close`.
    """

    def __init__(self, desk: Desk, works: Works | None = None) -> None:
        self.desk = desk
        self.works = works
        self.kept: float | None = None
        self.problem = ""
        self.behind = False
        self.left = False
        self._case: Case | None = None
        self._folder: WorkFolder | None = None
        self._writer = ThreadPoolExecutor(1, "moeseg-keeper")
        self._writing: Future[WorkFolder] | None = None
        self._written: tuple = ()
        self._saved: tuple = ()
        self._locked: frozenset[str] = frozenset()
        self._next_look = self._next_write = 0.0

    def begin(self, case: Case, folder: WorkFolder | None = None) -> None:
        """Keep this image's work from now on; call :meth:`leave` before another one is opened."""
        self._case, self._folder, self.kept = case, folder, None
        self._written = self._saved = ()
        self._locked, self._next_write = frozenset(), 0.0

    def look(self) -> None:
        """Write if something changed and nothing is written now; call it often."""
        now = time.monotonic()
        if now < self._next_look or not self._is_on():
            return
        self._next_look = now + _LOOK_SECONDS
        if self._writing is not None:
            if not self._writing.done():
                return
            self._finish()
        case = self.desk.ready()
        locked = frozenset(key for key in segment_ids(case.segmentation) if case.workbench.is_locked(key))
        if now >= self._next_write or locked != self._locked:  # what was accepted does not wait
            self._locked = locked
            self._write()
        self.is_behind()

    def is_behind(self) -> bool:
        """Whether what is on the disk is not all there is."""
        self.behind = self._is_on() and (self._writing is not None or self._is_new(self._state()))
        return self.behind

    def mark(self) -> tuple:
        """Stands for what is segmented now, see :meth:`saved`."""
        return _content(self.desk.ready())

    def saved(self, mark: tuple) -> None:
        """The user saved all that was segmented then in a file of their own."""
        self._saved = mark

    def leave(self) -> bool:
        """Write what is not written yet, and let go of the work; returns whether it stays on disk.

        It is removed when the user saved it, or when nothing was drawn.
        """
        if not self._is_on():
            return False
        self._finish()
        self._write()
        self._finish()
        case, folder = self.desk.ready(), self._folder
        self._case = self._folder = None
        if folder is None:
            return False
        done = not segment_ids(case.segmentation) or _content(case) == self._saved
        folder.close(remove=done)
        return not done

    def take_upload(self, path: Path, uploaded: Path) -> tuple[Path | None, WorkFolder | None]:
        """Move uploaded files to the work that begins with them, so that they are there after a crash; any thread.

        Args:
            path: the image, which is the folder of uploaded files or a file in it.

        Returns:
            Where the image is then, and the folder for :meth:`begin`; None and None where nothing is kept.
        """
        if self.works is None:
            return None, None
        try:
            folder = self.works.new()
            return folder.take_files(uploaded) / path.relative_to(uploaded), folder
        except (OutputError, OSError) as error:
            self.problem = _problem(error)
            return None, None

    def resume(self, model: str | None = None) -> str:
        """Open the work that was kept last, see :meth:`go_on`; returns what to tell the user.

        Raises:
            MoESegError: there is none that can be opened.
        """
        if self.works is None:
            raise MoESegError("Nothing is kept here.")
        folder, work = self.works.take()
        self.go_on(folder, work, read_image(work), model)
        return f"Going on with {work.data['image']['name']}, kept {time.strftime('%c', time.localtime(work.changed))}."

    def go_on(self, folder: WorkFolder, work: KeptWork, volume: Volume, model: str | None = None) -> None:
        """Open a kept work: image, segments, prompts, locks, and what was chosen; undo begins anew.

        Args:
            volume: of :func:`read_image`.
            model: another one than that of the work.

        Raises:
            VolumeError, GeometryError: its segments cannot be read; they stay where they are.
        """
        data = work.data
        self.leave()
        self.desk.close()
        if (model or data["model"]) in self.desk.models.names():
            self.desk.model = model or data["model"]
        case = self.desk.show(volume, Path(data["image"]["path"]), folder.log())
        try:
            case.open_segmentation(folder.path / SEGMENTS)
        except MoESegError:
            folder.close()
            self.begin(case)
            raise
        case.workbench.select(extent=data["extent"])
        case.workbench.overwrite_mode = data["overlap"]
        present = segment_ids(case.segmentation)
        if data["selected"] in present:
            case.workbench.select_segment(data["selected"])
        for segment_id in data["hidden"]:
            case.segmentation.GetDisplayNode().SetSegmentVisibility(segment_id, False)
        self.begin(case, folder)

    def others(self) -> list[KeptWork]:
        """Kept works that can be gone on with; any thread."""
        return [] if self.works is None else self.works.free()

    def find(self, name: str) -> tuple[WorkFolder, KeptWork]:
        """One of the other works, to go on with or to remove.

        Raises:
            MoESegError: there is none of that name, or another program has it open.
        """
        if self.works is None or not any(work.name == name for work in self.works.all()):
            raise MoESegError("That work is not kept any more.")
        return self.works.take(name)

    def close(self) -> None:
        """End; :attr:`left` says whether work that the user did not save is kept."""
        self.left = self.leave()
        self._writer.shutdown()

    # Inside ------------------------------------------------------------------------------------------------------

    def _is_on(self) -> bool:
        case = self.desk.case
        return self.works is not None and case is not None and case is self._case and case.source is not None

    def _state(self) -> tuple:
        """Differs after anything changed that is kept."""
        case = self.desk.ready()
        return _content(case), _choices(case), len(case.log.lines)

    def _is_new(self, state: tuple) -> bool:
        """Whether a state is to be written; an image that was only opened is not."""
        return state != self._written and (
            self._folder is not None or bool(segment_ids(self.desk.ready().segmentation))
        )

    def _write(self) -> None:
        """Hand the present state to the writing thread, unless it is written already or there is nothing to lose."""
        case, state = self.desk.ready(), self._state()
        if not self._is_new(state):
            return
        self._written = state
        records = segment_records(case.segmentation, case.patch)
        data = {
            **_choices(case),
            "changed": time.time(),
            "version": __version__,
            "segments": [{"name": record.name, "locked": case.workbench.is_locked(record.id)} for record in records],
        }
        self._writing = self._writer.submit(self._do_write, self._folder, case, records, data, case.log.text())

    def _do_write(
        self, folder: WorkFolder | None, case: Case, records: list[SegmentRecord], data: dict[str, Any], log: str
    ) -> WorkFolder:
        """On the writing thread; the first time it makes the folder."""
        assert self.works is not None
        began = time.monotonic()
        volume = case.volume
        image = {"path": str(case.source), "name": volume.name, "modality": volume.modality, "id": volume.content_id}
        with contextlib.ExitStack() as undo:
            if folder is None:
                folder = self.works.new()
                undo.callback(folder.close, remove=True)  # else every attempt on a full disk left an empty one
                self.works.clean_up()
            folder.write(volume, records, {**data, "image": image}, log)
            undo.pop_all()
        self.kept = data["changed"]
        self._next_write = time.monotonic() + _REST * (time.monotonic() - began)
        return folder

    def _finish(self) -> None:
        """Wait for the state that is being written."""
        if self._writing is None:
            return
        try:
            self._folder = self._writing.result()
            self.problem = ""
        except Exception as error:  # noqa: BLE001 - whatever it was, the page says it, and it is tried again
            if not isinstance(error, MoESegError):
                _log.error("The work could not be kept", exc_info=error)
            self.problem = _problem(error)
            self._next_write = time.monotonic() + 10.0
            self._written = ()
        self._writing = None


def read_image(work: KeptWork) -> Volume:
    """The image of a kept work; any thread.

    Raises:
        VolumeError: it is gone, or another one lies there now.
    """
    image = work.data["image"]
    volume = Volume.read(image["path"])
    if volume.content_id != image["id"]:
        raise VolumeError(
            f"The image {image['path']} has changed since it was segmented, so the kept work does not fit it. Put the "
            "old one back, and go on then."
        )
    return volume


def _problem(error: Exception) -> str:
    reason = str(error) if isinstance(error, MoESegError) else f"{error!r}."
    return f"What you do is not kept for the case of a crash: {reason} Save often."


def describe_work(work: KeptWork) -> dict[str, Any]:
    """A kept work for the page."""
    segments = work.data["segments"]
    return {
        "work": work.name,
        "name": work.data["image"]["name"],
        "changed": work.changed,
        "segments": [segment["name"] for segment in segments],
        "locked": sum(bool(segment["locked"]) for segment in segments),
    }


def _content(case: Case) -> tuple:
    """Differs after segments, their prompts, locks or voxels changed."""
    ids = segment_ids(case.segmentation)
    return case.segmentation.GetID(), *(
        (key, segment_of(case.segmentation, key).GetMTime(), voxels_changed(case.segmentation, key)) for key in ids
    )


def _choices(case: Case) -> dict[str, Any]:
    """What the user chose besides."""
    bench = case.workbench
    return {
        "model": bench.parameters.model,
        "extent": bench.parameters.extent,
        "overlap": bench.overwrite_mode,
        "selected": bench.parameters.segment,
        "hidden": [key for key in segment_ids(case.segmentation) if not case.is_visible(key)],
    }
