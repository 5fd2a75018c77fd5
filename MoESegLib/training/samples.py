"""From cases to samples: one structure on one slice, as the mask decoder sees it."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core.cancel import CancelToken
from ..core.errors import TrainingError
from ..core.intensity import default_window, to_uint8
from ..core.volume import Volume
from ..engines.convert import mask_to_logits
from ..engines.placement import SliceKey
from ..engines.slice_engine import SliceEngine
from ..evaluation.targets import evenly
from .augment import vary
from .cases import Case, LabeledImage, Structure
from .embeddings import EmbeddingStore, embedding_key, ensure_embedding
from .progress import TeachProgress, silent

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
        structure, case, patient, dataset: names.
        automatic: the target is everything of its class on the slice, to be found without a prompt.
    """

    embedding: str
    packed: NDArray[np.uint8]
    grid: int
    used: tuple[int, int]
    structure: str
    case: str
    patient: str = ""
    dataset: str = ""
    automatic: bool = False

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
    automatic: bool = False


@dataclass(frozen=True)
class Collecting:
    """Which samples are made of a case.

    Attributes:
        max_slices: of each case, evenly spaced over those that hold labels; None means all.
        max_objects: of one class on a slice (cells), evenly drawn.
        varied: copies of every slice with other places and gray values (:func:`~.augment.vary`).
        automatic: also one sample a slice of all that it holds, to be found without a prompt.
        seed: of the varied copies.
        until: ``time.monotonic()`` after which slices that were not encoded before are left out, except the first; None
            means that all are encoded.
    """

    max_slices: int | None = None
    max_objects: int = 12
    varied: int = 0
    automatic: bool = False
    seed: int = 0
    until: float | None = None

    @property
    def in_time(self) -> bool:
        """Whether slices may still be encoded."""
        return self.until is None or time.monotonic() < self.until


def collect_samples(
    engine: SliceEngine,
    cases: Sequence[Case],
    store: EmbeddingStore,
    how: Collecting = Collecting(),
    *,
    progress: TeachProgress = silent,
    cancel: CancelToken | None = None,
) -> list[Sample]:
    """All samples of the cases (none, if they hold no such structure); encodes the slices that were not encoded before.

    One case is in memory at a time.

    Raises:
        TrainingError, VolumeError, GeometryError: as :meth:`Case.load`.
        OutputError: the embeddings cannot be kept.
        Cancelled: ``cancel`` was set; what was encoded stays.
    """
    cancel = cancel or CancelToken()
    samples: list[Sample] = []
    for done, case in enumerate(cases):
        image = case.load()
        chosen = evenly(labeled_slices(image), how.max_slices)
        for number, (key, structures) in enumerate(chosen):
            progress((done + number / len(chosen)) / len(cases), f"encoding {case.name}", {})
            objects = [
                entry
                for name in dict.fromkeys(entry.name for entry in structures)
                for entry in evenly([entry for entry in structures if entry.name == name], how.max_objects)
            ]
            shown = _shown(engine, image.volume, key, objects, structures if how.automatic else ())
            for copy in range(how.varied + 1):
                cancel.check()
                seen = shown if copy == 0 else _varied(shown, copy, how.seed)
                samples += _slice_samples(engine, seen, case, store, cancel, may_encode=how.in_time or not samples)
    return samples


