"""Fits what images of the taught sort look like, and how far from them an image may be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..models.segmote.scope import AXES, Familiarity

_KEPT = 0.98
_SLACK = 1.3
"""The limit is so many times the distance that this share of the images keeps when their own patients are left out.
Without slack one expert missed 17 % of its held-out patients, with 1.6 another claimed 25 % of the blood cells."""
_FOLDS = 4


def fit_familiarity(images: Tensor, patients: Sequence[str]) -> Familiarity:
    """Principal axes of the taught images, and a limit from distances to the images of other patients.

    Args:
        images: features ``[N, W]``, one row an image.
        patients: of each. The images of a patient who has more than a quarter of all stand for themselves: without
            them there would be too few left to tell what is typical.
    """
    many = {patient for patient, count in Counter(patients).items() if _FOLDS * count > len(patients)}
    groups = [f"{patient} {number}" if patient in many else patient for number, patient in enumerate(patients)]
    names = sorted(set(groups))
    distances = np.zeros(len(images))
    for fold in range(min(_FOLDS, len(names))):
        mine = np.isin(groups, names[fold::_FOLDS])
        if mine.all():
            continue
        kept, left_out = torch.from_numpy(~mine), torch.from_numpy(mine)
        distances[mine] = _axes_of(images[kept]).distance(images[left_out]).numpy()
    found = _axes_of(images)
    found.limit.copy_(torch.tensor([_SLACK * float(np.quantile(distances, _KEPT))]).half())
    return found


def _axes_of(images: Tensor) -> Familiarity:
    """Mean and axes, as the file of the pack holds them."""
    found = Familiarity(images.shape[1])
    found.mean.copy_(images.mean(dim=0).half())
    found.scale.copy_((images.std(dim=0, correction=0) + 1e-3).half())
    standard = ((images - found.mean) / found.scale).double()
    _, size, axes = torch.linalg.svd(standard, full_matrices=False)
    count = min(AXES, len(axes))
    found.axes[:count] = axes[:count].half().float()
    found.variance[:count] = (size[:count] ** 2 / len(images)).half().float()
    return found
