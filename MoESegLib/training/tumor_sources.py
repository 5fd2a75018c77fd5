"""Where images with tumors and bodies with organs come from, read one way for training and for measuring.

Real lesions: sets of a manifest whose one target is a tumor type. Bodies for synthetic lesions: sets with organ labels.
A patient is on one side of every split in all sets, since the manifest's groups are patients.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..core.errors import TrainingError, VolumeError
from ..core.organs import organ_labels, organ_numbers
from ..core.volume import Volume
from ..evaluation.datasets import LabeledCase, read_cases
from .case_files import find_cases
from .cases import split_cases

Fold = Literal["train", "tune", "val"]
"""``tune``: patients of the training split that are kept back to choose settings with; ``val`` is for reports."""

REAL_SETS: Mapping[str, str] = {
    "sts_ct": "soft_tissue_sarcoma",
    "sts_mr_t1": "soft_tissue_sarcoma",
    "sts_pet": "soft_tissue_sarcoma",
    "ms_flair": "multiple_sclerosis_lesion",
    "ms_t1": "multiple_sclerosis_lesion",
    "busbra": "breast_tumor",
    "cesm": "breast_tumor",
    "msd_lung": "lung_tumor",
    "ich_ct": "intracranial_hemorrhage",
}
"""The tumor id that every label of a set stands for."""
ORGAN_SLICES = "btcv"
DEMO_SET, DEMO_CTS = "totalseg_example", ("ct_3mm", "ct_dicom")
"""CTs with organs that are not for training (split "demo"): synthetic lesions in them are for measuring only."""

_SLICE_MM: Mapping[str, float] = {"btcv": 0.8, "msd_lung": 0.8}
"""Exported body CT has lost its pixel size; 512 pixels of this size are a usual field of view. Other pictures keep the
1 mm that files without a size get everywhere in MoESeg, so that training and use agree."""
_SETS_WITHOUT_PATIENTS = ("ich_ct",)
"""Neighboring numbers are slices of one patient that the set does not name, so all of it is on one side."""
_TUNE_SHARE = 0.12
_SKIN_PIXELS = 4
_ORGANS_OF_LEVEL = (1, 2, 3, 6, 8)
"""Spleen, kidneys, liver and aorta in BTCV's numbers: about 110 HU in the portal venous phase."""
_AIR_HU, _FAT_HU, _ORGAN_HU, _LEAST_ORGAN_HU = -1000.0, -105.0, 110.0, 25.0
_FAT_SHARES, _LEAST_FAT = (0.76, 0.9), 0.004
"""Where fat lies between air and organs, without and with contrast medium; and its share of all pixels at one level."""


@dataclass(frozen=True, eq=False)
class SourceImage:
    """One image with what is known of it, as it lies on the disk.

    Attributes:
        volume: CT in Hounsfield units where they can be had.
        organs: uint8 ``[k, j, i]``, 1 + the place in ``core.organs.organ_ids()``; None where nothing is labeled.
        target: bool ``[k, j, i]``, the real lesions; None for bodies.
        tumor: id of the lesions' type, "" for bodies.
        patient, dataset, name: where it comes from.
    """

    volume: Volume
    organs: NDArray[np.uint8] | None
    target: NDArray[np.bool_] | None
    tumor: str
    patient: str
    dataset: str
    name: str


def cases_of(data: Path, dataset: str, fold: Fold) -> list[LabeledCase]:
    """The cases of a set on one side of the split; none where the set has no patient there.

    Raises:
        VolumeError, TrainingError: no manifest, or no such set.
    """
    if fold == "val":
        return read_cases(data, dataset, "val")
    tuning = _tuning_patients(data)
    cases = read_cases(data, dataset, "train")
    if dataset in _SETS_WITHOUT_PATIENTS or not {case.group for case in cases} - tuning:
        return cases if fold == "train" else []
    return [case for case in cases if (case.group in tuning) == (fold == "tune")]


def datasets_of(data: Path) -> tuple[str, ...]:
    """The sets of a manifest that hold tumors or organs, in a fixed order.

    Raises:
        TrainingError: it holds none of them.
    """
    found = []
    for name in (*REAL_SETS, ORGAN_SLICES):
        try:
            read_cases(data, name, "train", limit=1)
        except VolumeError:
            continue
        found.append(name)
    if not found:
        raise TrainingError(
            f"{data} holds none of the sets that tumors are learned from ({', '.join((*REAL_SETS, ORGAN_SLICES))}). "
            "Give the folder of the manifest that does."
        )
    return tuple(found)


def licenses_of(data: Path) -> dict[str, str]:
    """The license of every set that holds tumors or organs, for the card of what is trained on them.

    Raises:
        TrainingError: no manifest, or a damaged one.
    """
    return {case.dataset: case.license for case in find_cases(data) if case.dataset in (*REAL_SETS, ORGAN_SLICES)}


