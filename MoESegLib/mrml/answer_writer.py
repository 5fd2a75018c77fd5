"""Takes answers from the session and has the differences written."""

from __future__ import annotations

import dataclasses
import queue

import slicer

from ..core.errors import Cancelled, LockedError, PromptError
from ..core.prompts import Prompt
from ..core.results import MaskPatch, SegmentResult
from ..engines.protocol import Engine
from ..session import Session
from .answers import Answer, Update
from .prompt_store import StoredPrompts, question_id, settle, stored_prompts
from .segmentations import get_tag, segment_ids, segment_of, segment_patch
from .shown_masks import ShownMasks
from .volumes import world_from_local
from .writer import SegmentWriter

_BEFORE = "#before"  # a second segment of the session, asked for the answer that the voxels show now


class AnswerWriter:
    """Knows which answer the voxels of every segment show, and turns the next one into a difference to it.

    Args:
        writer: changes the voxels.
        segmentation: whose segments they are.
        engine: names the questions.
        extent: names the questions.
    """

    def __init__(
        self, writer: SegmentWriter, segmentation: slicer.vtkMRMLSegmentationNode, engine: Engine, extent: str
    ) -> None:
        self.writer = writer
        self.segmentation = segmentation
        self.engine = engine
        self.extent = extent
        self.shown = ShownMasks()
        self.published: queue.SimpleQueue[str] = queue.SimpleQueue()
        """Segments the session has an answer for; filled by the worker thread."""
        self._waiting: set[str] = set()  # answered, but what the voxels show is still being found out
        self._told_failures: set[tuple[str, str]] = set()

    def question(self, text: str) -> str:
        """Identifies what stored prompts ask of this engine."""
        return question_id(text, self.engine.name, self.extent)

    def ask_what_is_shown(self, session: Session, segment_id: str, before: StoredPrompts) -> None:
        """Make sure that the mask the voxels show is known, so that only the difference to it is written.

        After loading a scene it is not; the same prompts give it again. Where they cannot (another model was used), the
        segment's voxels stand for it.
        """
        settled = self._tag(segment_id, "Settled")
        if self.shown.get(segment_id, settled) is not None:
            return
        if settled == self.question(before.text):
            name = segment_id + _BEFORE
            session.set_segment(name, [prompt_of(prompt, name) for prompt in before.prompts], before.expert)
        else:
            self.shown.put(segment_id, settled, segment_patch(self.segmentation, segment_id))

    def take(self, session: Session, update: Update) -> None:
        """Write all answers that came, and say why others did not."""
        for segment_id in self._finished(session):
            answer = self._take_answer(session, segment_id, update)
            if answer is not None:
                update.answers[segment_id] = answer
        self._take_failures(session, update)

    def forget_failures(self) -> None:
        """The next failure is told again."""
        self._told_failures.clear()

    def _finished(self, session: Session) -> list[str]:
        """Segments with a new answer, each once; the answers to what the voxels show are put away."""
        finished = dict.fromkeys(self._waiting)
        self._waiting.clear()
        while not self.published.empty():
            name = self.published.get_nowait()
            segment_id = name.removesuffix(_BEFORE)
            # One that was published by the session before the image changed is not known to this one.
            known = segment_id in segment_ids(self.segmentation) and bool(session.prompts(name))
            if name != segment_id and known:
                self.shown.put(segment_id, self._tag(segment_id, "Settled"), session.latest(name).prediction.patch)
            finished[segment_id] = None
        return list(finished)

    def _take_answer(self, session: Session, segment_id: str, update: Update) -> Answer | None:
        """Write an answer, unless the prompts changed meanwhile or the voxels show it already."""
        if segment_id not in segment_ids(self.segmentation) or not session.is_answered(segment_id):
            return None
        if not self._answers_the_tags(session, segment_id):
            return None
        settled = self._tag(segment_id, "Settled")
        result = session.latest(segment_id) if session.prompts(segment_id) else SegmentResult(segment_id)
        patch = result.prediction.patch
        question = self.question(self._tag(segment_id, "Prompts"))
        added = removed = 0
        shown: MaskPatch | None = patch
        if self._tag(segment_id, "Asked") != settled:
            shown = self.shown.get(segment_id, settled)
            if shown is None:
                self._waiting.add(segment_id)
                return None
            try:
                added, removed = self.writer.write(segment_id, shown, patch)
            except LockedError as error:
                update.messages.append(str(error))
                return None
            settle(segment_of(self.segmentation, segment_id), question, self.engine.name, self.extent, result)
        self.shown.put(segment_id, question, patch)
        milliliters = patch.count * session.volume.voxel_volume / 1000
        return Answer(segment_id, result, added, removed, milliliters, shown)

    def _answers_the_tags(self, session: Session, segment_id: str) -> bool:
        """Whether the session was asked what the tags ask; undo and a changed image leave it with another question."""
        segment = segment_of(self.segmentation, segment_id)
        try:
            stored = stored_prompts(segment, segment_id, world_from_local(self.segmentation))
        except PromptError:
            return False
        asked = [prompt.content for prompt in session.prompts(segment_id)]
        wanted = [prompt.content for prompt in stored.prompts]
        return asked == wanted and session.expert_of(segment_id) == stored.expert

    def _take_failures(self, session: Session, update: Update) -> None:
        """Say once why a prediction failed; the prompts stay."""
        for name in session.segments:
            error, segment_id = session.failure(name), name.removesuffix(_BEFORE)
            if error is None or segment_id not in segment_ids(self.segmentation):
                continue
            if name != segment_id:  # then the voxels themselves stand for what they show
                settled = self._tag(segment_id, "Settled")
                if self.shown.get(segment_id, settled) is None:
                    self.shown.put(segment_id, settled, segment_patch(self.segmentation, segment_id))
                    self.published.put(segment_id)
                continue
            key = (segment_id, self._tag(segment_id, "Asked"))
            if key not in self._told_failures:
                self._told_failures.add(key)
                if not isinstance(error, Cancelled):
                    update.messages.append(str(error) or type(error).__name__)

    def _tag(self, segment_id: str, name: str) -> str:
        return get_tag(segment_of(self.segmentation, segment_id), f"MoESeg.{name}")


def prompt_of(prompt: Prompt, segment_id: str) -> Prompt:
    """The same prompt, of another segment."""
    return dataclasses.replace(prompt, segment=segment_id)
