"""A proposal becomes the start of a click session: every lesion a segment that clicks correct."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.lesions import split_lesions
from ..core.prompts import MaskPrompt
from ..core.results import MaskPatch
from ..core.volume import Volume
from ..engines.protocol import Engine
from .session import Session


def start_prompt(volume: Volume, lesion: MaskPatch, segment: str) -> MaskPrompt:
    """A lesion as the first guess of its segment, as small as the lesion."""
    matrix = volume.ijk_to_ras.copy()
    matrix[:3, 3] = volume.to_ras(np.array(lesion.extent[::2]))
    return MaskPrompt(lesion.voxels, matrix, segment=segment)


def refine(
    volume: Volume,
    engine: Engine,
    proposal: MaskPatch | Sequence[MaskPatch],
    name: Callable[[int], str] = lambda number: f"Lesion_{number}",
    **options: Any,
) -> Session:
    """A session that starts from a proposal, one segment a lesion; clicks added to a segment correct that lesion.

    Args:
        engine: one that understands clicks and masks: segmote-lite, sam-med3d.
        proposal: a mask whose separate parts are lesions, or the lesions.
        name: ID of a segment from its number, 1 for the largest lesion.
        options: passed to :class:`~.session.Session`, whose extent is "volume" here.

    Raises:
        PromptError: the engine takes no masks.
        VolumeError: as :class:`~.session.Session`.
    """
    lesions = split_lesions(proposal, volume.voxel_volume, 0) if isinstance(proposal, MaskPatch) else proposal
    session = Session(volume, engine, **{"extent": "volume", **options})
    for number, lesion in enumerate(lesions, start=1):
        session.add(start_prompt(volume, lesion, name(number)))
    return session
