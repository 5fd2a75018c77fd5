"""The work behind the page: one image, its segmentation, and the workbench that the panel in Slicer has too."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import MoESegError
from ..core.geometry import PLANES, Plane, SliceView, is_empty, union_extent
from ..core.results import MaskPatch
from ..core.volume import Volume
from ..mrml.answers import Answer, Update
from ..mrml.headless import HeadlessScene
from ..mrml.model_library import ModelLibrary
from ..mrml.prompt_nodes import remove_segmentation
from ..mrml.segmentation_files import load_segmentation, save_segmentation
from ..mrml.segmentations import create_segmentation, segment_ids, segment_of, segment_patch, voxels_changed
from ..mrml.workbench import Workbench
from .pictures import LayerPicture, Scale, cut, slice_bytes
from .prompt_log import PromptLog

ADDED_COLOR, REMOVED_COLOR, CONFIDENCE_COLOR = (0.0, 0.75, 0.95), (1.0, 0.2, 1.0), (1.0, 0.6, 0.0)


class Case:
    """An opened image with a scene of its own; belongs to the main thread.

    Attributes:
        views: how each view shows its slices.
        number: tells images apart, so that the page does not mix their slices.
        revision: counts the changes of what the slices show.
        show_changes, show_confidence: overlays the user switched on.
        source: the file or folder that the image was read from, None where there is none any more.
        log: of what is done to the segments.
    """

    def __init__(
        self,
        volume: Volume,
        models: ModelLibrary,
        model: str | None = None,
        source: Path | None = None,
        log: Sequence[str] = (),
    ) -> None:
        self.number = secrets.token_hex(8)  # no page mistakes it for one of a server that ran before
        self.revision = 1
        self.volume = volume
        self.source = source
        self.scale = Scale.of(volume)
        self.show_changes = False
        self.show_confidence = False
        self.views: dict[Plane, SliceView] = {plane: volume.view(volume.axis_of(plane)) for plane in PLANES}
        self.indices: dict[Plane, int] = {plane: view.count // 2 for plane, view in self.views.items()}
        self._headless = HeadlessScene()
        self._patches: dict[str, tuple[int, MaskPatch, float]] = {}
        self._difference: tuple[Answer | None, MaskPatch, MaskPatch] = (None, MaskPatch(), MaskPatch())
        self.node = self._headless.add_volume(volume)
        self.workbench = Workbench(self._headless.scene, models=models)
        for plane, index in self.indices.items():
            self._headless.look(volume, plane, index)
        self.point_at(volume.plane_of(volume.acquisition_axis))
        self.workbench.select(volume=self.node, model=model)
        self.log = PromptLog(self, log)

    # Looking -----------------------------------------------------------------------------------------------------

    @property
    def segmentation(self) -> Any:
        """The segmentation node."""
        return self.workbench.parameters.segmentation

    def look(self, plane: Plane, index: int) -> None:
        """The page shows another slice in a view."""
        self.indices[plane] = min(max(index, 0), self.views[plane].count - 1)
        self._headless.look(self.volume, plane, self.indices[plane])

    def point_at(self, plane: Plane) -> None:
        """The mouse is over a view: phrases speak of its slice, and it is encoded ahead."""
        self._headless.point_at(plane)

    def slice(self, plane: Plane, index: int) -> bytes:
        """See :func:`~MoESegLib.web.pictures.slice_bytes`."""
        return slice_bytes(self.volume, self.views[plane], index, self.scale)

    def patch(self, segment_id: str) -> MaskPatch:
        """The voxels of a segment; read again only after they changed."""
        stamp = voxels_changed(self.segmentation, segment_id)
        known = self._patches.get(segment_id)
        if known is None or known[0] != stamp:
            patch = segment_patch(self.segmentation, segment_id)
            known = self._patches[segment_id] = stamp, patch, patch.count * self.volume.voxel_volume / 1000
        return known[1]

    def milliliters(self, segment_id: str) -> float:
        """How large a segment is."""
        self.patch(segment_id)
        return self._patches[segment_id][2]

    def is_visible(self, segment_id: str) -> bool:
        """Whether a segment is drawn."""
        return bool(self.segmentation.GetDisplayNode().GetSegmentVisibility(segment_id))

    def layers(self, plane: Plane, index: int) -> list[LayerPicture]:
        """Everything that lies over one slice, in drawing order."""
        view = self.views[plane]
        selected = self.workbench.parameters.segment
        found = []

        def add(kind: str, segment_id: str, color: Any, extent: Any, voxels: Any) -> None:
            piece = cut(view, extent, voxels, index)
            if piece is not None:
                found.append(LayerPicture(kind, segment_id, color, segment_id == selected, *piece))

        for segment_id in segment_ids(self.segmentation):
            if self.is_visible(segment_id):
                patch = self.patch(segment_id)
                color = tuple(segment_of(self.segmentation, segment_id).GetColor())
                add("segment", segment_id, color, patch.extent, patch.voxels)
        answer = self.workbench.answers.get(selected)
        if answer is not None and self.show_changes:
            added, removed = self.difference(answer)
            add("added", selected, ADDED_COLOR, added.extent, added.voxels)
            add("removed", selected, REMOVED_COLOR, removed.extent, removed.voxels)
        probability = answer.result.prediction.probability if answer is not None else None
        if probability is not None and self.show_confidence:
            add("confidence", selected, CONFIDENCE_COLOR, probability.extent, probability.percent)
        return found

    def difference(self, answer: Answer) -> tuple[MaskPatch, MaskPatch]:
        """What the last answer added and removed."""
        if self._difference[0] is not answer:
            before, after = answer.before, answer.result.prediction.patch
            both = union_extent(before.extent, after.extent)
            added = removed = MaskPatch()
            if not is_empty(both):
                was, now = before.within(both), after.within(both)
                added = MaskPatch(both, (now > was).astype(np.uint8))
                removed = MaskPatch(both, (was > now).astype(np.uint8))
            self._difference = answer, added, removed
        return self._difference[1], self._difference[2]

    def start_over(self) -> None:
        """Remove all segments, prompts and undo steps, as if the image had just been opened; the model stays."""
        scene, old = self._headless.scene, self.segmentation
        self.workbench.select(segmentation=create_segmentation(scene, self.node))
        self.workbench.select_segment("")
        self.workbench.overwrite_mode = "visible"
        remove_segmentation(scene, old)
        self.show_changes = self.show_confidence = False
        self._patches.clear()
        self._difference = (None, MaskPatch(), MaskPatch())
        self.log = PromptLog(self)
        self.changed()

    # Files -------------------------------------------------------------------------------------------------------

    def save(self, path: Path) -> list[str]:
        """Write all segments; returns warnings. See :func:`~MoESegLib.mrml.segmentation_files.save_segmentation`."""
        return save_segmentation(self.segmentation, self.volume, path)

    def open_segmentation(self, path: Path) -> None:
        """Go on with the segments of a file; those there are now are left.

        Raises:
            VolumeError, GeometryError: see :func:`~MoESegLib.mrml.segmentation_files.load_segmentation`.
        """
        loaded = load_segmentation(self._headless.scene, self.node, path)
        self._patches.clear()
        self.workbench.select(segmentation=loaded)
        ids = segment_ids(loaded)
        self.workbench.select_segment(ids[0] if ids else "")
        self.changed()

    def changed(self) -> None:
        """Slices look different from now on."""
        self.revision += 1

    def close(self) -> None:
        """Stop all work and forget the image."""
        self.workbench.close()
        self._headless.close()


class Desk:
    """What one server works on.

    Args:
        models: the model library, shared by all images that are opened one after the other.
        model: to begin with; None for the panel's default.
    """

    def __init__(self, models: ModelLibrary | None = None, model: str | None = None) -> None:
        self.models = models if models is not None else ModelLibrary()
        self.model = model
        self.case: Case | None = None

    def ready(self) -> Case:
        """The opened image.

        Raises:
            MoESegError: there is none.
        """
        if self.case is None:
            raise MoESegError("Open an image first.")
        return self.case

    def show(self, volume: Volume, source: Path | None = None, log: Sequence[str] = ()) -> Case:
        """Work on an image from now on; the one before is closed.

        Args:
            source: where the image was read from.
            log: lines of the prompt log of a work that is gone on with.
        """
        if self.case is not None:
            self.model = self.case.workbench.parameters.model
            self.case.close()
        self.case = Case(volume, self.models, self.model, source, log)
        return self.case

    def pump(self) -> Update:
        """Take what finished; call it often."""
        if self.case is None:
            return Update(messages=self.models.pump())
        update = self.case.workbench.pump()
        if update.answers and self.case.workbench.parameters.lesions:
            self.case.workbench.select_segment(next(reversed(update.answers)))  # the lesion that was clicked
        if update.answers or update.prompts_changed:
            self.case.changed()
            self.case.log.look(update.answers)
        return update

    def close(self) -> None:
        """Stop all work."""
        if self.case is not None:
            self.case.close()
        self.case = None