def collect_probes(
    engine: SliceEngine, cases: Sequence[Case], at_most: int, how: Collecting = Collecting()
) -> list[Probe]:
    """Held-out structures to measure on: every case and structure, about ``at_most`` slices in all, evenly spaced.

    Args:
        how: with ``automatic`` also all that a slice holds, to be found without a prompt; with ``varied`` every second
            structure is measured on a varied copy of its slice, so that the best epoch is not the one that has learned
            least of other places and grays.

    Raises:
        TrainingError, VolumeError, GeometryError: as :meth:`Case.load`; or no held-out case holds a structure.
    """
    found: list[Probe] = []
    cases = evenly(cases, at_most)
    per_case = max(1, at_most // len(cases))
    for number, case in enumerate(cases):
        image = case.load()
        slices = labeled_slices(image)
        for key, entry in _spread([(key, entry) for key, entries in slices for entry in entries], per_case, number):
            probe = _probe(engine, image.volume, key, (entry,), case.patient)
            found.append(_varied_probe(probe, how.seed) if how.varied and len(found) % 2 else probe)
        if how.automatic:
            for key, entries in evenly(slices, per_case):
                found.append(_probe(engine, image.volume, key, entries, case.patient, automatic=True))
    if not found:
        raise TrainingError(
            "No held-out case holds a structure to measure on. Give more cases, or another seed for the split."
        )
    return found


def _spread(places: Sequence[tuple[SliceKey, Structure]], at_most: int, turn: int) -> list[tuple[SliceKey, Structure]]:
    """At most that many of a case's structures on slices, in turn of every class; ``turn`` says with which to begin."""
    names = sorted({entry.name for _, entry in places})
    order = [names[(turn + step) % len(names)] for step in range(at_most if names else 0)]
    mine = {name: [place for place in places if place[1].name == name] for name in names}
    return [place for name in names for place in evenly(mine[name], order.count(name))]


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


@dataclass(frozen=True, eq=False)
class _Shown:
    """A slice as it is displayed, with its structures: name, mask ``[row, column]``, and whether it is all there is."""

    image: NDArray[np.uint8]
    spacing: tuple[float, float]
    targets: list[tuple[str, NDArray[np.bool_], bool]]


def _shown(
    engine: SliceEngine, volume: Volume, key: SliceKey, objects: Sequence[Structure], everything: Sequence[Structure]
) -> _Shown:
    axis, index = key
    view = volume.view(axis)
    window = None if volume.color else engine.window or default_window(volume)
    image = np.ascontiguousarray(to_uint8(view.extract(volume.array, index), window))
    targets = [(entry.name, displayed_mask(volume, key, entry), False) for entry in objects]
    if everything:
        union = np.logical_or.reduce([displayed_mask(volume, key, entry) for entry in everything])
        targets.append((everything[0].name, union, True))
    return _Shown(image, (volume.spacing[view.row_axis], volume.spacing[view.column_axis]), targets)


def _varied(shown: _Shown, copy: int, seed: int) -> _Shown:
    """A copy that is the same for the same slice, whatever other cases there are: its embedding is found again."""
    words = np.frombuffer(hashlib.blake2b(shown.image.tobytes(), digest_size=8).digest(), np.uint32)
    source = np.random.default_rng((seed, copy, *words.tolist()))
    mirror = not any(_has_side(name) for name, _, _ in shown.targets)
    image, masks = vary(shown.image, [mask for _, mask, _ in shown.targets], source, mirror=mirror)
    targets = [(name, mask, whole) for (name, _, whole), mask in zip(shown.targets, masks, strict=True)]
    return _Shown(image, shown.spacing, targets)


def _has_side(name: str) -> bool:
    return bool({"left", "right"} & set(re.split(r"[^a-z]+", name.lower())))


def _slice_samples(
    engine: SliceEngine, shown: _Shown, case: Case, store: EmbeddingStore, cancel: CancelToken, *, may_encode: bool
) -> Iterator[Sample]:
    prepared = engine.model.prepare(shown.image, shown.spacing)
    if not may_encode and embedding_key(engine, prepared) not in store:
        return
    grid, side = engine.model.mask_grid, prepared.pixels.shape[-1]
    used = (max(1, round(prepared.resized[0] * grid / side)), max(1, round(prepared.resized[1] * grid / side)))
    for name, mask, whole in shown.targets:
        target = mask_to_logits(mask, prepared, grid) > 0
        if np.count_nonzero(target) >= LEAST_PIXELS:
            key = ensure_embedding(engine, prepared, store, cancel)
            yield Sample(key, np.packbits(target), grid, used, name, case.name, case.patient, case.dataset, whole)


def displayed_mask(volume: Volume, key: SliceKey, structure: Structure) -> NDArray[np.bool_]:
    """A structure on one slice, ``[row, column]`` as displayed."""
    return np.ascontiguousarray(volume.view(key[0]).extract(structure.patch.to_array(volume.shape), key[1])) != 0


def _probe(
    engine: SliceEngine,
    volume: Volume,
    key: SliceKey,
    structures: Sequence[Structure],
    patient: str,
    automatic: bool = False,
) -> Probe:
    """The slice as a volume of its own, windowed as in the whole volume."""
    axis, index = key
    array = volume.array.take([index], axis=2 - axis)
    window = None if volume.color else engine.window or default_window(volume)
    matrix = volume.ijk_to_ras.copy()
    matrix[:3, 3] = volume.to_ras([index if other == axis else 0 for other in range(3)])
    masks = [entry.patch.to_array(volume.shape).take([index], axis=2 - axis) != 0 for entry in structures]
    single = Volume(np.ascontiguousarray(to_uint8(array, window)), matrix, volume.modality, volume.name, volume.color)
    return Probe(single, np.logical_or.reduce(masks), structures[0].name, patient, automatic)


def _varied_probe(probe: Probe, seed: int) -> Probe:
    """The same structure on a varied copy of its slice; the slice as it is where the structure was moved out of it."""
    volume = probe.volume
    view = volume.view(volume.acquisition_axis)
    image, mask = view.extract(volume.array, 0), view.extract(probe.mask, 0)
    shown = _varied(_Shown(image, (1.0, 1.0), [(probe.structure, mask, False)]), 1, seed)
    if np.count_nonzero(shown.targets[0][1]) < LEAST_PIXELS:
        return probe
    array, moved = volume.array.copy(), probe.mask.copy()
    view.insert(array, 0, shown.image)
    view.insert(moved, 0, shown.targets[0][1])
    varied = Volume(array, volume.ijk_to_ras, volume.modality, volume.name, volume.color)
    return dataclasses.replace(probe, volume=varied, mask=moved)
