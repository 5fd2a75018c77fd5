"""Size and place of a lesion: volume, diameters as RECIST 1.1 names them, and center."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import ConvexHull
from scipy.spatial.distance import cdist

from .geometry import Point, as_matrix, is_empty, plane_axis, transform_points
from .results import MaskPatch

CSV_COLUMNS = (
    "name",
    "volume (mL)",
    "longest diameter (mm)",
    "longest axial diameter (mm)",
    "short axis (mm)",
    "center R (mm)",
    "center A (mm)",
    "center S (mm)",
    "certainty (%)",
)

_TIE = 1e-9  # relative; rounding makes diameters that are equal on the voxel grid differ by about 1e-15
_ROWS = 512  # vertices compared with all others at a time, so that memory stays small


@dataclass(frozen=True)
class LesionMeasures:
    """Measures of one mask. All its voxels count as one lesion, also where they do not touch.

    Diameters run **from voxel center to voxel center**, as the Feret diameter of Slicer's Segment Statistics does: n
    voxels in a row measure n - 1 spacings and a single voxel 0 mm, so calipers from edge to edge read up to one voxel
    more. An empty mask has zeros and no center.

    Attributes:
        volume_ml: voxels times the volume of one.
        longest_diameter_mm: between any two voxels, in 3D.
        longest_axial_diameter_mm: between two voxels of one axial slice, over all slices (RECIST's longest diameter).
            Axial slices are those normal to the voxel axis nearest to S, also on an oblique grid.
        perpendicular_diameter_mm: in that slice, the longest line across the convex outline at right angles to the
            longest diameter (RECIST's short axis). Among equally long diameters the one with the longest short axis
            counts.
        center_ras: mean of the voxel centers, RAS millimeters.
        voxels: how many.
    """

    volume_ml: float = 0.0
    longest_diameter_mm: float = 0.0
    longest_axial_diameter_mm: float = 0.0
    perpendicular_diameter_mm: float = 0.0
    center_ras: Point | None = None
    voxels: int = 0


def measure(mask: NDArray | MaskPatch, ijk_to_ras: ArrayLike) -> LesionMeasures:
    """Measure a lesion; exact on anisotropic, oblique, scaled and sheared grids.

    A lesion of 1000 voxels takes 5 ms, a ball of 11 million voxels 0.8 s.

    Args:
        mask: ``[k, j, i]``, not zero inside; or a patch of it with its extent in the volume, whose cost does not depend
            on the size of the volume.
        ijk_to_ras: (4, 4) matrix of the volume, parent transforms included.

    Raises:
        GeometryError: the matrix cannot place voxels.
    """
    matrix = as_matrix(ijk_to_ras)
    patch = mask if isinstance(mask, MaskPatch) else MaskPatch.of(mask)
    if is_empty(patch.extent) or patch.count == 0:
        return LesionMeasures()
    inside = patch.voxels != 0
    first = np.array(patch.extent[::2])
    center = transform_points(matrix, _mean_index(inside) + first)
    edges = matrix[:3, :3]
    axial, across = _axial_diameters(inside, edges, plane_axis(matrix, "axial"))
    right, anterior, superior = (float(value) for value in center)
    return LesionMeasures(
        volume_ml=patch.count * float(abs(np.linalg.det(edges))) / 1000,
        longest_diameter_mm=_longest(_outermost(_row_ends(inside)) @ edges.T),
        longest_axial_diameter_mm=axial,
        perpendicular_diameter_mm=across,
        center_ras=(right, anterior, superior),
        voxels=patch.count,
    )


def table_csv(rows: Iterable[tuple[str, LesionMeasures, int | None]]) -> str:
    """Names, measures and how sure a model is (percent, or None) as comma-separated values with a header line."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for name, found, certainty in rows:
        lengths = (found.longest_diameter_mm, found.longest_axial_diameter_mm, found.perpendicular_diameter_mm)
        center = ("", "", "") if found.center_ras is None else tuple(f"{value:.1f}" for value in found.center_ras)
        sure = "" if certainty is None else str(certainty)
        writer.writerow([name, f"{found.volume_ml:.4g}", *(f"{length:.1f}" for length in lengths), *center, sure])
    return stream.getvalue()


def _mean_index(inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mean (i, j, k) of the voxels of a ``[k, j, i]`` mask."""
    total = np.count_nonzero(inside)
    sums = [inside.sum(axis=tuple(other for other in range(3) if other != axis)) for axis in (2, 1, 0)]
    return np.array([float(np.arange(len(counts)) @ counts) / total for counts in sums])


def _row_ends(inside: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Indices (n, 3) as (i, j, k) of the first and last voxel of every row: no other voxel can be outermost."""
    k, j = np.nonzero(inside.any(axis=2))
    rows = inside[k, j]
    low, high = rows.argmax(axis=1), rows.shape[1] - 1 - rows[:, ::-1].argmax(axis=1)
    return np.concatenate([np.stack([low, j, k], axis=1), np.stack([high, j, k], axis=1)])


def _outermost(points: NDArray[np.int64]) -> NDArray[np.float64]:
    """The corners of the convex hull of integer points (n, d), d at most 3; also where they lie in a plane or a line.

    Hulls are the same in every affine frame, so this one is taken on the voxel grid, where flat sets are exactly flat.
    """
    points = np.unique(points, axis=0)
    spread = (points - points[0]).astype(np.float64)
    kept = [axis for axis in range(points.shape[1]) if np.any(spread[:, axis])]
    rank = np.linalg.matrix_rank(spread)
    if rank < len(kept):  # flat: leave out axes that the others determine, which moves no corner
        for axis in tuple(kept):
            rest = [other for other in kept if other != axis]
            if len(kept) > rank and np.linalg.matrix_rank(spread[:, rest]) == rank:
                kept = rest
    if rank == 0:
        return points[:1].astype(np.float64)
    if rank == 1:
        place = points[:, kept[0]]
        return points[[place.argmin(), place.argmax()]].astype(np.float64)
    return points[ConvexHull(points[:, kept]).vertices].astype(np.float64)


def _longest(corners: NDArray[np.float64]) -> float:
    """Longest distance between corners (n, d) in millimeters."""
    return max(float(distances.max()) for _, distances in _distances(corners))


def _distances(corners: NDArray[np.float64]) -> Iterator[tuple[int, NDArray[np.floating]]]:
    for start in range(0, len(corners), _ROWS):
        yield start, cdist(corners[start : start + _ROWS], corners)


def _axial_diameters(inside: NDArray[np.bool_], edges: NDArray[np.float64], axis: int) -> tuple[float, float]:
    """Longest diameter in one slice normal to IJK ``axis``, and the short axis in that slice, in millimeters."""
    others = [other for other in range(3) if other != axis]
    # Millimeters in the plane of the slices: two orthonormal directions that the two in-plane edges span.
    to_plane = np.linalg.qr(edges[:, others])[1]
    slices = np.moveaxis(inside, 2 - axis, 0)
    best = (0.0, 0.0)
    for slice_ in slices[slices.any(axis=(1, 2))]:
        ends = _row_ends(slice_[np.newaxis])[:, :2]  # the faster of the two axes first, as in others
        size = np.ptp(ends, axis=0) @ np.abs(to_plane).T
        if np.hypot(*size) < best[0] * (1 - _TIE):
            continue
        corners = _outermost(ends) @ to_plane.T
        longest = _longest(corners)
        if longest < best[0] * (1 - _TIE):
            continue
        found = (longest, _short_axis(corners, longest))
        best = found if longest > best[0] * (1 + _TIE) else max(best, found, key=lambda pair: pair[1])
    return best


def _short_axis(corners: NDArray[np.float64], longest: float) -> float:
    """Longest line across a convex outline (n, 2) at right angles to its longest diameter."""
    if longest == 0:
        return 0.0
    pairs = (
        (start + first, second)
        for start, distances in _distances(corners)
        for first, second in np.argwhere(distances >= longest * (1 - _TIE))
    )
    return max(_across(corners, first, second) for first, second in pairs if first < second)


def _across(corners: NDArray[np.float64], first: int, second: int) -> float:
    """Longest chord of a convex outline (n, 2) normal to its diameter from one corner to another.

    The two are the only corners at the ends of their direction (any other there would be farther away), so they split
    the outline into an upper and a lower chain. The distance of the chains is linear between corners: it is longest at
    a corner.
    """
    x, y = (corners[second] - corners[first]) / np.linalg.norm(corners[second] - corners[first])
    along, aside = (corners - corners[first]) @ (x, y), (corners - corners[first]) @ (-y, x)
    aside[[first, second]] = 0
    chains = [np.union1d(np.flatnonzero(side), [first, second]) for side in (aside > 0, aside < 0)]
    ordered = [chain[np.argsort(along[chain])] for chain in chains]
    top, bottom = (np.interp(along, along[chain], aside[chain]) for chain in ordered)
    return float((top - bottom).max())
