"""Protocols: how a simulated user asks for a target, through the engine's public interface."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..core.errors import PromptError
from ..core.geometry import Point
from ..core.prompts import AutomaticPrompt, BoxPrompt, PointPrompt, Prompt, ScribblePrompt, TextPrompt
from ..core.results import MaskPatch, Prediction
from ..engines.assemble import full_size
from ..engines.expert_gate import BASE
from ..engines.protocol import Context, ModelPrompt
from ..engines.slice_engine import SliceEngine
from ..engines.volume_engine import VolumeEngine
from .simulated import Place, center_click, error_click, tight_box
from .stroke import centerline
from .targets import SliceImage, Target, Targets, widest_slice

AnyEngine = SliceEngine | VolumeEngine
MOST_CLICKS = 100
_ON_SLICES = "raw-click is for engines of slices; an engine for volumes gets clicks as they are with click"
_KINDS = {
    "box": "box",
    "click": "point",
    "clicks": "point",
    "scribble": "scribble",
    "text": "text",
    "auto": "automatic",
}


@dataclass(frozen=True)
class Protocol:
    """How a target is asked for.

    Attributes:
        name: as written on the command line.
        kind: "box" (tight), "click" (at the center), "clicks" (the same, then on the largest error), "scribble"
            (along the middle), "text" (the name of the class), "auto" (nothing), or "raw-click" (the center click
            straight to the network, without any conversion).
        steps: how many prompts one after the other.
    """

    name: str
    kind: str
    steps: int = 1

    @property
    def prompt_kind(self) -> str | None:
        """The kind of prompt an engine must understand; None where it is not asked."""
        return _KINDS.get(self.kind)

    def targets(self, targets: Targets) -> tuple[Target, ...]:
        """What can be asked for: a phrase and no prompt at all mean every object of a class."""
        return targets.classes if self.kind in ("text", "auto") else targets.objects


@dataclass(frozen=True, eq=False)
class Answer:
    """An engine's answer after a prompt.

    Attributes:
        mask: bool, of the shape of the target's.
        expert: who answered; "" when the engine refused.
        base: the mask of the base model, None where the engine does not tell.
        refusal: why there is no answer.
    """

    mask: NDArray[np.bool_]
    expert: str = ""
    base: NDArray[np.bool_] | None = None
    refusal: str = ""


def parse_protocols(text: str) -> list[Protocol]:
    """Protocols from a comma-separated list, for example ``box,clicks:5``.

    Raises:
        PromptError: unknown or twice the same, or a number of clicks that makes no sense.
    """
    protocols = [_parse(word.strip()) for word in text.split(",")]
    names = [protocol.name for protocol in protocols]
    if twice := [name for name in names if names.count(name) > 1]:
        raise PromptError(f"The protocol {twice[0]} is asked for twice. Name each once.")
    return protocols


def _parse(word: str) -> Protocol:
    clicks = re.fullmatch(r"clicks:(\d+)", word)
    if clicks is not None:
        steps = int(clicks[1])
        if not 1 <= steps <= MOST_CLICKS:
            raise PromptError(f"{word!r}: 1 to {MOST_CLICKS} clicks were expected.")
        return Protocol(f"clicks:{steps}", "clicks", steps)
    if word not in (*_KINDS, "raw-click") or word == "clicks":
        known = ", ".join("clicks:N" if kind == "clicks" else kind for kind in (*_KINDS, "raw-click"))
        raise PromptError(f"Unknown protocol {word!r}; known are {known} (N clicks, for example clicks:5).")
    return Protocol(word, word)


def answers(
    engine: AnyEngine, target: Target, protocol: Protocol, context: Context, with_base: bool = True
) -> Iterator[Answer]:
    """The engine's answers after each prompt of the protocol; a refusal is an empty mask with a reason.

    Args:
        context: its extent is that of the target's image.
        with_base: also ask an engine for volumes, after the first prompt, what its base model alone says.
    """
    if protocol.kind == "raw-click":
        yield _raw_click(engine, target, context)
        return
    prompts: list[Prompt] = []
    clicked: list[Place] = []
    spacing = _click_spacing(target)
    answer = Answer(np.zeros_like(target.mask))
    for step in range(protocol.steps):
        if step == 0:
            prompts.append(_FIRST[protocol.kind](target))
            clicked.append(center_click(target.mask, spacing))
        else:
            click = error_click(answer.mask, target.mask, clicked, spacing)
            if click is None:  # nothing is wrong any more
                yield answer
                continue
            clicked.append(click[0])
            prompts.append(_point(target, *click))
        answer = _asked(engine, target, prompts, context, with_base and step == 0)
        yield answer


def _asked(engine: AnyEngine, target: Target, prompts: Sequence[Prompt], context: Context, with_base: bool) -> Answer:
    volume = target.image.volume
    try:
        engine.check(volume, prompts, context.extent)
        prediction = engine.predict(volume, prompts, context)
        if context.extent == "slice":
            base = _base_of(prediction)
        else:
            # Where crops are joined, an expert leads to other crops than the base, whose mask among the alternatives
            # is then made of other pieces. So the base is asked for itself; the embeddings are there already.
            alone = replace(context, expert=BASE)
            base = engine.predict(volume, prompts, alone).patch if with_base else None
    except PromptError as error:
        return Answer(np.zeros_like(target.mask), refusal=str(error))
    mask = target.image.mask_of(prediction.patch)
    return Answer(mask, prediction.expert, None if base is None else target.image.mask_of(base))


def _base_of(prediction: Prediction) -> MaskPatch | None:
    if prediction.expert == BASE:
        return prediction.patch
    return next((other.patch for other in prediction.alternatives if other.expert == BASE), None)


def _click_spacing(target: Target) -> Sequence[float] | None:
    """None on slices, where the depth of a click is counted in pixels."""
    return None if isinstance(target.image, SliceImage) else target.image.spacing


def _first_click(target: Target) -> Prompt:
    return _point(target, center_click(target.mask, _click_spacing(target)), True)


def _point(target: Target, place: Place, positive: bool) -> Prompt:
    return PointPrompt(target.image.ras(*place), positive, plane=target.image.plane)


def _box(target: Target) -> Prompt:
    box, lengths = tight_box(target.mask), target.mask.shape[::-1]
    axes = len(lengths)
    low, high = zip(*(_not_flat(box[n], box[n + axes], lengths[n]) for n in range(axes)), strict=True)
    return BoxPrompt(target.image.ras(*low), target.image.ras(*high), plane=target.image.plane)


def _not_flat(low: int, high: int, length: int) -> tuple[int, int]:
    """A box of one pixel has no size for an engine; it is drawn to the next one."""
    if low < high:
        return low, high
    return (low, high + 1) if high + 1 < length else (low - 1, high)


def _scribble(target: Target) -> Prompt:
    drawn = widest_slice(target)
    points = tuple(drawn.image.ras(*pixel) for pixel in centerline(drawn.mask))
    return ScribblePrompt(points, plane=drawn.image.plane)


def _text(target: Target) -> Prompt:
    return TextPrompt(target.structure, ras=_middle(target), plane=target.image.plane)


def _automatic(target: Target) -> Prompt:
    return AutomaticPrompt(ras=_middle(target), plane=target.image.plane)


def _middle(target: Target) -> Point:
    """Names the slice and says nothing about the target."""
    return target.image.ras(*(length // 2 for length in target.mask.shape[::-1]))


_FIRST: dict[str, Callable[[Target], Prompt]] = {
    "box": _box,
    "click": _first_click,
    "clicks": _first_click,
    "scribble": _scribble,
    "text": _text,
    "auto": _automatic,
}


def _raw_click(engine: AnyEngine, target: Target, context: Context) -> Answer:
    """The click token as it is, which a model trained on boxes has never seen."""
    image = target.image
    if isinstance(engine, VolumeEngine) or not isinstance(image, SliceImage):
        return Answer(np.zeros_like(target.mask), refusal=_ON_SLICES)
    prepared = engine.prepare(image.volume, (image.axis, image.index))
    pixel = np.asarray(center_click(target.mask), np.float64) * prepared.scale
    call = ModelPrompt(np.array([pixel], np.float32), np.ones(1, np.int64))
    answer = engine.decode(prepared, [call], context)
    if answer is None:
        return Answer(np.zeros_like(target.mask))
    return Answer(full_size(answer.logits, prepared) != 0, answer.experts[0].expert)
