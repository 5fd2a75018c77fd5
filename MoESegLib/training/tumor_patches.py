"""What MAST-Pro learns from: patches with real lesions and with lesions drawn into organs, fairly over tumor types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..core.cancel import CancelToken
from ..core.errors import TrainingError
from ..core.organs import organ_ids, organ_numbers
from ..engines.tumor_image import Scale
from ..models.mast_pro.config import COMPACT
from .progress import TeachProgress, part_of, silent
from .tumor_geometry import Pose, cut, slab
from .tumor_kinds import TUMORS, LesionKind, kind_named, look_alikes_of
from .tumor_shapes import Millimeters
from .tumor_sources import ORGAN_SLICES, Fold, cases_of, datasets_of
from .tumor_store import Prepared, prepare
from .tumor_synthesis import OrganBody, SyntheticCase, with_lesions

SYNTHETIC_SLICES, SYNTHETIC_SLABS = "synthetic slices", "synthetic slabs"
_SHIFT_HU = 12.0
"""Standard deviation of a shift of all densities: those of 8-bit slices are known no better."""
_LEAST_ORGAN = 25
"""Voxels of an organ in a slice, for a lesion to be drawn into it."""


@dataclass(frozen=True)
class TumorPlan:
    """Which patches are drawn.

    Attributes:
        tumors: only these types are asked for, and drawn; by default all.
        spacing: millimeters between voxels.
        patch, slice_patch: voxels (D, H, W) of a volume's patch and (H, W) of a slice's.
        centered: how often the middle lies in a lesion (or where one is drawn); else somewhere in the image.
        absent: how often the tumor that is asked for is not there, so that the target is empty.
        second: how often a tumor of another type is drawn beside the one that is asked for.
        look_alike: how often a cyst of the same organ is drawn beside it.
        organs_changed: how often organ labels leave out, or take in, what was drawn, as segmenters of organs do.
        varied: mirrored, turned, scaled, brighter, noisier; False for measuring.
    """

    tumors: tuple[str, ...] = ()
    spacing: float = COMPACT.spacing_mm
    patch: tuple[int, int, int] = COMPACT.patch
    slice_patch: tuple[int, int] = COMPACT.slice_patch
    centered: float = 0.8
    absent: float = 0.12
    second: float = 0.4
    look_alike: float = 0.4
    organs_changed: float = 0.5
    varied: bool = True

    def wants(self, tumor: str) -> bool:
        """Whether a type is asked for."""
        return not self.tumors or tumor in self.tumors

    def shape(self, is_slice: bool) -> tuple[int, int, int]:
        """Of a patch."""
        return (1, *self.slice_patch) if is_slice else self.patch


@dataclass(frozen=True, eq=False)
class TumorSample:
    """One patch; axes (s, a, r), or the slice's own with D = 1.

    Attributes:
        image: float32 ``[2, D, H, W]`` between 0 and 1 (:mod:`~MoESegLib.engines.tumor_image`).
        target: float32 ``[1, D, H, W]``, 1 inside lesions of the type that is asked for.
        organs: uint8 ``[D, H, W]``, 1 + the place in ``core.organs.organ_ids()``; all 0 where no organ is known.
        tumor: id of the type that is asked for.
        modality: as in DICOM, "" where no code fits.
        spacing: millimeters along D, H, W.
        dataset: a set of the manifest, or :data:`SYNTHETIC_SLICES` or :data:`SYNTHETIC_SLABS`.
        patient, name: where the image comes from.
        is_absent: the image holds no such tumor.
    """

    image: NDArray[np.float32]
    target: NDArray[np.float32]
    organs: NDArray[np.uint8]
    tumor: str
    modality: str
    spacing: Millimeters
    dataset: str
    patient: str
    name: str
    is_absent: bool = False

    @property
    def is_synthetic(self) -> bool:
        """Its lesions were drawn."""
        return self.dataset in (SYNTHETIC_SLICES, SYNTHETIC_SLABS)


@dataclass(frozen=True, eq=False)
class TumorData:
    """Images of one side of the split, to draw patches from.

    Attributes:
        images: prepared images.
        plan: which patches are drawn.
    """

    images: tuple[Prepared, ...]
    plan: TumorPlan = field(default_factory=TumorPlan)

    @classmethod
    def open(
        cls,
        data: Path,
        cache: Path,
        plan: TumorPlan | None = None,
        fold: Fold = "train",
        datasets: Sequence[str] = (),
        progress: TeachProgress = silent,
        cancel: CancelToken | None = None,
    ) -> TumorData:
        """The sets of a manifest that hold tumors or organs; resampled once into ``cache``.

        Args:
            fold: "train"; "tune", patients kept back to choose settings with; or "val".
            datasets: only these sets.

        Raises:
            TrainingError: none of the sets is there, or none of them has patients on that side.
            VolumeError, GeometryError, OutputError, Cancelled: as :func:`~.tumor_store.prepare`.
        """
        plan = plan or TumorPlan()
        names = [name for name in datasets_of(data) if not datasets or name in datasets]
        images: list[Prepared] = []
        for number, name in enumerate(names):
            part = part_of(progress, number / len(names), (number + 1) / len(names))
            images += prepare(cases_of(data, name, fold), cache, plan.spacing, part, cancel)
        if not images:
            raise TrainingError(f"{data} holds no images for {fold!r} in {', '.join(names) or 'no set'}.")
        return cls(tuple(images), plan)

    @property
    def tumors(self) -> tuple[str, ...]:
        """Ids of the types that can be drawn, in a fixed order."""
        return tuple(sorted({tumor for sources in self._sources.values() for tumor, _ in sources}))

    def tumors_of(self, is_slice: bool) -> tuple[str, ...]:
        """Ids of the types in single slices, or in volumes."""
        return tuple(sorted({tumor for tumor, _ in self._sources[is_slice]}))

    @property
    def patients(self) -> Mapping[str, tuple[str, ...]]:
        """Patients by set."""
        sets = dict.fromkeys(image.dataset for image in self.images)
        return {name: tuple(sorted({i.patient for i in self.images if i.dataset == name})) for name in sets}

    def draw(self, rng: np.random.Generator, is_slice: bool | None = None, tumor: str = "") -> TumorSample:
        """A patch; each tumor type as likely, then each source, then each patient.

        Args:
            is_slice: a single slice or a part of a volume, so that a batch has one shape; by default either.
            tumor: the type that is asked for; by default any.

        Returns:
            the same for the same state of the generator.

        Raises:
            TrainingError: no image can give such a patch.
        """
        kind = bool(rng.random() < 0.5) if is_slice is None else is_slice
        if not self._sources[kind] and is_slice is None:
            kind = not kind
        tumors = [tumor] if tumor else list(self.tumors_of(kind))
        if not tumors or tumors[0] not in self.tumors_of(kind):
            raise TrainingError(
                f"No {'slice' if kind else 'volume'} holds {tumor or 'a tumor'}. There are: "
                f"{', '.join(self.tumors_of(kind)) or 'none'}."
            )
        for _ in range(20):  # a drawn lesion may find no place
            wanted = tumors[rng.integers(len(tumors))]
            choices = [(source, images) for (name, source), images in self._sources[kind].items() if name == wanted]
            source, images = choices[rng.integers(len(choices))]
            patients = sorted({image.patient for image in images})
            patient = patients[rng.integers(len(patients))]
            own = [image for image in images if image.patient == patient]
            image = own[rng.integers(len(own))]
            sample = (
                _synthetic(image, wanted, source, self.plan, rng)
                if source in (SYNTHETIC_SLICES, SYNTHETIC_SLABS)
                else _real(image, self._asked(image, rng), self.plan, rng)
            )
            if sample is not None:
                return sample
        raise TrainingError("No lesion found a place in 20 images; are the organ labels empty?")

    def _asked(self, image: Prepared, rng: np.random.Generator) -> str:
        """Mostly the type that is there; else one of an organ that this image cannot show."""
        if rng.random() >= self.plan.absent:
            return image.tumor
        others = [name for name in self.tumors if name != image.tumor]
        return others[rng.integers(len(others))] if others else image.tumor

    @cached_property
    def _sources(self) -> dict[bool, dict[tuple[str, str], tuple[Prepared, ...]]]:
        """Images by slice or volume, tumor type and source."""
        found: dict[bool, dict[tuple[str, str], list[Prepared]]] = {True: {}, False: {}}
        for image in self.images:
            if image.tumor and image.voxels and self.plan.wants(image.tumor):
                found[image.is_slice].setdefault((image.tumor, image.dataset), []).append(image)
            if image.dataset == ORGAN_SLICES:
                for kind in TUMORS:
                    if self.plan.wants(kind.name) and _shows(image, kind):
                        found[True].setdefault((kind.name, SYNTHETIC_SLICES), []).append(image)
                        found[False].setdefault((kind.name, SYNTHETIC_SLABS), []).append(image)
        return {key: {name: tuple(images) for name, images in part.items()} for key, part in found.items()}


def _shows(image: Prepared, kind: LesionKind) -> bool:
    wanted = organ_numbers(kind.organs)
    if not set(wanted) & set(image.organ_numbers):
        return False
    return int(np.count_nonzero(np.isin(image.organs, wanted))) >= _LEAST_ORGAN


def _real(image: Prepared, asked: str, plan: TumorPlan, rng: np.random.Generator) -> TumorSample:
    shape = plan.shape(image.is_slice)
    center = _center(image.lesion_voxels, image.shape, shape, plan, rng)
    pose = Pose.drawn(center, rng, image.is_slice) if plan.varied else Pose.straight(center)
    values = cut(image.image, pose, shape, linear=True, outside=image.scale.outside)
    organs = cut(image.organs, pose, shape, linear=False).astype(np.uint8)
    target = cut(image.target, pose, shape, linear=False)
    is_absent = asked != image.tumor
    if is_absent:
        target = np.zeros_like(target)
    pixels = _channels(values, image.scale, plan, rng)
    names = (asked, image.modality, image.spacing, image.dataset, image.patient, image.name)
    return TumorSample(pixels, target[None], organs, *names, is_absent=is_absent)


def _center(
    places: NDArray, size: Sequence[int], shape: Sequence[int], plan: TumorPlan, rng: np.random.Generator
) -> NDArray[np.float64]:
    """A place in a lesion, moved by up to a quarter of the patch; or anywhere."""
    extent = np.asarray(size)
    if len(places) and rng.random() < plan.centered:
        center = places[rng.integers(len(places))] + rng.uniform(-0.25, 0.25, 3) * np.asarray(shape)
    else:
        margin = np.minimum(np.asarray(shape) // 3, extent // 2)
        center = margin + rng.random(3) * np.maximum(extent - 2 * margin, 0)
    return np.clip(center, 0, extent - 1)


def _synthetic(
    image: Prepared, tumor: str, source: str, plan: TumorPlan, rng: np.random.Generator
) -> TumorSample | None:
    kind = kind_named(tumor)
    is_slice = source == SYNTHETIC_SLICES
    shape = plan.shape(is_slice)
    places = image.places_of(organ_numbers(kind.organs))
    center = _center(places, image.shape, shape, plan, rng) if is_slice else places[rng.integers(len(places))]
    pose = Pose.drawn(center, rng, True) if plan.varied else Pose.straight(center)
    flat = (1, *shape[1:])
    values = cut(image.image, pose, flat, linear=True, outside=image.scale.outside)
    organs = cut(image.organs, pose, flat, linear=False).astype(np.uint8)
    if not is_slice:
        values, organs = slab(values, organs, image.spacing, shape[0], rng)
    body = OrganBody(values, organs, image.spacing, image.patient, image.name)
    is_absent = bool(rng.random() < plan.absent)
    kinds = _kinds(body, kind, plan, rng, is_absent)
    jitter = rng.uniform(-0.2, 0.2, 3) * np.asarray(shape)
    middle = np.asarray(shape) / 2 + jitter * (np.asarray(shape) > 1)
    case = with_lesions(body, kinds, rng, near=middle if rng.random() < plan.centered else None)
    found = case.lesions.get(tumor)
    if found is None and not is_absent:
        return None
    target = np.zeros(shape, np.float32) if found is None else found.astype(np.float32)
    pixels = _channels(case.image, image.scale, plan, rng)
    names = (tumor, image.modality, image.spacing, source, image.patient, image.name)
    return TumorSample(pixels, target[None], _organs_seen(case, plan, rng), *names, is_absent=is_absent)


def _kinds(
    body: OrganBody, kind: LesionKind, plan: TumorPlan, rng: np.random.Generator, is_absent: bool
) -> list[LesionKind]:
    """What is drawn: the tumor unless it is absent, another one, and a look-alike."""
    kinds = [] if is_absent else [kind]
    there = [other for other in TUMORS if plan.wants(other.name) and body.holds(other, _LEAST_ORGAN)]
    others = [other for other in there if other.name != kind.name]
    if others and rng.random() < plan.second:
        kinds.append(others[rng.integers(len(others))])
    alike = look_alikes_of(kind)
    if alike and rng.random() < max(plan.look_alike, 0.7 * is_absent):
        kinds.append(alike[rng.integers(len(alike))])
    return kinds


def _organs_seen(case: SyntheticCase, plan: TumorPlan, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Organ labels as a segmenter of organs gives them: it often leaves lesions out, or takes in what bulges."""
    organs = case.organs
    if rng.random() >= plan.organs_changed:
        return organs
    organs = organs.copy()
    leaves_out = rng.random() < 0.5
    for name, mask in case.look_alikes.items():
        if name in organ_ids():
            organs[mask] = organ_numbers([name])[0]
        elif leaves_out:
            organs[mask] = 0
    for name, mask in case.lesions.items():
        organs[mask] = 0 if leaves_out else organ_numbers(kind_named(name).organs)[0]
    return organs


