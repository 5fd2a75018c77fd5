"""An engine made of a 2D model: prompts go to slices, slices to masks, masks back into the volume."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core.errors import PromptError
from ..core.geometry import EMPTY_EXTENT, Extent, is_empty, union_extent
from ..core.intensity import Window, default_window, to_uint8
from ..core.prompts import Prompt
from ..core.results import Alternative, MaskPatch, Prediction
from ..core.volume import Volume
from .cache import content_key
from .convert import model_prompts, understood_kinds
from .placement import PixelPrompt, SliceKey, check_prompts, place_prompts
from .protocol import Context, Embedding, ExpertLogits, Extent3D, ModelPrompt, PreparedImage, SliceModel


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


class SliceEngine:
    """Runs a :class:`~MoESegLib.engines.protocol.SliceModel` on slices, and through them on volumes.

    Args:
        model: the 2D model.
        window: intensity window for every image, or None for the default of its modality.
    """

    def __init__(self, model: SliceModel, window: Window | None = None) -> None:
        self.model = model
        self.name = model.name
        self.window = window
        self.understands = understood_kinds(model.native)

    def check(self, volume: Volume, prompts: Sequence[Prompt], extent: Extent3D) -> None:
        """See :meth:`MoESegLib.engines.protocol.Engine.check`."""
        for prompt in prompts:
            if prompt.kind not in self.understands:
                raise PromptError(
                    f"{self.name} does not understand {prompt.kind} prompts; it takes "
                    f"{', '.join(sorted(self.understands))}. Choose another model or prompt."
                )
        check_prompts(volume, prompts)
        placed = place_prompts(volume, prompts)
        if extent == "volume":
            check_one_axis(volume, placed.slices)

    def predict(self, volume: Volume, prompts: Sequence[Prompt], context: Context) -> Prediction:
        """See :meth:`MoESegLib.engines.protocol.Engine.predict`."""
        from .propagation import propagate

        placed = place_prompts(volume, prompts)
        if context.extent == "volume":
            return assemble(volume, propagate(self, volume, placed, context))
        answers: dict[SliceKey, SliceAnswer] = {}
        for done, (key, on_slice) in enumerate(placed.slices.items()):
            context.cancel.check()
            if context.progress is not None:
                context.progress(done / len(placed.slices), f"slice {key[1]}")
            answer = self.answer(volume, key, on_slice, context, text=placed.text)
            if answer is not None:
                answers[key] = answer
        return assemble(volume, answers)

    def prefetch(self, volume: Volume, axis: int, index: int, context: Context) -> None:
        """See :meth:`MoESegLib.engines.protocol.Engine.prefetch`."""
        self.embedding(self.prepare(volume, (axis, index)), context)

    def is_prefetched(self, volume: Volume, axis: int, index: int, context: Context) -> bool:
        """See :meth:`MoESegLib.engines.protocol.Engine.is_prefetched`."""
        return self._embedding_key(self.prepare(volume, (axis, index))) in context.cache.embeddings

    def prepare(self, volume: Volume, key: SliceKey) -> PreparedImage:
        """One slice, windowed, resized and normalized for the encoder."""
        axis, index = key
        view = volume.view(axis)
        window = self.window if self.window is not None else default_window(volume)
        image = np.ascontiguousarray(to_uint8(view.extract(volume.array, index), None if volume.color else window))
        return self.model.prepare(image, (volume.spacing[view.row_axis], volume.spacing[view.column_axis]))

    def embedding(self, prepared: PreparedImage, context: Context) -> Embedding:
        """The embedding of a slice, from the cache or the encoder, always rounded to half precision.

        Rounding once, before the first use, makes fresh and cached answers the same to the last bit and halves the
        memory (2 MB instead of 4 for a LiteMedSAM slice).
        """
        import torch

        key = self._embedding_key(prepared)
        found = context.cache.get_embedding(key)
        if found is None:
            fresh = self.model.encode(prepared, context.cancel)
            found = {name: tensor.detach().to("cpu", torch.float16) for name, tensor in fresh.items()}
            context.cache.put_embedding(key, found)
        return found

    def answer(
        self,
        volume: Volume,
        key: SliceKey,
        prompts: Sequence[PixelPrompt],
        context: Context,
        text: Sequence[str] = (),
    ) -> SliceAnswer | None:
        """The answer to the prompts of one slice, or None when none of them is positive.

        A model that refines gets its own logits for the earlier prompts together with each new one, as it was trained;
        those earlier answers come from the cache, so a further click costs one decoder pass.
        """
        prepared = self.prepare(volume, key)
        embedding_key = self._embedding_key(prepared)
        answer: SliceAnswer | None = None
        first = 1 if self.model.refines else max(1, len(prompts))
        for count in range(first, max(1, len(prompts)) + 1):
            context.cancel.check()
            calls, notes = model_prompts(prepared, prompts[:count], self.model.native)
            if text:
                calls = [dataclasses.replace(call, text=", ".join(text)) for call in calls or [ModelPrompt()]]
            if answer is not None and len(calls) == 1 and calls[0].logits is None:
                calls = [dataclasses.replace(calls[0], logits=answer.logits)]
            answer = self.decode(prepared, embedding_key, calls, context, notes)
        return answer

    def decode(
        self,
        prepared: PreparedImage,
        embedding_key: str,
        calls: Sequence[ModelPrompt],
        context: Context,
        notes: Iterable[str] = (),
    ) -> SliceAnswer | None:
        """Decode every call (from the cache where it was decoded before) and unite the objects."""
        answers = []
        for call in calls:
            call = call if context.expert is None else dataclasses.replace(call, expert=context.expert)
            key = content_key(embedding_key, call.key)
            experts = context.cache.decoded.get(key)
            if experts is None:
                context.cancel.check()
                experts = self.model.decode(self.embedding(prepared, context), call)
                context.cache.decoded.put(key, experts, sum(expert.logits.nbytes for expert in experts))
            answers.append(experts)
        if not answers:
            return None
        united = _unite(answers)
        return SliceAnswer(prepared, united[0].logits, united, tuple(notes))

    def _embedding_key(self, prepared: PreparedImage) -> str:
        return content_key(self.model.model_id, prepared.key)


def check_one_axis(volume: Volume, keys: Iterable[SliceKey]) -> int | None:
    """The axis that all prompts of a volume prediction share, or None without prompts.

    Raises:
        PromptError: prompts drawn in planes of different orientation.
    """
    axes = sorted({axis for axis, _ in keys})
    if len(axes) > 1:
        planes = " and ".join(volume.plane_of(axis) for axis in axes)
        raise PromptError(
            f"Propagation runs through slices of one orientation, but the prompts were drawn in {planes} planes. "
            " Draw them in one orientation, or use extent='slice'."
        )
    return axes[0] if axes else None


def full_size(logits: NDArray[np.float32], prepared: PreparedImage) -> NDArray[np.bool_]:
    """Low-resolution logits as a displayed mask ``[row, column]``: crop the padding, enlarge bilinearly, cut at 0."""
    import torch
    import torch.nn.functional as F

    grid, side = logits.shape[-1], prepared.pixels.shape[-1]
    tensor = torch.from_numpy(logits)[None, None]
    if grid != side:
        tensor = F.interpolate(tensor, (side, side), mode="bilinear", align_corners=False)
    rows, columns = prepared.resized
    tensor = F.interpolate(tensor[..., :rows, :columns], prepared.original, mode="bilinear", align_corners=False)
    return tensor[0, 0].numpy() > 0


def assemble(volume: Volume, answers: dict[SliceKey, SliceAnswer]) -> Prediction:
    """Slice answers as one prediction in the volume.

    The expert named is the one that answered most slices; the confidence is the mean over the slices.
    """
    if not answers:
        return Prediction(notes=("No positive prompt yet: click or draw inside the target.",))
    chosen = [answer.experts[0] for answer in answers.values()]
    expert = Counter(entry.expert for entry in chosen).most_common(1)[0][0]
    notes = dict.fromkeys(note for answer in answers.values() for note in answer.notes)
    names = dict.fromkeys(entry.expert for answer in answers.values() for entry in answer.experts)
    return Prediction(
        patch=_patch(volume, {key: full_size(answer.logits, answer.prepared) for key, answer in answers.items()}),
        expert=expert,
        confidence=_mean(entry.quality for entry in chosen),
        gate_weight=_mean(entry.gate_weight for entry in chosen),
        notes=tuple(notes),
        alternatives=tuple(_alternative(volume, answers, name) for name in names if name != expert),
    )


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


def _patch(volume: Volume, masks: dict[SliceKey, NDArray[np.bool_]]) -> MaskPatch:
    """Displayed slice masks as one patch, built one orientation at a time over the slices used."""
    patches = []
    for axis in sorted({axis for axis, _ in masks}):
        indices = [index for used, index in masks if used == axis]
        first = min(indices)
        shape = list(volume.shape)
        shape[2 - axis] = max(indices) - first + 1
        slab, view = np.zeros(shape, np.uint8), volume.view(axis)
        for index in indices:
            view.insert(slab, index - first, masks[axis, index])
        patch = MaskPatch.of(slab)
        patches.append(MaskPatch(_shifted(patch.extent, axis, first), patch.voxels))
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


def _unite(answers: Sequence[tuple[ExpertLogits, ...]]) -> tuple[ExpertLogits, ...]:
    """One entry per expert over several objects: largest logits, mean quality and weight."""
    if len(answers) == 1:
        return answers[0]
    names = dict.fromkeys(entry.expert for experts in answers for entry in experts)
    united = []
    for name in names:
        entries = [next((e for e in experts if e.expert == name), experts[0]) for experts in answers]
        logits = np.maximum.reduce([entry.logits for entry in entries])
        quality, weight = _mean(e.quality for e in entries), _mean(e.gate_weight for e in entries)
        united.append(ExpertLogits(name, logits, quality, weight))
    return tuple(united)


def _mean(values: Iterable[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return float(np.mean(numbers)) if numbers else None
