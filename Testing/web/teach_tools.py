"""Teaching from the page in seconds: the real teacher on the tiny model, and folders of finished balls."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from fakes import blob_volume

from MoESegLib.core.results import MaskPatch
from MoESegLib.core.segmentation_file import SegmentRecord, write_segmentation
from MoESegLib.experts import store

sys.path.append(str(Path(__file__).resolve().parents[1] / "training"))

EPOCHS = 3
CENTERS = {"Ann": (4, 16, 18), "Ben": (4, 20, 28), "Cem": (4, 24, 22)}


def nothing_shipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The experts that ship are for another base than the tiny teacher's."""
    monkeypatch.setattr(store, "shipped_folder", lambda: None)


def finished_patient(folder: Path, name: str) -> None:
    """An image and its ball in a ``.seg.nrrd`` beside it."""
    volume = blob_volume(center=CENTERS[name])
    volume.write(folder / f"{name}.nrrd")
    ball = SegmentRecord("ball", "ball", MaskPatch.of(volume.array > 100))
    write_segmentation(folder / f"{name}.seg.nrrd", volume, [ball])


def finished_folder(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        finished_patient(folder, name)
    return folder
