"""An engine without weights or torch, so that the checks do not depend on what is installed in Slicer's Python."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from MoESegLib.core.errors import PromptError
from MoESegLib.core.results import Alternative, MaskPatch, Prediction, ProbabilityMap
from MoESegLib.core.volume import Volume
from MoESegLib.mrml.model_library import ModelLibrary

BRIGHT = 100
_RADIUS_MM = 6.0


class BrightEngine:
    """Bright voxels near the prompts are the target; two experts, the second one answers with a smaller mask.

    Args:
        delay: seconds a prediction takes, polled every 10 ms for a cancel.
    """

    name = "lite-medsam"  # one that has a model card
    understands = frozenset({"point", "box", "scribble", "polygon", "mask"})

    def __init__(self, delay: float = 0.0) -> None:
        self.delay = delay
        self.asked = 0

    def check(self, volume: Volume, prompts: Sequence[Any], extent: str) -> None:
        """Refuse points outside the volume, as the real engines do."""
        for prompt in prompts:
            if any(not volume.contains(point) for point in prompt.ras_points):
                raise PromptError("The prompt is outside the volume; place it inside.")

    def predict(self, volume: Volume, prompts: Sequence[Any], context: Any) -> Prediction:
        """Bright voxels around the positive prompts but for those around the negative ones."""
        self.asked += 1
        finished = time.monotonic() + self.delay
        while time.monotonic() < finished:
            context.cancel.check()
            time.sleep(0.01)
        wide, narrow = (self._mask(volume, prompts, radius) for radius in (_RADIUS_MM, _RADIUS_MM / 2))
        answers = {"wide": MaskPatch.of(wide), "narrow": MaskPatch.of(narrow)}
        chosen = context.expert if context.expert in answers else "wide"
        other = "narrow" if chosen == "wide" else "wide"
        patch = answers[chosen]
        return Prediction(
            patch=patch,
            expert=chosen,
            confidence=0.9,
            gate_weight=0.7,
            alternatives=(Alternative(other, answers[other], 0.6, 0.3),),
            probability=ProbabilityMap(patch.extent, (patch.voxels * 90).astype(np.uint8)),
        )

    def prefetch(self, volume: Volume, axis: int, index: int, context: Any) -> None:
        """Nothing to prepare."""

    def is_prefetched(self, volume: Volume, axis: int, index: int, context: Any) -> bool:
        """Always."""
        return True

    def _mask(self, volume: Volume, prompts: Sequence[Any], radius: float) -> np.ndarray:
        inside = np.zeros(volume.shape, bool)
        outside = np.zeros(volume.shape, bool)
        for prompt in prompts:
            target = inside if getattr(prompt, "positive", True) else outside
            points = volume.ras_to_ijk(np.array(prompt.ras_points, float).reshape(-1, 3))
            margin = np.zeros(3) if prompt.kind in ("box", "polygon") else radius / np.array(volume.spacing)
            groups = [points] if prompt.kind in ("box", "polygon") else [point[None] for point in points]
            for group in groups:
                low = np.maximum(np.floor(group.min(axis=0) - margin + 0.5), 0).astype(int)
                high = np.minimum(np.ceil(group.max(axis=0) + margin - 0.5), np.array(volume.size) - 1).astype(int)
                if prompt.plane is not None:
                    axis = volume.axis_of(prompt.plane)
                    low[axis] = high[axis] = round(float(group[:, axis].mean()))
                target[tuple(slice(a, b + 1) for a, b in zip(low[::-1], high[::-1], strict=True))] = True
        return inside & ~outside & (volume.array > BRIGHT)


class FakeLibrary(ModelLibrary):
    """Every model is on this computer and is the one given."""

    def __init__(self, engine: Any) -> None:
        super().__init__(lambda name: engine)

    def state(self, name: str) -> str:
        """Always "installed"."""
        return "installed"


def ball(shape: tuple[int, int, int] = (24, 48, 48), matrix: Any = None, dtype: Any = np.int16) -> Volume:
    """A bright ball ``[k, j, i]`` on a dark ground."""
    matrix = np.diag([-1.0, -1.0, 2.0, 1.0]) if matrix is None else np.asarray(matrix, float)
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)[::-1]
    middle = (np.array(shape) - 1) / 2
    squares = [((np.arange(size) - middle[axis]) * spacing[axis]) ** 2 for axis, size in enumerate(shape)]
    distance = squares[0][:, None, None] + squares[1][None, :, None] + squares[2][None, None, :]
    radius = 0.35 * min(size * step for size, step in zip(shape, spacing, strict=True))
    return Volume(np.where(distance <= radius**2, 220, 30).astype(dtype), matrix)
