"""Teaching in the background: what the panel starts, watches, cancels, and keeps or discards.

One run at a time, on a thread of its own. A taught expert waits in a file of its own, outside the installed ones, until
the user decides; so neither it nor an interrupted run is lost when the application ends. Nothing here imports PyTorch
before the run begins.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.cancel import CancelToken, ProgressCallback
from ..core.errors import Cancelled, MoESegError, OutputError, TrainingError
from ..experts.card import ExpertCard
from ..experts.pack_file import read_pack, read_pack_card, write_pack, write_state
from ..experts.store import find_pack, import_pack
from ..session.background import BackgroundTask
from ..session.worker import Worker
from ..weights.store import models_home
from .case_files import find_cases
from .cases import Case
from .lesson import CurvePoint, Lesson, Notes, read_notes, write_notes
from .survey import Survey, survey

if TYPE_CHECKING:
    from .held_out import HeldOut
    from .teach import TeachResult

_FAILURES = (MoESegError, ImportError, OSError, RuntimeError, MemoryError)
"""What a run can end with on a machine that is too small or lacks something, besides a fault in MoESeg."""


class TeachingDesk:
    """State of one user's teaching; belongs to the main thread.

    Args:
        teach: :func:`~.teach.teach`, or what stands in for it in a test.
    """

    def __init__(self, teach: Callable[..., TeachResult] | None = None) -> None:
        self._teach = teach
        self._worker = Worker()
        self._task: BackgroundTask[None] | None = None
        self._look: BackgroundTask[Survey] | None = None
        self._started = 0.0
        self.folder = models_home() / "teaching"
        self.notes = read_notes(self._notes_file)

    # A folder ----------------------------------------------------------------------------------------------------

    def look_into(self, folder: Path) -> None:
        """Start to read the cases of a folder; :meth:`poll` gives what was found.

        Raises:
            TrainingError: it holds none, or images and labels do not pair up.
        """
        cases = find_cases(folder)
        self.stop_looking()
        self._look = BackgroundTask(self._worker, "Reading", lambda report, token: survey(cases, report, token))

    def stop_looking(self) -> None:
        """Give the reading of a folder up."""
        if self._look is not None:
            self._look.cancel()
        self._look = None

    @property
    def looking(self) -> tuple[float, str] | None:
        """Progress of the reading of a folder."""
        return self._look.progress if self._look is not None else None

    def take_survey(self) -> Survey | None:
        """What was found, once, when the reading is done.

        Raises:
            MoESegError, OSError, RuntimeError, MemoryError: the folder could not be read.
        """
        if self._look is None or not self._look.done:
            return None
        task, self._look = self._look, None
        return task.result()

    # A run -------------------------------------------------------------------------------------------------------

    @property
    def lesson(self) -> Lesson | None:
        """What is taught, was interrupted, or waits for a decision."""
        return self.notes.lesson if self.notes is not None else None

    @property
    def is_running(self) -> bool:
        return self._task is not None

    @property
    def is_interrupted(self) -> bool:
        """Whether a run of :attr:`lesson` can go on."""
        return self.notes is not None and self._task is None and self._checkpoint.exists()

    @property
    def progress(self) -> tuple[float, str]:
        """Finished fraction and message of the run."""
        return self._task.progress if self._task is not None else (0.0, "")

    @property
    def seconds_left(self) -> float:
        """At most so many; learning may end earlier."""
        if self._task is None or self.notes is None:
            return 0.0
        whole = 60.0 * self.notes.lesson.minutes
        return max(0.0, min(whole - (time.monotonic() - self._started), whole * (1 - self._task.progress[0]) / 0.8))

    def start(self, lesson: Lesson, cases: Sequence[Case]) -> None:
        """Teach in the background; goes on where the same lesson on the same cases was interrupted.

        Raises:
            TrainingError: one is being taught, or waits for a decision.
            UnknownModelError: there is no expert to start from of that name.
            OutputError: the folder for the notes cannot be written.
        """
        if self._task is not None or self.result_file.exists():
            raise TrainingError("An expert is being taught, or waits: keep or discard it first.")
        start_from = find_pack(lesson.start_from).path if lesson.start_from else None
        wanted = [dataclasses.replace(case, wanted=frozenset(lesson.classes)) for case in cases]
        earlier = self.notes if self.notes is not None and self.notes.lesson == lesson else None
        self.notes = earlier or Notes(lesson)
        self._make_folder()
        write_notes(self._notes_file, self.notes)
        self._started = time.monotonic()
        self._task = BackgroundTask(
            self._worker,
            f"Teaching {lesson.name}",
            lambda report, token: self._run(lesson, wanted, start_from, report, token),
        )

    def _run(
        self,
        lesson: Lesson,
        cases: Sequence[Case],
        start_from: Path | None,
        report: ProgressCallback,
        token: CancelToken,
    ) -> None:
        """On the worker's thread."""
        from .samples import Collecting
        from .teach import teach

        def progress(fraction: float, message: str, metrics: Mapping[str, float]) -> None:
            report(fraction, message)
            if metrics:
                self._note(metrics)

        with _leave_a_core():
            (self._teach or teach)(
                cases,
                lesson.name,
                minutes=lesson.minutes,
                start_from=start_from,
                output=lambda result: self._write(result, cases, lesson),
                progress=progress,
                cancel=token,
                collecting=Collecting(varied=1, automatic=lesson.automatic),
            )

    def _note(self, metrics: Mapping[str, float]) -> None:
        if self.notes is not None:
            automatic = metrics.get("automatic")
            point = CurvePoint(int(metrics["epoch"]), metrics["box"], metrics["click"], automatic)
            base = CurvePoint(0, metrics["base_box"], metrics["base_click"], None)
            self.notes = dataclasses.replace(self.notes.with_point(point), base=base)
            write_notes(self._notes_file, self.notes)

    def _write(self, result: TeachResult, cases: Sequence[Case], lesson: Lesson) -> None:
        from .card import card_of

        where = lesson.folder or "SEGMENTS"
        command = f"moeseg teach --data {where} --name {lesson.name} --minutes {lesson.minutes:g}"
        command += f" --from {lesson.start_from or 'none'}" + " --automatic" * lesson.automatic
        write_pack(self.result_file, result.pack, card_of(result, cases, command))
        curve = tuple(_point(epoch.epoch, epoch.held_out) for epoch in result.history)
        self.notes = Notes(lesson, curve, _point(0, result.base))
        write_notes(self._notes_file, self.notes)

    def cancel(self) -> None:
        """Ask the run to stop; what it learned stays, and the same lesson goes on from there."""
        if self._task is not None:
            self._task.cancel()

    def poll(self) -> str | None:
        """Call it from a timer: the message of a run that ended, "" for one that went well, None otherwise."""
        if self._task is None or not self._task.done:
            return None
        task, self._task = self._task, None
        try:
            task.result()
        except Cancelled:
            return "Teaching was interrupted; press Teach to go on."
        except _FAILURES as error:
            if not self.is_interrupted:
                self.forget()
            return str(error) if isinstance(error, MoESegError) else f"Teaching failed: {error!r}"
        return ""

    def close(self, timeout: float = 5.0) -> None:
        """Interrupt what runs and wait for its checkpoint, which takes a step of training: a second or two."""
        self.cancel()
        self.stop_looking()
        self._worker.stop(timeout)

    # The result --------------------------------------------------------------------------------------------------

    @property
    def result_file(self) -> Path:
        """Where a taught expert waits."""
        return self.folder / "taught.safetensors"

    def result(self) -> ExpertCard | None:
        """The card of the expert that waits for a decision.

        Raises:
            WeightsError: its file is damaged.
        """
        if self._task is not None or not self.result_file.exists():
            return None
        return read_pack_card(self.result_file)

    def keep(self) -> ExpertCard:
        """Install the expert among the user's own.

        Raises:
            WeightsError: its file is damaged, or the name is taken by now.
            OutputError: it cannot be written; it still waits.
        """
        card = import_pack(self.result_file)
        self.discard_result()
        return card

    def discard_result(self) -> None:
        """Delete the expert that waits, and what was written down about it."""
        for path in (self.result_file, self.result_file.with_suffix(".json")):
            path.unlink(missing_ok=True)
        self.forget()

    def export(self, path: Path) -> None:
        """Copy the expert, checked, and its card to a ``.safetensors`` file; it still waits.

        Raises:
            WeightsError: it is damaged.
            OutputError: it cannot be written.
        """
        card, state = read_pack(self.result_file)
        write_state(path, state, card)

    def forget(self) -> None:
        """Forget an interrupted run."""
        if self.notes is not None:
            self._checkpoint.unlink(missing_ok=True)
        self.notes = None
        self._notes_file.unlink(missing_ok=True)

    @property
    def _notes_file(self) -> Path:
        return self.folder / "lesson.json"

    @property
    def _checkpoint(self) -> Path:
        return self.folder / f"{self.notes.lesson.name if self.notes is not None else ''}.run.safetensors"

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"The folder {self.folder} cannot be made ({error.strerror}).") from error


def _point(epoch: int, held_out: HeldOut) -> CurvePoint:
    return CurvePoint(epoch, held_out.box, held_out.click, held_out.automatic)


@contextmanager
def _leave_a_core() -> Iterator[None]:
    """Learn on all cores but one, so that the user can go on segmenting.

    Threads of a team wait for each other: on two cores that were busy with other work, a small run took 12 s with one
    thread and did not end within 60 s with two.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(max(1, before - 1))
    try:
        yield
    finally:
        torch.set_num_threads(before)
