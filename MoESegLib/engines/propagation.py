"""From one slice to its neighbors: the mask of a slice is the prompt of the next one."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..core.volume import Volume
from .assemble import SliceAnswer
from .convert import model_prompts
from .placement import PixelPrompt, PlacedPrompts, SliceKey, check_one_axis
from .protocol import Context, ModelPrompt, PreparedImage
from .stop_rules import reason_to_stop, slice_facts

if TYPE_CHECKING:
    from .slice_engine import SliceEngine


BOX_MARGIN = 3
"""Model pixels by which the box of a mask is enlarged for the next slice (LiteMedSAM's published inference)."""


def propagate(
    engine: SliceEngine, volume: Volume, placed: PlacedPrompts, context: Context
) -> dict[SliceKey, SliceAnswer]:
    """Answer the slices that hold positive prompts, then walk from each of them in both directions.

    Between two such slices each walk covers the nearer half, so every prompt keeps its say; slices with negative
    prompts only add them to the walk that passes. Outside, a walk ends by the rules of
    :mod:`~MoESegLib.engines.stop_rules`, at the end of a 3D box, or at the end of the volume.
    """
    axis = check_one_axis(volume, placed.slices)
    if axis is None:
        axis = volume.acquisition_axis
    first, last = _range(volume, placed, axis)
    anchors: dict[int, SliceAnswer] = {}
    for (_, index), prompts in sorted(placed.slices.items()):
        answer = engine.answer(volume, (axis, index), prompts, context, text=placed.text)
        if answer is not None:
            anchors[index] = answer
    if not anchors:
        return {}
    walks = list(_walks(sorted(anchors), first, last))
    total = sum(abs(stop - start) for start, stop in walks) or 1
    walker = _Walker(engine, volume, placed, _keep_expert(context, anchors), axis, total)
    for start, stop in walks:
        walker.walk(anchors[start], start, stop)
    return {(axis, index): answer for index, answer in sorted({**walker.answers, **anchors}.items())}


def _range(volume: Volume, placed: PlacedPrompts, axis: int) -> tuple[int, int]:
    """First and last slice a walk may reach: the span of the 3D boxes, if any, and of the prompts themselves."""
    spans = [(low, high) for used, low, high in placed.ranges if used == axis]
    if not spans:
        return 0, volume.size[axis] - 1
    indices = [index for _, index in placed.slices]
    return min(*[low for low, _ in spans], *indices), max(*[high for _, high in spans], *indices)


def _walks(anchors: list[int], first: int, last: int) -> Iterator[tuple[int, int]]:
    """(start, last slice to visit) of every walk."""
    yield anchors[0], first
    for lower, upper in zip(anchors[:-1], anchors[1:], strict=True):
        middle = (lower + upper) // 2
        yield lower, middle
        yield upper, min(middle + 1, upper)
    yield anchors[-1], last


def _keep_expert(context: Context, anchors: dict[int, SliceAnswer]) -> Context:
    """Fix the expert to the one that answered most anchors, so that it does not change from slice to slice."""
    if context.expert is not None:
        return context
    names = [answer.experts[0].expert for answer in anchors.values()]
    return dataclasses.replace(context, expert=max(dict.fromkeys(names), key=names.count))


class _Walker:
    """Collects the answers of all walks and reports their progress."""

    def __init__(
        self, engine: SliceEngine, volume: Volume, placed: PlacedPrompts, context: Context, axis: int, total: int
    ) -> None:
        self.engine = engine
        self.volume = volume
        self.placed = placed
        self.context = context
        self.axis = axis
        self.total = total
        self.visited = 0
        self.answers: dict[int, SliceAnswer] = {}

    def walk(self, anchor: SliceAnswer, start: int, stop: int) -> None:
        """Visit the slices after ``start`` up to and including ``stop``."""
        step = 1 if stop > start else -1
        expected, previous = slice_facts(anchor), anchor
        for index in range(start + step, stop + step, step) if stop != start else ():
            self.context.cancel.check()
            answer = self.next_answer(previous, index)
            self.visited += 1
            if self.context.progress is not None:
                self.context.progress(min(1.0, self.visited / self.total), f"slice {index}")
            if answer is None or reason_to_stop(expected, slice_facts(previous), slice_facts(answer)) is not None:
                self.visited += abs(stop - index)
                return
            self.answers[index] = answer
            previous = answer

    def next_answer(self, previous: SliceAnswer, index: int) -> SliceAnswer | None:
        """The answer on the slice beside ``previous``, prompted by its mask; None when there is no mask to follow."""
        prepared = self.engine.prepare(self.volume, (self.axis, index))
        box = box_of(previous.logits > 0, prepared.pixels.shape[-1], prepared.resized)
        if box is None:
            return None
        call = ModelPrompt(box=box, logits=previous.logits if self.engine.model.refines else None)
        return self.engine.decode(prepared, self.with_negatives(prepared, index, call), self.context)

    def with_negatives(self, prepared: PreparedImage, index: int, call: ModelPrompt) -> list[ModelPrompt]:
        """The call with the negative prompts that lie on this slice."""
        on_slice = self.placed.slices.get((self.axis, index), [])
        if not on_slice or call.box is None:
            return [call]
        scale = np.array([*prepared.scale, *prepared.scale])
        box = tuple(float(value) for value in np.array(call.box) / scale)
        prompts = [PixelPrompt("box", box=box), *on_slice]  # type: ignore[arg-type]
        calls, _ = model_prompts(prepared, prompts, self.engine.model)
        return [dataclasses.replace(item, logits=call.logits) for item in calls]


def box_of(mask: NDArray[np.bool_], side: int, resized: tuple[int, int]) -> tuple[float, float, float, float] | None:
    """The box around a low-resolution mask ``[g, g]`` in model pixels, enlarged by ``BOX_MARGIN``; None when empty."""
    scale = side / mask.shape[-1]
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    rows, columns = rows[rows * scale < resized[0]], columns[columns * scale < resized[1]]
    if rows.size == 0 or columns.size == 0:
        return None
    low = np.array([columns[0], rows[0]]) * scale - BOX_MARGIN
    high = np.array([columns[-1], rows[-1]]) * scale + BOX_MARGIN
    x0, y0 = np.maximum(0, low)
    x1, y1 = np.minimum(side, high)
    return float(x0), float(y0), float(x1), float(y1)
