"""What a prediction says: the mask, who made it, and how sure it is."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .geometry import EMPTY_EXTENT, Extent, extent_shape, extent_slices, is_empty, mask_extent, union_extent


@dataclass(frozen=True, eq=False)
class MaskPatch:
    """A mask stored as its bounding box, so that a small result in a large volume stays small.

    Attributes:
        extent: inclusive (i, j, k) bounds of the patch in the volume; ``EMPTY_EXTENT`` when nothing is segmented.
        voxels: uint8 0/1, ``[k, j, i]`` within the extent.
    """

    extent: Extent = EMPTY_EXTENT
    voxels: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 0, 0), np.uint8))

    @classmethod
    def of(cls, mask: NDArray) -> MaskPatch:
        """The patch of a full ``[k, j, i]`` mask."""
        extent = mask_extent(mask)
        if is_empty(extent):
            return cls()
        return cls(extent, np.ascontiguousarray(mask[extent_slices(extent)] != 0).astype(np.uint8))

    @property
    def count(self) -> int:
        """Number of voxels in the mask."""
        return int(np.count_nonzero(self.voxels))

    def to_array(self, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
        """The full ``[k, j, i]`` mask of a volume with that shape."""
        array = np.zeros(shape, np.uint8)
        if not is_empty(self.extent):
            array[extent_slices(self.extent)] = self.voxels
        return array

    def within(self, extent: Extent) -> NDArray[np.uint8]:
        """The mask cut to an extent that holds the patch, ``[k, j, i]``."""
        array = np.zeros(extent_shape(extent), np.uint8)
        if not is_empty(self.extent):
            i, j, k = (self.extent[axis] - extent[axis] for axis in (0, 2, 4))
            depth, rows, columns = self.voxels.shape
            array[k : k + depth, j : j + rows, i : i + columns] = self.voxels
        return array


@dataclass(frozen=True, eq=False)
class ProbabilityMap:
    """How sure the model is of every voxel, stored as the bounding box of the voxels of at least 1 %.

    Attributes:
        extent: inclusive (i, j, k) bounds in the volume; ``EMPTY_EXTENT`` when there are no such voxels.
        percent: uint8 0..100, ``[k, j, i]`` within the extent: the sigmoid of the logits, so 50 is the mask's border.
    """

    extent: Extent = EMPTY_EXTENT
    percent: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 0, 0), np.uint8))


@dataclass(frozen=True, eq=False)
class Alternative:
    """The mask another expert would give for the same prompts.

    Attributes:
        expert: its name.
        confidence: predicted quality in [0, 1], None when the model does not predict one.
        gate_weight: the gate's weight in [0, 1], None when there is no gate.
    """

    expert: str
    patch: MaskPatch
    confidence: float | None = None
    gate_weight: float | None = None


@dataclass(frozen=True, eq=False)
class Prediction:
    """An engine's answer to the prompts of one segment.

    Attributes:
        expert: who answered; "base" when no expert was involved.
        confidence: predicted quality (an estimate of the IoU) in [0, 1], None when the model does not predict one.
        gate_weight: the gate's weight of that expert in [0, 1], None when there is no gate.
        notes: what the user should know, for example that a click was turned into a box.
        alternatives: the other experts' masks for the same prompts.
        probability: of every voxel, None when the engine does not tell.
    """

    patch: MaskPatch = field(default_factory=MaskPatch)
    expert: str = "base"
    confidence: float | None = None
    gate_weight: float | None = None
    notes: tuple[str, ...] = ()
    alternatives: tuple[Alternative, ...] = ()
    probability: ProbabilityMap | None = None


@dataclass(frozen=True, eq=False)
class SegmentResult:
    """The current answer for one segment and what changed since the one before.

    Attributes:
        segment: segment ID.
        prediction: mask, expert, confidence and alternatives.
        changed_extent: inclusive (i, j, k) bounds of the voxels that differ from the previous result.
        added, removed: number of voxels gained and lost.
        seconds: time the prediction took.
    """

    segment: str
    prediction: Prediction = field(default_factory=Prediction)
    changed_extent: Extent = EMPTY_EXTENT
    added: int = 0
    removed: int = 0
    seconds: float = 0.0

    @classmethod
    def after(cls, previous: SegmentResult, prediction: Prediction, seconds: float) -> SegmentResult:
        """The result that replaces ``previous``, with the difference worked out inside their bounding boxes."""
        both = union_extent(previous.extent, prediction.patch.extent)
        if is_empty(both):
            return cls(previous.segment, prediction, seconds=seconds)
        before, now = previous.prediction.patch.within(both), prediction.patch.within(both)
        local = mask_extent(before != now)
        offset = [both[axis] for axis in (0, 0, 2, 2, 4, 4)]
        changed = local if is_empty(local) else tuple(a + b for a, b in zip(local, offset, strict=True))
        added, removed = int(np.count_nonzero(now > before)), int(np.count_nonzero(now < before))
        return cls(previous.segment, prediction, changed, added, removed, seconds)  # type: ignore[arg-type]

    @property
    def expert(self) -> str:
        return self.prediction.expert

    @property
    def confidence(self) -> float | None:
        return self.prediction.confidence

    @property
    def gate_weight(self) -> float | None:
        return self.prediction.gate_weight

    @property
    def extent(self) -> Extent:
        """Inclusive (i_min, i_max, j_min, j_max, k_min, k_max) of the mask."""
        return self.prediction.patch.extent

    @property
    def voxels(self) -> int:
        return self.prediction.patch.count

    @property
    def notes(self) -> tuple[str, ...]:
        return self.prediction.notes

    @property
    def alternatives(self) -> tuple[Alternative, ...]:
        return self.prediction.alternatives
