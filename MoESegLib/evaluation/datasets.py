"""Labeled images described by a ``manifest.json``."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import GeometryError, VolumeError
from ..core.image_io import PICTURE_SUFFIXES, file_suffix
from ..core.modality import modality_code
from ..core.resample import resample_nearest
from ..core.structures import find_structure
from ..core.volume import Volume


@dataclass(frozen=True)
class LabeledCase:
    """One image with its label map.

    Attributes:
        group: the patient; cases of one group are never in different splits.
        labels: names of the label numbers.
        dataset: the set it belongs to.
        modality: "CT", "MR", ... as in DICOM; "" when the image itself must tell. Decides the intensity window.
        instances: every number but 0 is another object of the one class (cells, for example).
        classes: only these structures are looked at; None for all.
    """

    name: str
    group: str
    split: str
    image_path: Path
    label_path: Path
    labels: Mapping[int, str] = field(default_factory=dict)
    dataset: str = ""
    modality: str = ""
    instances: bool = False
    classes: frozenset[str] | None = None

    @property
    def is_picture(self) -> bool:
        """A photograph, micrograph or exported slice: the size of its pixels is not known."""
        return file_suffix(self.image_path) in PICTURE_SUFFIXES

    def label_of(self, number: int) -> str:
        """The name of a label number."""
        if self.instances:
            return next(iter(self.labels.values()))
        return self.labels.get(number, f"label {number}")

    def load(self) -> tuple[Volume, NDArray]:
        """The image and its labels ``[k, j, i]``.

        Raises:
            VolumeError: a file is missing or damaged, the two are not of the same size, or the labels are no label map.
            GeometryError: the labels do not lie on the voxels of the image.
        """
        image, labels = Volume.read(self.image_path), Volume.read(self.label_path)
        if self.modality:
            image = dataclasses.replace(image, modality=self.modality)
        array = labels.array
        if labels.color or (array.dtype.kind == "f" and (array != np.floor(array)).any()):
            raise VolumeError(
                f"{self.label_path} is not a label map: it holds colors or fractions. Give a map with one whole number "
                "per structure."
            )
        if not self.is_picture:
            return image, _onto_image(image, labels, self.name)
        # What a picture's header says of its resolution is the scanner's or the printer's.
        if image.shape != labels.shape:
            raise VolumeError(f"{self.name}: the image has shape {image.shape}, its labels {labels.shape}.")
        return image, array


def read_cases(
    data: Path, dataset: str, split: str = "val", classes: Collection[str] = (), limit: int | None = None
) -> list[LabeledCase]:
    """Cases of one data set in the order of the manifest; images are not read yet.

    Args:
        data: a ``manifest.json``, or the folder that holds one.
        split: "train", "val", "test", "demo", or "all".
        classes: only these structures.
        limit: only the first so many images.

    Raises:
        VolumeError: no manifest, a damaged one, or no such set, class or cases.
    """
    path = _manifest_path(data)
    try:
        content = _read_manifest(path, path.stat().st_mtime_ns)
        sets = content["sets"] if isinstance(content["sets"], dict) else {s["name"]: s for s in content["sets"]}
        if dataset not in sets:
            raise VolumeError(f"{path} holds no set {dataset!r}; it holds {', '.join(sets)}.")
        chosen = [case for case in content["cases"] if case["set"] == dataset and split in ("all", case["split"])]
        cases = [_case(path.parent, sets[dataset], entry, frozenset(classes) or None) for entry in chosen[:limit]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise VolumeError(f"{path} is not a manifest of sets and cases ({error!r}). Write it again.") from error
    if not cases:
        there = {case["split"] for case in content["cases"] if case["set"] == dataset}
        raise VolumeError(
            f"The set {dataset!r} of {path} has no images in the split {split!r}; it has "
            f"{', '.join(sorted(there)) or 'none at all'}."
        )
    return cases


def check_classes(cases: Sequence[LabeledCase], classes: Collection[str]) -> None:
    """Refuse structures that no case can hold.

    Raises:
        VolumeError: naming those there are.
    """
    known = {readable(name): structure_key(name) for case in cases for name in case.labels.values()}
    open_ended = any(not case.labels for case in cases)
    unknown = [name for name in classes if structure_key(name) not in known.values()]
    if unknown and not open_ended:
        raise VolumeError(f"No set holds the class {unknown[0]!r}; they hold {', '.join(known)}.")


def readable(name: str) -> str:
    """A structure's name for tables and phrases: without what is said in brackets, underscores as spaces."""
    return " ".join(re.sub(r"\(.*?\)", "", name).replace("_", " ").split()) or name


@cache
def structure_key(name: str) -> str:
    """Equal for names of the same structure: "kidney_left" and "left kidney"."""
    known = find_structure(readable(name))
    return readable(name).casefold() if known is None else known.name


def _manifest_path(data: Path) -> Path:
    path = data / "manifest.json" if data.is_dir() else data
    if not path.exists():
        raise VolumeError(f"There is no manifest.json at {data}; give it, or the folder that holds it.")
    return path


@lru_cache(maxsize=2)
def _read_manifest(path: Path, changed: int) -> Any:
    """Read once for all sets of a run.

    Args:
        changed: time of the last change, so that a file written again is read again.
    """
    return json.loads(path.read_text(encoding="utf-8"))


def _case(folder: Path, entry: Mapping[str, Any], case: Mapping[str, Any], classes: frozenset[str] | None):
    names = entry["labels"] if isinstance(entry["labels"], dict) else {}
    labels = {int(number): str(name) for number, name in names.items() if int(number) != 0}
    return LabeledCase(
        name=str(case["case"]),
        group=str(case["group"]),
        split=case["split"],
        image_path=folder / case["image"],
        label_path=folder / case["label"],
        labels=labels,
        dataset=case["set"],
        modality=modality_code(str(entry.get("modality", ""))),
        # A set that names one class and has higher numbers counts the objects of that class (cells).
        instances=len(labels) == 1 and max(case.get("label_values") or [1]) > max(labels),
        classes=classes,
    )


def _onto_image(image: Volume, labels: Volume, name: str) -> NDArray:
    """Labels ``[k, j, i]`` on the voxels of the image: stored as they are, in another order of axes, or as a part."""
    if image.shape == labels.shape and np.allclose(image.ijk_to_ras, labels.ijk_to_ras, rtol=0, atol=1e-3):
        return labels.array
    moved = resample_nearest(labels.array, labels.ijk_to_ras, image)
    given, found = (np.count_nonzero(array) for array in (labels.array, moved))
    if found != given:
        raise GeometryError(
            f"{name}: the labels do not lie on the voxels of the image ({found} of {given} marked voxels do). Resample "
            "them onto the image, or correct the header."
        )
    return moved
