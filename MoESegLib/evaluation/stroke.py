"""A simulated scribble: one stroke along the middle of the target."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

from .simulated import Place, depths, largest_component, tight_box

_BLOCKS = 48
"""The stroke is looked for among so many places along the longer side: 0.01 s for a liver, 1 s among all its pixels."""
_TRIMMED = 0.1
"""Share of the stroke left out at either end: people do not draw right up to the border."""


def centerline(mask: NDArray) -> list[Place]:
    """Pixels (x, y) of a stroke along the middle of the largest part of a mask that is not empty; at least one.

    The ends are the two places farthest from each other along the target; between them the path of least length
    divided by squared depth is taken, which runs along the ridge of the distance transform. All pixels lie inside.
    """
    part = largest_component(mask)
    x0, y0, x1, y1 = tight_box(part)
    depth = depths(part[y0 : y1 + 1, x0 : x1 + 1])
    rows, columns = _deepest_by_block(depth, -(-max(depth.shape) // _BLOCKS))
    sources, targets, lengths = _neighbors(rows, columns, depth)
    places, deep = len(rows), depth[rows, columns]
    by_length = csr_array((lengths, (sources, targets)), shape=(places, places))
    costs = lengths / np.minimum(deep[sources], deep[targets]) ** 2
    by_cost = csr_array((costs, (sources, targets)), shape=(places, places))
    first = _farthest(by_length, int(deep.argmax()))
    path = _path(by_cost, first, _farthest(by_length, first))
    left_out = int(len(path) * _TRIMMED)
    path = path[left_out : len(path) - left_out]
    return [(int(columns[place]) + x0, int(rows[place]) + y0) for place in path]


def _deepest_by_block(depth: NDArray[np.float64], side: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of the deepest pixel of every block of ``side`` pixels that holds some of the target."""
    height, width = (-(-length // side) for length in depth.shape)
    padded = np.zeros((height * side, width * side))
    padded[: depth.shape[0], : depth.shape[1]] = depth
    blocks = padded.reshape(height, side, width, side).swapaxes(1, 2).reshape(height * width, side * side)
    used = np.flatnonzero(blocks.any(axis=1))
    inside = blocks[used].argmax(axis=1)
    return used // width * side + inside // side, used % width * side + inside % side


def _neighbors(
    rows: NDArray[np.intp], columns: NDArray[np.intp], depth: NDArray[np.float64]
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Pairs of places in adjoining blocks, both ways, and the pixels between them."""
    side = -(-max(depth.shape) // _BLOCKS)
    height, width = (-(-length // side) + 2 for length in depth.shape)
    number = np.full((height, width), -1)
    block_rows, block_columns = rows // side + 1, columns // side + 1
    number[block_rows, block_columns] = np.arange(len(rows))
    pairs = []
    for down, right in ((0, 1), (1, -1), (1, 0), (1, 1)):
        other = number[block_rows + down, block_columns + right]
        here = np.flatnonzero(other >= 0)
        pairs += [(here, other[here]), (other[here], here)]
    sources = np.concatenate([pair[0] for pair in pairs])
    targets = np.concatenate([pair[1] for pair in pairs])
    return sources, targets, np.hypot(rows[sources] - rows[targets], columns[sources] - columns[targets])


def _farthest(graph: csr_array, start: int) -> int:
    distance = dijkstra(graph, indices=start)
    return int(np.where(np.isfinite(distance), distance, -1).argmax())


def _path(graph: csr_array, start: int, end: int) -> list[int]:
    _, before = dijkstra(graph, indices=start, return_predecessors=True)
    path = [end]
    while path[-1] != start:
        path.append(int(before[path[-1]]))
    return path[::-1]
