"""The lesions of a segmentation, numbered and measured; a found one becomes a segment that clicks correct."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..core.errors import MoESegError, PromptError
from ..core.lesions import certainty, split_lesions
from ..core.measure import LesionMeasures, measure
from ..core.results import MaskPatch, ProbabilityMap
from ..core.terminology import TERMINOLOGY_TAG
from .edits import Edit
from .lesion_start import is_started, lesion_start, united
from .scene_session import LESIONS, SceneSession
from .segmentations import (
    add_segment,
    check_unlocked,
    get_tag,
    segment_ids,
    segment_of,
    segment_patch,
    set_tags,
    voxels_changed,
)
from .views import jump_to

if TYPE_CHECKING:
    from .workbench import Workbench

FINDER = "mast-pro"
"""The engine whose answers hold several lesions in one segment."""
REFINERS = ("sam-med3d", "segmote-lite")
"""Models that correct a lesion with clicks, starting from its mask: the first for volumes, the other for slices."""

_PARTS = "Parts"
"""Tag of a segment whose parts are listed one by one."""
_CERTAINTY = "Certainty"
"""Tag of a lesion that was found and got a segment of its own, in percent."""


@dataclass(frozen=True, eq=False)
class Lesion:
    """One row of the table.

    Attributes:
        segment: ID of the segment it lies in.
        name: of its segment; of a part the number that its own segment would get.
        measures: volume and diameters.
        part: its voxels, where its segment holds several lesions; else None.
        certainty: how sure the search was of it, in percent (:func:`~MoESegLib.core.lesions.certainty`); None where it
            was not searched for, or not since the scene was opened.
    """

    segment: str
    name: str
    measures: LesionMeasures
    part: MaskPatch | None = None
    certainty: int | None = None


class LesionList:
    """What can be done with the lesions of the chosen segmentation; every change is one step that undo takes back.

    Args:
        workbench: chooses volume, segmentation and model.
    """

    def __init__(self, workbench: Workbench) -> None:
        self._workbench = workbench
        self._known: dict[tuple[str, str], tuple[object, list[tuple[LesionMeasures, MaskPatch | None]]]] = {}
        # By segmentation, segment and grid: answers go when another model is chosen, to refine.
        self._sure: dict[tuple[str, str, bytes], ProbabilityMap] = {}
        self._waiting: tuple[Lesion, str] | None = None
        self._started = ""

    # Looking -----------------------------------------------------------------------------------------------------

    def lesions(self) -> list[Lesion]:
        """Every segment with voxels, in the order of the segments; those that were found together one by one.

        The parts of a segment are numbered by size. Numbers that other segments have are left out, so that a lesion
        keeps its number when another one got a segment of its own.
        """
        segmentation, session = self._workbench.parameters.segmentation, self._workbench.session
        if session is None or self._workbench.parameters.volume is None:
            return []
        names = {segment_of(segmentation, key).GetName() for key in segment_ids(segmentation)}
        rows: list[Lesion] = []
        for segment_id in segment_ids(segmentation):
            name = str(segment_of(segmentation, segment_id).GetName())
            number = 0
            for measures, part in self._measured(segmentation, segment_id, session):
                shown = name
                if part is not None:
                    number += 1
                    while (shown := f"{name} {number}") in names:
                        number += 1
                sure = self._certainty(segmentation, segment_id, part, session)
                rows.append(Lesion(segment_id, shown, measures, part, sure))
        return _in_order(rows)

    def lists_parts(self, segment_id: str) -> bool:
        """Whether the separate parts of a segment are lesions of their own: those of a search are, others as chosen.

        Raises:
            PromptError: there is no such segment.
        """
        segment = segment_of(self._workbench.parameters.segmentation, segment_id)
        return self.is_found(segment_id) or get_tag(segment, f"MoESeg.{_PARTS}") != ""

    def is_found(self, segment_id: str) -> bool:
        """Whether a segment is what a search found.

        Raises:
            PromptError: there is no such segment.
        """
        segment = segment_of(self._workbench.parameters.segmentation, segment_id)
        return get_tag(segment, "MoESeg.Model") == FINDER

    def list_parts(self, segment_id: str, on: bool) -> None:
        """List the parts of a segment one by one, or the segment as one lesion; kept with the segmentation.

        Raises:
            PromptError: there is no such segment.
        """
        set_tags(segment_of(self._workbench.parameters.segmentation, segment_id), **{_PARTS: "yes" if on else ""})

    def refiner(self) -> str:
        """The model that suits the image, of those that are on this computer."""
        session = self._workbench.session
        is_flat = session is not None and min(session.volume.size) < 2
        names = REFINERS[1:] if is_flat else REFINERS
        here = (name for name in names if self._workbench.models.state(name) == "installed")
        return next(here, names[0])

    def jump_to(self, lesion: Lesion) -> None:
        """Show the middle of a lesion in the slice views."""
        if lesion.measures.center_ras is not None:
            jump_to(self._workbench.scene, lesion.measures.center_ras)

    def _measured(
        self, segmentation: Any, segment_id: str, session: SceneSession
    ) -> list[tuple[LesionMeasures, MaskPatch | None]]:
        """Measures and parts of a segment. One that did not change is not measured again: two million voxels take
        0.1 s."""
        has_parts = self.lists_parts(segment_id)
        grid = session.volume.ijk_to_ras
        state = voxels_changed(segmentation, segment_id), has_parts, grid.tobytes()
        key = (segmentation.GetID(), segment_id)
        if key not in self._known or self._known[key][0] != state:
            patch = segment_patch(segmentation, segment_id)
            parts = split_lesions(patch, session.volume.voxel_volume, 0) if has_parts else [None] * (patch.count > 0)
            measured = [(measure(patch if part is None else part, grid), part) for part in parts]
            self._known[key] = state, measured
        return self._known[key][1]

    def _certainty(
        self, segmentation: Any, segment_id: str, part: MaskPatch | None, session: SceneSession
    ) -> int | None:
        """Percent: from the answer that found a part, or the tag of a lesion that was one; None without either."""
        if part is None:
            said = get_tag(segment_of(segmentation, segment_id), f"MoESeg.{_CERTAINTY}")
            return int(said) if said.isdecimal() else None
        if not self.is_found(segment_id):
            return None
        key = segmentation.GetID(), segment_id, session.volume.ijk_to_ras.tobytes()
        result = self._workbench.result(segment_id)
        if result is not None and result.prediction.probability is not None:
            self._sure[key] = result.prediction.probability
        return certainty(part, self._sure[key]) if key in self._sure else None

    # Changing ----------------------------------------------------------------------------------------------------

    def separate(self, lesions: Sequence[Lesion]) -> None:
        """Give lesions that share a segment one of their own each, with its name and codes.

        Raises:
            MoESegError: no session yet, or a prediction runs.
            LockedError: their segment is finished.
        """
        self._save_state(lesions)
        for lesion in lesions:
            self._moved(lesion)

    def remove(self, lesion: Lesion) -> None:
        """Erase a lesion that is none. The search is not repeated.

        Raises:
            MoESegError, LockedError: as :meth:`separate`.
        """
        self._save_state([lesion])
        self._workbench.writer.write(lesion.segment, self._patch(lesion), MaskPatch())

    def refine(self, lesion: Lesion, model: str) -> None:
        """Correct a lesion with the clicks of another model, which starts from its mask, in a segment of its own.

        The model is chosen at once; the step is made by :meth:`pump` when it is loaded. Voxels do not change before the
        first click.

        Args:
            model: one of :data:`REFINERS`.

        Raises:
            MoESegError: a prediction runs.
            LockedError: the segment of the lesion is finished.
        """
        self._check_free([lesion])
        self._waiting = lesion, model
        is_3d = self._workbench.models.card(model).dimension == "3d"
        self._workbench.select(model=model, extent="volume" if is_3d else "slice")

    def pump(self) -> list[str]:
        """Begin what waited for its model; returns messages for the user."""
        if self._waiting is None:
            return []
        (lesion, model), session = self._waiting, self._workbench.session
        is_loading = self._workbench.models.progress is not None
        if self._workbench.parameters.model == model and session is None and is_loading:
            return []
        self._waiting = None
        if self._workbench.parameters.model != model:
            return []
        try:
            self._begin(self._workbench.ready(), lesion)
        except MoESegError as error:
            return [str(error)]
        return []

    def take_started(self) -> bool:
        """Whether a refinement has begun since the last call, so that clicks can be placed."""
        started, self._started = self._started, ""
        return started != ""

    def close(self) -> None:
        """Forget what was measured and what waits."""
        self._known.clear()
        self._sure.clear()
        self._waiting = None

    def _begin(self, session: SceneSession, lesion: Lesion) -> None:
        if lesion.part is not None:
            prompt, drawing = lesion_start(session, lesion.part, LESIONS)
            session.edit(Edit(LESIONS, (prompt,), drawing=drawing, prepare=lambda: self._start(lesion), waits=True))
            return
        before = session.prompts(lesion.segment)
        if not is_started(session, before):
            prompt, drawing = lesion_start(session, self._patch(lesion), lesion.segment)
            answer = self._workbench.result(lesion.segment)
            if before and answer is not None:  # of other slices
                drawing = united(answer.prediction.patch, drawing)
            expert = session.expert_of(lesion.segment)
            session.edit(Edit(lesion.segment, (*before, prompt), expert, drawing, waits=True))
        self._start(lesion)

    def _start(self, lesion: Lesion) -> str:
        """Select the lesion's own segment, which clicks can correct from now on."""
        self._started = self._moved(lesion)
        return self._started

    def _moved(self, lesion: Lesion) -> str:
        """Move a part into a new segment, by the rules of the one writer, and select it; returns its ID."""
        segmentation, writer = self._workbench.parameters.segmentation, self._workbench.writer
        if lesion.part is None:
            self._workbench.select_segment(lesion.segment)
            return lesion.segment
        entry = get_tag(segment_of(segmentation, lesion.segment), TERMINOLOGY_TAG)
        writer.write(lesion.segment, lesion.part, MaskPatch())
        segment_id = add_segment(segmentation, lesion.name)
        if entry:
            segment_of(segmentation, segment_id).SetTag(TERMINOLOGY_TAG, entry)
        if lesion.certainty is not None:
            set_tags(segment_of(segmentation, segment_id), **{_CERTAINTY: str(lesion.certainty)})
        writer.write(segment_id, MaskPatch(), lesion.part)
        self._workbench.select_segment(segment_id)
        return segment_id

    def _patch(self, lesion: Lesion) -> MaskPatch:
        if lesion.part is not None:
            return lesion.part
        return segment_patch(self._workbench.parameters.segmentation, lesion.segment)

    def _save_state(self, lesions: Sequence[Lesion]) -> None:
        self._workbench.ready()
        self._check_free(lesions)
        self._workbench.writer.save_state()

    def _check_free(self, lesions: Sequence[Lesion]) -> None:
        session = self._workbench.session
        if session is not None and session.is_running:
            raise PromptError("A prediction runs. Wait for its answer, or cancel it.")
        for lesion in lesions:
            check_unlocked(self._workbench.parameters.segmentation, lesion.segment)


def _in_order(lesions: Sequence[Lesion]) -> list[Lesion]:
    """Lesions of one name by their number, wherever their segments are; otherwise as they come."""
    split = [re.fullmatch(r"(.*) (\d+)", lesion.name) for lesion in lesions]
    bases = [lesion.name if found is None else found[1] for lesion, found in zip(lesions, split, strict=True)]
    keys = [(bases.index(base), int(found[2]) if found else 0) for base, found in zip(bases, split, strict=True)]
    return [lesions[index] for index in sorted(range(len(lesions)), key=keys.__getitem__)]
