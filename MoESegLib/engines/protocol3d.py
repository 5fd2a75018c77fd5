"""What a 3D engine is built from: a crop of the volume, the prompts in it, and a model that answers them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..core.cancel import CancelToken
from .protocol import Embedding, ExpertLogits

Triple = tuple[int, int, int]
"""Voxels or cells along r, a, s: the axes nearest to right, anterior and superior. Array order is the same."""


@dataclass(frozen=True, eq=False)
class Crop:
    """A cube of the volume, ready for an encoder.

    Attributes:
        pixels: float32 ``[r, a, s]``, normalized; voxels beyond the volume were 0 before.
        to_ras: (4, 4) matrix from crop voxels (r, a, s) to RAS millimeters.
        key: hash of everything that determines ``pixels``.
        note: what the user should know about the intensities, or "".
    """

    pixels: NDArray[np.float32]
    to_ras: NDArray[np.float64]
    key: str
    note: str = ""


@dataclass(frozen=True, eq=False)
class CropPrompt:
    """The prompts of one object in one crop.

    Attributes:
        points: float32 ``[N, 3]`` crop voxels in array order (r, a, s); integers are voxel centers. N may be 0.
        labels: int64 ``[N]``: 1 inside, 0 outside.
        logits: previous or given low-resolution logits float32 ``[g, g, g]``, None before the first answer.
        expert: name of the expert that must answer, or None to let the gate choose.
        held: who answered the first prompt with a click inside the target, None until then; a gate stays with it, for
            later prompts and in further crops, so that the mask does not jump.
    """

    points: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 3), np.float32))
    labels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    logits: NDArray[np.float32] | None = None
    expert: str | None = None
    held: str | None = None

    @property
    def key(self) -> bytes:
        """Everything that determines the answer in a crop, as bytes to hash."""
        parts = [self.points.tobytes(), self.labels.tobytes(), repr((self.expert, self.held)).encode()]
        return b"|".join([*parts, b"" if self.logits is None else self.logits.tobytes()])


class VolumeModel(Protocol):
    """A promptable model of 3D crops, wrapped by :class:`~MoESegLib.engines.volume_engine.VolumeEngine`.

    Attributes:
        name: as in ``moeseg models list``.
        encoder_id: identifies the encoder's weights and arithmetic in cache keys.
        decoder_id: identifies the decoder's weights and experts in cache keys.
        native: kinds of prompts the network itself was trained to understand ("point" at least).
        crop_size: voxels along each side of a crop.
        spacing: millimeters between the voxels of a crop.
        mask_grid: side of the low-resolution logits it takes and gives; divides ``crop_size``.
        experts: who can be asked by name before anybody has answered; () where there is nobody to choose from.
        notes: what the user should know with every answer.
    """

    name: str
    encoder_id: str
    decoder_id: str
    native: frozenset[str]
    crop_size: int
    spacing: float
    mask_grid: int
    notes: tuple[str, ...]

    @property
    def experts(self) -> tuple[str, ...]: ...

    def encode(self, crop: Crop, cancel: CancelToken) -> Embedding:
        """Run the image encoder; polls ``cancel`` between blocks."""
        ...

    def decode(self, embedding: Embedding, prompt: CropPrompt) -> tuple[ExpertLogits, ...]:
        """Run the mask decoder; the first answer is the chosen one, the others are alternatives.

        Their logits are ``[g, g, g]`` in array order (r, a, s); above 0 is inside.
        """
        ...
