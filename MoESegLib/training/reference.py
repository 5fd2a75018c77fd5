"""Prompts on many kinds of images as features, by which a new expert learns what it does not know.

``Resources/Gate/reference.safetensors`` holds half-precision features of prompts on the training images of public data
sets; :func:`make_reference` made it (``python -m MoESegLib.training.reference DATA OUT``).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.errors import WeightsError
from ..core.files import atomic_path
from ..resources import resource_path

_TABLE = "prompts"
PER_DATASET = 40
"""Samples of each data set, each as a box, a click and the image alone: 1.6 MB for 13 sets."""


@dataclass(frozen=True, eq=False)
class ReferencePrompts:
    """Features of prompts.

    Attributes:
        features: float32 ``[N, F]``.
        datasets, structures: of each.
    """

    features: NDArray[np.float32]
    datasets: tuple[str, ...]
    structures: tuple[str, ...]

    def without(self, datasets: Collection[str], structures: Collection[str]) -> NDArray[np.float32]:
        """Features of the others ``[M, F]``."""
        keep = [
            dataset not in datasets and structure not in structures
            for dataset, structure in zip(self.datasets, self.structures, strict=True)
        ]
        return self.features[np.array(keep, bool)]


def none_known(width: int) -> ReferencePrompts:
    """No prompts, for a base whose features are others."""
    return ReferencePrompts(np.zeros((0, width), np.float32), (), ())


def load_reference() -> ReferencePrompts:
    """The prompts that ship.

    Raises:
        WeightsError: the file is damaged.
    """
    from safetensors import SafetensorError, safe_open

    path = resource_path("Gate", "reference.safetensors")
    try:
        with safe_open(path, "np") as file:
            features, names = file.get_tensor("features"), json.loads(file.metadata()[_TABLE])
        return ReferencePrompts(features.astype(np.float32), tuple(names["datasets"]), tuple(names["structures"]))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path} is damaged ({error}); install MoESeg again.") from error


def make_reference(data: Path, datasets: Sequence[str], path: Path) -> ReferencePrompts:
    """Encode training images of a manifest and write features of prompts on them.

    Raises:
        MoESegError: as :func:`~.samples.collect_samples`.
    """
    from safetensors.numpy import save

    from ..weights.store import models_home
    from .case_files import find_cases
    from .embeddings import EmbeddingStore
    from .engine import teaching_engine
    from .samples import Collecting, collect_samples
    from .scope import prompts_at

    engine, store = teaching_engine(), EmbeddingStore(models_home() / "teaching" / "embeddings")
    rows: list[NDArray[np.float16]] = []
    names: list[tuple[str, str]] = []
    for dataset in datasets:
        samples = collect_samples(engine, find_cases(data, [dataset]), store, Collecting(max_slices=8, max_objects=2))
        source = np.random.default_rng(0)
        for index in source.permutation(len(samples))[:PER_DATASET]:
            sample = samples[int(index)]
            for features in prompts_at(sample, store, source):
                rows.append(features.numpy().astype(np.float16))
                names.append((dataset, sample.structure))
    features = np.concatenate(rows)
    table = {"datasets": [name for name, _ in names], "structures": [name for _, name in names]}
    with atomic_path(path) as temporary:
        temporary.write_bytes(save({"features": features}, {_TABLE: json.dumps(table)}))
    return ReferencePrompts(features.astype(np.float32), tuple(table["datasets"]), tuple(table["structures"]))


if __name__ == "__main__":
    made = make_reference(Path(sys.argv[1]), sys.argv[2].split(","), Path(sys.argv[3]))
    print(f"{len(made.features)} prompts with {made.features.shape[1]} features")
