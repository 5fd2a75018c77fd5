"""An engine made of a 3D model: prompts go to a crop around them, its answer back into the volume."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.errors import PromptError
from ..core.prompts import MaskPrompt, Prompt
from ..core.results import Prediction
from ..core.volume import Volume
from .assemble3d import VolumeReader
from .cache import BoundedCache, content_key
from .crop3d import centered, cut_crop
from .grid3d import ModelGrid
from .placement import check_prompts, place_prompts
from .prompts3d import steps_of, understood_kinds
from .protocol import Context, Embedding, ExpertLogits, Extent3D
from .protocol3d import Crop, CropPrompt, Triple, VolumeModel
from .walk3d import Walk

MAX_CROPS = 7
"""Crops that one click may take: the one around it and, for a large round target, one beyond each face."""
_KEY_BYTES = 256
_REMEMBERED = 4 << 20  # bytes of crop keys

_NO_POSITIVE = "No positive prompt yet: click or draw inside the target."
_ONE_CROP = (
    "The public inference looks at one crop of {:.0f} mm around the first prompt; the {} prompt lies outside of it. "
    "Remove it, or load the model without strict_upstream."
)


class VolumeEngine:
    """Runs a :class:`~MoESegLib.engines.protocol3d.VolumeModel` on crops of volumes.

    The steps are those of SAM-Med3D's public inference (upstream ``utils/infer_utils.py``): resample to isotropic
    voxels along R, A, S; crop around the prompt and pad with 0; z-score over the voxels above 0; one click after the
    other, each with all earlier clicks and the logits they gave; cut at a probability of one half. Three things are
    ours: CT is clamped as in training; the crop stays where it is while the prompts lie inside it, and where the mask
    runs over its border further crops are looked at; logits, not voxels, go back to the original grid.

    Args:
        model: the 3D model.
        strict_upstream: leave those three out.
        max_crops: how many crops one click may take; every crop that a further click needs comes on top.
    """

    def __init__(self, model: VolumeModel, *, strict_upstream: bool = False, max_crops: int = MAX_CROPS) -> None:
        self.model = model
        self.name = model.name
        self.understands = understood_kinds(model.native)
        self.strict_upstream = strict_upstream
        self.max_crops = 1 if strict_upstream else max_crops
        # Prompts closer to the border of a crop get one of their own; an eighth is 24 mm for SAM-Med3D.
        self.margin = 0 if strict_upstream else model.crop_size // 8
        self._crops: BoundedCache[tuple[str, str]] = BoundedCache(_REMEMBERED)

    @property
    def experts(self) -> tuple[str, ...]:
        """Who can be asked by name before anybody has answered."""
        return self.model.experts

    def check(self, volume: Volume, prompts: Sequence[Prompt], extent: Extent3D) -> None:
        """See :meth:`MoESegLib.engines.protocol.Engine.check`."""
        if volume.color or min(volume.size) < 2:
            what = "a color image" if volume.color else "a single slice"
            raise PromptError(
                f"{self.name} segments volumes, and this is {what}. Choose a 2D model, for example lite-medsam."
            )
        for prompt in prompts:
            if prompt.kind not in self.understands:
                raise PromptError(
                    f"{self.name} does not understand {prompt.kind} prompts; it takes "
                    f"{', '.join(sorted(self.understands))}. Click into the target, or choose another model."
                )
            if isinstance(prompt, MaskPrompt) and prompt.role != "start":
                raise PromptError(
                    f"{self.name} cannot use known anatomy; it takes a mask only as a first guess of the target."
                )
        check_prompts(volume, prompts)
        place_prompts(volume, prompts)
        if self.strict_upstream:
            self._check_one_crop(volume, prompts)

    def predict(self, volume: Volume, prompts: Sequence[Prompt], context: Context) -> Prediction:
        """See :meth:`MoESegLib.engines.protocol.Engine.predict`."""
        steps = steps_of(volume, self.grid(volume), prompts, self.model.crop_size - 2 * self.margin)
        walk = Walk(self, volume, context, len(steps))
        for step in steps:
            walk.take(step)
        canvas = walk.finish()
        if walk.lattice is None:
            return Prediction(notes=(*walk.notes, _NO_POSITIVE))
        slices = place_prompts(volume, prompts).slices if context.extent == "slice" else None
        reader = VolumeReader(volume, walk.grid, walk.lattice, slices, nearest=self.strict_upstream)
        return reader.prediction(canvas, walk.answers, [*walk.notes, *self.model.notes])

    def prefetch(self, volume: Volume, axis: int, index: int, context: Context) -> None:
        """Nothing: a crop is centered on the first click, which a slice does not tell."""

    def is_prefetched(self, volume: Volume, axis: int, index: int, context: Context) -> bool:
        """True, since there is nothing to prepare; the first click on a target still runs the encoder."""
        return True

    def grid(self, volume: Volume) -> ModelGrid:
        """The voxels the model sees."""
        return ModelGrid.of(volume, self.model.spacing, as_stored=self.strict_upstream)

    def answer(
        self, volume: Volume, grid: ModelGrid, origin: Triple, prompt: CropPrompt, context: Context
    ) -> tuple[tuple[ExpertLogits, ...], str]:
        """The answer in the crop that begins at a grid voxel, from the cache or the model; and a note on it or "".

        Embeddings are kept by the content of the crop. What lies where in a volume is remembered, too, so that a
        further click neither resamples nor hashes.
        """
        place = content_key(volume.content_id, repr((origin, self.strict_upstream)))
        known, crop = self._crops.get(place), None
        if known is None:
            crop = self.crop(volume, grid, origin)
            known = crop.key, crop.note
            self._crops.put(place, known, _KEY_BYTES)
        key = content_key(self.model.encoder_id, known[0])
        decoded = content_key(self.model.decoder_id, key, prompt.key)
        answers = context.cache.decoded.get(decoded)
        if answers is None:
            embedding = context.cache.get_embedding(key)
            if embedding is None:
                embedding = self._encode(crop or self.crop(volume, grid, origin), context)
                context.cache.put_embedding(key, embedding)
            context.cancel.check()
            answers = self.model.decode(embedding, prompt)
            if prompt.expert is not None and answers[0].expert != prompt.expert:
                names = ", ".join(sorted(answer.expert for answer in answers))
                raise PromptError(f"{self.name} has no expert {prompt.expert!r}; it has {names}. Choose one of them.")
            context.cache.decoded.put(decoded, answers, sum(answer.logits.nbytes for answer in answers))
        return answers, known[1]

    def _encode(self, crop: Crop, context: Context) -> Embedding:
        """In full precision: the embedding of a crop is small (0.8 MB for SAM-Med3D)."""
        return {name: tensor.detach().cpu() for name, tensor in self.model.encode(crop, context.cancel).items()}

    def crop(self, volume: Volume, grid: ModelGrid, origin: Triple) -> Crop:
        """The crop that begins at a voxel of the model grid, as the encoder gets it."""
        return cut_crop(volume, grid, origin, self.model.crop_size, clamp=not self.strict_upstream)

    def _check_one_crop(self, volume: Volume, prompts: Sequence[Prompt]) -> None:
        """Refuse what lies outside the crop around the first positive prompt."""
        grid, size = self.grid(volume), self.model.crop_size
        steps = [(prompt, step) for prompt in prompts for step in steps_of(volume, grid, [prompt], size)]
        first = next((step for _, step in steps if step.positive), None)
        if first is None:
            return
        origin = centered(first.low, first.high, size)
        for prompt, step in steps:
            if (step.low < origin).any() or (step.high >= origin + size).any():
                raise PromptError(_ONE_CROP.format(size * self.model.spacing, prompt.kind))
