"""Protocols: how a simulated user asks for a target, through the engine's public interface."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core.errors import PromptError
from ..core.prompts import AutomaticPrompt, BoxPrompt, PointPrompt, Prompt, ScribblePrompt, TextPrompt
from ..core.results import Prediction
from ..engines.assemble import full_size
from ..engines.protocol import Context, ModelPrompt
from ..engines.slice_engine import SliceEngine
from .simulated import Pixel, center_click, error_click, tight_box
from .stroke import centerline
from .targets import SliceTargets, Target

MOST_CLICKS = 100
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

    def targets(self, targets: SliceTargets) -> tuple[Target, ...]:
        """What can be asked for: a phrase and no prompt at all mean every object of a class."""
        return targets.classes if self.kind in ("text", "auto") else targets.objects


@dataclass(frozen=True, eq=False)
class Answer:
    """An engine's answer after a prompt.

    Attributes:
        mask: bool ``[row, column]`` as displayed.
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


def answers(engine: SliceEngine, target: Target, protocol: Protocol, context: Context) -> Iterator[Answer]:
    """The engine's answers after each prompt of the protocol; a refusal is an empty mask with a reason."""
    if protocol.kind == "raw-click":
        yield _raw_click(engine, target, context)
        return
    prompts: list[Prompt] = []
    clicked: list[Pixel] = []
    answer = Answer(np.zeros_like(target.mask))
    for step in range(protocol.steps):
        if step == 0:
            prompts.append(_FIRST[protocol.kind](target))
            clicked.append(center_click(target.mask))
        else:
            click = error_click(answer.mask, target.mask, clicked)
            if click is None:  # nothing is wrong any more
                yield answer
                continue
            clicked.append(click[0])
            prompts.append(_point(target, *click))
        answer = _asked(engine, target, prompts, context)
        yield answer


def _asked(engine: SliceEngine, target: Target, prompts: list[Prompt], context: Context) -> Answer:
    volume = target.image.volume
    try:
        engine.check(volume, prompts, "slice")
        prediction = engine.predict(volume, prompts, context)
    except PromptError as error:
        return Answer(np.zeros_like(target.mask), refusal=str(error))
    base = _base_of(prediction)
    mask = target.image.mask_of(prediction.patch)
    return Answer(mask, prediction.expert, None if base is None else target.image.mask_of(base))


def _base_of(prediction: Prediction):
    if prediction.expert == "base":
        return prediction.patch
    return next((other.patch for other in prediction.alternatives if other.expert == "base"), None)


def _point(target: Target, pixel: Pixel, positive: bool) -> Prompt:
    return PointPrompt(target.image.ras(*pixel), positive, plane=_plane(target))


def _box(target: Target) -> Prompt:
    x0, y0, x1, y1 = tight_box(target.mask)
    rows, columns = target.mask.shape
    x0, x1 = _not_flat(x0, x1, columns)
    y0, y1 = _not_flat(y0, y1, rows)
    return BoxPrompt(target.image.ras(x0, y0), target.image.ras(x1, y1), plane=_plane(target))


def _not_flat(low: int, high: int, length: int) -> tuple[int, int]:
    """A box of one pixel has no size for an engine; it is drawn to the next one."""
    if low < high:
        return low, high
    return (low, high + 1) if high + 1 < length else (low - 1, high)


def _scribble(target: Target) -> Prompt:
    points = tuple(target.image.ras(*pixel) for pixel in centerline(target.mask))
    return ScribblePrompt(points, plane=_plane(target))


def _text(target: Target) -> Prompt:
    return TextPrompt(target.structure, ras=_slice_center(target), plane=_plane(target))


def _automatic(target: Target) -> Prompt:
    return AutomaticPrompt(ras=_slice_center(target), plane=_plane(target))


def _slice_center(target: Target) -> tuple[float, float, float]:
    """Names the slice and says nothing about the target."""
    rows, columns = target.mask.shape
    return target.image.ras(columns // 2, rows // 2)


def _plane(target: Target):
    return target.image.volume.plane_of(target.image.axis)


_FIRST: dict[str, Callable[[Target], Prompt]] = {
    "box": _box,
    "click": lambda target: _point(target, center_click(target.mask), True),
    "clicks": lambda target: _point(target, center_click(target.mask), True),
    "scribble": _scribble,
    "text": _text,
    "auto": _automatic,
}


def _raw_click(engine: SliceEngine, target: Target, context: Context) -> Answer:
    """The click token as it is, which a model trained on boxes has never seen."""
    prepared = engine.prepare(target.image.volume, (target.image.axis, target.image.index))
    pixel = np.asarray(center_click(target.mask), np.float64) * prepared.scale
    call = ModelPrompt(np.array([pixel], np.float32), np.ones(1, np.int64))
    answer = engine.decode(prepared, [call], context)
    if answer is None:
        return Answer(np.zeros_like(target.mask))
    return Answer(full_size(answer.logits, prepared) != 0, answer.experts[0].expert)
