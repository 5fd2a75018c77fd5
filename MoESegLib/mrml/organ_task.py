"""Organs for a search by TotalSegmentator, run in the background; the scene gets them as a segmentation."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import slicer

from ..core.anatomy_files import read_anatomy
from ..core.errors import MoESegError, PromptError
from ..core.geometry import Extent
from ..core.prompts import MaskPrompt
from ..core.results import MaskPatch
from ..core.structures import find_structure
from ..session.background import BackgroundTask
from ..session.worker import Worker
from .terminology import set_structure
from .writer import oriented_image

if TYPE_CHECKING:
    from ..core.volume import Volume
    from .workbench import Workbench


class OrganTask:
    """Runs TotalSegmentator on the chosen image and chooses its result as the anatomy of the next search.

    Args:
        workbench: chooses the image.
    """

    def __init__(self, workbench: Workbench) -> None:
        self._workbench = workbench
        self._worker: Worker | None = None
        self._task: tuple[Any, BackgroundTask[list[MaskPrompt]]] | None = None

    @property
    def progress(self) -> tuple[float, str] | None:
        """Finished fraction and message, or None."""
        return None if self._task is None else self._task[1].progress

    def why_not(self) -> str:
        """Why it cannot be run on the chosen image, or an empty text."""
        session = self._workbench.session
        if self._task is not None:
            return "TotalSegmentator runs."
        if session is None:
            return self._workbench.why_not()
        try:
            _task_for(session.volume)
        except PromptError as error:
            return str(error)
        return ""

    def consent(self) -> str:
        """What the user must agree to; "" if the organs of this image are known from an earlier run.

        Raises:
            MoESegError: no session yet, or it cannot be run on the image.
        """
        from ..engines.totalsegmentator import CONSENT, kept_path

        volume = self._workbench.ready().volume
        _task_for(volume)
        return "" if kept_path(volume).exists() else CONSENT

    def start(self, program: Sequence[str] = ()) -> None:
        """Begin, after the user agreed to :meth:`consent`.

        Args:
            program: how the command line begins; by default the TotalSegmentator that the shell would find.

        Raises:
            MoESegError: no session yet, it cannot be run on the image, or runs already.
        """
        from ..engines.totalsegmentator import segment_organs

        session = self._workbench.ready()
        reason = self.why_not()
        if reason:
            raise PromptError(reason)
        # The node's voxels may change meanwhile.
        volume = dataclasses.replace(session.volume, array=session.volume.array.copy())
        task = _task_for(volume)
        self._worker = self._worker or Worker()
        self._task = (
            session.volume_node,
            BackgroundTask(
                self._worker,
                "TotalSegmentator",
                lambda report, cancel: read_anatomy(segment_organs(volume, report, cancel, program), task=task),
            ),
        )

    def cancel(self) -> None:
        """End the program; nothing is kept."""
        if self._task is not None:
            self._task[1].cancel()

    def pump(self) -> list[str]:
        """Put what was found into the scene; returns messages for the user."""
        if self._task is None or not self._task[1].done:
            return []
        (node, task), self._task = self._task, None
        try:
            prompts = task.result()
        except MoESegError as error:
            return [str(error)]
        if node.GetScene() is None:
            return []
        segmentation = organ_segmentation(self._workbench.scene, f"{node.GetName()} organs", prompts)
        if self._workbench.parameters.volume is node:
            self._workbench.parameters.anatomy = segmentation
        return [
            f"TotalSegmentator found {len(prompts)} structures; they are in {segmentation.GetName()}, which is hidden."
        ]


def organ_segmentation(scene: Any, name: str, organs: Sequence[MaskPrompt]) -> Any:
    """A new segmentation with these organs, named and coded; hidden, so that it does not cover the image."""
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    segmentation.CreateDefaultDisplayNodes()
    if segmentation.GetDisplayNode() is not None:
        segmentation.GetDisplayNode().SetVisibility(False)
    for organ in organs:
        # Not an empty segment to fill: that would share its layer, and a label value, with those before.
        segment = slicer.vtkSegment()
        segment.SetName(organ.structure)
        structure = find_structure(organ.structure)
        if structure is not None:
            set_structure(segment, structure)
        k, j, i = organ.mask.shape
        extent: Extent = (0, i - 1, 0, j - 1, 0, k - 1)
        if organ.ijk_to_ras is not None:
            image = oriented_image(MaskPatch(extent, organ.mask), organ.ijk_to_ras)
            segment.AddRepresentation("Binary labelmap", image)
        segmentation.GetSegmentation().AddSegment(segment)
    return segmentation


def _task_for(volume: Volume) -> Any:
    from ..engines.totalsegmentator import task_for

    try:
        return task_for(volume)
    except PromptError as error:
        raise PromptError("TotalSegmentator segments volumes of CT and MR, and this image is none.") from error
