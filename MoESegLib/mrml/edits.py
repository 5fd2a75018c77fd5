"""Prompts that wait for their turn.

Slicer's undo stack forgets what could be redone as soon as voxels change, so no state must be saved before the answer
to the prompts before it is written. A prompt that is placed while another one is answered (50 ms, or half a second on a
new slice) therefore waits; each is a step of its own on the stack, with its voxels.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..core.errors import PromptError
from ..core.prompts import Prompt
from ..core.results import MaskPatch
from ..core.volume import Volume
from ..engines.protocol import Engine, Extent3D


@dataclass(frozen=True)
class Edit:
    """One step: the prompts a segment will have.

    Attributes:
        segment: its ID.
        prompts: all of them, in order.
        expert: chosen by the user, None for the gate's choice.
        drawing: voxels the user painted, which the answer replaces.
        prepare: called after the undo state is saved, for example to make the segment.
        waits: nothing is predicted yet, as for a lesion whose first correction is still to come.
    """

    segment: str
    prompts: tuple[Prompt, ...]
    expert: str | None = None
    drawing: MaskPatch | None = None
    prepare: Callable[[], str] | None = None
    waits: bool = False


class EditQueue:
    """Edits in the order they were made, and the state they lead to."""

    def __init__(self) -> None:
        self._edits: deque[Edit] = deque()

    def __len__(self) -> int:
        return len(self._edits)

    def add(self, edit: Edit) -> None:
        self._edits.append(edit)

    def take(self) -> Edit | None:
        """The next edit."""
        return self._edits.popleft() if self._edits else None

    def drop_last(self) -> Edit | None:
        """Forget the newest edit, as undo does."""
        return self._edits.pop() if self._edits else None

    def clear(self) -> set[str]:
        """Forget all edits; returns the segments they were for."""
        segments = {edit.segment for edit in self._edits}
        self._edits.clear()
        return segments

    def planned(self, segment: str) -> Edit | None:
        """The newest edit of a segment, which says what its prompts will be."""
        return next((edit for edit in reversed(self._edits) if edit.segment == segment), None)

    def move(self, matrix: NDArray[np.float64], engine: Engine, volume: Volume, extent: Extent3D) -> list[str]:
        """Follow the image to another place (4, 4); edits that the engine refuses there are forgotten. Returns why."""
        messages, edits = [], list(self._edits)
        self._edits.clear()
        for edit in edits:
            prompts = tuple(prompt.transformed(matrix) for prompt in edit.prompts)
            try:
                engine.check(volume, prompts, extent)
            except PromptError as error:
                messages.append(str(error))
                continue
            self._edits.append(replace(edit, prompts=prompts))
        return messages


def replaced(prompts: Sequence[Prompt], prompt_id: str, prompt: Prompt) -> tuple[Prompt, ...]:
    """Another prompt in the place and under the ID of one.

    Raises:
        PromptError: there is none of that ID.
    """
    _check_known(prompts, prompt_id)
    return tuple(prompt.with_id(prompt_id) if old.id == prompt_id else old for old in prompts)


def removed(prompts: Sequence[Prompt], prompt_id: str) -> tuple[Prompt, ...]:
    """All prompts but one.

    Raises:
        PromptError: there is none of that ID.
    """
    _check_known(prompts, prompt_id)
    return tuple(old for old in prompts if old.id != prompt_id)


def _check_known(prompts: Sequence[Prompt], prompt_id: str) -> None:
    if all(prompt.id != prompt_id for prompt in prompts):
        raise PromptError(f"There is no prompt {prompt_id!r}; it may have been removed or undone.")
