"""A user's finished segmentations of one tumor type, and their organs, as images for MAST-Pro to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.anatomy_files import read_anatomy
from ..core.cancel import CancelToken
from ..core.errors import TrainingError
from ..core.geometry import extent_slices
from ..core.image_io import file_suffix
from ..core.tumors import TumorRecord
from ..core.volume import Volume
from ..engines.anatomy3d import anatomy_on_grid
from ..engines.tumor_image import tumor_grid
from .cases import Case
from .progress import TeachProgress, silent
from .tumor_sources import SourceImage
from .tumor_store import Prepared, prepare_source


@dataclass(frozen=True, eq=False)
class PreparedCases:
    """Images to learn from.

    Attributes:
        images: prepared, in the order of the cases.
        with_organs: how many of them have organs of the tumor.
        notes: what is strange about the organs, each sentence once.
    """

    images: tuple[Prepared, ...]
    with_organs: int
    notes: tuple[str, ...]


def prepare_cases(
    cases: Sequence[Case],
    record: TumorRecord,
    anatomy: Path | None,
    folder: Path,
    spacing: float,
    progress: TeachProgress = silent,
    cancel: CancelToken | None = None,
) -> PreparedCases:
    """All segments of every case, as lesions of one tumor type; one image is in memory at a time.

    Args:
        anatomy: a folder with the organs of the cases, each named as its image without the file type: a file
            (``a.seg.nrrd``, or ``a.nii.gz`` with TotalSegmentator's numbers), or a folder ``a`` of masks.
        folder: for the prepared images.

    Raises:
        TrainingError: a case holds no lesion, or the folder holds the organs of no case.
        VolumeError, GeometryError: a file is damaged, or labels lie on another grid.
        OutputError: the folder cannot be written.
        Cancelled: ``cancel`` was set.
    """
    files = _anatomy_files(cases, anatomy)
    images, notes = [], []
    for number, (case, file) in enumerate(zip(cases, files, strict=True)):
        if cancel is not None:
            cancel.check()
        progress(number / len(cases), f"Preparing {case.name}", {})
        source = _source(case, record)
        organs = None
        if file is not None:
            organs, said = _organs(source.volume, file, record, spacing)
            notes += said
        images.append(prepare_source(source, folder, spacing, organs))
    with_organs = sum(bool(image.organ_numbers) for image in images)
    return PreparedCases(tuple(images), with_organs, tuple(dict.fromkeys(notes)))


def _source(case: Case, record: TumorRecord) -> SourceImage:
    loaded = case.load()
    if not loaded.structures:
        names = ", ".join(sorted(case.wanted or ()))
        raise TrainingError(f"{case.name} holds no segment named {names}. Correct --class, or leave the case out.")
    target = np.zeros(loaded.volume.shape, bool)
    for structure in loaded.structures:
        target[extent_slices(structure.patch.extent)] |= structure.patch.voxels > 0
    return SourceImage(loaded.volume, None, target, record.id, case.patient, case.dataset or "cases", case.name)


def _organs(
    volume: Volume, path: Path, record: TumorRecord, spacing: float
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Labels ``[r, a, s]`` on the model's grid, and what is strange about them."""
    found = anatomy_on_grid(volume, tumor_grid(volume, spacing), read_anatomy(path), record)
    return found.labels, found.notes


def _anatomy_files(cases: Sequence[Case], folder: Path | None) -> list[Path | None]:
    """The organs of every case. Where images of several patients have one name, the patient's name counts."""
    if folder is None:
        return [None] * len(cases)
    if not folder.is_dir():
        raise TrainingError(f"There is no folder {folder}. Check --anatomy.")
    there = {_stem(path): path for path in sorted(folder.iterdir())}
    stems = [_stem(case.image if isinstance(case.image, Path) else Path(case.name)) for case in cases]
    names = [stem if stems.count(stem) == 1 else case.patient for case, stem in zip(cases, stems, strict=True)]
    if not there.keys() & set(names):
        raise TrainingError(
            f"{folder} holds the organs of no case. Name them as the images: {names[0]}.seg.nrrd, {names[0]}.nii.gz, "
            f"or a folder {names[0]} with one mask an organ."
        )
    return [there.get(name) for name in names]


def _stem(path: Path) -> str:
    return path.name.removesuffix(file_suffix(path))
