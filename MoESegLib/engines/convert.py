"""What a model does not understand is turned into what it does, where that is sound, and the result says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ..core.errors import PromptError
from .click_to_box import NOTE, box_around_clicks
from .placement import Box2D, PixelPrompt
from .protocol import ModelPrompt, PreparedImage, SliceModel

SCRIBBLE_POINTS = 8
"""Points a scribble becomes for a model that understands points; more add decoder tokens but no new information."""

MASK_LOGIT = 8.0
"""Size of the logits that a binary mask becomes (SAM's own confident logits lie between 5 and 15)."""


def understood_kinds(native: frozenset[str]) -> frozenset[str]:
    """The kinds of prompts a model can be given, conversions included."""
    kinds = set(native)
    if "point" in native:
        kinds |= {"scribble"}
    if "box" in native:
        kinds |= {"point", "scribble", "polygon", "mask"}
    return frozenset(kinds)


def prompt_steps(prompts: Sequence[PixelPrompt], refines: bool) -> list[Sequence[PixelPrompt]]:
    """The prompts of one slice step by step, as the model gets them; each step has the answer of the one before.

    An automatic prompt is answered first, whenever it was given: it stands alone, with the phrases of the slice. A
    phrase that was given first is answered first, and stays beside the prompts after it. A model that refines then gets
    one more drawn prompt a step, as it was trained; any other gets all of them at once.
    """
    phrases = [prompt for prompt in prompts if prompt.kind == "text"]
    automatic = [prompt for prompt in prompts if prompt.kind == "automatic"][:1]
    drawn = [prompt for prompt in prompts if prompt.kind not in ("text", "automatic")]
    steps: list[Sequence[PixelPrompt]] = []
    if automatic or not drawn or (refines and prompts[0].kind == "text"):
        steps.append([*automatic, *phrases])
    counts = range(1 if refines else max(1, len(drawn)), len(drawn) + 1)
    return [*steps, *([*phrases, *drawn[:count]] for count in counts)]


def model_prompts(
    prepared: PreparedImage,
    prompts: Sequence[PixelPrompt],
    model: SliceModel,
    text: Sequence[str] = (),
    previous: NDArray[np.float32] | None = None,
) -> tuple[list[ModelPrompt], list[str]]:
    """The decoder calls that answer the prompts of one slice, one per object, and what the user should know.

    Several boxes (or outlines) are several objects, decoded one by one and united. No call when nothing says what to
    segment: no positive or automatic prompt, no phrase and no earlier answer.

    Args:
        text: phrases beside those among ``prompts``.
        previous: logits ``[g, g]`` of the answer that these prompts correct. A model that refines takes them along; one
            that understands boxes only starts from the box around them.

    Raises:
        PromptError: the clicks cannot be turned into a box.
    """
    phrase = ", ".join(dict.fromkeys([*text, *(prompt.text for prompt in prompts if prompt.kind == "text")])) or None
    if any(prompt.kind == "automatic" for prompt in prompts):
        return [ModelPrompt(automatic=True, text=phrase)], []
    if "point" in model.native:
        calls, notes = _point_calls(prepared, prompts, model, phrase is not None, previous)
    else:
        calls, notes = _box_calls(prepared, prompts, model, previous)
    if phrase is not None:
        calls = [replace(call, text=phrase) for call in calls or [ModelPrompt()]]
    if previous is not None and model.refines and len(calls) == 1 and calls[0].logits is None:
        calls = [replace(calls[0], logits=previous)]
    return calls, notes


def _point_calls(
    prepared: PreparedImage,
    prompts: Sequence[PixelPrompt],
    model: SliceModel,
    has_phrase: bool,
    previous: NDArray[np.float32] | None,
) -> tuple[list[ModelPrompt], list[str]]:
    """Calls of a model that understands points; negative ones alone correct a phrase or an earlier answer."""
    positives, negatives = _points(prepared, prompts, True), _points(prepared, prompts, False)
    boxes, notes = _boxes(prepared, prompts, model.native)
    logits = _mask_logits(prepared, prompts, model.mask_grid) if "mask" in model.native else None
    if logits is not None and "box" in model.native and not boxes:
        # Masks were learned beside boxes or many clicks. Three lesions in a liver, segmote-lite, Dice without and with
        # the box: mask alone 0.04 to 0.44 and 0.78 to 0.94; half of it and a click in the other half 0.13 to 0.73 and
        # 0.57 to 0.92.
        around = _box_around(logits, prepared)
        boxes = [] if around is None else adjust_boxes([around], positives, np.zeros((0, 2), np.float32))
    calls = _with_points(prepared, boxes, positives, negatives, logits)
    if not calls and len(negatives) and (has_phrase or (previous is not None and model.refines)):
        calls = [_point_prompt(prepared, positives, negatives, None, previous if model.refines else None)]
    if previous is not None and not model.refines:
        notes.append(_REPLACES if calls else _KEPT)
    return calls, notes


_REPLACES = "This model does not take its own answer along: what was drawn on the slice replaces the automatic answer."
_KEPT = "This model does not take its own answer along: the clicks outside changed nothing."


def _box_calls(
    prepared: PreparedImage,
    prompts: Sequence[PixelPrompt],
    model: SliceModel,
    previous: NDArray[np.float32] | None,
) -> tuple[list[ModelPrompt], list[str]]:
    """Calls of a model that understands boxes only."""
    positives, negatives = _points(prepared, prompts, True), _points(prepared, prompts, False)
    boxes, notes = _boxes(prepared, prompts, model.native)
    corrects = not (boxes or (len(positives) and model.refines))
    if previous is not None and corrects and (around := _box_around(previous, prepared)) is not None:
        boxes = [around]
        notes.append("This model understands boxes only: it got the box around its earlier answer.")
    if not boxes:
        if not len(positives):
            return [], notes
        boxes = [box_around_clicks(_image(prepared), positives)]
        notes.append(NOTE)
    elif len(positives):
        notes.append("This model understands boxes only: boxes were enlarged to hold the clicks inside the target.")
    if len(negatives):
        notes.append("This model understands boxes only: boxes were cut back to leave out the clicks outside.")
    adjusted = adjust_boxes(boxes, positives, negatives)
    return [ModelPrompt(box=_as_box(np.array(box))) for box in adjusted], notes


def adjust_boxes(boxes: Sequence[Box2D], positives: NDArray[np.float32], negatives: NDArray[np.float32]) -> list[Box2D]:
    """Enlarge the nearest box around each positive click, then cut every box back from the negative ones.

    Args:
        positives, negatives: ``[N, 2]`` (x, y) in the pixels of the boxes.

    Raises:
        PromptError: a negative click cannot be left out without losing a positive one or the whole box.
    """
    adjusted = [np.array(box, dtype=np.float64) for box in boxes]
    kept: list[list[NDArray]] = [[] for _ in adjusted]
    for point in positives:
        distances = [np.linalg.norm(point - np.clip(point, box[:2], box[2:])) for box in adjusted]
        nearest = int(np.argmin(distances))
        box = adjusted[nearest]
        box[:2], box[2:] = np.minimum(box[:2], point), np.maximum(box[2:], point)
        kept[nearest].append(point)
    for box, inside in zip(adjusted, kept, strict=True):
        for point in negatives:
            _cut_back(box, point, np.reshape(inside, (-1, 2)))
    return [(float(box[0]), float(box[1]), float(box[2]), float(box[3])) for box in adjusted]


def _cut_back(box: NDArray[np.float64], point: NDArray, keep: NDArray) -> None:
    """Move the side of the box that costs the least area so that the point lies outside; changes ``box``."""
    if (point < box[:2]).any() or (point > box[2:]).any():
        return
    candidates = []
    for side in range(4):
        axis, is_high = side % 2, side >= 2
        moved = box.copy()
        moved[side] = point[axis] - 1 if is_high else point[axis] + 1
        width, height = moved[2] - moved[0], moved[3] - moved[1]
        holds = bool(((keep >= moved[:2]) & (keep <= moved[2:])).all())
        if width >= 2 and height >= 2 and holds:
            candidates.append((width * height, side, moved))
    if not candidates:
        raise PromptError(
            "A negative click cannot be left out of the box without losing a positive click or the box itself. This "
            "model understands boxes only: draw a smaller box, or use a model or expert that understands clicks."
        )
    box[:] = max(candidates, key=lambda item: (item[0], -item[1]))[2]


def _with_points(
    prepared: PreparedImage,
    boxes: list[Box2D],
    positives: NDArray[np.float32],
    negatives: NDArray[np.float32],
    logits: NDArray[np.float32] | None,
) -> list[ModelPrompt]:
    """Decoder calls of a model that understands points: one per box, or one for all clicks."""
    if len(boxes) <= 1:
        if not boxes and not len(positives) and logits is None:
            return []
        return [_point_prompt(prepared, positives, negatives, boxes[0] if boxes else None, logits)]
    calls = []
    free = np.ones(len(positives), bool)
    for box in boxes:
        inside = ((positives >= np.array(box[:2])) & (positives <= np.array(box[2:]))).all(axis=1)
        calls.append(_point_prompt(prepared, positives[inside], negatives, box, None))
        free &= ~inside
    if free.any():
        calls.append(_point_prompt(prepared, positives[free], negatives, None, None))
    return calls


def _point_prompt(
    prepared: PreparedImage,
    positives: NDArray[np.float32],
    negatives: NDArray[np.float32],
    box: Box2D | None,
    logits: NDArray[np.float32] | None,
) -> ModelPrompt:
    points = np.concatenate([positives, negatives]).astype(np.float32)
    labels = np.array([1] * len(positives) + [0] * len(negatives), dtype=np.int64)
    box_alone = partial(_box_alone, prepared, positives, negatives, box, logits)
    return ModelPrompt(points, labels, box, logits, box_alone=box_alone)


def _box_alone(
    prepared: PreparedImage,
    positives: NDArray[np.float32],
    negatives: NDArray[np.float32],
    box: Box2D | None,
    logits: NDArray[np.float32] | None,
) -> Box2D | None:
    """The box that a model of boxes only would get for these prompts, or None."""
    if box is None and len(positives):
        box = box_around_clicks(_image(prepared), positives)
    if box is None and logits is not None:
        box = _box_around(logits, prepared)
    if box is None:
        return None
    try:
        return _as_box(np.array(adjust_boxes([box], positives, negatives)[0]))
    except PromptError:  # a click outside the target in the middle of the box
        return None


def _box_around(logits: NDArray[np.float32], prepared: PreparedImage) -> Box2D | None:
    """The box around the mask of low-resolution logits, in model pixels; None when it is empty."""
    rows, columns = np.flatnonzero((logits > 0).any(axis=1)), np.flatnonzero((logits > 0).any(axis=0))
    if not rows.size:
        return None
    scale = prepared.pixels.shape[-1] / logits.shape[-1]
    return _as_box(np.array([columns[0], rows[0], columns[-1], rows[-1]]) * scale)


def _points(prepared: PreparedImage, prompts: Sequence[PixelPrompt], positive: bool) -> NDArray[np.float32]:
    """Clicks and scribbles of one sign as ``[N, 2]`` model pixels."""
    found = []
    for prompt in prompts:
        if prompt.points is None or prompt.kind == "polygon" or prompt.positive != positive:
            continue
        chosen = np.linspace(0, len(prompt.points) - 1, min(len(prompt.points), SCRIBBLE_POINTS)).round().astype(int)
        found.append(prompt.points[chosen] * prepared.scale)
    return np.concatenate(found).astype(np.float32) if found else np.zeros((0, 2), np.float32)


def _boxes(
    prepared: PreparedImage, prompts: Sequence[PixelPrompt], native: frozenset[str]
) -> tuple[list[Box2D], list[str]]:
    boxes: list[Box2D] = []
    notes: list[str] = []
    scale = np.array([*prepared.scale, *prepared.scale])
    for prompt in prompts:
        if prompt.kind == "box" and prompt.box is not None:
            boxes.append(_as_box(np.array(prompt.box) * scale))
        elif prompt.mask is not None and (prompt.kind == "polygon" or "mask" not in native):
            rows, columns = np.flatnonzero(prompt.mask.any(axis=1)), np.flatnonzero(prompt.mask.any(axis=0))
            boxes.append(_as_box(np.array([columns[0], rows[0], columns[-1], rows[-1]]) * scale))
            notes.append(f"The {prompt.kind} was given to the model as the box around it.")
    return boxes, notes


def _as_box(values: NDArray[np.float64]) -> Box2D:
    """Whole model pixels, as the published pipeline truncates them."""
    x0, y0, x1, y1 = (float(int(value)) for value in values)
    return x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)


