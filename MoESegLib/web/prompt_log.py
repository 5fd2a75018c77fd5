"""What was done to the segments of one image, in order: one line of JSON for every action and every answer.

The first line says which image and format it is. Prompts are written as in the logs of ``moeseg segment --log``
(:meth:`~MoESegLib.core.prompts.Prompt.to_dict`, RAS millimeters), without the voxels of masks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..core.geometry import is_empty, union_extent
from ..core.prompts import Prompt
from ..core.results import MaskPatch
from ..evaluation.metrics import dice
from ..mrml.answers import Answer
from ..mrml.segmentations import segment_ids, segment_of

if TYPE_CHECKING:
    from .desk import Case

LOG_FORMAT = "moeseg-prompts-1"
_UNTOLD = frozenset({"look", "overlays", "show_segment", "select_segment"})
"""What changes nothing that is saved."""


class PromptLog:
    """The log of one image.

    Args:
        lines: of the work that is gone on with; none for a new one.

    Attributes:
        lines: JSON texts, oldest first.
    """

    def __init__(self, case: Case, lines: Sequence[str] = ()) -> None:
        self.lines = list(lines)
        self._case = case
        self._known: dict[str, dict[str, Prompt]] = {}
        if lines:
            self._known = self._prompts()
            self._write("resumed")
        else:
            volume = case.volume
            image = {"name": volume.name, "modality": volume.modality, "size": volume.size}
            self._write("opened", format=LOG_FORMAT, version=__version__, image=image)

    def text(self) -> str:
        """The file."""
        return "".join(f"{line}\n" for line in self.lines)

    def note(self, message: Mapping[str, Any]) -> None:
        """After the user did something: what it was, and how the prompts changed by it."""
        if (action := str(message["do"])) in _UNTOLD:
            return
        segment = str(message.get("id", self._case.workbench.parameters.segment))
        self._write(action, **self._named(segment), **self._change())

    def look(self, answers: Mapping[str, Answer]) -> None:
        """After the worker was asked for news: prompts that changed since the last action, and answers."""
        if change := self._change():
            self._write("changed", **change)
        for answer in answers.values():
            result = answer.result
            if answer.before is result.prediction.patch:
                continue  # undo or redo brought it back
            self._write(
                "answer",
                **self._named(answer.segment),
                model=self._case.workbench.parameters.model,
                expert=result.expert,
                confidence=result.confidence,
                seconds=round(result.seconds, 4),
                milliliters=round(answer.volume_ml, 4),
                added=answer.added,
                removed=answer.removed,
                diceToPrevious=_overlap(answer.before, result.prediction.patch),
            )

    def _write(self, action: str, **more: Any) -> None:
        now = datetime.now().astimezone().isoformat(timespec="milliseconds")
        self.lines.append(json.dumps({"time": now, "action": action, **more}))

    def _named(self, segment_id: str) -> dict[str, Any]:
        if segment_id not in segment_ids(self._case.segmentation):
            return {"segment": segment_id}
        name = segment_of(self._case.segmentation, segment_id).GetName()
        return {"segment": segment_id, "name": name, "locked": self._case.workbench.is_locked(segment_id)}

    def _prompts(self) -> dict[str, dict[str, Prompt]]:
        """By segment and ID; those that wait for the answer before them included."""
        session = self._case.workbench.session
        if session is None or session.closed:
            return self._known
        return {
            segment_id: {prompt.id: prompt for prompt in session.safe_prompts(segment_id)}
            for segment_id in segment_ids(self._case.segmentation)
        }

    def _change(self) -> dict[str, Any]:
        """Prompts that came, changed and went since the last look."""
        before, self._known = self._known, self._prompts()
        old = {key: prompt for prompts in before.values() for key, prompt in prompts.items()}
        new = {key: prompt for prompts in self._known.values() for key, prompt in prompts.items()}
        change = {
            "prompts": [_described(prompt) for key, prompt in new.items() if key not in old],
            "changed": [
                _described(prompt) for key, prompt in new.items() if key in old and prompt.content != old[key].content
            ],
            "removed": [key for key in old if key not in new],
        }
        return {name: items for name, items in change.items() if items}


def _overlap(first: MaskPatch, second: MaskPatch) -> float | None:
    """Dice of a mask and the one before it; None when there was none."""
    if is_empty(first.extent):
        return None
    both = union_extent(first.extent, second.extent)
    return round(dice(first.within(both), second.within(both)), 4)


def _described(prompt: Prompt) -> dict[str, Any]:
    return {name: value for name, value in prompt.to_dict().items() if name != "mask" and value is not None}
