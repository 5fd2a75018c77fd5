"""What a click model starts from: the mask of a lesion, or its cross-section where the model sees slices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..core.errors import PromptError
from ..core.geometry import Plane, union_extent
from ..core.prompts import MaskPrompt, Prompt
from ..core.results import MaskPatch
from ..core.volume import Volume
from ..session.refine import start_prompt
from .scene_session import SceneSession
from .views import slice_in_view


def lesion_start(session: SceneSession, lesion: MaskPatch, segment: str) -> tuple[MaskPrompt, MaskPatch]:
    """A lesion as the first guess of a segment, and the voxels that answers to it replace.

    A model of slices gets the cross-section on the slice in view alone. Asked about all slices of a lesion, it would
    draw those anew on which nobody clicked: 2 mL in a liver became 17 mL.

    Raises:
        PromptError: the slice in view does not show the lesion.
    """
    volume = session.volume
    if session.extent == "volume" or min(volume.size) == 1:
        return start_prompt(volume, lesion, segment), lesion
    seen = slice_in_view(session.scene, volume)
    cut = MaskPatch() if seen is None else _cross_section(lesion, *_slice(volume, *seen))
    if seen is None or cut.count == 0:
        raise PromptError(
            "The slice in view does not show the lesion. Scroll to a slice of it, and press Refine again."
        )
    return replace(start_prompt(volume, cut, segment), plane=seen[1]), cut


def is_started(session: SceneSession, prompts: tuple[Prompt, ...]) -> bool:
    """Whether a segment has prompts that clicks can go on from: any, or any on the slice in view."""
    volume, seen = session.volume, slice_in_view(session.scene, session.volume)
    if not prompts or session.extent == "volume" or min(volume.size) == 1 or seen is None:
        return bool(prompts)
    axis, index = _slice(volume, *seen)
    places = [
        prompt.ijk_to_ras[:3, 3] if isinstance(prompt, MaskPrompt) and prompt.ijk_to_ras is not None else point
        for prompt in prompts
        for point in (prompt.ras_points or ((0.0, 0.0, 0.0),))[:1]
    ]
    return any(round(float(volume.ras_to_ijk(place)[axis])) == index for place in places)


def united(first: MaskPatch, second: MaskPatch) -> MaskPatch:
    """The voxels of both."""
    both = union_extent(first.extent, second.extent)
    return MaskPatch(both, first.within(both) | second.within(both))


def _slice(volume: Volume, ras: tuple[float, float, float], plane: Plane) -> tuple[int, int]:
    axis = volume.axis_of(plane)
    return axis, round(float(volume.ras_to_ijk(ras)[axis]))


def _cross_section(patch: MaskPatch, axis: int, index: int) -> MaskPatch:
    low, high = patch.extent[2 * axis], patch.extent[2 * axis + 1]
    if not low <= index <= high:
        return MaskPatch()
    i0, i1, j0, j1, k0, k1 = (index if place // 2 == axis else bound for place, bound in enumerate(patch.extent))
    return MaskPatch((i0, i1, j0, j1, k0, k1), np.take(patch.voxels, [index - low], axis=2 - axis))
