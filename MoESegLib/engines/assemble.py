"""From low-resolution logits on slices to one mask in the volume."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core.geometry import EMPTY_EXTENT, Extent, extent_slices, is_empty, mask_extent, union_extent
from ..core.results import Alternative, MaskPatch, Prediction, ProbabilityMap
from ..core.volume import Volume
from .placement import SliceKey
from .protocol import ExpertLogits, PreparedImage


@dataclass(frozen=True, eq=False)
class SliceAnswer:
    """The answer on one slice.

    Attributes:
        prepared: the slice as the model saw it.
        logits: the united logits of the chosen answers ``[g, g]``, over the padded model image.
        experts: one entry per expert, united over the objects; the first is the chosen one.
        notes: what the user should know.
    """

    prepared: PreparedImage
    logits: NDArray[np.float32]
    experts: tuple[ExpertLogits, ...]
    notes: tuple[str, ...] = ()


def full_size(logits: NDArray[np.float32], prepared: PreparedImage) -> NDArray[np.bool_]:
    """Low-resolution logits as a displayed mask ``[row, column]``: enlarged logits, cut at 0."""
    return enlarge(logits, prepared) > 0


def enlarge(logits: NDArray[np.float32], prepared: PreparedImage) -> NDArray[np.float32]:
    """Low-resolution logits over the displayed slice ``[row, column]``: crop the padding, enlarge bilinearly."""
    import torch
    import torch.nn.functional as F

    grid, side = logits.shape[-1], prepared.pixels.shape[-1]
    tensor = torch.from_numpy(logits)[None, None]
    if grid != side:
        tensor = F.interpolate(tensor, (side, side), mode="bilinear", align_corners=False)
    rows, columns = prepared.resized
    tensor = F.interpolate(tensor[..., :rows, :columns], prepared.original, mode="bilinear", align_corners=False)
    return tensor[0, 0].numpy()


def assemble(volume: Volume, answers: dict[SliceKey, SliceAnswer]) -> Prediction:
    """Slice answers as one prediction in the volume.

    The expert named is the one that answered most slices; the confidence is the mean over the slices.
    """
    if not answers:
        return Prediction(notes=("No positive prompt yet: click or draw inside the target.",))
    logits = {key: enlarge(answer.logits, answer.prepared) for key, answer in answers.items()}
    chosen = [answer.experts[0] for answer in answers.values()]
    expert = Counter(entry.expert for entry in chosen).most_common(1)[0][0]
    notes = dict.fromkeys(note for answer in answers.values() for note in answer.notes)
    empty = sum(not (values > 0).any() for values in logits.values())
    if empty:
        notes[_nothing_found(empty, len(answers))] = None
    names = dict.fromkeys(entry.expert for answer in answers.values() for entry in answer.experts)
    return Prediction(
        patch=_patch(volume, {key: values > 0 for key, values in logits.items()}),
        expert=expert,
        confidence=_mean(entry.quality for entry in chosen),
        gate_weight=_mean(entry.gate_weight for entry in chosen),
        notes=tuple(notes),
        alternatives=tuple(_alternative(volume, answers, name) for name in names if name != expert),
        probability=_probability(volume, logits),
    )


def _nothing_found(empty: int, slices: int) -> str:
    if slices == 1:
        return "Nothing was found on the slice."
    return f"Nothing was found on {empty} of {slices} slices."


def _probability(volume: Volume, logits: dict[SliceKey, NDArray[np.float32]]) -> ProbabilityMap:
    """The sigmoid of the logits in whole percent; where slices of two orientations cross, the larger one."""
    percent = {key: np.rint(100 / (1 + np.exp(-np.clip(values, -30, 30)))) for key, values in logits.items()}
    patch = _patch(volume, percent)
    return ProbabilityMap(patch.extent, patch.voxels)


def _alternative(volume: Volume, answers: dict[SliceKey, SliceAnswer], name: str) -> Alternative:
    entries = {
        key: (next((entry for entry in answer.experts if entry.expert == name), answer.experts[0]), answer.prepared)
        for key, answer in answers.items()
    }
    masks = {key: full_size(entry.logits, prepared) for key, (entry, prepared) in entries.items()}
    return Alternative(
        name,
        _patch(volume, masks),
        _mean(entry.quality for entry, _ in entries.values()),
        _mean(entry.gate_weight for entry, _ in entries.values()),
    )


def _patch(volume: Volume, images: Mapping[SliceKey, NDArray]) -> MaskPatch:
    """Displayed slices of small numbers (0 outside) as one patch, one orientation at a time over the slices used."""
    patches = []
    for axis in sorted({axis for axis, _ in images}):
        indices = [index for used, index in images if used == axis]
        first = min(indices)
        shape = list(volume.shape)
        shape[2 - axis] = max(indices) - first + 1
        slab, view = np.zeros(shape, np.uint8), volume.view(axis)
        for index in indices:
            view.insert(slab, index - first, images[axis, index])
        extent = mask_extent(slab)
        if not is_empty(extent):
            patches.append(MaskPatch(_shifted(extent, axis, first), np.ascontiguousarray(slab[extent_slices(extent)])))
    extent = EMPTY_EXTENT
    for patch in patches:
        extent = union_extent(extent, patch.extent)
    if is_empty(extent):
        return MaskPatch()
    return MaskPatch(extent, np.maximum.reduce([patch.within(extent) for patch in patches]))


def _shifted(extent: Extent, axis: int, offset: int) -> Extent:
    if is_empty(extent):
        return EMPTY_EXTENT
    values = list(extent)
    values[2 * axis] += offset
    values[2 * axis + 1] += offset
    return tuple(values)  # type: ignore[return-value]


def unite(answers: Sequence[tuple[ExpertLogits, ...]]) -> tuple[ExpertLogits, ...]:
    """One entry per expert over several objects: largest logits, mean quality and weight, all notes."""
    if len(answers) == 1:
        return answers[0]
    names = dict.fromkeys(entry.expert for experts in answers for entry in experts)
    united = []
    for name in names:
        entries = [next((e for e in experts if e.expert == name), experts[0]) for experts in answers]
        logits = np.maximum.reduce([entry.logits for entry in entries])
        quality, weight = _mean(e.quality for e in entries), _mean(e.gate_weight for e in entries)
        notes = tuple(dict.fromkeys(note for entry in entries for note in entry.notes))
        united.append(ExpertLogits(name, logits, quality, weight, notes))
    return tuple(united)


def _mean(values: Iterable[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return float(np.mean(numbers)) if numbers else None
