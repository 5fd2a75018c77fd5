"""A session on a volume and a segmentation of the scene.

The tags of a segment hold its prompts (see :mod:`prompt_store`), so Slicer's undo stack moves voxels and prompts
together. Two more tags say how far the voxels have come: ``MoESeg.Asked`` identifies the question that is wanted now
and ``MoESeg.Settled`` the one whose answer the voxels show. They differ while a prediction runs, and after undo or redo
to a state whose answer never arrived; then it is asked for again.

All methods belong to the main thread. Predictions run on the session's worker; :meth:`SceneSession.pump`, called by a
timer, takes their results.
"""

from __future__ import annotations

import dataclasses
import uuid
from typing import Any

import numpy as np
import slicer

from ..core.errors import LockedError, MoESegError, PromptError
from ..core.prompts import PointPrompt, Prompt
from ..engines.cache import EngineCache
from ..engines.protocol import Engine, Extent3D
from ..session import Session
from ..session.worker import Worker
from .answer_writer import AnswerWriter, prompt_of
from .answers import Update
from .edits import Edit, EditQueue, removed, replaced
from .prompt_nodes import PromptNodes, after_drawing
from .prompt_sources import prompt_from_segment, prompts_from_markups
from .prompt_store import StoredPrompts, forget_readings, readable_prompts, store_prompts, stored_prompts
from .segmentations import (
    COMPLETED,
    IN_PROGRESS,
    add_segment,
    check_unlocked,
    fit_to_volume,
    get_tag,
    is_locked,
    next_name,
    segment_ids,
    segment_of,
    set_status,
    set_tags,
)
from .volumes import volume_from_node, world_from_local
from .watcher import SceneWatcher
from .writer import SegmentWriter

LESIONS = "*"
"""Stands for "a new segment for every point" where a segment ID is expected of a markups node."""


