"""A folder of labeled images described by a ``manifest.json``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.errors import VolumeError
from ..core.volume import Volume


@dataclass(frozen=True)
class LabeledCase:
    """One image with its label map.

    Attributes:
        group: the patient; cases of one group are never in different splits.
        labels: names of the label numbers.
    """

    name: str
    group: str
    split: str
    image_path: Path
    label_path: Path
    labels: dict[int, str]

    def load(self) -> tuple[Volume, NDArray]:
        """The image and its labels ``[k, j, i]``.

        Raises:
            VolumeError: a file is missing, or the two are not of the same size.
        """
        image, labels = Volume.read(self.image_path), Volume.read(self.label_path)
        if image.shape != labels.shape:
            raise VolumeError(f"{self.name}: the image has shape {image.shape}, its labels {labels.shape}.")
        return image, labels.array


def read_cases(folder: Path, dataset: str, split: str = "val") -> list[LabeledCase]:
    """Cases of one data set in the order of the manifest.

    Args:
        split: "train", "val", "demo", or "all".

    Raises:
        VolumeError: no manifest, or no such cases.
    """
    path = folder / "manifest.json"
    if not path.exists():
        raise VolumeError(f"There is no manifest.json in {folder}; give the folder of the labeled images.")
    manifest = json.loads(path.read_text(encoding="utf-8"))
    sets = manifest["sets"]
    entry = sets.get(dataset) if isinstance(sets, dict) else next((s for s in sets if s["name"] == dataset), None)
    cases = [case for case in manifest["cases"] if case["set"] == dataset and split in ("all", case["split"])]
    if entry is None or not cases:
        raise VolumeError(f"{path} holds no cases of the set {dataset!r} in the split {split!r}.")
    names = entry["labels"] if isinstance(entry["labels"], dict) else {}
    labels = {int(number): name for number, name in names.items()}
    return [
        LabeledCase(case["case"], case["group"], case["split"], folder / case["image"], folder / case["label"], labels)
        for case in cases
    ]


def slice_targets(labels: NDArray, least_pixels: int) -> Iterator[tuple[int, int, NDArray[np.bool_]]]:
    """(slice index k, label number, mask ``[j, i]``) of every structure of at least that many pixels."""
    for index, image in enumerate(labels):
        for label in np.unique(image):
            mask = image == label
            if label != 0 and int(mask.sum()) >= least_pixels:
                yield index, int(label), mask
