"""Stand-ins for MAST-Pro: a network that knows the answer, and volumes with a lesion whose border can be computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from fakes3d import CENTER, around, ball_depth, field_volume
from mast_pro_tools import SMALL
from numpy.typing import NDArray

from MoESegLib.core.organs import organ_ids
from MoESegLib.core.prompts import MaskPrompt, Prompt, TextPrompt
from MoESegLib.core.results import Prediction
from MoESegLib.core.tumors import TumorBook
from MoESegLib.core.volume import Volume
from MoESegLib.engines.mast_pro import MastProEngine
from MoESegLib.engines.protocol import Context
from MoESegLib.models.mast_pro import MastPro, MastProConfig, MastProOutput

TAUGHT = ("liver_tumor", "kidney_tumor", "breast_tumor", "multiple_sclerosis_lesion")
BOOK = TumorBook.load()
LIVER_TUMOR = TextPrompt("liver tumor")


class BrightLesions(MastPro):
    """Takes what is brighter than 40 HU (or half the way to white) for a lesion; remembers what it was shown."""

    def __init__(self, **options) -> None:
        sizes = {"patch": (16, 24, 20), "slice_patch": (32, 40), "tumors": TAUGHT, "organs": organ_ids()}
        super().__init__(MastProConfig(**{**SMALL, **sizes, **options}))
        self.eval()
        self.seen: list[dict] = []
        self.before: Callable[[], None] = lambda: None

    def forward(self, image, text=None, anatomy=None, organ_masks=None, tumor=None) -> MastProOutput:
        self.before()
        self._check(image, text, anatomy, organ_masks, tumor)
        self.seen.append({"image": image, "text": text, "anatomy": anatomy, "organs": organ_masks, "tumor": tumor})
        logits = 20 * (image[:, :1] - 0.5)
        return MastProOutput(logits, logits[..., ::2, ::2, ::2], (), torch.zeros(()))


def engine_with(network: MastPro | None = None, **options) -> MastProEngine:
    return MastProEngine(network if network is not None else BrightLesions(), "weights", BOOK, **options)


def find(engine: MastProEngine, volume: Volume, *prompts: Prompt, extent="volume", **context) -> Prediction:
    """The answer to a phrase (a liver tumor unless another is given) and further prompts, checked as a session does."""
    asked = prompts if any(isinstance(prompt, TextPrompt) for prompt in prompts) else (LIVER_TUMOR, *prompts)
    engine.check(volume, asked, extent)
    return engine.predict(volume, asked, Context(extent, **context))


def ramp_volume(
    shape: tuple[int, int, int],
    matrix: NDArray,
    balls: Sequence[tuple[NDArray, float]] = ((CENTER, 12.0),),
    modality: str = "CT",
) -> Volume:
    """Balls (center RAS, radius in mm) whose brightness falls by 25 HU a millimeter and is 40 at their border."""

    def value(points: NDArray) -> NDArray:
        depth = np.max([ball_depth(np.asarray(center), radius)(points) for center, radius in balls], axis=0)
        return 40 + 25 * np.clip(depth, -6, 6)

    return field_volume(shape, around(np.asarray(matrix, float), shape), value, modality)


def inside(volume: Volume, center=CENTER, radius: float = 12.0) -> NDArray[np.bool_]:
    """Voxels ``[k, j, i]`` whose centers lie in a ball."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in volume.shape], indexing="ij"), axis=-1)[..., ::-1]
    points = index @ volume.ijk_to_ras[:3, :3].T + volume.ijk_to_ras[:3, 3]
    return np.linalg.norm(points - np.asarray(center), axis=-1) <= radius


def organ(volume: Volume, center=CENTER, radius: float = 25.0, name: str = "liver", **options) -> MaskPrompt:
    """A ball-shaped organ on the voxels of a volume, with their matrix."""
    mask = inside(volume, center, radius)
    return MaskPrompt(mask, volume.ijk_to_ras, role="anatomy", structure=name, **options)
