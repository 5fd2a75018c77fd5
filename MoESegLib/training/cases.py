"""A case to learn from: an image, its finished segments, the names of their classes, and whose body it is."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..core.errors import TrainingError, VolumeError
from ..core.image_io import PICTURE_SUFFIXES, file_suffix
from ..core.results import MaskPatch
from ..core.segmentation_file import read_segmentation
from ..core.volume import Volume
from .label_grid import onto_image


@dataclass(frozen=True, eq=False)
class Structure:
    """One segment on the grid of the image; several may overlap or share a class."""

    name: str
    patch: MaskPatch


@dataclass(frozen=True, eq=False)
class LabeledImage:
    """A case in memory."""

    volume: Volume
    structures: tuple[Structure, ...]


@dataclass(frozen=True, eq=False)
class Case:
    """Where an image and its segments are; read only when they are needed, so that many cases take no memory.

    Attributes:
        name: for messages.
        patient: cases of one patient are never on both sides of a split.
        image: a file (or DICOM folder), or a volume in memory.
        labels: a label map or ``.seg.nrrd``, or segments in memory on the grid of the image.
        classes: names of the label numbers; ``.seg.nrrd`` brings its own.
        modality: "CT", "MR", ... as in DICOM, "" when not known; decides the intensity window.
        wanted: only these classes are learned; None means all.
        dataset, license: where the case comes from and under which terms, for the card of the expert.
        instances: every number but 0 is another object of the one class (cells, for example).
    """

    name: str
    patient: str
    image: Path | Volume
    labels: Path | tuple[Structure, ...]
    classes: Mapping[int, str] = field(default_factory=dict)
    modality: str = ""
    wanted: frozenset[str] | None = None
    instances: bool = False
    dataset: str = ""
    license: str = ""

    def load(self) -> LabeledImage:
        """Read and check the case; no structures when it holds none of the wanted classes.

        Raises:
            VolumeError: a file is missing or damaged, holds NaN, or the labels are no whole numbers.
            GeometryError: the labels do not lie on the voxels of the image.
            TrainingError: the labels are empty, or the image cannot be of the modality it is said to be.
        """
        volume = self.image if isinstance(self.image, Volume) else Volume.read(self.image)
        if self.modality:
            check_modality(volume, self.modality, self.name)
            volume = dataclasses.replace(volume, modality=self.modality)
        structures = [entry for entry in self._structures(volume) if entry.patch.count]
        if not structures:
            raise TrainingError(
                f"The labels of {self.name} are empty: no voxel is marked. Segment the target, or leave the case out."
            )
        kept = [entry for entry in structures if self.wanted is None or entry.name in self.wanted]
        return LabeledImage(volume, tuple(kept))

    def _structures(self, volume: Volume) -> Iterable[Structure]:
        if not isinstance(self.labels, Path):
            return self.labels
        if file_suffix(self.labels) == ".seg.nrrd":
            grid, records = read_segmentation(self.labels)
            found = [Structure(record.name, record.patch) for record in records]
        else:
            grid = Volume.read(self.labels)
            found = list(self._numbered(grid))
        if self._are_pictures() and grid.shape == volume.shape:
            return found  # the resolution in a picture's header is the scanner's or the printer's, not the patient's
        return [Structure(item.name, onto_image(item.patch, grid, volume, self.name)) for item in found]

    def _numbered(self, labels: Volume) -> Iterable[Structure]:
        array = labels.array
        if labels.color or (array.dtype.kind == "f" and (array != np.floor(array)).any()):
            raise VolumeError(
                f"{self.labels} is not a label map: it holds colors or fractions. Give a map with one whole number per "
                "structure."
            )
        for value in np.unique(array):
            if value != 0:
                yield Structure(self._class_of(int(value)), MaskPatch.of(array == value))

    def _class_of(self, value: int) -> str:
        if self.instances:
            return next(iter(self.classes.values()))
        return self.classes.get(value, f"label {value}")

    def _are_pictures(self) -> bool:
        files = [item for item in (self.image, self.labels) if isinstance(item, Path)]
        return len(files) == 2 and all(file_suffix(path) in PICTURE_SUFFIXES for path in files)


def check_modality(volume: Volume, modality: str, name: str) -> None:
    """Refuse an image that cannot be of a modality.

    Raises:
        TrainingError: a color image or one without Hounsfield units said to be CT, or Hounsfield units said not to be.
    """
    is_8_bit = volume.array.dtype == np.uint8
    if modality == "CT" and (volume.color or (not is_8_bit and float(volume.array.min()) >= 0)):
        what = "a color image" if volume.color else "an image without negative voxels, so not in Hounsfield units"
        raise TrainingError(f"{name} is said to be CT but is {what}. Correct the modality, or leave the case out.")
    looks_like_ct = not volume.color and not is_8_bit and volume.array.min() <= -900 and volume.array.max() > 100
    if modality != "CT" and looks_like_ct:
        raise TrainingError(
            f"{name} is said to be {modality}, but its voxels ({volume.array.min():g} to {volume.array.max():g}) are "
            "Hounsfield units of CT. Correct the modality, or leave the case out."
        )


def split_cases(cases: Sequence[Case], share: float = 0.2, seed: int = 0) -> tuple[list[Case], list[Case]]:
    """Cases to learn from and cases to measure on, divided by patient; the same division for the same seed.

    Whether a patient is held out does not depend on the other cases (the smallest sets excepted), so an expert that
    goes on from another one is not measured on patients that the other learned from.

    Args:
        share: of the patients that is held out, about: at least one, and never more than half as many again.

    Raises:
        TrainingError: all cases are of one patient, so nothing can be held out.
    """
    patients = sorted({case.patient for case in cases}, key=lambda patient: _lot(patient, seed))
    if len(patients) < 2:
        raise TrainingError(
            f"{len(cases)} case{'s' * (len(cases) != 1)} of {len(patients)} patient{'s' * (len(patients) != 1)}: an "
            "expert is measured on patients it did not learn from, so give cases of at least two patients."
        )
    drawn = sum(_lot(patient, seed) < share for patient in patients)
    most = min(int(1.5 * share * len(patients)), len(patients) - 1)
    held = set(patients[: max(1, min(drawn, most))])
    train = [case for case in cases if case.patient not in held]
    return train, [case for case in cases if case.patient in held]


def _lot(patient: str, seed: int) -> float:
    """A patient's lot in [0, 1)."""
    digest = hashlib.blake2b(f"{seed}|{patient}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
