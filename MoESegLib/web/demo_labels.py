"""The labels that come with the demo's CT: TotalSegmentator's output, not a radiologist's."""

from __future__ import annotations

import json

import numpy as np
from numpy.typing import NDArray

from ..core.resample import resample_nearest
from ..core.volume import Volume
from ..resources import resource_path

LIVER, STOMACH = 5, 6


def demo_labels(volume: Volume) -> NDArray[np.uint8]:
    """One number a structure on the voxels of the demo's CT, ``[k, j, i]``."""
    case = json.loads(resource_path("Demo", "demo.json").read_text(encoding="utf-8"))
    reference = Volume.read(resource_path("Demo", case["labels"]))
    return resample_nearest(reference.array, reference.ijk_to_ras, volume).astype(np.uint8)