def _tuning_patients(data: Path) -> set[str]:
    """Patients kept back in all sets at once."""
    cases = [case for case in find_cases(data) if case.dataset in (*REAL_SETS, ORGAN_SLICES)]
    if len({case.patient for case in cases}) < 2:
        return set()
    return {case.patient for case in split_cases(cases, _TUNE_SHARE)[1]}


def read_source(case: LabeledCase) -> SourceImage:
    """An image with its lesions or its organs.

    Raises:
        TrainingError: a slice in which no organ tells the density (:func:`slice_in_hounsfield`).
        VolumeError, GeometryError: a file is missing or damaged, or labels and image do not fit.
    """
    volume, labels = case.load()
    if case.dataset in _SLICE_MM:
        volume = _resized(volume, _SLICE_MM[case.dataset])
    names = (case.group, case.dataset, case.name)
    if case.dataset == ORGAN_SLICES:
        hounsfield = slice_in_hounsfield(volume.array, labels)
        # Stored with the spine at the top: rows run to the front.
        matrix = volume.ijk_to_ras @ np.diag([1.0, -1.0, 1.0, 1.0])
        volume = Volume(hounsfield, matrix, "CT", volume.name)
        return SourceImage(volume, organ_labels(labels, "btcv"), None, "", *names)
    if case.dataset == DEMO_SET:
        return SourceImage(volume, organ_labels(labels, "total"), None, "", *names)
    tumor = REAL_SETS[case.dataset]
    organs = None
    if tumor == "multiple_sclerosis_lesion":  # the images are cut to the brain
        organs = ((volume.array > 0) * organ_numbers(["brain"])[0]).astype(np.uint8)
    target = labels > 0
    if case.dataset == "cesm" and case.split == "train":  # some outline the skin too; measured on as they are
        target = np.asarray(ndimage.binary_opening(target, np.ones((1, 3, 3)), iterations=_SKIN_PIXELS), bool)
    return SourceImage(volume, organs, target, tumor, *names)


def slice_in_hounsfield(levels: NDArray, labels: NDArray) -> NDArray[np.float32]:
    """An 8-bit slice of BTCV in Hounsfield units, about.

    Every slice was scaled by itself from its darkest to its brightest voxel, so air and fat of the slice give the scale
    back. In a fifth of the slices the darkest voxel is the padding around a round field of view (about -3000 HU), and
    the air lies near level 125 instead of 2. Where no fat stands out (in lean patients) the organs are taken for
    110 HU, as in the portal venous phase. Over the 181 slices the peak of fat then comes out at a median of -107 HU
    (between -108 and -102 in half of them) and the organs at 90 HU. The steps of 8 bits (4 to 17 HU) are filled with
    noise, so that a drawn lesion does not stand out by lacking them. On the demo CT, exported in both ways, differences
    come out 3 and 6 % too small and all densities 25 and 40 HU too low.

    Args:
        levels, labels: ``[k, j, i]``; labels in BTCV's numbers.

    Raises:
        TrainingError: no organ to measure.
    """
    organs = np.isin(labels, _ORGANS_OF_LEVEL)
    if np.count_nonzero(organs) < 100:
        raise TrainingError("A slice without spleen, kidneys, liver and aorta has no scale. Leave it out.")
    organ = float(np.median(levels[organs]))
    counts = np.convolve(np.bincount(levels.ravel(), minlength=256) / levels.size, np.ones(3) / 3, mode="same")
    is_padded = np.mean((levels > 0) & (levels < 10)) < 0.02
    air = 10.0 + float(counts[10 : int(0.85 * organ)].argmax()) if is_padded else 1.5
    first, last = (air + share * (organ - air) for share in _FAT_SHARES)
    fat = np.ceil(first) + float(counts[int(np.ceil(first)) : int(last) + 1].argmax())
    is_fat = counts[int(fat)] > _LEAST_FAT and first + 0.5 < fat < last - 0.5
    slope = (_FAT_HU - _AIR_HU) / (fat - air)
    if not is_fat or _AIR_HU + slope * (organ - air) < _LEAST_ORGAN_HU:  # muscle was taken for fat
        slope = (_ORGAN_HU - _AIR_HU) / max(organ - air, 10.0)
    dither = np.random.default_rng(int(levels.astype(np.int64).sum())).uniform(-0.5, 0.5, levels.shape)
    hounsfield = _AIR_HU + slope * (levels.astype(np.float32) + dither - air)
    return np.clip(hounsfield, -1024, 3071).astype(np.float32)


def _resized(volume: Volume, pixel: float) -> Volume:
    matrix = volume.ijk_to_ras.copy()
    matrix[:3, :2] *= pixel
    return dataclasses.replace(volume, ijk_to_ras=matrix)
