"""An engine made of a 2D model: prompts go to slices, slices to masks, masks back into the volume."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from ..core.errors import PromptError
from ..core.intensity import Window, default_window, to_uint8
from ..core.prompts import Prompt, TextPrompt, WholeSlicePrompt
from ..core.results import Prediction
from ..core.volume import Volume
from .assemble import SliceAnswer, assemble, unite
from .cache import content_key
from .convert import model_prompts, prompt_steps, understood_kinds
from .placement import PixelPrompt, SliceKey, check_one_axis, check_prompts, place_prompts
from .propagation import propagate
from .protocol import Context, Embedding, Extent3D, ModelPrompt, PreparedImage, SliceModel

_NO_AUTOMATIC = (
    "{} has no expert that segments without a prompt; teach one with `moeseg teach --automatic` or place a prompt."
)


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
                    _NO_AUTOMATIC.format(self.name)
                    if prompt.kind == "automatic"
                    else f"{self.name} does not understand {prompt.kind} prompts; it takes "
                    f"{', '.join(sorted(self.understands))}. Choose another model or prompt."
                )
        check_prompts(volume, prompts)
        if all(isinstance(prompt, WholeSlicePrompt) for prompt in prompts):  # beside a drawing a phrase only helps
            for prompt in prompts:
                if isinstance(prompt, TextPrompt):
                    self.model.check_phrase(prompt.text)
        placed = place_prompts(volume, prompts, extent)
        if extent == "volume":
            check_one_axis(volume, placed.slices)

    def predict(self, volume: Volume, prompts: Sequence[Prompt], context: Context) -> Prediction:
        """See :meth:`MoESegLib.engines.protocol.Engine.predict`."""
        placed = place_prompts(volume, prompts, context.extent)
        if context.extent == "volume" and not placed.everywhere:
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
        """The answer to the prompts of one slice, or None when nothing says what to segment.

        A model that refines gets its own logits for the earlier prompts together with each new one, as it was trained;
        those earlier answers come from the cache, so a further click costs one decoder pass.
        """
        prepared = self.prepare(volume, key)
        answer: SliceAnswer | None = None
        for given in prompt_steps(prompts, self.model.refines):
            context.cancel.check()
            previous = None if answer is None else answer.logits
            calls, notes = model_prompts(prepared, given, self.model, text, previous)
            latest = self.decode(prepared, calls, context, notes)
            if latest is not None:
                answer = latest
            elif answer is not None:
                answer = dataclasses.replace(answer, notes=(*notes, *answer.notes))
        return answer

    def decode(
        self,
        prepared: PreparedImage,
        calls: Sequence[ModelPrompt],
        context: Context,
        notes: Iterable[str] = (),
    ) -> SliceAnswer | None:
        """Decode every call (from the cache where it was decoded before) and unite the objects."""
        embedding_key = self._embedding_key(prepared)
        decoder = self.model.decoder_id
        answers = []
        for call in calls:
            call = call if context.expert is None else dataclasses.replace(call, expert=context.expert)
            key = content_key(decoder, embedding_key, call.key)
            experts = context.cache.decoded.get(key)
            if experts is None:
                context.cancel.check()
                experts = self.model.decode(self.embedding(prepared, context), call)
                if call.expert is not None and not experts[0].is_of(call.expert):
                    known = ", ".join(sorted(expert.expert for expert in experts))
                    raise PromptError(f"{self.name} has no expert {call.expert!r}; it has {known}. Choose one of them.")
                context.cache.decoded.put(key, experts, sum(expert.logits.nbytes for expert in experts))
            answers.append(experts)
        if not answers:
            return None
        united = unite(answers)
        return SliceAnswer(prepared, united[0].logits, united, (*notes, *united[0].notes, *self.model.notes))

    def _embedding_key(self, prepared: PreparedImage) -> str:
        return content_key(self.model.encoder_id, prepared.key)
