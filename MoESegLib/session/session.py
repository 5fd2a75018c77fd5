"""A session: the prompts on one volume, and the masks they ask for."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from concurrent.futures import wait as wait_for
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.cancel import CancelToken, ProgressCallback
from ..core.errors import Cancelled, LockedError, PromptError, VolumeError
from ..core.geometry import Plane, Point
from ..core.prompts import Prompt
from ..core.results import SegmentResult
from ..core.volume import Volume
from ..engines.cache import EngineCache
from ..engines.protocol import Context, Engine, Extent3D
from .failures import as_user_error
from .history import History, SessionState
from .worker import Worker, default_worker

NEIGHBORS = (0, 1, -1, 2, -2)
"""Slices around the one in view that are encoded in the background, nearest first."""


class Session:
    """Turns prompts into masks; every change is undoable and every answer depends on the surviving prompts alone.

    Calls return at once; predictions run on the worker thread. All methods may be called from any thread.

    Args:
        volume: the image.
        engine: from :func:`MoESegLib.load_engine`.
        extent: "slice" segments the slices that hold prompts, "volume" follows the target through its neighbors.
        cache: embeddings and decoder outputs; by default kept in memory for this session.
        prefetch: encode the slices around the last prompt (or :meth:`focus`) in the background.
        on_progress: called with the finished fraction and a message on the worker thread during a prediction.
        on_update: called with the segment ID on the worker thread whenever a result was published.
        worker: the thread to run on; by default one that all sessions share.

    Raises:
        VolumeError: the image has no contrast at all, so that nothing can be segmented.
    """

    def __init__(
        self,
        volume: Volume,
        engine: Engine,
        extent: Extent3D = "slice",
        *,
        cache: EngineCache | None = None,
        prefetch: bool = True,
        on_progress: ProgressCallback | None = None,
        on_update: Callable[[str], None] | None = None,
        worker: Worker | None = None,
    ) -> None:
        if extent not in ("slice", "volume"):
            raise ValueError(f'The extent of a session is "slice" or "volume", not {extent!r}.')
        if volume.array.min() == volume.array.max():
            raise VolumeError(
                f"The volume {volume.name} is empty: every voxel is {volume.array.flat[0]}. Check that the right image "
                "was loaded."
            )
        self.volume = volume
        self.engine = engine
        self.extent: Extent3D = extent
        self.prefetch = prefetch
        self.on_progress = on_progress
        self.on_update = on_update
        self._cache = cache if cache is not None else EngineCache()
        self._worker = worker if worker is not None else default_worker()
        self._history = History(SessionState())
        self._lock = threading.RLock()
        self._results: dict[str, SegmentResult] = {}
        self._answered: dict[str, tuple] = {}
        self._pending: dict[str, Future[None]] = {}

    # Editing -----------------------------------------------------------------------------------------------------

    def add(self, prompt: Prompt) -> str:
        """Add a prompt and start the prediction of its segment.

        Returns:
            The ID of the prompt, for :meth:`replace` and :meth:`remove`.

        Raises:
            PromptError: the prompt is outside the volume, has no size, contradicts another one, or is of a kind the
                engine does not understand; nothing changed.
            LockedError: its segment is locked.
        """
        with self._lock:
            state = self._history.current
            if any(prompt.id == other.id for other in state.prompts):
                prompt = prompt.with_id(_fresh_id(prompt))
            self._change(dataclasses.replace(state, prompts=(*state.prompts, prompt)))
            return prompt.id

    def replace(self, prompt_id: str, prompt: Prompt) -> None:
        """Put another prompt in the place of one (move a point, flip its sign, redraw a box); the ID stays.

        Raises:
            PromptError: there is no such prompt, or the new one is refused as in :meth:`add`.
            LockedError: the segment of either is locked.
        """
        with self._lock:
            state = self._history.current
            state.find(prompt_id)
            prompts = tuple(prompt.with_id(prompt_id) if old.id == prompt_id else old for old in state.prompts)
            self._change(dataclasses.replace(state, prompts=prompts))

    def remove(self, prompt_id: str) -> None:
        """Remove a prompt.

        Raises:
            PromptError: there is no such prompt.
            LockedError: its segment is locked.
        """
        with self._lock:
            state = self._history.current
            state.find(prompt_id)
            self._change(dataclasses.replace(state, prompts=tuple(old for old in state.prompts if old.id != prompt_id)))

    def lock(self, segment: str) -> None:
        """Accept a segment: its prompts and mask stay as they are until :meth:`unlock`. Undoable."""
        with self._lock:
            state = self._history.current
            self._history.push(dataclasses.replace(state, locked=state.locked | {segment}))

    def unlock(self, segment: str) -> None:
        """Allow changes again. Undoable."""
        with self._lock:
            state = self._history.current
            self._history.push(dataclasses.replace(state, locked=state.locked - {segment}))

    def choose_expert(self, segment: str, expert: str | None) -> None:
        """Answer a segment with an expert by name, or with None let the gate choose. Undoable.

        Names are those of ``result(segment).alternatives``, of packs and of specialists. It can be said before the
        first prompt; a name that nobody has makes the prediction fail with a message that lists those there are.

        Raises:
            LockedError: the segment is locked.
        """
        with self._lock:
            state = self._history.current
            chosen = {**state.experts, segment: expert}
            experts = MappingProxyType({name: value for name, value in chosen.items() if value is not None})
            self._change(dataclasses.replace(state, experts=experts))

    def set_segment(self, segment: str, prompts: Sequence[Prompt], expert: str | None = None) -> None:
        """Put all prompts of a segment, and the expert chosen for it, in the place of the ones it has: one step.

        This is how a front end that keeps prompts itself (in the tags of a Slicer segment, in a file) tells the
        session what is wanted now. Nothing is predicted again when nothing changed.

        Raises:
            PromptError: a prompt is of another segment, or refused as in :meth:`add`; nothing changed.
            LockedError: the segment is locked.
        """
        strangers = sorted({prompt.segment for prompt in prompts} - {segment})
        if strangers:
            raise PromptError(f"These prompts are of {', '.join(strangers)}, not of {segment}.")
        with self._lock:
            state = self._history.current
            others = tuple(prompt for prompt in state.prompts if prompt.segment != segment)
            chosen = {name: value for name, value in state.experts.items() if name != segment}
            if expert is not None and prompts:
                chosen[segment] = expert
            self._change(
                dataclasses.replace(state, prompts=(*others, *prompts), experts=MappingProxyType(chosen)),
            )

    def undo(self) -> bool:
        """Go back one step; False when there is none."""
        return self._step(self._history.undo) if self._history.can_undo else False

    def redo(self) -> bool:
        """Go forward one step; False when there is none."""
        return self._step(self._history.redo) if self._history.can_redo else False

    @property
    def can_undo(self) -> bool:
        return self._history.can_undo

    @property
    def can_redo(self) -> bool:
        return self._history.can_redo

    # Looking -----------------------------------------------------------------------------------------------------

    @property
    def segments(self) -> tuple[str, ...]:
        """Segments that have prompts, in the order of their first one."""
        return self._history.current.segments

    def prompts(self, segment: str | None = None) -> tuple[Prompt, ...]:
        """The surviving prompts, of one segment or of all."""
        state = self._history.current
        return state.prompts if segment is None else state.of_segment(segment)

    def is_locked(self, segment: str) -> bool:
        return segment in self._history.current.locked

    def expert_of(self, segment: str) -> str | None:
        """The expert the user picked with :meth:`choose_expert`, or None."""
        return self._history.current.experts.get(segment)

    def result(self, segment: str) -> SegmentResult:
        """The answer to the surviving prompts of a segment, waiting for it if necessary.

        Raises:
            PromptError: the session never had a prompt of that segment.
            MoESegError: the prediction failed.
        """
        self._wait_for(segment, None)
        return self.latest(segment)

    def latest(self, segment: str) -> SegmentResult:
        """The last published answer, without waiting; an empty one before the first.

        Raises:
            PromptError: the session never had a prompt of that segment.
        """
        with self._lock:
            if segment not in self._results:
                known = ", ".join(self._results) or "none yet"
                raise PromptError(f"This session has no segment {segment!r}; segments: {known}.")
            return self._results[segment]

    def is_answered(self, segment: str) -> bool:
        """Whether :meth:`latest` answers the prompts the segment has now; a segment without prompts is answered."""
        with self._lock:
            state = self._history.current
            return not state.of_segment(segment) or self._answered.get(segment) == state.question(segment)

    def failure(self, segment: str) -> BaseException | None:
        """Why the last prediction of a segment gave no answer, or None while it runs and when it succeeded.

        :class:`~MoESegLib.core.errors.Cancelled` stands for a cancelled one; :meth:`retry` asks again.
        """
        with self._lock:
            future = self._pending.get(segment)
            if future is None or not future.done():
                return None
            if future.cancelled():
                return Cancelled(f"The prediction of {segment} was cancelled; its mask is as before.")
            return future.exception()

    def is_running(self) -> bool:
        """Whether an answer is still to come."""
        with self._lock:
            return any(not future.done() for future in self._pending.values())

    def mask(self, segment: str) -> NDArray[np.uint8]:
        """The mask of a segment, waiting for it if necessary: uint8 0/1, ``[k, j, i]``, the grid of the volume.

        Raises:
            PromptError, MoESegError: see :meth:`result`.
        """
        return self.result(segment).prediction.patch.to_array(self.volume.shape)

    def wait(self, timeout: float | None = None) -> None:
        """Wait until every answer is there.

        Args:
            timeout: seconds; None waits as long as it takes.

        Raises:
            TimeoutError: answers are still missing.
            MoESegError: a prediction failed; the prompts are kept, so that :meth:`undo` or a retry is possible.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        for segment in list(self._pending):
            self._wait_for(segment, None if deadline is None else max(0.0, deadline - time.monotonic()))

    def cancel(self) -> None:
        """Give up the predictions that are queued or running; prompts and published masks stay."""
        self._worker.drop(self._is_mine)

    def retry(self) -> None:
        """Predict again what failed or was cancelled."""
        with self._lock:
            state = self._history.current
            for segment in state.segments:
                if self._answered.get(segment) != state.question(segment):
                    self._submit(segment)

    def close(self) -> None:
        """Stop all work of this session."""
        self._worker.drop(self._is_mine)

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Prefetching -------------------------------------------------------------------------------------------------

    def focus(self, ras: Point, plane: Plane | None = None) -> None:
        """Say which slice is in view, so that it and its neighbors are encoded in the background. Returns at once."""
        axis = self.volume.acquisition_axis if plane is None else self.volume.axis_of(plane)
        index = round(float(self.volume.ras_to_ijk(ras)[axis]))
        self._worker.drop(self._is_mine, background_only=True)
        for offset in NEIGHBORS:
            if 0 <= index + offset < self.volume.size[axis]:
                key = (id(self), "prefetch", axis, index + offset)
                self._worker.submit(key, self._prefetch_work(axis, index + offset), background=True)

    def is_prefetched(self, ras: Point, plane: Plane | None = None) -> bool:
        """Whether the first prompt on that slice only has to run the decoder."""
        axis = self.volume.acquisition_axis if plane is None else self.volume.axis_of(plane)
        index = round(float(self.volume.ras_to_ijk(ras)[axis]))
        return self.engine.is_prefetched(self.volume, axis, index, Context(cache=self._cache))

    def _prefetch_work(self, axis: int, index: int) -> Callable[[CancelToken], None]:
        def work(token: CancelToken) -> None:
            self.engine.prefetch(self.volume, axis, index, Context(cache=self._cache, cancel=token))

        return work

    # Saving ------------------------------------------------------------------------------------------------------

    def write(self, path: str | Path) -> Path:
        """Write the masks of all segments: ``.seg.nrrd`` for Slicer, or a label map (NRRD, NIfTI, MetaImage, PNG).

        Raises:
            OutputError: unknown file type, no permission or no space; nothing was written.
            MoESegError: a prediction failed.
        """
        from .saving import write_session

        self.wait()
        return write_session(self, Path(path))

    def log(self) -> dict[str, Any]:
        """The session as plain data for JSON: replaying the prompts on the same image gives the same masks."""
        from .saving import session_log

        return session_log(self)

    # Inside ------------------------------------------------------------------------------------------------------

    def _is_mine(self, key: object) -> bool:
        return isinstance(key, tuple) and key[0] == id(self)

    def _change(self, state: SessionState) -> None:
        """Check a new state, make it current and predict what it changes."""
        before = self._history.current
        affected = _affected(before, state)
        for segment in affected:
            if segment in before.locked:
                raise LockedError(f"The segment {segment} is locked. Unlock it to change its prompts.")
            self.engine.check(self.volume, state.of_segment(segment), self.extent)
        self._history.push(state)
        self._refresh(affected)

    def _step(self, move: Callable[[], SessionState]) -> bool:
        with self._lock:
            before = self._history.current
            self._refresh(_affected(before, move()))
            return True

    def _refresh(self, segments: tuple[str, ...]) -> None:
        state = self._history.current
        for segment in segments:
            self._results.setdefault(segment, SegmentResult(segment))
            if self.extent == "volume":
                self._worker.interrupt((id(self), "predict", segment))  # a long walk that nobody waits for any more
            if state.of_segment(segment):
                self._submit(segment)
            else:
                self._worker.drop(lambda key, segment=segment: key == (id(self), "predict", segment))
                self._pending.pop(segment, None)
                self._answered.pop(segment, None)
                self._results[segment] = SegmentResult(segment)

    def _submit(self, segment: str) -> None:
        self._pending[segment] = self._worker.submit((id(self), "predict", segment), self._predict_work(segment))

    def _predict_work(self, segment: str) -> Callable[[CancelToken], None]:
        def work(token: CancelToken) -> None:
            with self._lock:
                state = self._history.current
                question = state.question(segment)
                prompts, expert = state.of_segment(segment), state.experts.get(segment)
            if not prompts:
                return
            context = Context(self.extent, expert, self._cache, token, self.on_progress)
            started = time.perf_counter()
            try:
                prediction = self.engine.predict(self.volume, prompts, context)
            except (MemoryError, RuntimeError) as error:
                raise as_user_error(error) from error
            token.check()  # cancelled during the last step: nothing arrives after cancel() or close()
            seconds = time.perf_counter() - started
            with self._lock:
                if self._history.current.question(segment) != question:
                    return  # the prompts changed meanwhile; a newer job answers them
                self._results[segment] = SegmentResult.after(self._results[segment], prediction, seconds)
                self._answered[segment] = question
            if self.on_update is not None:
                self.on_update(segment)
            if self.prefetch and prompts[-1].ras_points:
                self.focus(prompts[-1].ras_points[0], prompts[-1].plane)

        return work

    def _wait_for(self, segment: str, timeout: float | None) -> None:
        """Wait until nothing of a segment is pending; newer jobs may replace the one first waited for."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (future := self._pending.get(segment)) is not None:
            remaining = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not wait_for([future], timeout=remaining).done:
                raise TimeoutError(f"The prediction of {segment} is still running after {timeout} s.")
            with self._lock:
                if self._pending.get(segment) is not future:
                    continue
                self._pending.pop(segment)
            try:
                future.result()
            except CancelledError as error:
                raise Cancelled(f"The prediction of {segment} was cancelled; its mask is as before.") from error


def _affected(before: SessionState, after: SessionState) -> tuple[str, ...]:
    """Segments whose answer may differ between two states."""
    segments: Mapping[str, None] = dict.fromkeys((*before.segments, *after.segments))
    return tuple(segment for segment in segments if before.question(segment) != after.question(segment))


def _fresh_id(prompt: Prompt) -> str:
    return f"{prompt.id}-{time.monotonic_ns():x}"
