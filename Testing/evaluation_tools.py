"""Small labeled sets, and engines whose answers are known."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from fakes import blob_volume

from MoESegLib.core.errors import PromptError
from MoESegLib.core.prompts import AutomaticPrompt, BoxPrompt, PointPrompt, Prompt, TextPrompt
from MoESegLib.core.results import Alternative, MaskPatch, Prediction
from MoESegLib.core.volume import Volume
from MoESegLib.engines.volume_engine import VolumeEngine

KINDS = frozenset({"box", "point", "scribble", "text", "automatic"})


def write_balls(folder: Path, name: str = "balls", patients: Sequence[str] = ("p1", "p2"), train: int = 1) -> None:
    """Pictures of bright balls (label 2) with a speck (label 1); the last ``train`` of them belong to that split."""
    cases = []
    for number, group in enumerate((*patients, *(f"t{n}" for n in range(train)))):
        volume = blob_volume((1, 60, 60), radius=8.0 + 2 * number)
        labels = np.where(volume.array > 200, 2, 0).astype(np.uint8)
        labels[0, 0, 0] = 1  # below the least size
        split = "val" if number < len(patients) else "train"
        cases.append(write_case(folder, name, f"{name}-{number}", group, split, volume.array[0], labels[0]))
    add_to_manifest(folder, name, {"labels": {"1": "speck", "2": "ball"}}, cases)


def write_case(
    folder: Path,
    dataset: str,
    case: str,
    group: str,
    split: str,
    image: np.ndarray,
    labels: np.ndarray,
    end: str = "png",
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> dict[str, Any]:
    """Write an image and its labels, with a spacing along i, j, k; returns the entry of the manifest."""
    matrix = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    Volume(image, matrix).write(folder / f"{case}_img.{end}")
    Volume(labels, matrix).write(folder / f"{case}_lab.{end}")
    return {
        "set": dataset,
        "case": case,
        "group": group,
        "split": split,
        "image": f"{case}_img.{end}",
        "label": f"{case}_lab.{end}",
        "label_values": np.unique(labels).tolist(),
    }


def add_to_manifest(folder: Path, name: str, entry: Mapping[str, Any], cases: Sequence[Mapping[str, Any]]) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text()) if path.exists() else {"sets": {}, "cases": []}
    manifest["sets"][name] = dict(entry)
    manifest["cases"] += cases
    path.write_text(json.dumps(manifest))


def write_rods(folder: Path, name: str = "rods", patients: Sequence[str] = ("p1", "p2")) -> None:
    """Volumes of 2 x 1 x 1 mm with a thick rod (label 1), a thin one in two pieces (label 2) and a speck (label 3).

    Voxels are 50 times the label.
    """
    cases = []
    for number, group in enumerate(patients):
        labels = np.zeros((18, 24, 20), np.uint8)
        labels[2:14, 3:11, 3 : 9 + number] = 1
        labels[3:8, 15:20, 12:17] = 2
        labels[12:15, 15:19, 12:16] = 2
        labels[0, 0, 0] = 3
        cases.append(
            write_case(folder, name, f"{name}-{number}", group, "val", 50 * labels, labels, "nii.gz", (2.0, 1.0, 1.0))
        )
    add_to_manifest(folder, name, {"labels": {"1": "thick rod", "2": "thin rod", "3": "speck"}}, cases)


class Painter(VolumeEngine):
    """An engine for volumes that knows the target: all voxels as bright as the one under the first prompt.

    An expert paints what lies within its radius (mm) of the clicks inside, and never what is near to those outside.

    Args:
        radii: of each expert by name; without a limit it is perfect.
        gate: who answers when nobody is asked for.
        traits: of its experts, as in ``SegMoTELite``.
    """

    experts = ()

    def __init__(
        self,
        radii: Mapping[str, float] | None = None,
        gate: str = "base",
        traits: Mapping[str, Any] | None = None,
        understands: frozenset[str] = frozenset({"point", "box", "scribble"}),
    ) -> None:
        self.name = "painter"
        self.radii = dict(radii or {"base": np.inf})
        self.gate = gate
        self.understands = understands
        self.model = self  # type: ignore[assignment]
        self.traits = dict(traits or {})
        self.asked: list[tuple[Prompt, ...]] = []
        self.strict_upstream = False

    def predict(self, volume: Volume, prompts: Sequence[Prompt], context) -> Prediction:
        self.asked.append(tuple(prompts))
        expert = context.expert or self.gate
        if expert not in self.radii:
            raise PromptError(f"painter has no expert {expert!r}.")
        assert context.extent == "volume"
        ijk = np.rint(volume.ras_to_ijk(np.mean(prompts[0].ras_points, axis=0))).astype(int)
        target = volume.array == volume.array[tuple(ijk[::-1])]
        inside, outside = np.zeros(volume.shape, bool), np.zeros(volume.shape, bool)
        for prompt in prompts:
            center = volume.ras_to_ijk(np.mean(prompt.ras_points, axis=0))[::-1]
            shifts = [
                (n - c) * s for n, c, s in zip(np.indices(volume.shape), center, volume.spacing[::-1], strict=True)
            ]
            near = sum(shift**2 for shift in shifts) <= self.radii[expert] ** 2
            if getattr(prompt, "positive", True):
                inside |= near
            else:
                outside |= near
        return Prediction(MaskPatch.of(target & inside & ~outside), expert)


class BrightEngine:
    """Finds bright voxels on the slice of the last prompt.

    All of them for phrases and without prompt, else those in the box, or near positive and not near negative clicks.

    Args:
        expert: answers, with the base's answer among the alternatives unless it is "base".
        radius: of what a click finds.
        understands: kinds of prompts.
        phrases: the only phrases it does not refuse.
        spoiled: its base forgets: it answers without one voxel.
        traits: of its packs, by name, as in ``SegMoTELite``.
    """

    name = "bright"

    def __init__(
        self,
        expert: str = "base",
        radius: float = 6.0,
        understands: frozenset[str] = KINDS,
        phrases: tuple[str, ...] | None = None,
        spoiled: bool = False,
        traits: Mapping[str, Any] | None = None,
    ) -> None:
        self.expert = expert
        self.radius = radius
        self.understands = understands
        self.phrases = phrases
        self.spoiled = spoiled
        self.model = self
        self.traits = dict(traits or {})
        self.asked: list[tuple[Prompt, ...]] = []
        self.modalities: list[str] = []
        self.before_predict: Callable[[], None] = lambda: None

    def check(self, volume, prompts, extent) -> None:
        for prompt in prompts:
            if isinstance(prompt, TextPrompt) and self.phrases is not None and prompt.text not in self.phrases:
                raise PromptError(f"Nothing is known of {prompt.text!r}.")

    def predict(self, volume: Volume, prompts: Sequence[Prompt], context) -> Prediction:
        self.before_predict()
        self.asked.append(tuple(prompts))
        self.modalities.append(volume.modality)
        base = self._mask(volume, prompts, 6.0)
        if self.expert == "base":
            return Prediction(MaskPatch.of(base))
        mask = self._mask(volume, prompts, self.radius)
        if self.spoiled and base.any():
            base[tuple(np.argwhere(base)[0])] = False
        return Prediction(MaskPatch.of(mask), self.expert, alternatives=(Alternative("base", MaskPatch.of(base)),))

    def _mask(self, volume: Volume, prompts: Sequence[Prompt], radius: float) -> np.ndarray:
        last = volume.ras_to_ijk(prompts[-1].ras_points)
        axis = volume.axis_of(prompts[-1].plane or "axial")
        index = round(float(last[:, axis].mean()))
        inside = np.zeros(volume.shape, bool)
        grid = np.indices(volume.shape)[::-1]
        for prompt in prompts:
            ijk = volume.ras_to_ijk(prompt.ras_points)
            if isinstance(prompt, TextPrompt | AutomaticPrompt):
                inside[:] = True
            elif isinstance(prompt, BoxPrompt):
                low, high = ijk.min(axis=0), ijk.max(axis=0)
                inside |= np.all([(grid[a] >= low[a] - 0.01) & (grid[a] <= high[a] + 0.01) for a in range(3)], axis=0)
            else:
                for point in ijk:
                    near = sum((grid[a] - point[a]) ** 2 for a in range(3)) <= radius**2
                    inside = (
                        inside & ~near if isinstance(prompt, PointPrompt) and not prompt.positive else inside | near
                    )
        on_slice = grid[axis] == index
        return inside & on_slice & (volume.array > 128)
