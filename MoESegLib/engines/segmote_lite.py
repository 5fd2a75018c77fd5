"""LiteMedSAM with packs of SegMoTE experts: the experts that know answer, the base stays at hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from ..core.errors import PromptError
from ..models.segmote import UNTRAINED_PACK
from .cache import content_key
from .encoders import SliceEncoder
from .expert_gate import (
    BASE,
    BASE_KINDS,
    PackAnswer,
    Traits,
    View,
    is_drawn,
    knows,
    order_answers,
    packs_to_ask,
    views_of,
)
from .expert_phrases import Said, hear
from .lite_medsam import LiteMedSAM
from .prompt_features import prompt_features
from .protocol import Embedding, ExpertLogits, ModelPrompt

if TYPE_CHECKING:
    from torch import Tensor

    from ..models.sam.build import Sam
    from ..models.segmote.asymmetric import AsymmetricSegMoTE, ExpertPack, PackOutput

UNTRAINED_NOTE = "No expert has been taught yet: every expert answers as the base model."
UNKNOWN_NOTE = "{} was not taught on images like this; look at the answer with care."
GENERAL_NOTE = "No expert was taught this kind of image or structure: the general expert answers."
BASE_NOTE = "No expert was taught this kind of image or structure: the base model answers."
_AS_GOOD = 0.005
"""Dice by which a pack may fall short of the base on the few patients that it was measured on and still be as good."""
_KINDS = frozenset({"box", "point", "mask", "text", "automatic"})
"""Kinds of prompts that the networks take; a pack that was taught others gets them converted."""


class SegMoTELite(LiteMedSAM):
    """Answers with the expert that the gate chose; the other experts that were asked and the base are the alternatives.

    It understands what its packs were taught. Until there is one, it understands what the base understands, and every
    expert answers as the base.

    Args:
        network: with the base's published weights, in eval mode.
        packs_id: hash of the packs' weights and cards, for cache keys.
        traits: by pack; a pack without is given boxes only.
        notes: what the user should know with every answer.
    """

    name = "segmote-lite"

    def __init__(
        self,
        network: AsymmetricSegMoTE,
        encoder: SliceEncoder,
        weights_id: str,
        packs_id: str,
        traits: Mapping[str, Traits] | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        super().__init__(cast("Sam", network), encoder, weights_id)
        self.experts = network
        given = {name: (traits or {}).get(name, Traits(BASE_KINDS)) for name in network.packs}
        self.traits = {
            name: dataclasses.replace(trait, kinds=BASE_KINDS | trait.kinds & _KINDS) for name, trait in given.items()
        }
        self.native = BASE_KINDS.union(*(trait.kinds for trait in self.traits.values()))
        # Taught with masks means taught with the previous answer beside the next click.
        self.refines = "mask" in self.native
        # Of the last slice, by pack: what its prompts share took a third of the time of each.
        self._features: tuple[Embedding, dict[str, Tensor]] | None = None
        self.decoder_id = content_key(self.name, weights_id, packs_id)
        self.notes = (*notes, UNTRAINED_NOTE) if UNTRAINED_PACK in network.packs else notes

    def check_phrase(self, phrase: str) -> None:
        """See :meth:`MoESegLib.engines.protocol.SliceModel.check_phrase`."""
        hear(phrase, self._vocabulary())

    def _vocabulary(self) -> dict[str, tuple[str, ...]]:
        """Classes of the packs that take phrases."""
        return {name: trait.classes for name, trait in self.traits.items() if "text" in trait.kinds}

    def decode(self, embedding: Embedding, prompt: ModelPrompt) -> tuple[ExpertLogits, ...]:
        """See :meth:`MoESegLib.engines.protocol.SliceModel.decode`.

        Raises:
            PromptError: no expert was taught what the phrase names, none segments without a prompt, or nobody has the
                name that is asked for.
        """
        import torch

        known = (BASE, *self.traits)
        if prompt.expert is not None and prompt.expert.split("/")[0] not in known:
            raise PromptError(
                f"{self.name} has no expert {prompt.expert!r}; it has {', '.join(known)}. Choose one of them."
            )
        said = self._hear(prompt)
        with torch.inference_mode():
            sureness = self.sureness(embedding, prompt)
            names = packs_to_ask(prompt, self.traits, sureness, tuple(said))
            if not names and not is_drawn(prompt):
                raise PromptError(
                    f"{self.name} has no expert for this prompt. Teach one, or click on the target or draw a box."
                )
            answers: dict[str, PackAnswer] = {}
            for view in views_of(prompt, {name: self.traits[name].kinds for name in names}):
                answers |= self._answers(embedding, view, said)
        # To a first click that no expert knows, the base with a box found from the image may be better than a guess: on
        # the demo CT the predicted IoU of the two chose a mean Dice of 0.49, the general expert alone reached 0.47.
        lone = len(prompt.points) == 1 and prompt.box is None and prompt.logits is None
        guessing = lone and all(self.traits[name].general for name in names)
        answers = {name: self._ranked(name, answer, sureness, guessing) for name, answer in answers.items()}
        ordered = order_answers({name: answers[name] for name in (*names, BASE) if name in answers}, prompt.expert)
        return self._with_notes(ordered, sureness, said)

    def _ranked(
        self, name: str, answer: PackAnswer, sureness: Mapping[str, float | None], guessing: bool
    ) -> PackAnswer:
        """An answer with what the gate thinks of who gave it."""
        if name == BASE:
            return dataclasses.replace(answer, as_given=answer.as_given or guessing)
        trait, knowing = self.traits[name], knows(sureness[name])
        sure = (sureness[name] or 0.0) if trait.proven and knowing and not trait.general else None
        return dataclasses.replace(answer, knows=knowing or trait.general, sure=sure)

    def sureness(self, embedding: Embedding, prompt: ModelPrompt) -> dict[str, float | None]:
        """How sure every pack is that it was taught what the prompt asks for, above 0 if it is; None: no judge."""
        features, found = None, {}
        for name, module in self.experts.packs.items():
            scope = cast("ExpertPack", module).scope
            if scope is not None and features is None:
                features = prompt_features(embedding, prompt, self.mask_grid).to(self.decoder.device)
            found[name] = None if scope is None else float(scope(features, is_drawn(prompt))[0])
        return found

    def _hear(self, prompt: ModelPrompt) -> dict[str, Said]:
        """By pack, the phrase of the prompt; a drawn prompt whose phrase says nothing to any pack stands without it."""
        if prompt.text is None:
            return {}
        try:
            return hear(prompt.text, self._vocabulary())
        except PromptError:
            if is_drawn(prompt):
                return {}
            raise

    def _answers(self, embedding: Embedding, view: View, said: Mapping[str, Said]) -> dict[str, PackAnswer]:
        """What the packs of one view, and the base if it is among them, answer."""
        from ..models.segmote.asymmetric import AskedTensors

        image = embedding["image"].to(self.decoder.device, dtype=self.decoder.position.dtype)
        tensors = self.decoder.tensors(view.prompt)
        packs = [name for name in view.as_given if name != BASE]
        features = self._image_features(embedding, image, packs)
        position, answers = self.decoder.position, {}
        outputs: dict[str, list[PackOutput]] = {}
        if BASE in view.as_given:
            plain = packs if view.prompt.text is None else []  # with a box they read the same pass
            output = self.experts(image, image, **tensors, position=position, features=features, only=plain)
            quality = float(output.base_quality[0, 0])
            logits = output.base_logits[0, 0].cpu().numpy().copy()  # one of four masks, see sam_decoder
            entry = ExpertLogits(BASE, logits, min(1.0, max(0.0, quality)))
            answers[BASE] = PackAnswer([entry], quality, view.as_given[BASE])
            outputs = {name: [output.packs[name]] for name in plain}
        for name in packs:
            vectors = [] if name in outputs else self._vectors(view.prompt, said.get(name))
            for vector in vectors:
                asked = AskedTensors(**tensors, text=vector, automatic=view.prompt.automatic)
                found = self.experts.answer_alone([name], image, position, features, asked)[name]
                outputs.setdefault(name, []).append(found)
            experts, quality = _united(name, outputs[name])
            answers[name] = PackAnswer(experts, quality, view.as_given[name])
        return answers

    def _vectors(self, prompt: ModelPrompt, said: Said | None) -> Sequence[Tensor | None]:
        """How often a pack is asked, and with which phrase: a phrase alone once for every class that it names."""
        import torch

        if prompt.text is None or said is None or (is_drawn(prompt) and len(said.vectors) > 1):
            return [None]
        return [torch.from_numpy(vector.copy())[None].to(self.decoder.device) for vector in said.vectors]

    def _image_features(self, embedding: Embedding, image: Tensor, packs: Sequence[str]) -> dict[str, Tensor]:
        """What the prompts on the last slice share, of the packs that were asked on it."""
        if self._features is None or self._features[0] is not embedding:
            self._features = embedding, {}
        features = self._features[1]
        early = embedding["early"].to(self.decoder.device, dtype=image.dtype)
        for name in packs:
            if name not in features:
                features[name] = cast("ExpertPack", self.experts.packs[name]).image_features(image, early)
        return features

    def _with_notes(
        self, ordered: tuple[ExpertLogits, ...], sureness: Mapping[str, float | None], said: Mapping[str, Said]
    ) -> tuple[ExpertLogits, ...]:
        """Every answer with what the user should know when it counts."""
        nobody = bool(sureness) and not any(
            knows(value) for name, value in sureness.items() if not self.traits[name].general
        )

        def notes(entry: ExpertLogits) -> tuple[str, ...]:
            name = entry.expert.split("/")[0]
            if name == BASE:
                return (BASE_NOTE,) if nobody else ()
            heard = said[name].notes if name in said else ()
            if self.traits[name].general:
                return (*heard, GENERAL_NOTE) if nobody else heard
            return heard if knows(sureness[name]) else (*heard, UNKNOWN_NOTE.format(name))

        return tuple(dataclasses.replace(entry, notes=notes(entry)) for entry in ordered)


def _united(name: str, outputs: Sequence[PackOutput]) -> tuple[list[ExpertLogits], float]:
    """The masks of one pack, the chosen one first, and its quality; several objects are one mask."""
    import numpy as np

    found = [expert_answers(name, output) for output in outputs]
    quality = min(float(output.quality[0, int(output.chosen[0])]) for output in outputs)
    if len(found) == 1:
        return found[0], quality
    first = found[0]
    logits = [np.maximum.reduce([experts[place].logits for experts in found]) for place in range(len(first))]
    return [dataclasses.replace(entry, logits=one) for entry, one in zip(first, logits, strict=True)], quality


def expert_answers(pack_name: str, pack: PackOutput) -> list[ExpertLogits]:
    """The masks of one pack, the chosen one first."""
    chosen = int(pack.chosen[0])
    order = [chosen, *[token for token in range(pack.logits.shape[1]) if token != chosen]]
    return [
        ExpertLogits(
            f"{pack_name}/{token}",
            pack.logits[0, token].cpu().numpy(),
            float(pack.quality[0, token].clamp(0, 1)),
            float(pack.gate[0, token]),
        )
        for token in order
    ]


def traits_of(card: Any) -> Traits:
    """What the gate knows of a pack from its :class:`~MoESegLib.experts.card.ExpertCard`."""
    boxes = [entry for entry in card.measured if entry.prompt == "box" and entry.base_dice is not None]
    proven = card.sizes.scope_width > 0 and any(entry.dice >= entry.base_dice - _AS_GOOD for entry in boxes)
    return Traits(frozenset(card.prompts), tuple(entry.name for entry in card.classes), card.general, proven)
