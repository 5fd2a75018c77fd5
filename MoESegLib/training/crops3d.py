"""Crops of real volumes around a click, prepared as the 3D engine prepares them, to train SAM-Med3D and its experts.

A target is one connected part of a structure: a click asks for the lesion it hits, not for all lesions of a brain.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..core.cancel import CancelToken, ProgressCallback
from ..core.errors import TrainingError
from ..core.files import atomic_path
from ..core.results import MaskPatch
from ..core.volume import Volume
from ..engines.cache import content_key
from ..engines.canvas3d import as_triple
from ..engines.crop3d import centered, cut_crop
from ..engines.grid3d import ModelGrid, from_block, sample
from .cases import Case
from .clicks3d import Voxel, deepest, depth_of, inner_voxel

_WITH_DIAGONALS = np.ones((3, 3, 3), bool)
_LEAST_VOXELS = 8
"""Of a target in its crop; what is thinner is lost between the voxels of the model."""


@dataclass(frozen=True, eq=False)
class Target3D:
    """A click, what the network sees around it, and the mask it should give; axes (r, a, s).

    Attributes:
        pixels: float16 ``[S, S, S]``, z-scored as the engine does it.
        mask: uint8 ``[S, S, S]``, 1 inside.
        click: the voxel of the first click; it lies inside, in the middle of the crop.
        structure, case, patient, dataset: what it is, and where it comes from.
    """

    pixels: NDArray[np.float16]
    mask: NDArray[np.uint8]
    click: Voxel
    structure: str
    case: str
    patient: str
    dataset: str


@dataclass(frozen=True)
class CropPlan:
    """Which crops are cut.

    Attributes:
        size: voxels along each side.
        spacing: millimeters between them.
        clicks: crops of each target, each around another click; the first one is around its innermost voxel.
        parts: targets of one structure in one case at most, the largest ones.
        least: cubic millimeters of a target.
        seed: of the other clicks.
    """

    size: int
    spacing: float = 1.5
    clicks: int = 4
    parts: int = 12
    least: float = 60.0
    seed: int = 0


def crops_of(
    cases: Sequence[Case],
    plan: CropPlan,
    report: ProgressCallback | None = None,
    cancel: CancelToken | None = None,
) -> Iterator[Target3D]:
    """Crops of all targets of some cases, one case in memory at a time; the same plan gives the same crops.

    Args:
        cases: for example of :func:`~.case_files.find_cases`, which leaves out what must not be trained on.

    Raises:
        VolumeError, GeometryError, TrainingError: a case that cannot be read, as :meth:`~.cases.Case.load`.
        Cancelled: ``cancel`` was set.
    """
    for number, case in enumerate(cases):
        if report is not None:
            report(number / len(cases), f"Reading {case.name}")
        image = case.load()
        if image.volume.color or min(image.volume.size) < 2:
            raise TrainingError(
                f"{case.name} is a picture or a single slice; a 3D model learns from volumes. Leave it or its set out, "
                "or teach an expert of slices (--method experts)."
            )
        grid = ModelGrid.of(image.volume, plan.spacing)
        for index, structure in enumerate(image.structures):
            source = np.random.default_rng((plan.seed, zlib.crc32(case.name.encode()), index))
            for part in _parts(structure.patch, image.volume, plan):
                if cancel is not None:
                    cancel.check()
                for click in _clicks(part, image.volume, grid, plan.clicks, source):
                    crop = crop_around(image.volume, grid, part, click, plan.size)
                    if crop is not None:
                        names = (structure.name, case.name, case.patient, case.dataset)
                        yield Target3D(*crop, (plan.size // 2, plan.size // 2, plan.size // 2), *names)


def crop_around(
    volume: Volume, grid: ModelGrid, part: MaskPatch, click: NDArray[np.int64], size: int
) -> tuple[NDArray[np.float16], NDArray[np.uint8]] | None:
    """Pixels and mask of the crop that the engine looks at after a click, both ``[r, a, s]``.

    Args:
        part: the target, on the grid of the volume.
        click: voxel of the model grid.

    Returns:
        None where the target does not hold the clicked voxel of the model grid, or next to nothing of it is in view.
    """
    origin = as_triple(centered(click, click, size))
    mask = sample(part.to_array(volume.shape), from_block(volume, grid.block(origin)), (size, size, size), outside=0)
    inside = (mask >= 0.5).astype(np.uint8)
    if not inside[(size // 2,) * 3] or inside.sum() < _LEAST_VOXELS:
        return None
    return cut_crop(volume, grid, origin, size).pixels.astype(np.float16), inside


def _parts(patch: MaskPatch, volume: Volume, plan: CropPlan) -> Iterator[MaskPatch]:
    """The connected parts of a structure that are large enough, the largest first."""
    numbers = np.zeros(patch.voxels.shape, np.int32)
    ndimage.label(patch.voxels, _WITH_DIAGONALS, output=numbers)
    sizes = np.bincount(numbers.ravel())
    sizes[0] = 0
    order = [int(number) for number in np.argsort(-sizes, kind="stable")]
    large = (number for number in order if sizes[number] * volume.voxel_volume >= plan.least)
    for number in islice(large, plan.parts):
        inner = MaskPatch.of(numbers == number)
        shift = np.repeat(patch.extent[::2], 2)
        extent = tuple(int(bound) for bound in np.add(inner.extent, shift))
        yield MaskPatch(extent, inner.voxels)  # pyright: ignore[reportArgumentType] - six numbers


def _clicks(
    part: MaskPatch, volume: Volume, grid: ModelGrid, count: int, source: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """Voxels of the model grid: the innermost one of a target, then random ones."""
    depth = depth_of(part.voxels, volume.spacing[::-1])
    for number in range(count):
        k, j, i = deepest(depth) if number == 0 else inner_voxel(depth, source)
        yield grid.voxels(volume.to_ras(np.add((i, j, k), part.extent[::2])))


class CropFile:
    """Crops on disk, read through memory maps, so that many of them take no memory.

    ``pixels`` and ``masks`` hold one crop after the other; ``index.json``, which is written last, says what they are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, key: str) -> list[Target3D] | None:
        """The crops that were written under a key, or None when there are none or others.

        Raises:
            TrainingError: the files do not fit the index.
        """
        index = self.folder / "index.json"
        if not index.exists():
            return None
        content = json.loads(index.read_text(encoding="utf-8"))
        if content["key"] != key:
            return None
        entries, size = content["crops"], content["size"]
        if not entries:
            return []
        shape = len(entries), size, size, size
        try:
            pixels = np.memmap(self.folder / "pixels", np.float16, "r", shape=shape)
            masks = np.memmap(self.folder / "masks", np.uint8, "r", shape=shape)
        except (OSError, ValueError) as error:
            raise TrainingError(f"The crops in {self.folder} are damaged ({error}). Remove the folder.") from error
        return [
            Target3D(pixels[row], masks[row], as_triple(entry.pop("click")), **entry)
            for row, entry in enumerate(entries)
        ]

    def write(self, key: str, size: int, crops: Iterator[Target3D]) -> None:
        """Replace what is there.

        Raises:
            OutputError: the index cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "index.json").unlink(missing_ok=True)
        entries = []
        with (self.folder / "pixels").open("wb") as pixels, (self.folder / "masks").open("wb") as masks:
            for crop in crops:
                pixels.write(crop.pixels.tobytes())
                masks.write(crop.mask.tobytes())
                names = {name: getattr(crop, name) for name in ("structure", "case", "patient", "dataset")}
                entries.append({"click": crop.click, **names})
        with atomic_path(self.folder / "index.json") as temporary:
            temporary.write_text(json.dumps({"key": key, "size": size, "crops": entries}), encoding="utf-8")


def cached_crops(
    folder: Path,
    cases: Sequence[Case],
    plan: CropPlan,
    report: ProgressCallback | None = None,
    cancel: CancelToken | None = None,
) -> list[Target3D]:
    """As :func:`crops_of`, cut once and kept in a folder.

    Raises:
        TrainingError: there is no target in these cases; and as :func:`crops_of`.
    """
    files = [path for case in cases for path in (case.image, case.labels) if isinstance(path, Path)]
    stamps = [(str(path), path.stat().st_mtime_ns) for path in files if path.exists()]
    key = content_key(json.dumps([asdict(plan), [case.name for case in cases], stamps]))
    store = CropFile(folder)
    found = store.read(key)
    if found is None:
        store.write(key, plan.size, crops_of(cases, plan, report, cancel))
        found = store.read(key)
    if not found:
        raise TrainingError("There is no target in these cases that a 3D model could see. Check their labels.")
    return found
