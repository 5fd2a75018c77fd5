"""Synthetic volumes of no modality in particular, painted from label maps, so that a network learns to segment what is
clicked instead of what it has seen.

The recipe is SynthSeg's (Billot et al., Medical Image Analysis 2023, arXiv 2107.09559): a label map, deformed; a random
mean and texture for every label; bias field, blur, resolution and noise. The label maps are of two kinds: shapes drawn
by chance (as in SynthMorph, Hoffmann et al. 2022), or pieces of given anatomy. Unlike there, means of different labels
are kept apart, since a border that cannot be seen teaches nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import cycle, islice

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage

from ..core.volume import Volume
from ..engines.crop3d import z_score
from ..engines.grid3d import ModelGrid
from .clicks3d import Voxel
from .crops3d import Target3D

LEAST_VOXELS, LARGEST_SHARE = 40, 0.5
"""Of a target in its crop: smaller or larger ones are drawn anew."""
MOST_OBJECTS = 7
_WARP = 0.06
"""Displacements as a share of the side, one standard deviation."""
_AIR = 0

Generator = np.random.Generator
Coordinates = NDArray[np.float32]
"""``[3, S, S, S]`` voxels from the middle of the crop, deformed."""


def synthetic_target(source: Generator, size: int, anatomies: Sequence[Volume] = ()) -> Target3D:
    """A volume and what was clicked in its middle; the same state of the source gives the same one.

    Args:
        anatomies: label maps on the grid of a model (:func:`anatomy_of`); half of the volumes are pieces of them.
    """
    return synthetic_targets(source, size, anatomies, 1)[0]


def synthetic_targets(source: Generator, size: int, anatomies: Sequence[Volume], count: int) -> list[Target3D]:
    """A volume and what was clicked in it: in the middle first, then elsewhere, as often in another label.

    A click on the very border, which could mean either side, is drawn anew, and so is a target that is too small or too
    large.

    Args:
        anatomies: as in :func:`synthetic_target`.
        count: clicks; where too few other places qualify, the first ones are asked again.
    """
    while True:
        if anatomies and source.random() < 0.5:
            anatomy = anatomies[int(source.integers(len(anatomies)))]
            labels = piece_of(anatomy.array, size, source, anatomy.spacing[0])
            structure = "anatomy"
        else:
            labels, structure = random_shapes(size, source), "shape"
        middle = (size // 2, size // 2, size // 2)
        first = _target_at(labels, middle)
        if first is not None:
            break
    pixels = painted(labels, source).astype(np.float16)
    found = [(middle, first), *_other_targets(labels, count - 1, source)]
    return [
        Target3D(pixels, mask, click, structure, "synthetic", "", "synthetic")
        for click, mask in islice(cycle(found), count)
    ]


def _target_at(labels: NDArray[np.uint8], click: Voxel) -> NDArray[np.uint8] | None:
    """The target of a click, or None if it is on a border, or if its size teaches nothing."""
    around = labels[tuple(slice(place - 1, place + 2) for place in click)]
    if (around == labels[click]).mean() <= 0.5:
        return None
    mask = clicked_part(labels, click)
    return mask if LEAST_VOXELS <= mask.sum() <= LARGEST_SHARE * mask.size else None


def _other_targets(
    labels: NDArray[np.uint8], count: int, source: Generator
) -> Iterator[tuple[Voxel, NDArray[np.uint8]]]:
    """Clicks as far from the border as the engine takes them, each label as likely, and their targets."""
    margin = labels.shape[0] // 8
    inner = labels[(slice(margin, -margin),) * 3]
    present = np.unique(inner)
    found = 0
    for _ in range(4 * count):
        if found == count:
            return
        places = np.flatnonzero(inner == source.choice(present))
        place = np.unravel_index(places[source.integers(len(places))], inner.shape)
        click = (int(place[0]) + margin, int(place[1]) + margin, int(place[2]) + margin)
        mask = _target_at(labels, click)
        if mask is not None:
            found += 1
            yield click, mask


def anatomy_of(labels: Volume, spacing: float) -> Volume:
    """A label map ``[r, a, s]`` at its own resolution, whose unit of length is ``spacing`` instead of the millimeter.

    Pieces are enlarged when they are cut (:func:`piece_of`), so that a whole body takes little memory.
    """
    coarse = max(spacing, min(labels.spacing))
    grid = ModelGrid.of(labels, coarse)
    places = np.moveaxis(np.indices(grid.shape), 0, -1) @ grid.to_ras[:3, :3].T + grid.to_ras[:3, 3]
    index = np.clip(np.rint(labels.ras_to_ijk(places)), 0, np.array(labels.size) - 1).astype(int)
    found = labels.array[index[..., 2], index[..., 1], index[..., 0]]
    matrix = np.diag([coarse / spacing] * 3 + [1.0])
    return Volume(found.astype(np.uint8), matrix, modality="SEG")


def clicked_part(labels: NDArray[np.uint8], click: Voxel) -> NDArray[np.uint8]:
    """The connected voxels of the clicked label of a map ``[S, S, S]``."""
    parts = np.zeros(labels.shape, np.int32)
    ndimage.label(labels == labels[click], output=parts)
    return (parts == parts[click]).astype(np.uint8)


def random_shapes(size: int, source: Generator) -> NDArray[np.uint8]:
    """A label map ``[S, S, S]``: a few regions, and ellipsoids, tubes, shells and blobs on them, all deformed."""
    places = _warped_places(size, source)
    labels = _regions(size, int(source.integers(1, 6)), source)
    if source.random() < 0.4:
        labels[_ellipsoid(places, source, source.normal(0, 0.1 * size, 3), source.uniform(0.4, 0.7, 3) * size)] = _AIR
        labels = np.where(labels == _AIR, labels.max() + 1, _AIR).astype(np.uint8) if source.random() < 0.5 else labels
    for number in range(int(source.integers(1, MOST_OBJECTS + 1))):
        # The first objects lie around the middle, so that mostly one of them is what is clicked.
        spread = 0.5 if number < 2 else 3.0
        radii = np.exp(source.uniform(np.log(0.04), np.log(0.3))) * source.uniform(0.6, 1.5, 3) * size
        center = source.normal(0, spread, 3) * np.minimum(radii, 0.15 * size)
        shape = _SHAPES[source.integers(len(_SHAPES))]
        labels = shape(labels, places, center, radii, source)
    return labels


def piece_of(labels: NDArray[np.uint8], size: int, source: Generator, zoom: float) -> NDArray[np.uint8]:
    """A deformed, turned piece ``[S, S, S]`` of a label map around a voxel of one of its labels, each as likely.

    Args:
        zoom: voxels of the piece per voxel of the map; the piece is drawn 0.7 to 1.4 times as large.
    """
    present = np.unique(labels)
    chosen = int(source.choice(present[present > 0]))
    inside = np.argwhere(labels == chosen)
    middle = inside[source.integers(len(inside))].astype(np.float32)
    places = _warped_places(size, source) / np.float32(zoom * source.uniform(0.7, 1.4))
    places = places[source.permutation(3)] * source.choice([-1, 1], 3).astype(np.float32)[:, None, None, None]
    piece = np.zeros((size, size, size), np.uint8)
    ndimage.map_coordinates(labels, places + middle[:, None, None, None], output=piece, order=0, mode="nearest")
    # What nobody labeled is not one tissue.
    rest = _regions(size, int(source.integers(1, 4)), source) + np.uint8(200)
    return np.where(piece == 0, rest, piece).astype(np.uint8)


def painted(labels: NDArray[np.uint8], source: Generator) -> NDArray[np.float32]:
    """A volume ``[S, S, S]`` with a brightness and texture for every label, z-scored as the engine does it."""
    size = labels.shape[0]
    present, inverse = np.unique(labels, return_inverse=True)
    count = len(present)
    steps = (np.arange(count) + source.uniform(0.2, 0.8, count)) / count
    means = source.permutation(steps).astype(np.float32)
    if present[0] == _AIR and source.random() < 0.6:
        means[0] = 0.0
    texture = source.uniform(0, 0.3, count).astype(np.float32) / count
    index = inverse.reshape(labels.shape)
    coarse = smooth_noise(size, int(source.integers(6, 20)), source)
    volume = means[index] + texture[index] * (coarse + source.standard_normal(labels.shape, np.float32))
    volume = np.asarray(ndimage.gaussian_filter(volume, source.uniform(0.3, 1.1)), np.float32)
    volume = _resolution(volume, source)
    volume = volume * np.exp(source.uniform(0, 0.3) * smooth_noise(size, int(source.integers(2, 5)), source))
    volume = volume + source.uniform(0, 0.06) * source.standard_normal(labels.shape, np.float32)
    if source.random() < 0.3:  # as Hounsfield units: much of it lies below 0
        volume = volume - np.quantile(volume, source.uniform(0.1, 0.6))
    return z_score(volume.astype(np.float32), np.ones(labels.shape, bool))[0]


def smooth_noise(size: int, cells: int, source: Generator, channels: int = 1) -> NDArray[np.float32]:
    """Normal noise drawn on ``cells`` per side and enlarged linearly: ``[S, S, S]``, or ``[channels, S, S, S]``."""
    drawn = torch.from_numpy(source.standard_normal((1, channels, cells, cells, cells), np.float32))
    large = F.interpolate(drawn, size=(size, size, size), mode="trilinear", align_corners=True)[0].numpy()
    return large[0] if channels == 1 else large


def _warped_places(size: int, source: Generator) -> Coordinates:
    """The middle stays where it is, so that what is drawn around it is what is clicked."""
    axis = np.arange(size, dtype=np.float32) - size // 2
    places = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"))
    amount = np.float32(source.uniform(0, _WARP) * size)
    shift = amount * smooth_noise(size, int(source.integers(3, 8)), source, channels=3)
    middle = (slice(None), size // 2, size // 2, size // 2)
    return np.asarray(places + shift - shift[middle][:, None, None, None], np.float32)


def _regions(size: int, count: int, source: Generator) -> NDArray[np.uint8]:
    """Tissues that border on each other, numbered from 1."""
    if count == 1:
        return np.ones((size, size, size), np.uint8)
    fields = smooth_noise(size, int(source.integers(3, 8)), source, channels=count)
    return (fields.argmax(axis=0) + 1).astype(np.uint8)


def _ellipsoid(places: Coordinates, source: Generator, center: NDArray, radii: NDArray) -> NDArray[np.bool_]:
    return _distance(places, center, _turned(source) / radii[:, None]) < 1


def _paint_ellipsoid(
    labels: NDArray[np.uint8], places: Coordinates, center: NDArray, radii: NDArray, source: Generator
) -> NDArray[np.uint8]:
    return _put(labels, _ellipsoid(places, source, center, radii))


def _paint_shells(
    labels: NDArray[np.uint8], places: Coordinates, center: NDArray, radii: NDArray, source: Generator
) -> NDArray[np.uint8]:
    distance = _distance(places, center, _turned(source) / radii[:, None])
    rim = float(source.uniform(0.45, 0.85))
    return _put(_put(labels, distance < 1), distance < rim)


def _paint_tube(
    labels: NDArray[np.uint8], places: Coordinates, center: NDArray, radii: NDArray, source: Generator
) -> NDArray[np.uint8]:
    """A vessel or a canal: far longer than wide, bent by the deformation."""
    size = labels.shape[0]
    width = np.clip(radii, 0.03 * size, 0.12 * size)
    width[0] = source.uniform(0.4, 2.0) * size
    return _put(labels, _distance(places, center, _turned(source) / width[:, None]) < 1)


def _paint_blob(
    labels: NDArray[np.uint8], places: Coordinates, center: NDArray, radii: NDArray, source: Generator
) -> NDArray[np.uint8]:
    """An ellipsoid with an uneven border, as tumors have it."""
    rough = smooth_noise(labels.shape[0], int(source.integers(5, 12)), source)
    distance = _distance(places, center, _turned(source) / radii[:, None])
    return _put(labels, distance + 0.35 * rough < 1)


_Shape = Callable[
    [NDArray[np.uint8], Coordinates, NDArray, NDArray, Generator],
    NDArray[np.uint8],
]
_SHAPES: tuple[_Shape, ...] = (_paint_ellipsoid, _paint_blob, _paint_blob, _paint_shells, _paint_tube)


def _put(labels: NDArray[np.uint8], inside: NDArray[np.bool_]) -> NDArray[np.uint8]:
    return np.where(inside, labels.max() + 1, labels).astype(np.uint8)


def _distance(places: Coordinates, center: NDArray, matrix: NDArray) -> NDArray[np.float32]:
    """From a center, in radii."""
    moved = (places - center.astype(np.float32)[:, None, None, None]).reshape(3, -1)
    return np.linalg.norm(matrix.astype(np.float32) @ moved, axis=0).reshape(places.shape[1:])


def _turned(source: Generator) -> NDArray[np.float64]:
    """A random orthogonal matrix."""
    return np.linalg.qr(source.standard_normal((3, 3)))[0]


def _resolution(volume: NDArray[np.float32], source: Generator) -> NDArray[np.float32]:
    """Now and then as from thick slices along one axis."""
    if source.random() < 0.6:
        return volume
    axis, factor = int(source.integers(3)), float(source.uniform(1.5, 4))
    size = volume.shape[axis]
    smoothed = ndimage.gaussian_filter1d(volume, factor / 2.4, axis=axis)
    cells = [*volume.shape]
    cells[axis] = max(2, round(size / factor))
    small = F.interpolate(torch.from_numpy(smoothed)[None, None], size=tuple(cells), mode="trilinear")
    return F.interpolate(small, size=volume.shape, mode="trilinear")[0, 0].numpy()
