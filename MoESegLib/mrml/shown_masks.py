"""Which mask of a model the voxels of a segment show.

A new answer is written as the difference to the one before, so that brush strokes and what neighbors took survive. That
needs the one before, for every state that undo and redo can bring back.
"""

from __future__ import annotations

import uuid

from ..core.results import MaskPatch
from ..engines.cache import BoundedCache

_MAX_BYTES = 256 << 20


class ShownMasks:
    """Masks by segment and question; the least recently used ones make room, and are then asked for again."""

    def __init__(self) -> None:
        self._patches: BoundedCache[MaskPatch] = BoundedCache(_MAX_BYTES)

    def get(self, segment_id: str, settled: str) -> MaskPatch | None:
        """The mask a segment shows by its tag ``MoESeg.Settled``; nothing without one, None when it is not known."""
        return self._patches.get(f"{segment_id}|{settled}") if settled else MaskPatch()

    def put(self, segment_id: str, settled: str, patch: MaskPatch) -> None:
        """Remember the mask that answers a question."""
        if settled:
            self._patches.put(f"{segment_id}|{settled}", patch, patch.voxels.nbytes)

    def put_drawing(self, segment_id: str, patch: MaskPatch) -> str:
        """Remember voxels the user drew as if a model had; returns the value for the tag."""
        name = f"drawing-{uuid.uuid4().hex[:12]}"
        self.put(segment_id, name, patch)
        return name
