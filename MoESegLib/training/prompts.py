"""Prompts of a simulated user on the mask grid of the model, for a batch at once.

What is drawn depends on the generators alone, which :func:`generator` makes from (seed, epoch, sample): a run that was
interrupted and resumed draws what an undisturbed one draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..evaluation.simulated import center_click

LARGEST_JITTER = 5.0
"""Mask pixels by which a side of a drawn box may be wrong (LiteMedSAM was trained with 0 to 5 outward)."""
_OUTWARD, _INWARD = 0.10, 0.05
"""The same as shares of the box, so that a small target keeps a box of its own size."""
_LOGIT = 8.0
"""Of a confident mask."""
PADDING = -1
"""Label of a click that is none: there is no error left to click on."""


@dataclass(frozen=True, eq=False)
class Clicks:
    """Clicks on a batch.

    Attributes:
        points: float32 ``[B, N, 2]`` (x, y).
        labels: int64 ``[B, N]``: 1 inside, 0 outside, -1 no click.
    """

    points: NDArray[np.float32]
    labels: NDArray[np.int64]

    def followed_by(self, later: Clicks) -> Clicks:
        """All clicks in the order they were given."""
        return Clicks(
            np.concatenate([self.points, later.points], axis=1), np.concatenate([self.labels, later.labels], axis=1)
        )


def generator(seed: int, epoch: int, sample: int) -> np.random.Generator:
    """The source of everything random about one sample in one epoch."""
    return np.random.default_rng((seed, epoch, sample))


def jittered_boxes(targets: NDArray[np.bool_], sources: Sequence[np.random.Generator]) -> NDArray[np.float32]:
    """Tight boxes of targets ``[B, G, G]`` with every side moved at random: ``[B, 4]`` whole x0, y0, x1, y1."""
    grid = targets.shape[-1]
    columns, rows = np.asarray(targets.any(axis=1)), np.asarray(targets.any(axis=2))
    x0, y0 = columns.argmax(axis=1), rows.argmax(axis=1)
    x1, y1 = grid - 1 - columns[:, ::-1].argmax(axis=1), grid - 1 - rows[:, ::-1].argmax(axis=1)
    boxes = np.stack([x0, y0, x1, y1], axis=1).astype(np.float64)
    sides = np.tile(boxes[:, 2:] - boxes[:, :2] + 1, 2)
    drawn = np.stack([source.uniform(-_INWARD, _OUTWARD, 4) for source in sources])
    moved = boxes + np.clip(drawn * sides, -LARGEST_JITTER, LARGEST_JITTER) * (-1, -1, 1, 1)
    moved = np.clip(np.rint(moved), 0, grid - 1)
    moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 1)
    return moved.astype(np.float32)


def first_clicks(targets: NDArray[np.bool_], sources: Sequence[np.random.Generator]) -> Clicks:
    """One click inside each target ``[B, G, G]``: at its center, or anywhere inside, by the toss of a coin."""
    points = []
    for target, source in zip(targets, sources, strict=True):
        at_center = source.random() < 0.5
        points.append(center_click(target) if at_center else _any_pixel(target, source))
    return Clicks(np.array(points, np.float32)[:, None], np.ones((len(targets), 1), np.int64))


def rough_logits(targets: NDArray[np.bool_], sources: Sequence[np.random.Generator]) -> NDArray[np.float32]:
    """Logits ``[B, 1, G, G]`` of a bad first guess at each target ``[B, G, G]``: grown or shrunk, moved and blurred."""
    rough = np.zeros((len(targets), 1, *targets.shape[1:]), np.float32)
    for index, (target, source) in enumerate(zip(targets, sources, strict=True)):
        grid = target.shape[-1]
        blurred = ndimage.gaussian_filter(target.astype(np.float32), source.uniform(1, grid / 24))
        moved = ndimage.shift(blurred, source.uniform(-grid / 24, grid / 24, 2), order=1)
        rough[index, 0] = _LOGIT * np.tanh(4 * (moved - source.uniform(0.3, 0.7)))
    return rough


def error_clicks(
    masks: NDArray[np.bool_], targets: NDArray[np.bool_], sources: Sequence[np.random.Generator]
) -> Clicks:
    """One click into the largest connected error of each mask ``[B, G, G]``: inside where it misses, else outside.

    Args:
        sources: draw among the pixels that lie at least half as deep as the deepest one. The user of an evaluation
            clicks the deepest (:func:`~MoESegLib.evaluation.simulated.error_click`).
    """
    errors = masks != targets
    missed, spurious = _components(errors & targets), _components(errors & ~targets)
    # Missed and spurious pixels that touch are two errors.
    components = missed + np.where(spurious > 0, spurious + missed.max(), 0)
    points = np.zeros((len(masks), 1, 2), np.float32)
    labels = np.full((len(masks), 1), PADDING, np.int64)
    for index, numbers in enumerate(components):
        if not numbers.any():
            continue
        sizes = np.bincount(numbers[numbers > 0])
        largest = numbers == int(sizes.argmax())
        chosen = _deep_pixel(largest, sources[index])
        points[index, 0] = chosen
        labels[index, 0] = int(targets[index, chosen[1], chosen[0]])
    return Clicks(points, labels)


def _components(masks: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Connected components of a batch of masks, numbered from 1 over the batch."""
    apart = np.zeros((3, 3, 3), bool)
    apart[1] = True  # neighbors in rows and columns, diagonal ones included, never across the batch
    components = np.zeros(masks.shape, np.int32)
    ndimage.label(masks, apart, output=components)
    return components


def _deep_pixel(mask: NDArray[np.bool_], source: np.random.Generator) -> tuple[int, int]:
    depth, (row, column) = _depth(mask)
    x, y = _any_pixel(depth >= depth.max() / 2, source)
    return x + column, y + row


def _any_pixel(mask: NDArray[np.bool_], source: np.random.Generator) -> tuple[int, int]:
    places = np.flatnonzero(mask)
    row, column = divmod(int(places[source.integers(len(places))]), mask.shape[1])
    return column, row


def _depth(mask: NDArray[np.bool_]) -> tuple[NDArray[np.float64], tuple[int, int]]:
    """Distance to the border within the bounding box of a mask, and the first row and column of that box."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    cut = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    depth = np.asarray(ndimage.distance_transform_edt(np.pad(cut, 1)), np.float64)[1:-1, 1:-1]
    return depth, (int(rows[0]), int(columns[0]))