def _mask_logits(prepared: PreparedImage, prompts: Sequence[PixelPrompt], grid: int) -> NDArray[np.float32] | None:
    """Given masks as low-resolution logits over the padded model image, united."""
    masks = [prompt.mask for prompt in prompts if prompt.kind == "mask" and prompt.mask is not None]
    if not masks:
        return None
    return mask_to_logits(np.logical_or.reduce(masks), prepared, grid)


def mask_to_logits(mask: NDArray[np.bool_], prepared: PreparedImage, grid: int) -> NDArray[np.float32]:
    """A displayed mask ``[row, column]`` as logits ``[grid, grid]``; the share of covered pixels decides."""
    from .resize import resize_area

    side = prepared.pixels.shape[-1]
    size = (max(1, round(prepared.resized[0] * grid / side)), max(1, round(prepared.resized[1] * grid / side)))
    share = resize_area(mask.astype(np.uint8) * 255, size).astype(np.float32) / 255
    logits = np.full((grid, grid), -MASK_LOGIT, np.float32)
    logits[: size[0], : size[1]] = (2 * share - 1) * MASK_LOGIT
    return logits


def _image(prepared: PreparedImage) -> NDArray[np.uint8]:
    """The unpadded model image as uint8 ``[row, column, channel]``, stretched to its own range."""
    rows, columns = prepared.resized
    pixels = prepared.pixels[:, :rows, :columns].transpose(1, 2, 0)
    low, high = float(pixels.min()), float(pixels.max())
    return ((pixels - low) * (255 / max(high - low, 1e-8))).round().astype(np.uint8)