class SceneSession:
    """Prompts on segments of the scene, answered by an engine, written by the one writer.

    Args:
        writer: shared by all sessions of a scene, as it holds the undo stack.
        volume_node: the image.
        segmentation: must fit the volume, see :func:`~MoESegLib.mrml.segmentations.fit_to_volume`.
        engine: from :func:`MoESegLib.load_engine`.
        extent: "slice" or "volume".
        cache: embeddings and decoder outputs, kept when the panel opens another session on the same volume.
        worker: the inference thread; by default the one that all sessions share.

    Attributes:
        auto_run: predict after every prompt; otherwise :meth:`retry` does.
        lesion_name: of the numbered segments that clicks make in lesion mode.
        progress: finished fraction and message of the running prediction, or None.
        closed: a node went away, or :meth:`close` was called.

    Raises:
        VolumeError, GeometryError: the nodes cannot be used; nothing was changed.
    """

    def __init__(
        self,
        writer: SegmentWriter,
        volume_node: slicer.vtkMRMLVolumeNode,
        segmentation: slicer.vtkMRMLSegmentationNode,
        engine: Engine,
        extent: Extent3D = "slice",
        *,
        cache: EngineCache | None = None,
        worker: Worker | None = None,
    ) -> None:
        self.writer = writer
        self.scene = writer.scene
        self.volume_node = volume_node
        self.segmentation = segmentation
        self.engine = engine
        self.extent: Extent3D = extent
        self.progress: tuple[float, str] | None = None
        self.lesion_name = "Lesion"
        self.auto_run = True
        self.closed = False
        self._cache = cache if cache is not None else EngineCache()
        self._worker = worker
        self._edits = EditQueue()
        self._active: str | None = None  # the segment whose edit is being answered
        self._told: dict[str, str] = {}
        self._messages: list[str] = []
        self._answers = AnswerWriter(writer, segmentation, engine, extent)
        volume = volume_from_node(volume_node)
        fit_to_volume(segmentation, volume_node)
        self._world = world_from_local(segmentation)
        self._session = self._new_session(volume)
        writer.attach(segmentation, volume_node)
        self.nodes = PromptNodes(self.scene, segmentation, volume_node.GetTransformNodeID, lambda: self._session.volume)
        self._watcher = SceneWatcher(self.scene, volume_node, segmentation, self.close, self.nodes.node_removed)
        self._adopt_tags(restored=True)

    # Prompts -----------------------------------------------------------------------------------------------------

    def prompts(self, segment_id: str) -> tuple[Prompt, ...]:
        """The prompts of a segment in world RAS, in the order they were given.

        Raises:
            PromptError: there is no such segment.
        """
        return self._planned(segment_id)[0]

    def safe_prompts(self, segment_id: str) -> tuple[Prompt, ...]:
        """As :meth:`prompts`, but nothing where they cannot be read; for showing them."""
        try:
            return self.prompts(segment_id)
        except PromptError:
            return ()

    def add(self, prompt: Prompt) -> str:
        """Add a prompt to the segment it names; returns its ID. The answer comes with a later :meth:`pump`.

        Raises:
            PromptError: see :meth:`MoESegLib.session.Session.add`; nothing changed.
            LockedError: the segment is finished.
        """
        prompts, expert = self._planned(prompt.segment)
        if any(prompt.id == old.id for old in prompts):
            prompt = prompt.with_id(uuid.uuid4().hex[:12])
        self.edit(Edit(prompt.segment, (*prompts, prompt), expert))
        return prompt.id

    def add_lesion(self, point: PointPrompt) -> None:
        """Give a point a numbered segment of its own.

        Raises:
            PromptError: see :meth:`add`.
        """
        self.edit(Edit(LESIONS, (dataclasses.replace(point, segment=LESIONS),), prepare=self._add_lesion))

    def replace(self, segment_id: str, prompt_id: str, prompt: Prompt) -> None:
        """Put a prompt in the place of another one (move it, flip its sign).

        Raises:
            PromptError, LockedError: as :meth:`add`, or there is no such prompt.
        """
        prompts, expert = self._planned(segment_id)
        self.edit(Edit(segment_id, replaced(prompts, prompt_id, prompt), expert))

    def remove(self, segment_id: str, prompt_id: str) -> None:
        """Remove a prompt.

        Raises:
            PromptError, LockedError: as :meth:`add`, or there is no such prompt.
        """
        prompts, expert = self._planned(segment_id)
        self.edit(Edit(segment_id, removed(prompts, prompt_id), expert))

    def choose_expert(self, segment_id: str, expert: str | None) -> None:
        """Answer a segment with another expert, or with None let the gate choose.

        Raises:
            LockedError: the segment is finished.
        """
        self.edit(Edit(segment_id, self.prompts(segment_id), expert))

    def expert_of(self, segment_id: str) -> str | None:
        """The expert the user chose for a segment, None when the gate chooses."""
        return self._planned(segment_id)[1]

    def use_markups(self, segment_id: str, node: Any) -> None:
        """Prompt a segment with markups made elsewhere (points, ROI, plane, curve); one step. The node stays as it is.

        Raises:
            PromptError: they cannot be prompts, or the model refuses them; nothing changed.
            LockedError: the segment is finished.
        """
        prompts, expert = self._planned(segment_id)
        self.edit(Edit(segment_id, (*prompts, *prompts_from_markups(node, self.volume, segment_id)), expert))

    def start_from_segment(self, segment_id: str, source_id: str | None = None) -> str:
        """Use the voxels of a segment (by default its own) as the first guess; returns the ID of the prompt.

        Raises:
            PromptError: the segment has no voxels.
            LockedError: the segment is finished.
        """
        source = segment_id if source_id is None else source_id
        prompt, patch = prompt_from_segment(self.segmentation, source, self.volume, segment_id)
        prompts, expert = self._planned(segment_id)
        drawing = patch if source == segment_id and not prompts else None  # which the answer replaces
        self.edit(Edit(segment_id, (*prompts, prompt), expert, drawing))
        return prompt.id

    def edit(self, edit: Edit) -> None:
        """Check one step and do it as soon as the steps before it are answered. Raises as :meth:`add`."""
        if self.closed:
            raise MoESegError("The volume or the segmentation was closed; choose them again.")
        if edit.prepare is None:
            check_unlocked(self.segmentation, edit.segment)
        self.engine.check(self._session.volume, edit.prompts, self.extent)
        self._edits.add(edit)
        if self.extent == "volume" and self._active == edit.segment and len(self._edits) == 1:
            self._active = None  # seconds of propagation that nobody waits for any more
        self._start_next()
        if len(self._edits):
            self._show(edit.segment)

    def add_segment(self, name: str = "") -> str:
        """A new empty segment; returns its ID."""
        return add_segment(self.segmentation, name)

    # Steps -------------------------------------------------------------------------------------------------------

    @property
    def can_undo(self) -> bool:
        return self.writer.can_undo

    @property
    def can_redo(self) -> bool:
        return self.writer.can_redo

    def undo(self) -> bool:
        """Back one step, of a prompt or of the brush; False when there is none."""
        if (waiting := self._edits.drop_last()) is not None:
            self._show(waiting.segment)
            return True
        return self._step(self.writer.undo)

    def redo(self) -> bool:
        """Forward one step; False when there is none."""
        return self._step(self.writer.redo)

    def accept(self, segment_id: str) -> None:
        """Mark a segment as finished: no prompt and no neighbor changes it any more. Undoable."""
        self.writer.save_state()
        set_status(segment_of(self.segmentation, segment_id), COMPLETED)

    def reopen(self, segment_id: str) -> None:
        """Allow changes of a finished segment again. Undoable."""
        self.writer.save_state()
        set_status(segment_of(self.segmentation, segment_id), IN_PROGRESS)

    # Running -----------------------------------------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        """Whether a prediction is queued or running."""
        return not self.closed and (self._session.is_running() or len(self._edits) > 0)

    @property
    def volume(self) -> Any:
        """The image as the engine sees it, in world RAS."""
        return self._session.volume

    def is_settled(self, segment_id: str) -> bool:
        """Whether the voxels show the answer to the present prompts."""
        segment = segment_of(self.segmentation, segment_id)
        return get_tag(segment, "MoESeg.Asked") == get_tag(segment, "MoESeg.Settled")

    def has_unanswered(self) -> bool:
        """Whether some segment's voxels do not show the answer to its prompts."""
        return any(not self.is_settled(segment_id) for segment_id in segment_ids(self.segmentation))

    def cancel(self) -> None:
        """Give up what runs or waits; voxels stay as they are, and :meth:`retry` asks again for what ran."""
        for segment_id in self._edits.clear():
            self._show(segment_id)
        self._session.cancel()
        self._active = None
        self.progress = None

    def retry(self) -> None:
        """Ask (again) for every segment whose voxels do not show the answer to its prompts."""
        self._answers.forget_failures()
        for segment_id in segment_ids(self.segmentation):
            if not self.is_settled(segment_id):
                self._tell(segment_id, readable_prompts(self.segmentation, segment_id))
        self._session.retry()

    def focus(self, ras: tuple[float, float, float], plane: Any = None) -> None:
        """Say which slice is in view, so that it is encoded in the background."""
        if self._session.volume.contains(ras):
            self._session.focus(ras, plane)

    def pump(self) -> Update:
        """Take what came in since the last call: markups the user changed, undo by others, and answers."""
        if self.closed:
            return Update()
        update = Update()
        if self._watcher.take_volume_changed():
            self._reopen()
        if self._watcher.take_segments_changed():
            update.prompts_changed = self._adopt_tags()
        for segment_id in self.nodes.changed_segments():
            self._take_markups(segment_id)
            update.prompts_changed = True
        self._answers.take(self._session, update)
        self._start_next()
        update.messages, self._messages = [*self._messages, *update.messages], []
        if not self._session.is_running():
            self.progress = None
        return update

    def close(self) -> None:
        """Stop all work and forget the nodes. Prompts and voxels stay in the scene."""
        if self.closed:
            return
        self.closed = True
        self._session.close()
        self._watcher.close()
        self.nodes.close()
        self.writer.detach()
        forget_readings()

    # Inside: asking ----------------------------------------------------------------------------------------------

    def _new_session(self, volume: Any) -> Session:
        return Session(
            volume,
            self.engine,
            self.extent,
            cache=self._cache,
            on_progress=self._on_progress,
            on_update=self._answers.published.put,
            worker=self._worker,
        )

    def _on_progress(self, fraction: float, message: str) -> None:
        self.progress = (fraction, message)

    def _planned(self, segment_id: str) -> tuple[tuple[Prompt, ...], str | None]:
        """Prompts and chosen expert of a segment when all edits that wait are done."""
        waiting = self._edits.planned(segment_id)
        if waiting is not None:
            return waiting.prompts, waiting.expert
        stored = readable_prompts(self.segmentation, segment_id)
        return stored.prompts, stored.expert

    def _is_awaited(self, segment_id: str) -> bool:
        """Whether an answer that can be written is still to come."""
        if segment_id not in segment_ids(self.segmentation) or self.is_settled(segment_id):
            return False
        return not is_locked(segment_of(self.segmentation, segment_id)) and self._session.failure(segment_id) is None

    def _start_next(self) -> None:
        """Begin the next edit when the one before is answered, failed, was cancelled, or lost or locked its segment."""
        if self._active is not None and self._is_awaited(self._active):
            return
        self._active = None
        edit = self._edits.take()
        if edit is None or (edit.prepare is None and edit.segment not in segment_ids(self.segmentation)):
            return
        try:
            if edit.prepare is None:  # it may have been accepted while the edit waited
                check_unlocked(self.segmentation, edit.segment)
            self._begin(edit)
        except LockedError as error:
            self._messages.append(str(error))
            self._show(edit.segment)

    def _begin(self, edit: Edit) -> None:
        """Save the state, write the prompts into the tags, and ask the session."""
        self.writer.save_state()
        segment_id = edit.segment if edit.prepare is None else edit.prepare()
        prompts = [prompt_of(prompt, segment_id) for prompt in edit.prompts]
        segment = segment_of(self.segmentation, segment_id)
        before = readable_prompts(self.segmentation, segment_id)
        text = store_prompts(segment, prompts, edit.expert, world_from_local(self.segmentation))
        run = (self.auto_run and not edit.waits) or not prompts
        if run:
            # As they come back from the tags, rounding included, so that the same prompts always ask the same.
            self._session.set_segment(segment_id, readable_prompts(self.segmentation, segment_id).prompts, edit.expert)
            self._answers.ask_what_is_shown(self._session, segment_id, before)
        set_tags(segment, Asked=self._answers.question(text))
        if edit.drawing is not None:
            set_tags(segment, Settled=self._answers.shown.put_drawing(segment_id, edit.drawing))
        self._told[segment_id] = text
        self._active = segment_id if run else None
        self._show(segment_id)
        if not prompts:
            self._answers.published.put(segment_id)

    def _show(self, segment_id: str) -> None:
        """Make the markups of a segment show its prompts, those that wait included."""
        if segment_id in segment_ids(self.segmentation):
            name = segment_of(self.segmentation, segment_id).GetName()
            self.nodes.show(segment_id, name, self._planned(segment_id)[0])

    def _tell(self, segment_id: str, stored: StoredPrompts) -> None:
        """Let the session ask what the tags ask."""
        self._told[segment_id] = stored.text
        try:
            self._session.set_segment(segment_id, stored.prompts, stored.expert)
            if not self.is_settled(segment_id):
                self._answers.ask_what_is_shown(self._session, segment_id, stored)
                self._active = segment_id
                if self._session.is_answered(segment_id):  # but it could not be written, for example into a locked one
                    self._answers.published.put(segment_id)
        except PromptError as error:  # the model was changed and does not understand the saved prompts
            self._messages.append(str(error))

    def _reopen(self) -> None:
        """The image changed (another frame, new voxels, a moved transform): a new session on it, nothing asked yet."""
        try:
            session = self._new_session(volume_from_node(self.volume_node))
        except MoESegError as error:
            self._messages.append(str(error))
            self.close()
            return
        self._session.close()
        self._session, self._active = session, None
        before, self._world = self._world, world_from_local(self.segmentation)
        moved = self._world @ np.linalg.inv(before)
        self._messages += self._edits.move(moved, self.engine, session.volume, self.extent)
        self._told.clear()
        self._adopt_tags(restored=True)

    def _step(self, move: Any) -> bool:
        if self.closed or not move():
            return False
        self._active = None
        self._adopt_tags()
        return True

    # Inside: taking ----------------------------------------------------------------------------------------------

    def _adopt_tags(self, restored: bool = False) -> bool:
        """Follow tags that were changed by undo, redo, loading or scripts; returns whether there were any.

        What is ``restored`` from a file is only asked for when the user goes on.
        """
        present = segment_ids(self.segmentation)
        changed = [gone for gone in self._told if gone not in present]
        for segment_id in changed:
            self._told.pop(segment_id)
            self._session.set_segment(segment_id, ())
            self.nodes.remove_segment(segment_id)
        for segment_id in present:
            segment = segment_of(self.segmentation, segment_id)
            if get_tag(segment, "MoESeg.Prompts") == self._told.get(segment_id, ""):
                continue
            changed.append(segment_id)
            try:
                stored = stored_prompts(segment, segment_id, world_from_local(self.segmentation))
            except PromptError as error:
                self._messages.append(str(error))
                self._told[segment_id] = get_tag(segment, "MoESeg.Prompts")
                continue
            self._show(segment_id)
            # Writing an answer that is still missing would make redo impossible; the user can ask for it.
            if restored or (not self.is_settled(segment_id) and (self.can_redo or not self.auto_run)):
                self._told[segment_id] = stored.text
            else:
                self._tell(segment_id, stored)
        return bool(changed)

    def _take_markups(self, segment_id: str) -> None:
        """Turn what the user did to the markups of a segment into one step."""
        if segment_id == LESIONS:
            self._take_lesions()
            return
        if segment_id not in segment_ids(self.segmentation):
            self.nodes.remove_segment(segment_id)
            return
        before, expert = self._planned(segment_id)
        prompts = after_drawing(before, self.nodes.read(segment_id))
        if [prompt.content for prompt in prompts] == [prompt.content for prompt in before]:
            return
        try:
            self.edit(Edit(segment_id, prompts, expert))
        except (PromptError, LockedError) as error:
            self._messages.append(str(error))
            self._show(segment_id)

    def _take_lesions(self) -> None:
        """Give every new point a segment of its own."""
        points = [prompt for prompt in self.nodes.read(LESIONS) if isinstance(prompt, PointPrompt)]
        self.nodes.clear_points(LESIONS)
        for point in points:
            if self._session.volume.contains(point.ras):
                self.add_lesion(point)
            else:
                self._messages.append("The click is outside the volume; no lesion was added.")

    def _add_lesion(self) -> str:
        return self.add_segment(next_name(self.segmentation, self.lesion_name))
