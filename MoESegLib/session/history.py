"""The state of a session as a value, and the states before and after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ..core.errors import PromptError
from ..core.prompts import Prompt


@dataclass(frozen=True)
class SessionState:
    """Everything the user decided: a session can be rebuilt from it, the volume and the engine.

    Attributes:
        prompts: in the order they were given.
        locked: segments that must not change.
        experts: segments for which the user picked an expert.
    """

    prompts: tuple[Prompt, ...] = ()
    locked: frozenset[str] = frozenset()
    experts: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def of_segment(self, segment: str) -> tuple[Prompt, ...]:
        return tuple(prompt for prompt in self.prompts if prompt.segment == segment)

    def question(self, segment: str) -> tuple:
        """What determines the answer for a segment; equal questions have equal answers."""
        return tuple(prompt.content for prompt in self.of_segment(segment)), self.experts.get(segment)

    @property
    def segments(self) -> tuple[str, ...]:
        """Segments with prompts, in the order of their first prompt."""
        return tuple(dict.fromkeys(prompt.segment for prompt in self.prompts))

    def find(self, prompt_id: str) -> Prompt:
        """The prompt with an ID.

        Raises:
            PromptError: there is none.
        """
        for prompt in self.prompts:
            if prompt.id == prompt_id:
                return prompt
        raise PromptError(f"There is no prompt {prompt_id!r} in this session; it may have been removed or undone.")


class History:
    """States in the order they came about, with a cursor; a new state discards what was undone.

    States share their prompts, so a step costs a few hundred bytes however deep the history is.
    """

    def __init__(self, first: SessionState) -> None:
        self._states = [first]
        self._at = 0

    @property
    def current(self) -> SessionState:
        return self._states[self._at]

    @property
    def can_undo(self) -> bool:
        return self._at > 0

    @property
    def can_redo(self) -> bool:
        return self._at + 1 < len(self._states)

    def push(self, state: SessionState) -> None:
        self._states[self._at + 1 :] = [state]
        self._at += 1

    def undo(self) -> SessionState:
        self._at -= 1
        return self.current

    def redo(self) -> SessionState:
        self._at += 1
        return self.current
