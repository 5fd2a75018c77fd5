"""Stand-ins for 3D models: one that knows the answer, one that finds what is bright around the clicks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from MoESegLib.core.cancel import CancelToken
from MoESegLib.core.geometry import transform_points
from MoESegLib.core.prompts import PointPrompt, Prompt
from MoESegLib.core.results import Prediction
from MoESegLib.core.volume import Volume
from MoESegLib.engines.cache import content_key
from MoESegLib.engines.protocol import Context, Embedding, ExpertLogits
from MoESegLib.engines.protocol3d import Crop, CropPrompt, VolumeModel
from MoESegLib.engines.volume_engine import VolumeEngine


class CropModel:
    """What the stand-ins share: sizes, counters, and what they were asked."""

    native = frozenset({"point", "mask"})
    experts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __init__(self, crop_size: int = 32, spacing: float = 3.0, mask_grid: int = 16) -> None:
        self.name = type(self).__name__
        self.crop_size, self.spacing, self.mask_grid = crop_size, spacing, mask_grid
        self.encoder_id = self.decoder_id = content_key(self.name)
        self.crops: list[Crop] = []
        self.asked: list[CropPrompt] = []
        self.before_decode: Callable[[], None] = lambda: None

    def encode(self, crop: Crop, cancel: CancelToken) -> Embedding:
        cancel.check()
        self.crops.append(crop)
        return {"image": torch.from_numpy(crop.pixels)[None, None], "to_ras": torch.from_numpy(crop.to_ras)}

    def decode(self, embedding: Embedding, prompt: CropPrompt) -> tuple[ExpertLogits, ...]:
        self.before_decode()
        self.asked.append(prompt)
        return self.answer(embedding["image"][0, 0].numpy(), embedding["to_ras"].numpy(), prompt)

    def answer(self, pixels: NDArray, to_ras: NDArray, prompt: CropPrompt) -> tuple[ExpertLogits, ...]:
        raise NotImplementedError

    def cells(self, to_ras: NDArray) -> NDArray[np.float64]:
        """RAS of the centers of the low-resolution cells, ``[g, g, g, 3]``."""
        stride = self.crop_size // self.mask_grid
        index = np.stack(np.meshgrid(*[np.arange(self.mask_grid)] * 3, indexing="ij"), axis=-1)
        return transform_points(to_ras, index * stride + (stride - 1) / 2)


class Oracle(CropModel):
    """Knows how far every point in space lies inside the target (millimeters), and answers with that."""

    def __init__(self, depth: Callable[[NDArray], NDArray], **sizes) -> None:
        super().__init__(**sizes)
        self.depth = depth

    def answer(self, pixels, to_ras, prompt) -> tuple[ExpertLogits, ...]:
        return (ExpertLogits("base", self.depth(self.cells(to_ras)).astype(np.float32)),)


class BrightRegion(CropModel):
    """Finds what is bright and connected to the clicks, or to the mask so far where no click is visible.

    A click outside takes its surroundings away. With experts, each answers a little smaller than the one before; the
    chosen one is whoever is asked for, then whoever answered before.
    """

    def __init__(self, experts: tuple[str, ...] = ("base",), **sizes) -> None:
        super().__init__(**{"mask_grid": 32, **sizes})
        self.experts = experts

    def answer(self, pixels, to_ras, prompt) -> tuple[ExpertLogits, ...]:
        stride = self.crop_size // self.mask_grid
        bright = (pixels > (pixels.min() + pixels.max()) / 2)[::stride, ::stride, ::stride]
        parts, _ = ndimage.label(bright)
        known = np.zeros(bright.shape, bool) if prompt.logits is None else prompt.logits > 0
        wanted = {int(part) for part in np.unique(parts[known])}
        cells = np.floor(prompt.points / stride).astype(int)
        wanted |= {int(parts[tuple(cell)]) for cell, label in zip(cells, prompt.labels, strict=True) if label == 1}
        inside = np.isin(parts, sorted(wanted - {0}))
        index = np.indices(bright.shape)
        for cell, label in zip(cells, prompt.labels, strict=True):
            if label == 0:
                inside &= sum((index[axis] - cell[axis]) ** 2 for axis in range(3)) > 4**2
        logits = np.where(inside, 4.0, -8.0).astype(np.float32)
        first = prompt.expert or prompt.held or self.experts[0]
        names = sorted(self.experts, key=lambda name: name != first)
        return tuple(ExpertLogits(name, logits - n, None, 0.9 - n / 10) for n, name in enumerate(names))


def rotation(x: float, y: float, z: float) -> NDArray[np.float64]:
    """Turns about the three axes, radians."""

    def turn(angle: float, a: int, b: int) -> NDArray[np.float64]:
        matrix = np.eye(3)
        matrix[a, a] = matrix[b, b] = np.cos(angle)
        matrix[a, b], matrix[b, a] = -np.sin(angle), np.sin(angle)
        return matrix

    return turn(x, 1, 2) @ turn(y, 0, 2) @ turn(z, 0, 1)


def field_volume(
    shape: tuple[int, int, int], matrix: NDArray, value: Callable[[NDArray], NDArray], modality: str = "MR"
) -> Volume:
    """A volume whose voxels ``[k, j, i]`` hold a function of the RAS point of their center."""
    index = np.stack(np.meshgrid(*[np.arange(length) for length in shape], indexing="ij"), axis=-1)[..., ::-1]
    return Volume(value(transform_points(np.asarray(matrix), index)).astype(np.float32), matrix, modality=modality)


def dice(a: NDArray, b: NDArray) -> float:
    a, b = a.astype(bool), b.astype(bool)
    return 2 * int((a & b).sum()) / max(1, int(a.sum() + b.sum()))


CENTER = np.array([7.0, -13.0, 21.0])


def predict(model: VolumeModel, volume: Volume, *prompts: Prompt, strict: bool = False, **context) -> Prediction:
    engine = VolumeEngine(model, strict_upstream=strict)
    extent = context.pop("extent", "volume")
    engine.check(volume, prompts, extent)
    return engine.predict(volume, prompts, Context(extent, **context))


def at(place: np.ndarray, positive: bool = True, **options) -> PointPrompt:
    r, a, s = (float(value) for value in place)
    return PointPrompt((r, a, s), positive, **options)


def around(matrix: np.ndarray, shape: tuple[int, int, int], center: np.ndarray = CENTER) -> np.ndarray:
    """The matrix moved so that the middle of the volume lies at a point."""
    moved = matrix.copy()
    middle = (np.array(shape)[::-1] - 1) / 2
    moved[:3, 3] = center - matrix[:3, :3] @ middle
    return moved


def ball_depth(center: np.ndarray, radius: float):
    return lambda points: radius - np.linalg.norm(points - center, axis=-1)


def bright_ball(matrix: np.ndarray, shape: tuple[int, int, int], radius: float, center: np.ndarray = CENTER) -> Volume:
    """A bright ball on gray, with a dimmer speckle everywhere."""

    def value(points: np.ndarray) -> np.ndarray:
        inside = np.linalg.norm(points - center, axis=-1) <= radius
        return np.where(inside, 300, 60) + 10 * np.sin(points).sum(axis=-1)

    return field_volume(shape, around(matrix, shape), value)


def oblique(x: float, y: float, z: float, spacing: tuple[float, float, float]) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = rotation(x, y, z) @ np.diag(spacing)
    return matrix


def positions(volume: Volume) -> np.ndarray:
    index = np.stack(np.meshgrid(*[np.arange(n) for n in volume.shape], indexing="ij"), axis=-1)[..., ::-1]
    return transform_points(volume.ijk_to_ras, index)
