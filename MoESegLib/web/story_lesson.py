"""The story in which an expert is taught: a short lesson on the demo's CT that is shown, measured and forgotten."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.results import MaskPatch
from ..core.volume import Volume
from ..training.cases import Case as LabeledCase
from ..training.cases import Structure
from ..training.desk import TeachingDesk
from ..training.lesson import GENERAL_EXPERT, Lesson, Notes
from .demo_labels import STOMACH, demo_labels
from .desk import Case
from .stories import Step, Story

if TYPE_CHECKING:
    from ..training.teach import TeachResult

ORGAN, MINUTES = "stomach", 2.0
Teach = Callable[..., "TeachResult"]


class ShownLesson:
    """A lesson with a folder of its own, so that the user's experts and lessons stay as they are.

    Args:
        cases: to learn from and to measure on.
        teach: :func:`~MoESegLib.training.teach.teach`, or what stands in for it in a test.
    """

    def __init__(self, cases: Sequence[LabeledCase], teach: Teach) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="moeseg-lesson-")
        self._desk = TeachingDesk(teach=lambda *some, **more: teach(*some, **{**more, **self._small()}))
        self._desk.folder, self._desk.notes = Path(self._folder.name), None
        self._ended: str | None = None
        self._desk.start(Lesson(ORGAN, (ORGAN,), MINUTES, GENERAL_EXPERT), cases)

    def _small(self) -> dict[str, Any]:
        """Few slices: most of two minutes is to be spent on learning."""
        from ..training.loop import Plan
        from ..training.samples import Collecting

        return {
            "cache": Path(self._folder.name),
            "held_out_share": 0.5,
            "held_out_masks": 2,
            "collecting": Collecting(max_slices=5, varied=0),
            "plan": Plan(least_steps=12),
        }

    @property
    def done(self) -> bool:
        """Whether it ended; call it often."""
        if self._ended is None:
            self._ended = self._desk.poll()
        return self._ended is not None

    @property
    def text(self) -> str:
        """How far it is, or what came of it."""
        if self._ended is None:
            fraction, message = self._desk.progress
            return f"{100 * fraction:.0f} % ({message})"
        return self._ended or _told(self._desk.notes)

    def close(self) -> None:
        """Stop it and forget what was learned; a step of training may take seconds, for which nobody waits."""
        threading.Thread(target=self._forget).start()

    def _forget(self) -> None:
        self._desk.close()
        self._folder.cleanup()


def lesson_story(volume: Volume, index: int, teach: Teach | None = None) -> Story:
    """The story.

    Args:
        volume: the demo's CT.
        index: slice that is shown.
        teach: for tests; by default the real one.
    """
    labels = (demo_labels(volume) == STOMACH).astype(np.uint8)

    def begin(_: Case) -> ShownLesson:
        if teach is not None:
            return ShownLesson(halves(volume, labels), teach)
        from ..training.teach import teach as real

        return ShownLesson(halves(volume, labels), real)

    def draw(case: Case) -> None:
        case.workbench.writer.write(case.workbench.add_segment(ORGAN), MaskPatch(), MaskPatch.of(labels))
        case.changed()

    steps = (
        Step(f"An expert learns from finished segmentations. Here is one: the {ORGAN}.", act=draw),
        Step(f"It learns from one half of the slices, for {MINUTES:g} minutes at most, on this computer.", act=begin),
        Step("The other half tells what it learned. Real lessons take more patients and more minutes.", read=8.0),
    )
    note = "Halves of one CT, labels by TotalSegmentator, learned in minutes: it shows how, not how well."
    return Story("teach", "Teach an expert", "segmote-lite", index, steps, note)


def halves(volume: Volume, labels: NDArray[np.uint8]) -> list[LabeledCase]:
    """The lower and the upper slices as two cases.

    Args:
        labels: 0 and 1, ``[k, j, i]``.
    """
    middle = len(labels) // 2
    found = []
    for name, first, last in (("lower half", 0, middle), ("upper half", middle, len(labels))):
        matrix = volume.ijk_to_ras.copy()
        matrix[:3, 3] = volume.to_ras((0, 0, first))
        part = Volume(volume.array[first:last], matrix, modality="CT")
        structure = Structure(ORGAN, MaskPatch.of(labels[first:last]))
        found.append(LabeledCase(name, name, part, (structure,), modality="CT"))
    return found


def _told(notes: Notes | None) -> str:
    """One sentence about the curve."""
    if notes is None or not notes.curve:
        return "Nothing was measured."
    first, best = notes.curve[0], max(notes.curve, key=lambda point: point.box + point.click)
    click = f"one click {first.click:.2f} before, {best.click:.2f} after"
    return f"Dice of {click}; of a box {first.box:.2f} and {best.box:.2f}."
