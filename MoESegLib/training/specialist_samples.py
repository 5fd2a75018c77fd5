"""Targets in volumes as a 3D mask decoder learns from them: encoded once, kept in half precision."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..core.cancel import CancelToken
from ..core.errors import TrainingError
from ..engines.cache import content_key
from ..engines.protocol3d import Crop
from ..engines.sam_med3d import SamMed3DModel
from ..evaluation.targets import evenly
from .augment3d import varied
from .cases import Case
from .clicks3d import Voxel
from .crops3d import CropPlan, Target3D, crops_of
from .embeddings import EmbeddingStore
from .progress import TeachProgress, silent
from .rounds3d import Batch3D

_NO_PIXELS = np.zeros((0, 0, 0), np.float16)


@dataclass(frozen=True, eq=False)
class Sample3D:
    """A target and the crop around a click on it.

    Attributes:
        key: of the file in the embedding store that holds the embedding and the target.
        click: the first click (r, a, s).
        structure, case, patient, dataset: what it is, and where it comes from.
    """

    key: str
    click: Voxel
    structure: str
    case: str
    patient: str
    dataset: str


@dataclass(frozen=True)
class Collecting3D:
    """Which samples are made of cases.

    Attributes:
        clicks: crops of each target, each around another click inside.
        varied: copies of each of these crops, varied by chance (:func:`~.augment3d.varied`).
        at_most: about how many samples; None means all.
        until: ``time.monotonic()`` after which only crops that were encoded before are taken, and a first one.
        seed: of clicks and copies.
    """

    clicks: int = 1
    varied: int = 0
    at_most: int | None = None
    until: float | None = None
    seed: int = 0


def collect_samples3d(
    model: SamMed3DModel,
    cases: Sequence[Case],
    store: EmbeddingStore,
    how: Collecting3D,
    progress: TeachProgress = silent,
    cancel: CancelToken | None = None,
) -> list[Sample3D]:
    """Samples of some cases; encodes what was not encoded before. One case is in memory at a time.

    Raises:
        TrainingError, VolumeError, GeometryError: as :func:`~.crops3d.crops_of`.
        OutputError: the embeddings cannot be kept.
        Cancelled: ``cancel`` was set; what was encoded stays.
    """
    cancel = cancel or CancelToken()
    chosen = evenly(cases, how.at_most)
    copies = how.clicks * (1 + how.varied)
    parts = CropPlan.parts if how.at_most is None else max(1, how.at_most // max(1, len(chosen) * copies))
    plan = CropPlan(model.crop_size, model.spacing, how.clicks, parts, seed=how.seed)
    samples: list[Sample3D] = []
    for target in crops_of(chosen, plan, lambda fraction, message: progress(fraction, message, {}), cancel):
        for shown in (target, *_varied(target, how)):
            cancel.check()
            key = _key(model, shown)
            late = how.until is not None and time.monotonic() > how.until
            if key not in store and late and samples:
                continue
            _ensure(model, shown, key, store, cancel)
            names = (target.structure, target.case, target.patient, target.dataset)
            samples.append(Sample3D(key, shown.click, *names))
    return evenly(samples, how.at_most)


def load_samples(model: SamMed3DModel, store: EmbeddingStore, samples: Sequence[Sample3D]) -> tuple[Tensor, Batch3D]:
    """Embeddings ``[B, C, G, G, G]`` in float32 on the model's device, and what is asked there; without the pixels.

    Raises:
        TrainingError: an embedding was removed.
    """
    images, targets = [], []
    size = model.crop_size
    for sample in samples:
        found = store.get(sample.key)
        if found is None:
            raise TrainingError(
                f"An embedding of {sample.case} has gone from {store.folder}. Start again: what is missing is encoded, "
                "and teaching goes on where it was."
            )
        images.append(found["image"])
        mask = np.unpackbits(found["target"].numpy(), count=size**3).reshape(size, size, size)
        names = (sample.structure, sample.case, sample.patient, sample.dataset)
        targets.append(Target3D(_NO_PIXELS, mask, sample.click, *names))
    return torch.cat(images).to(model.device, torch.float32), Batch3D.of(targets, model.mask_grid)


def _key(model: SamMed3DModel, target: Target3D) -> str:
    return content_key(model.encoder_id, "target", target.pixels.tobytes(), np.packbits(target.mask).tobytes())


def _ensure(model: SamMed3DModel, target: Target3D, key: str, store: EmbeddingStore, cancel: CancelToken) -> None:
    if key in store:
        return
    crop = Crop(target.pixels.astype(np.float32), np.eye(4), key)
    image = model.encode(crop, cancel)["image"]
    packed = torch.from_numpy(np.packbits(target.mask))
    store.put(key, {"image": image.detach().to("cpu", torch.float16).contiguous(), "target": packed})


def _varied(target: Target3D, how: Collecting3D) -> Iterator[Target3D]:
    """Copies that are the same whatever other cases there are, so that their embeddings are found again."""
    for copy in range(how.varied):
        yield varied(target, np.random.default_rng((how.seed, copy, zlib.crc32(target.pixels.tobytes()))))
