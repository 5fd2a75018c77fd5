"""The story in which a lesion is found from a phrase and an organ, on a lesion that was drawn into the demo's CT."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from ..core.organs import organ_labels, organ_named
from ..core.results import MaskPatch
from ..core.volume import Volume
from .demo_labels import LIVER, demo_labels
from .desk import Case
from .stories import Step, Story

MODEL, PHRASE, ORGAN = "mast-pro", "liver tumor", "liver"
_NEAR_MM = (95.0, 165.0)
"""Where the lesion is to be, right and anterior; far from the border of the liver."""
_SEED = 4


def lesion_story(volume: Volume, index: int) -> Story:
    """The story.

    Args:
        volume: the demo's CT.
        index: slice that holds the lesion and is shown.
    """

    def draw_organ(case: Case) -> None:
        bench = case.workbench
        segment_id = bench.add_segment(ORGAN)
        bench.writer.write(segment_id, MaskPatch(), MaskPatch.of((demo_labels(volume) == LIVER).astype(np.uint8)))
        organ = organ_named(ORGAN)
        assert organ is not None
        bench.parameters.organ_segment, bench.parameters.organ = segment_id, organ.name
        case.changed()

    def search(case: Case) -> None:
        case.workbench.search.find(PHRASE)

    steps = (
        Step("A program drew a dark lesion into the liver of this CT, so that there is one to find."),
        Step("The model is told where the organ is: the liver, outlined by TotalSegmentator.", act=draw_organ),
        Step(f"Say what to look for: “{PHRASE}”. MAST-Pro looks for it inside the organ.", act=search, target="phrase"),
        Step("What it found is a proposal. Look at it, correct it with clicks, then accept it.", read=6.0),
    )
    note = "A drawn lesion and a small demonstration network: this shows how, not how well."
    return Story("lesion", "A lesion by text and organ", MODEL, index, steps, note, lambda: with_lesion(volume, index))


def with_lesion(volume: Volume, index: int) -> Volume:
    """The demo's CT with a lesion in its liver, on an axial slice; always the same one."""
    from ..training.tumor_kinds import TUMORS
    from ..training.tumor_synthesis import OrganBody, with_lesions

    labels = demo_labels(volume)
    around = _around(labels == LIVER)
    organs = organ_labels(labels[around], "total")
    i, j, k = volume.spacing
    body = OrganBody(volume.array[around].astype(np.float32), organs, (k, j, i))
    kind = next(kind for kind in TUMORS if kind.name == "liver_tumor")
    place = volume.ras_to_ijk((*_NEAR_MM, volume.to_ras((0, 0, index))[2]))[::-1]
    near = [value - part.start for value, part in zip(place, around, strict=True)]
    made = with_lesions(body, [kind], np.random.default_rng(_SEED), near=near, counts=[1])
    voxels = volume.array.copy()
    voxels[around] = np.rint(made.image)
    return dataclasses.replace(volume, array=voxels, name=f"{volume.name} with a drawn lesion")


def _around(mask: NDArray[np.bool_]) -> tuple[slice, slice, slice]:
    """The part of an image that holds a mask; drawing in all of it took six times as long."""
    k, j, i = (slice(int(found.min()), int(found.max()) + 1) for found in np.nonzero(mask))
    return k, j, i
