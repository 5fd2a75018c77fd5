"""Prepared images in a folder: resampled once, then read from the disk as needed, without taking memory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.cancel import CancelToken
from ..core.errors import OutputError, TrainingError
from ..core.files import atomic_path
from ..engines.cache import content_key
from ..engines.tumor_image import Scale, depth_first, labels_on_grid, on_grid, scale_of, tumor_grid
from ..evaluation.datasets import LabeledCase
from .progress import TeachProgress, silent
from .tumor_shapes import Millimeters
from .tumor_sources import SourceImage, read_source

_VERSION = 1
"""Of what is prepared; another one is prepared anew."""


@dataclass(frozen=True)
class Prepared:
    """One image on the model's grid; its arrays ``[D, H, W]`` are mapped from files.

    Attributes:
        key: of its files.
        name, patient, dataset: where it comes from.
        modality: as in DICOM, "" where no code fits.
        tumor: id of its real lesions, "" for a body with organs.
        spacing: millimeters along D, H, W.
        shape: voxels along D, H, W.
        scale: of the values that are stored.
        organ_numbers: which organs are there: 1 + the place in ``core.organs.organ_ids()``.
        voxels: of real lesions.
    """

    folder: Path
    key: str
    name: str
    patient: str
    dataset: str
    modality: str
    tumor: str
    spacing: Millimeters
    shape: tuple[int, int, int]
    scale: Scale
    organ_numbers: tuple[int, ...]
    voxels: int

    @property
    def is_slice(self) -> bool:
        """One slice; a volume otherwise."""
        return self.shape[0] == 1

    @cached_property
    def image(self) -> NDArray[np.float16]:
        """Values in the units of :attr:`scale`."""
        return self._array("image")

    @cached_property
    def target(self) -> NDArray[np.uint8]:
        """1 inside the real lesions."""
        return self._array("target")

    @cached_property
    def organs(self) -> NDArray[np.uint8]:
        """1 + the place in ``core.organs.organ_ids()``; 0 for none."""
        return self._array("organs")

    @cached_property
    def lesion_voxels(self) -> NDArray[np.int32]:
        """Places ``[N, 3]`` inside the real lesions."""
        return np.argwhere(np.asarray(self.target)).astype(np.int32)

    def places_of(self, numbers: Sequence[int]) -> NDArray[np.int32]:
        """Places ``[N, 3]`` inside some organs."""
        return np.argwhere(np.isin(self.organs, list(numbers))).astype(np.int32)

    def _array(self, what: str) -> NDArray:
        return np.load(self.folder / f"{self.key}.{what}.npy", mmap_mode="r", allow_pickle=False)


def prepare(
    cases: Sequence[LabeledCase],
    folder: Path,
    spacing: float,
    progress: TeachProgress = silent,
    cancel: CancelToken | None = None,
) -> list[Prepared]:
    """The images of some cases; prepares those that were not prepared before. One is in memory at a time.

    Slices in which no organ tells the density are left out.

    Raises:
        VolumeError, GeometryError: a case that cannot be read.
        OutputError: the folder cannot be written.
        Cancelled: ``cancel`` was set; what was prepared stays.
    """
    found = []
    for number, case in enumerate(cases):
        if cancel is not None:
            cancel.check()
        progress(number / len(cases), f"Preparing {case.name}", {})
        key = _key(case, spacing)
        if not (folder / f"{key}.json").exists():
            try:
                source = read_source(case)
            except TrainingError:
                continue
            _store(source, folder, key, spacing)
        found.append(_load(folder, key))
    return found


def prepare_source(
    source: SourceImage, folder: Path, spacing: float, organs: NDArray[np.uint8] | None = None
) -> Prepared:
    """One image that is in memory.

    Args:
        folder: of the files.
        organs: labels on :func:`~MoESegLib.engines.tumor_image.tumor_grid`, ``[r, a, s]``, in place of the source's.

    Raises:
        OutputError: the folder cannot be written.
    """
    key = _source_key(source, organs, spacing)
    if not (folder / f"{key}.json").exists():
        _store(source, folder, key, spacing, organs)
    return _load(folder, key)


def _key(case: LabeledCase, spacing: float) -> str:
    files = [path.stat() for path in (case.image_path, case.label_path)]
    sizes = " ".join(f"{entry.st_size} {entry.st_mtime_ns}" for entry in files)
    return content_key(f"{_VERSION} {case.dataset} {case.name} {spacing:g} {sizes}".encode())[:24]


def _source_key(source: SourceImage, organs: NDArray[np.uint8] | None, spacing: float) -> str:
    target = b"" if source.target is None else np.packbits(source.target).tobytes()
    labels = b"" if organs is None else organs.tobytes()
    about = f"{_VERSION} {source.tumor} {source.patient} {spacing:g}"
    return content_key(source.volume.content_id, target, labels, about)[:24]


def _store(
    source: SourceImage, folder: Path, key: str, spacing: float, placed: NDArray[np.uint8] | None = None
) -> None:
    scale = scale_of(source.volume)
    grid = tumor_grid(source.volume, spacing)
    order = depth_first(grid.shape)
    image = scale.units(on_grid(source.volume, grid, outside=scale.outside)).transpose(order)
    labels = {"target": source.target, "organs": source.organs}
    arrays: dict[str, NDArray] = {
        name: np.zeros(image.shape, np.uint8)
        if array is None
        else labels_on_grid(array, source.volume, grid).transpose(order)
        for name, array in labels.items()
    }
    if placed is not None:
        arrays["organs"] = placed.transpose(order)
    prepared = Prepared(
        folder, key, source.name, source.patient, source.dataset, source.volume.modality, source.tumor,
        (spacing, spacing, spacing), image.shape, scale.of_units(),
        tuple(int(number) for number in np.unique(arrays["organs"]) if number), int(arrays["target"].sum()),
    )  # fmt: skip
    arrays["image"] = image.astype(np.float16)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"The folder {folder} cannot be made: {error.strerror}. Choose another one.") from error
    for name, array in arrays.items():
        with atomic_path(folder / f"{key}.{name}.npy", ".npy") as temporary:
            np.save(temporary, np.ascontiguousarray(array), allow_pickle=False)
    record = {name: value for name, value in asdict(prepared).items() if name not in ("folder", "key")}
    with atomic_path(folder / f"{key}.json") as temporary:  # last, so that what is named is whole
        temporary.write_text(json.dumps(record, indent=1), encoding="utf-8")


def _load(folder: Path, key: str) -> Prepared:
    path = folder / f"{key}.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        record["scale"] = Scale(**record["scale"])
        for name in ("spacing", "shape", "organ_numbers"):
            record[name] = tuple(record[name])
        return Prepared(folder, key, **record)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{path} is damaged ({error!r}). Remove the folder; it is made again.") from error
