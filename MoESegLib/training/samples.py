"""From cases to samples: one structure on one slice, as the mask decoder sees it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ..core.cancel import CancelToken
from ..core.errors import TrainingError
from ..core.intensity import default_window, to_uint8
from ..core.volume import Volume
from ..engines.convert import mask_to_logits
from ..engines.placement import SliceKey
from ..engines.slice_engine import SliceEngine
from .cases import Case, LabeledImage, Structure
from .embeddings import EmbeddingStore, ensure_embedding
from .progress import TeachProgress, silent

Item = TypeVar("Item")

LEAST_PIXELS = 10
"""Smaller structures on a slice are left out, counted on the image and on the model's mask grid."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One structure on one slice.

    Attributes:
        embedding: key in the embedding store.
        packed: the target ``[G, G]`` on the mask grid, one bit a pixel (8 kB for LiteMedSAM).
        grid: G.
        used: rows and columns of the mask grid that hold the slice; the rest is padding.
        structure, case: names.
    """

    embedding: str
    packed: NDArray[np.uint8]
    grid: int
    used: tuple[int, int]
    structure: str
    case: str

    @property
    def target(self) -> NDArray[np.bool_]:
        """The target ``[G, G]``."""
        return np.unpackbits(self.packed, count=self.grid**2).reshape(self.grid, self.grid).astype(bool)


@dataclass(frozen=True, eq=False)
class Probe:
    """One structure on one slice of a held-out patient, as a volume of one slice: measured as a user would use it."""

    volume: Volume
    mask: NDArray[np.bool_]
    structure: str
    patient: str


def collect_samples(
    engine: SliceEngine,
    cases: Sequence[Case],
    store: EmbeddingStore,
    *,
    max_slices: int | None = None,
    progress: TeachProgress = silent,
    cancel: CancelToken | None = None,
) -> list[Sample]:
    """All samples of the cases (none, if they hold no such structure); encodes the slices that were not encoded before.

    One case is in memory at a time.

    Args:
        max_slices: of each case, evenly spaced over those that hold labels; None means all.

    Raises:
        TrainingError, VolumeError, GeometryError: as :meth:`Case.load`.
        OutputError: the embeddings cannot be kept.
        Cancelled: ``cancel`` was set; what was encoded stays.
    """
    cancel = cancel or CancelToken()
    samples: list[Sample] = []
    for done, case in enumerate(cases):
        image = case.load()
        chosen = evenly(labeled_slices(image), max_slices)
        for number, (key, structures) in enumerate(chosen):
            cancel.check()
            progress((done + number / len(chosen)) / len(cases), f"encoding {case.name}", {})
            samples += _slice_samples(engine, image.volume, key, structures, case, store, cancel)
    return samples


def collect_probes(engine: SliceEngine, cases: Sequence[Case], at_most: int) -> list[Probe]:
    """Held-out structures to measure on: every case and structure, about ``at_most`` slices in all, evenly spaced.

    Raises:
        TrainingError, VolumeError, GeometryError: as :meth:`Case.load`; or no held-out case holds a structure.
    """
    found: list[Probe] = []
    per_case = max(1, at_most // len(cases))
    for case in cases:
        image = case.load()
        places = [(key, entry) for key, entries in labeled_slices(image) for entry in entries]
        names = sorted({entry.name for _, entry in places})
        for name in names:
            mine = [place for place in places if place[1].name == name]
            for key, entry in evenly(mine, max(1, per_case // len(names))):
                found.append(_probe(engine, image.volume, key, entry, case.patient))
    if not found:
        raise TrainingError(
            "No held-out case holds a structure to measure on. Give more cases, or another seed for the split."
        )
    return found


def labeled_slices(image: LabeledImage) -> list[tuple[SliceKey, list[Structure]]]:
    """The slices along the acquisition axis that hold structures of at least :data:`LEAST_PIXELS` pixels, in order."""
    axis = image.volume.acquisition_axis
    others = tuple(other for other in range(3) if other != 2 - axis)
    found: dict[int, list[Structure]] = {}
    for entry in image.structures:
        pixels = np.count_nonzero(entry.patch.voxels, axis=others)
        for index in np.flatnonzero(pixels >= LEAST_PIXELS) + entry.patch.extent[2 * axis]:
            found.setdefault(int(index), []).append(entry)
    return [((axis, index), found[index]) for index in sorted(found)]


def evenly(items: Sequence[Item], at_most: int | None) -> list[Item]:
    """At most that many items, evenly spaced, both ends left out first."""
    if at_most is None or len(items) <= at_most:
        return list(items)
    positions = (np.arange(at_most) + 0.5) * len(items) / at_most
    return [items[int(position)] for position in positions]


def _slice_samples(
    engine: SliceEngine,
    volume: Volume,
    key: SliceKey,
    structures: Sequence[Structure],
    case: Case,
    store: EmbeddingStore,
    cancel: CancelToken,
) -> Iterator[Sample]:
    prepared = engine.prepare(volume, key)
    grid, side = engine.model.mask_grid, prepared.pixels.shape[-1]
    used = (max(1, round(prepared.resized[0] * grid / side)), max(1, round(prepared.resized[1] * grid / side)))
    for entry in structures:
        target = mask_to_logits(displayed_mask(volume, key, entry), prepared, grid) > 0
        if np.count_nonzero(target) >= LEAST_PIXELS:
            name = ensure_embedding(engine, prepared, store, cancel)
            yield Sample(name, np.packbits(target), grid, used, entry.name, case.name)


def displayed_mask(volume: Volume, key: SliceKey, structure: Structure) -> NDArray[np.bool_]:
    """A structure on one slice, ``[row, column]`` as displayed."""
    return np.ascontiguousarray(volume.view(key[0]).extract(structure.patch.to_array(volume.shape), key[1])) != 0


def _probe(engine: SliceEngine, volume: Volume, key: SliceKey, structure: Structure, patient: str) -> Probe:
    """The slice as a volume of its own, windowed as in the whole volume."""
    axis, index = key
    array = volume.array.take([index], axis=2 - axis)
    window = None if volume.color else engine.window or default_window(volume)
    matrix = volume.ijk_to_ras.copy()
    matrix[:3, 3] = volume.to_ras([index if other == axis else 0 for other in range(3)])
    mask = structure.patch.to_array(volume.shape).take([index], axis=2 - axis) != 0
    single = Volume(np.ascontiguousarray(to_uint8(array, window)), matrix, volume.modality, volume.name, volume.color)
    return Probe(single, mask, structure.name, patient)
