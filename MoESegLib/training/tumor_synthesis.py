"""Synthetic lesions in real organs: tumors that are targets, and look-alikes that are not.

After the recipe of Hu et al. ("Label-free liver tumor segmentation", CVPR 2023, arXiv 2303.14869): a place in the organ
off its vessels, a deformed ellipsoid, texture of filtered noise, a blurred edge, pressure on what is around and a
capsule. Beyond it: other organs, lesions that bulge out of an organ or lie beside it, and the noise of the image itself
instead of a drawn one, so that a lesion cannot be told by noise that is missing or too fine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage, special

from ..core.organs import organ_numbers
from ..core.volume import Volume
from .tumor_kinds import LesionKind
from .tumor_shapes import Blob, Millimeters, deformed_ellipsoid
from .tumor_texture import drawn_level, filled

_SMOOTHING = 2.5
"""Millimeters: what varies faster is noise or a thin vessel, and stays in a lesion as far as it is noise."""
_PLACES, _TRIES = 12, 5
"""Centers that are tried for one lesion, and how often it is drawn smaller before it is left out."""
_LEAST = {False: 12, True: 24}
"""Voxels of a lesion in a slice, and in a volume; smaller ones nobody could outline."""
_VESSEL_SHARE = 0.12
_MOST_NOISE = 2.5
"""Standard deviations; what stands out further is an edge or a vessel."""
_GAP = 4.0
"""Millimeters between two lesions."""
_FIT: dict[str, tuple[float, float]] = {"inside": (0.93, 1.01), "bulging": (0.3, 0.8), "beside": (0.02, 0.35)}
"""How much of a cube as large as the lesion the organ fills, at the centers of each site."""
_AIR, _FAT_AND_SOFT_TISSUE = -300.0, (-160.0, 160.0)
"""What a bulging lesion may grow into: no air, no bone."""


@dataclass(frozen=True, eq=False)
class OrganBody:
    """A CT with its organs, axes (s, a, r) of the model's grid.

    Attributes:
        image: HU, float32 ``[D, H, W]``; one slice has D = 1.
        organs: uint8 ``[D, H, W]``, 1 + the place in ``core.organs.organ_ids()``; 0 is none of them.
        spacing: millimeters along D, H, W.
        patient, name: whose body, and the case's name.
    """

    image: NDArray[np.float32]
    organs: NDArray[np.uint8]
    spacing: Millimeters
    patient: str = ""
    name: str = ""

    @classmethod
    def of(cls, volume: Volume, organs: NDArray[np.uint8], patient: str = "", name: str = "") -> OrganBody:
        """All of a CT, on its own voxels; organs ``[k, j, i]``."""
        i, j, k = volume.spacing
        return cls(volume.array.astype(np.float32), organs, (k, j, i), patient, name)

    def holds(self, kind: LesionKind, least: int = 60) -> bool:
        """Whether the organs of a kind are there, with so many voxels."""
        return int(np.count_nonzero(_mask_of(self.organs, kind))) >= least


@dataclass(frozen=True)
class DrawnLesion:
    """What was drawn.

    Attributes:
        kind: its name.
        diameter: of a ball of the same size, in millimeters; the cross-section in a slice may be smaller.
        level, organ_level: HU of the lesion and of the organ around it.
        center: voxel (d, h, w).
    """

    kind: str
    diameter: float
    level: float
    organ_level: float
    center: tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class SyntheticCase:
    """A body with lesions.

    Attributes:
        image, organs, spacing: as :class:`OrganBody`; organs as before the lesions, moved with what they press on.
        lesions: bool ``[D, H, W]`` by tumor id.
        look_alikes: bool ``[D, H, W]`` by name.
        drawn: one by one.
    """

    image: NDArray[np.float32]
    organs: NDArray[np.uint8]
    spacing: Millimeters
    lesions: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    look_alikes: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    drawn: tuple[DrawnLesion, ...] = ()


def with_lesions(
    body: OrganBody,
    kinds: Sequence[LesionKind],
    rng: np.random.Generator,
    *,
    near: ArrayLike | None = None,
    counts: Sequence[int] | None = None,
) -> SyntheticCase:
    """A copy of a body with lesions of some kinds; a kind for which there is no place is left out.

    Args:
        kinds: the first ones find the most space.
        near: the first lesion is put as near to this voxel as its organ allows.
        counts: lesions of every kind; by default drawn from its range.

    Returns:
        the same for the same state of the generator.
    """
    canvas = _Canvas(body)
    for index, kind in enumerate(kinds):
        count = counts[index] if counts is not None else int(rng.integers(kind.count[0], kind.count[1] + 1))
        for number in range(count):
            canvas.add(kind, rng, near if index == 0 and number == 0 else None)
    tumors = {kind.name: kind.is_tumor for kind in kinds}
    return SyntheticCase(
        canvas.image,
        canvas.organs,
        body.spacing,
        {name: mask for name, mask in canvas.masks.items() if tumors[name]},
        {name: mask for name, mask in canvas.masks.items() if not tumors[name]},
        tuple(canvas.drawn),
    )


class _Canvas:
    """A body while lesions are put into it."""

    def __init__(self, body: OrganBody) -> None:
        self.image = body.image.astype(np.float32, copy=True)
        self.organs = body.organs.copy()
        self.spacing = body.spacing
        self.is_volume = body.image.shape[0] > 1
        self.masks: dict[str, NDArray[np.bool_]] = {}
        self.drawn: list[DrawnLesion] = []
        self._taken = np.zeros(body.image.shape, bool)
        self._smooth = ndimage.gaussian_filter(self.image, self._sigma(_SMOOTHING))
        self._noise = self._noise_level()

    def _noise_level(self) -> float:
        """Standard deviation of the noise, measured within the organs where the image is even."""
        steepness = np.abs(np.diff(self._smooth, axis=2, append=0)) + np.abs(np.diff(self._smooth, axis=1, append=0))
        organ = self.organs > 0
        if not organ.any():
            return 8.0
        even = organ & (steepness <= np.quantile(steepness[organ], 0.4))
        return 1.4826 * float(np.median(np.abs(self.image[even] - self._smooth[even])))

    def _sigma(self, millimeters: float) -> list[float]:
        return [millimeters / step if size > 1 else 0.0 for step, size in zip(self.spacing, self._shape, strict=True)]

    @property
    def _shape(self) -> tuple[int, ...]:
        return self.image.shape

    @property
    def _least_radius(self) -> float:
        """Millimeters of the smallest lesion that is drawn, and a little more."""
        voxels, (depth, height, width) = 1.4 * _LEAST[self.is_volume], self.spacing
        if self.is_volume:
            return float(np.cbrt(0.75 / np.pi * voxels * depth * height * width))
        return float(np.sqrt(voxels * height * width / np.pi))

    def add(self, kind: LesionKind, rng: np.random.Generator, near: ArrayLike | None) -> None:
        """Put one lesion somewhere, unless there is no place for it."""
        organ = _mask_of(self.organs, kind)
        if np.count_nonzero(organ) < _LEAST[self.is_volume]:
            return
        values = self._smooth[organ]
        level = float(np.median(values))
        spread = 1.4826 * float(np.median(np.abs(values - level)))
        bright = (self._smooth > level + max(2.5 * spread, 18)) & organ
        radius = float(np.exp(rng.uniform(*np.log(kind.size)))) / 2
        if not self.is_volume:  # a slice meets a ball anywhere, on average at 0.79 of its radius
            radius *= float(np.sqrt(1 - rng.uniform(0, 0.9) ** 2))
        radius = max(radius, self._least_radius)
        for _ in range(_TRIES):
            for center in self._centers(kind, organ, radius, rng, near):
                blob = deformed_ellipsoid(
                    self._shape, self.spacing, center, radius, rng, elongation=kind.elongation, roughness=kind.roughness
                )
                mask = self._allowed(kind, blob, organ)
                if np.count_nonzero(mask) < _LEAST[self.is_volume] or self._taken[blob.box][mask].any():
                    continue
                if kind.site == "inside" and bright[blob.box][mask].mean() > _VESSEL_SHARE:
                    continue
                self._paint(kind, blob, mask, level, rng)
                return
            radius *= 0.75
            if 2 * radius < 0.6 * kind.size[0]:
                return

    def _centers(
        self,
        kind: LesionKind,
        organ: NDArray[np.bool_],
        radius: float,
        rng: np.random.Generator,
        near: ArrayLike | None,
    ) -> NDArray[np.int64]:
        """Places for the center, the best first, ``[N, 3]``."""
        width = [
            max(1, round(1.5 * radius / step)) if size > 1 else 1
            for step, size in zip(self.spacing, self._shape, strict=True)
        ]
        share = ndimage.uniform_filter(organ.astype(np.float32), width, mode="constant")  # type: ignore[arg-type]
        low, high = _FIT[kind.site]
        fits = (share >= low) & (share < high)
        if kind.site == "beside":
            fits &= (self.organs == 0) & (self._smooth < 0) & (self._smooth > _FAT_AND_SOFT_TISSUE[0])
            air = (self._smooth < _AIR).astype(np.float32)  # the border of the lung is as dense as fat
            fits &= ndimage.uniform_filter(air, width) < 0.02  # type: ignore[arg-type]
        else:
            fits &= organ
            if kind.site == "bulging" and not fits.any():  # thin organs never fill the cube, small ones always do
                fits = organ & (share >= min(low, 0.6 * float(share[organ].max())))
        places = np.argwhere(fits & ~self._taken)
        if not len(places):
            return places
        chosen = places[rng.integers(len(places), size=_PLACES)]
        if near is not None:
            away = (chosen - np.asarray(near)) * np.asarray(self.spacing)
            chosen = chosen[np.argsort(np.linalg.norm(away, axis=1), kind="stable")]
        return chosen

    def _allowed(self, kind: LesionKind, blob: Blob, organ: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The voxels of a shape that the lesion may take."""
        box = blob.box
        free = ~self._taken[box]
        if kind.site == "inside":
            return blob.inside & free & organ[box]
        low, high = _FAT_AND_SOFT_TISSUE
        free &= (self.organs[box] == 0) & (self._smooth[box] > low) & (self._smooth[box] < high)
        if kind.site == "bulging":
            free |= organ[box] & ~self._taken[box]
        # Without the specks and gaps that noise and thin vessels leave.
        mask = blob.inside & (ndimage.uniform_filter(free.astype(np.float32), 3) > 0.5) & ~self._taken[box]
        parts = np.zeros(mask.shape, np.int32)
        ndimage.label(mask, output=parts)
        sizes = np.bincount(parts.ravel())[1:]
        return parts == 1 + int(sizes.argmax()) if len(sizes) else mask

    def _paint(
        self, kind: LesionKind, blob: Blob, mask: NDArray[np.bool_], organ_level: float, rng: np.random.Generator
    ) -> None:
        box = blob.box
        rough = self.image[box] - self._smooth[box]
        is_structure = np.abs(rough) > _MOST_NOISE * self._noise
        self._push(kind, blob, np.where(is_structure, 0, rough))
        noise = np.where(is_structure, self._noise * rng.standard_normal(rough.shape, np.float32), rough)
        level = drawn_level(kind, organ_level, rng)
        levels = filled(kind, blob, self.spacing, level, rng) + noise
        share = self._share(kind, blob, mask)
        self.image[box] += share * (levels - self.image[box])
        self._smooth[box] = ndimage.gaussian_filter(self.image[box], self._sigma(_SMOOTHING))
        whole = self.masks.setdefault(kind.name, np.zeros(self._shape, bool))
        whole[box] |= mask
        gap = 1 + int(_GAP / max(self.spacing))
        self._taken[box] |= ndimage.binary_dilation(mask, iterations=gap)
        places = np.argwhere(mask).mean(axis=0) + [axis.start for axis in box]
        center = tuple(int(round(place)) for place in places)
        self.drawn.append(
            DrawnLesion(kind.name, 2 * blob.radius, level, organ_level, (center[0], center[1], center[2]))
        )

    def _share(self, kind: LesionKind, blob: Blob, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        """How much of every voxel is lesion: fades over the margin, and over half a voxel at what it may not take."""
        step = min(step for step, size in zip(self.spacing, self._shape, strict=True) if size > 1)
        fade = max(kind.edge, 0.4 * step)
        share = special.expit(blob.depth / (0.5 * fade))
        held = ndimage.gaussian_filter(mask.astype(np.float32), self._sigma(0.6 * max(fade, step)))
        return (share * np.clip(2 * held, 0, 1)).astype(np.float32)

    def _push(self, kind: LesionKind, blob: Blob, noise: NDArray[np.float32]) -> None:
        """Move what lies around a lesion outward, less with the distance: the organ bulges, vessels go around.

        The noise stays where it is: interpolation took two fifths of it away, which gave the lesion away.
        """
        most = kind.mass_effect * blob.radius
        box = blob.box
        if most < 0.5 * min(self.spacing[1:]) or self._taken[box].any():  # a lesion beside it would leave its mask
            return
        reach = max(4.0, 0.5 * blob.radius)
        # Nothing moves at the sides of the box, so that it still fits into the image.
        sides = [_from_side(size, axis) for axis, size in enumerate(blob.depth.shape) if size > 1]
        calm = np.prod(np.broadcast_arrays(*(np.clip(side / 3, 0, 1) for side in sides)), axis=0)
        amount = most * np.exp(-np.clip(-blob.depth, 0, None) / reach) * calm
        steps = np.asarray(self.spacing, np.float32)[:, None, None, None]
        source = np.indices(noise.shape, dtype=np.float32) - blob.outward * amount / steps
        self.image[box] -= noise
        for array, order in ((self.image, 1), (self.organs, 0)):
            array[box] = ndimage.map_coordinates(array[box], source, order=order, mode="nearest")
        self.image[box] += noise


def _from_side(size: int, axis: int) -> NDArray[np.float32]:
    """Voxels to the nearer side along one axis of a box."""
    place = np.arange(size, dtype=np.float32)
    column = [1, 1, 1]
    column[axis] = size
    return np.minimum(place, size - 1 - place).reshape(column)


def _mask_of(organs: NDArray[np.uint8], kind: LesionKind) -> NDArray[np.bool_]:
    return np.isin(organs, organ_numbers(kind.organs))