def _channels(
    values: NDArray[np.float32], scale: Scale, plan: TumorPlan, rng: np.random.Generator
) -> NDArray[np.float32]:
    """The two channels, at times noisier, blurred, or of another brightness and contrast."""
    if not plan.varied:
        return scale.channels(values)
    flat = [0.0 if size == 1 else 1.0 for size in values.shape]
    if rng.random() < 0.15:
        values = np.asarray(
            ndimage.gaussian_filter(values, [step * rng.uniform(0.3, 0.8) for step in flat]), np.float32
        )
    unit = 1.0 if scale.is_hounsfield else 0.003
    if rng.random() < 0.3:
        noise = rng.standard_normal(values.shape, np.float32)
        values = np.asarray(values + rng.uniform(2, 14) * unit * noise, np.float32)
    if scale.is_hounsfield:
        changed = (values + rng.normal(0, _SHIFT_HU)) * np.exp(rng.normal(0, 0.04))
        return scale.channels(np.asarray(changed, np.float32))
    pixels = scale.channels(values)
    if rng.random() < 0.6:
        pixels = np.clip(pixels, 1e-4, 1) ** np.float32(np.exp(rng.normal(0, 0.2)))
        pixels = np.clip(pixels * np.exp(rng.normal(0, 0.08)) + rng.normal(0, 0.03), 0, 1)
    return pixels.astype(np.float32)
