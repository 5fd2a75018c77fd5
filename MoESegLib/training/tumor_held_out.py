"""What MAST-Pro is measured on: whole images of patients that nothing was learned from, real and synthetic apart.

A case is named by its image, what is drawn into it and a seed, so that a list of cases is short, can be written into a
report, and gives the same voxels again.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.errors import TrainingError, VolumeError
from ..core.volume import Volume
from ..evaluation.datasets import LabeledCase, read_cases
from .tumor_kinds import LOOK_ALIKES, TUMORS, LesionKind, kind_named
from .tumor_sources import DEMO_CTS, DEMO_SET, ORGAN_SLICES, REAL_SETS, Fold, SourceImage, cases_of, read_source
from .tumor_synthesis import DrawnLesion, OrganBody, with_lesions

_SLICE_VARIANTS, _VOLUME_VARIANTS = 3, 10
"""Synthetic cases of one image; the last one of each shows look-alikes only."""
_LEAST_ORGAN = 150
"""Voxels of an organ in the image, for a lesion to be drawn into it."""


@dataclass(frozen=True)
class HeldOutSpec:
    """One image to measure on, by name.

    Attributes:
        dataset, case: of the manifest.
        patient: for confidence intervals, which draw patients.
        kinds: names of what is drawn; empty for real lesions.
        seed: of what is drawn.
        is_synthetic: lesions are drawn; an image with look-alikes only, or with nothing, is synthetic too.
    """

    dataset: str
    case: str
    patient: str
    kinds: tuple[str, ...] = ()
    seed: int = 0
    is_synthetic: bool = False

    @property
    def name(self) -> str:
        """For tables and files."""
        return f"{self.case}#{self.seed}" if self.is_synthetic else self.case


@dataclass(frozen=True, eq=False)
class HeldOutCase:
    """One image in memory; arrays ``[k, j, i]`` on its voxels.

    Attributes:
        volume: with its own voxels; CT in Hounsfield units where they can be had.
        organs: uint8, 1 + the place in ``core.organs.organ_ids()``; None where nothing is labeled.
        targets: bool by tumor id.
        look_alikes: bool by name.
        absent: tumor ids whose organ is there and which are not: the answer should be empty.
        drawn: synthetic lesions one by one.
    """

    spec: HeldOutSpec
    volume: Volume
    organs: NDArray[np.uint8] | None
    targets: Mapping[str, NDArray[np.bool_]]
    look_alikes: Mapping[str, NDArray[np.bool_]]
    absent: tuple[str, ...] = ()
    drawn: tuple[DrawnLesion, ...] = ()


def held_out_cases(
    data: Path, fold: Fold = "val", *, real: bool = True, synthetic: bool = True
) -> tuple[HeldOutSpec, ...]:
    """The images to measure on, in a fixed order.

    Real: all cases of the sets with lesions. Synthetic: the slices with organ labels of held-out patients, each with
    two kinds of lesions, with two others, and with look-alikes only; and, for reports ("val"), the two CTs with organ
    labels that are never trained on.

    Args:
        fold: "val" for reports; "tune" to choose settings. "train" is refused.

    Raises:
        TrainingError: ``fold`` is "train", or nothing of that side is there to measure on.
    """
    if fold == "train":
        raise TrainingError("What was learned from is not held out. Choose 'val', or 'tune' for settings.")
    specs: list[HeldOutSpec] = []
    for dataset in REAL_SETS if real else ():
        specs += [HeldOutSpec(dataset, case.name, case.group) for case in _there(data, dataset, fold)]
    if synthetic:
        for cases in (_there(data, ORGAN_SLICES, fold), _demo(data) if fold == "val" else []):
            used: dict[str, int] = {}
            for case in cases:
                specs += _synthetic_specs(case, used)
    if not specs:
        raise TrainingError(f"{data} holds no case of {fold!r} to measure on. Give the folder of a manifest that does.")
    return tuple(specs)


def digest(specs: Sequence[HeldOutSpec]) -> str:
    """A hash of a list of cases, to be written beside results: two lists of one hash name the same images."""
    text = json.dumps([asdict(spec) for spec in specs], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def load_held_out(data: Path, specs: Sequence[HeldOutSpec]) -> Iterator[HeldOutCase]:
    """The cases one by one, with what is drawn into them.

    Raises:
        TrainingError: the manifest has no such case.
        VolumeError, GeometryError: a file is missing or damaged.
    """
    known: dict[tuple[str, str], LabeledCase] = {}
    for dataset in dict.fromkeys(spec.dataset for spec in specs):
        known |= {(dataset, case.name): case for case in read_cases(data, dataset, "all")}
    for spec in specs:
        if (spec.dataset, spec.case) not in known:
            raise TrainingError(f"{data} has no case {spec.case!r} in {spec.dataset!r}; is it another version?")
        source = read_source(known[spec.dataset, spec.case])
        yield drawn_case(source, spec) if spec.is_synthetic else _real_case(source, spec)


def drawn_case(source: SourceImage, spec: HeldOutSpec) -> HeldOutCase:
    """An image with organs, and with the lesions of a spec drawn at its own resolution."""
    if source.organs is None:
        raise TrainingError(f"{source.name} has no organ labels, so no lesion can be drawn into it.")
    body = _body(source)
    rng = np.random.default_rng((spec.seed, zlib.crc32(spec.case.encode())))
    case = with_lesions(body, [kind_named(name) for name in spec.kinds], rng)
    volume = Volume(case.image, source.volume.ijk_to_ras, source.volume.modality, spec.name)
    absent = [kind.name for kind in TUMORS if body.holds(kind, _LEAST_ORGAN) and kind.name not in case.lesions]
    return HeldOutCase(spec, volume, case.organs, case.lesions, case.look_alikes, tuple(absent), case.drawn)


def _real_case(source: SourceImage, spec: HeldOutSpec) -> HeldOutCase:
    targets = {} if source.target is None else {source.tumor: source.target}
    return HeldOutCase(spec, source.volume, source.organs, targets, {})


def _body(source: SourceImage) -> OrganBody:
    organs = source.organs if source.organs is not None else np.zeros(source.volume.shape, np.uint8)
    return OrganBody.of(source.volume, organs, source.patient, source.name)


def _synthetic_specs(case: LabeledCase, used: dict[str, int]) -> list[HeldOutSpec]:
    """Kinds that were used least so far go first, so that every type is measured about as often."""
    try:
        body = _body(read_source(case))
    except TrainingError:
        return []
    tumors = [kind for kind in TUMORS if body.holds(kind, _LEAST_ORGAN)]
    alike = [kind for kind in LOOK_ALIKES if body.holds(kind, _LEAST_ORGAN)]
    count = _SLICE_VARIANTS if body.image.shape[0] == 1 else _VOLUME_VARIANTS
    specs = []
    for seed in range(count if tumors else 0):
        chosen: list[LesionKind] = []
        if seed < count - 1:
            chosen = sorted(tumors, key=lambda kind: (used.get(kind.name, 0), kind.name))[:2]
        chosen += alike[seed % len(alike) :][:1] if alike else []
        for kind in chosen:
            used[kind.name] = used.get(kind.name, 0) + 1
        names = tuple(kind.name for kind in chosen)
        specs.append(HeldOutSpec(case.dataset, case.name, case.group, names, seed, True))
    return specs


def _there(data: Path, dataset: str, fold: Fold) -> list[LabeledCase]:
    """Cases of a set that may be missing."""
    try:
        return cases_of(data, dataset, fold)
    except VolumeError:
        return []


def _demo(data: Path) -> list[LabeledCase]:
    try:
        return [case for case in read_cases(data, DEMO_SET, "demo") if case.name in DEMO_CTS]
    except VolumeError:
        return []
