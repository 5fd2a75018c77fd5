"""THE writer: the only place where MoESeg changes voxels of the user's segments.

Everything goes through ``vtkSlicerSegmentEditorLogic``, as the brush does, so the Segment Editor's rules for masking,
overlap and intensity range hold, and prompts and brush strokes share one stack of undo states.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import vtk_to_numpy  # type: ignore[import-untyped]

from ..core.errors import LockedError, MoESegError
from ..core.geometry import extent_slices, is_empty, mask_extent, union_extent
from ..core.results import MaskPatch
from .segmentations import is_locked, locked_segments, segment_of, segment_patch
from .volumes import local_ijk_to_ras

UNDO_STATES = 30
"""Slicer keeps 5 by default. Unchanged label maps are shared between states: 30 states of a session that edits one
slice of a 512 x 512 x 200 volume need less memory than one full label map (52 MB)."""

_EDITOR_TAG, _READY = "MoESeg", "MoESeg.Ready"


class History(Protocol):
    """A stack of undo states. The writer has one of its own; the panel lends that of its embedded Segment Editor."""

    def attach(self, editor_node: Any, segmentation: Any, volume: Any) -> None:
        """Hold states of this segmentation from now on."""
        ...

    def save_state(self) -> None: ...

    def undo(self) -> None: ...

    def redo(self) -> None: ...

    @property
    def can_undo(self) -> bool: ...

    @property
    def can_redo(self) -> bool: ...


class LogicHistory:
    """The stack inside a ``vtkSlicerSegmentEditorLogic``."""

    def __init__(self, logic: Any) -> None:
        self._logic = logic

    def attach(self, editor_node: Any, segmentation: Any, volume: Any) -> None:
        self._logic.SetMaximumNumberOfUndoStates(UNDO_STATES + 1)  # the present one counts too

    def save_state(self) -> None:
        self._logic.SaveStateForUndo()

    def undo(self) -> None:
        self._logic.Undo()

    def redo(self) -> None:
        self._logic.Redo()

    @property
    def can_undo(self) -> bool:
        return bool(self._logic.CanUndo())

    @property
    def can_redo(self) -> bool:
        return bool(self._logic.CanRedo())


class SegmentWriter:
    """Writes differences between masks into segments, and moves along the undo stack.

    Args:
        scene: the MRML scene.
        history: the stack that brush strokes are on too; by default the one of the writer's own logic.

    Raises:
        MoESegError: this Slicer has no ``vtkSlicerSegmentEditorLogic``.
    """

    def __init__(self, scene: slicer.vtkMRMLScene, history: History | None = None) -> None:
        if not hasattr(slicer, "vtkSlicerSegmentEditorLogic"):
            raise MoESegError(
                "This version of Slicer cannot edit segments without the Segment Editor (it has no "
                "vtkSlicerSegmentEditorLogic). Update to Slicer 5.11 or later."
            )
        self.scene = scene
        self.logic: Any = slicer.vtkSlicerSegmentEditorLogic()
        self.logic.SetMRMLScene(scene)
        self.history: History = LogicHistory(self.logic) if history is None else history
        self.segmentation: Any = None
        self.volume: Any = None

    def attach(self, segmentation: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLVolumeNode) -> None:
        """Work on this segmentation from now on; a different one starts with an empty undo stack."""
        node = self.editor_node()
        self.logic.SetSegmentEditorNode(node)
        self.logic.SetSegmentationNode(segmentation)
        self.logic.SetSourceVolumeNode(volume)
        self.history.attach(node, segmentation, volume)
        if segmentation.GetSegmentation().GetSegment(node.GetMaskSegmentID() or "") is None:
            node.SetMaskSegmentID(None)
            if node.GetMaskMode() == slicer.vtkMRMLSegmentationNode.EditAllowedInsideSingleSegment:
                # That of another segmentation; edits inside it would silently change nothing here.
                node.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedEverywhere)
        self.segmentation, self.volume = segmentation, volume

    def detach(self) -> None:
        """Forget the segmentation, because it is gone or another one is used."""
        self.segmentation = self.volume = None

    def editor_node(self) -> slicer.vtkMRMLSegmentEditorNode:
        """The parameters of the panel's Segment Editor: masking, overwrite mode, intensity range.

        It is not the node of the Segment Editor module, as two editor widgets on one node would both paint;
        :meth:`copy_masking` keeps the settings of the two alike. Until the user says otherwise visible segments are
        overwritten, so that hidden ones are left alone.
        """
        node = self.scene.GetSingletonNode(_EDITOR_TAG, "vtkMRMLSegmentEditorNode")
        if node is None:
            node = slicer.vtkMRMLSegmentEditorNode()
            node.SetSingletonTag(_EDITOR_TAG)
            node = self.scene.AddNode(node)
        if node.GetAttribute(_READY) is None:  # new, or reset because the scene was closed
            node.SetOverwriteMode(node.OverwriteVisibleSegments)
            node.SetAttribute(_READY, "1")
        return node

    def copy_masking(self, to_segment_editor: bool = False) -> None:
        """Take over masking and overwrite mode from the Segment Editor module, or give it ours.

        Nothing happens where the user has not opened the Segment Editor yet.
        """
        theirs = self.scene.GetSingletonNode("SegmentEditor", "vtkMRMLSegmentEditorNode")
        if theirs is None:
            return
        ours = self.editor_node()
        source, target = (ours, theirs) if to_segment_editor else (theirs, ours)
        target.SetMaskMode(source.GetMaskMode())
        target.SetMaskSegmentID(source.GetMaskSegmentID())
        target.SetOverwriteMode(source.GetOverwriteMode())
        target.SetSourceVolumeIntensityMask(source.GetSourceVolumeIntensityMask())
        target.SetSourceVolumeIntensityMaskRange(*source.GetSourceVolumeIntensityMaskRange())

    # Undo --------------------------------------------------------------------------------------------------------

    def save_state(self) -> None:
        """Remember voxels, names and tags of all segments as they are now, as the step that undo returns to."""
        self.history.save_state()

    @property
    def can_undo(self) -> bool:
        return self.segmentation is not None and self.history.can_undo

    @property
    def can_redo(self) -> bool:
        return self.segmentation is not None and self.history.can_redo

    def undo(self) -> bool:
        """Back to the last saved state, whoever saved it; False when there is none."""
        if not self.can_undo:
            return False
        self.history.undo()
        return True

    def redo(self) -> bool:
        """Forward again; False when there is nothing to redo."""
        if not self.can_redo:
            return False
        self.history.redo()
        return True

    # Voxels ------------------------------------------------------------------------------------------------------

    def write(self, segment_id: str, before: MaskPatch, after: MaskPatch) -> tuple[int, int]:
        """Put the difference between two masks into a segment: what a prompt added and what it took away.

        Voxels that neither mask speaks of keep what the user painted. Finished segments keep every voxel in any
        overwrite mode. The state for undo is *not* saved here: a prompt saves it when it is placed.

        Returns:
            Voxels that were to be added and to be removed, after locked segments had their say.

        Raises:
            LockedError: the segment itself is finished.
            MoESegError: no segmentation is attached.
        """
        if self.segmentation is None or self.volume is None:
            raise MoESegError("There is no segmentation to write to; choose one in the panel.")
        segment = segment_of(self.segmentation, segment_id)
        if is_locked(segment):
            raise LockedError(
                f"The segment {segment.GetName()} is finished (status 'completed'). Set it back to 'in progress' to "
                "change it."
            )
        both = union_extent(before.extent, after.extent)
        if is_empty(both):
            return 0, 0
        if is_empty(before.extent):  # the first answer: nothing to compare
            added, removed = after, MaskPatch()
        else:
            was, now = before.within(both), after.within(both)
            added, removed = _patch_within(now > was, both), _patch_within(was > now, both)
        added = self._without_locked(segment_id, added)
        with self._nothing_given_to_locked():
            self._modify(segment_id, removed, self.logic.ModificationModeRemove)
        self._modify(segment_id, added, self.logic.ModificationModeAdd)
        return added.count, removed.count

    @contextmanager
    def _nothing_given_to_locked(self) -> Iterator[None]:
        """What is erased while edits are allowed inside one segment goes to that one, unless it is finished."""
        node, inside = self.editor_node(), slicer.vtkMRMLSegmentationNode.EditAllowedInsideSingleSegment
        area = self.segmentation.GetSegmentation().GetSegment(node.GetMaskSegmentID() or "")
        if node.GetMaskMode() != inside or area is None or not is_locked(area):
            yield
            return
        modifying = node.StartModify()
        node.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedEverywhere)
        try:
            yield
        finally:
            node.SetMaskMode(inside)
            node.EndModify(modifying)

    def _modify(self, segment_id: str, patch: MaskPatch, mode: int) -> None:
        if is_empty(patch.extent):
            return
        image = oriented_image(patch, local_ijk_to_ras(self.volume))
        extent = list(patch.extent)
        self.logic.ModifySegmentByLabelmap(self.segmentation, segment_id, image, mode, extent, False, False)

    def _without_locked(self, segment_id: str, added: MaskPatch) -> MaskPatch:
        """The added voxels that no finished segment would lose."""
        node = self.editor_node()
        mode = node.GetOverwriteMode()
        if mode == node.OverwriteNone or is_empty(added.extent):
            return added
        display = self.segmentation.GetDisplayNode()
        voxels = added.voxels
        for other in locked_segments(self.segmentation, but=segment_id):
            hidden = display is not None and not display.GetSegmentVisibility(other)
            if mode == node.OverwriteVisibleSegments and hidden:
                continue
            taken = segment_patch(self.segmentation, other, added.extent)
            if taken.count:
                voxels = voxels & ~taken.within(added.extent).astype(bool)
        return added if voxels is added.voxels else _patch_within(voxels, added.extent)


def oriented_image(patch: MaskPatch, ijk_to_ras: NDArray[np.float64]) -> slicer.vtkOrientedImageData:
    """A patch as an image on the grid of its volume, in the segmentation's own (local) RAS."""
    matrix = vtk.vtkMatrix4x4()
    for row in range(4):
        for column in range(4):
            matrix.SetElement(row, column, float(ijk_to_ras[row, column]))
    image = slicer.vtkOrientedImageData()
    image.SetExtent(*patch.extent)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    vtk_to_numpy(image.GetPointData().GetScalars())[:] = patch.voxels.ravel()
    image.SetImageToWorldMatrix(matrix)
    return image


def _patch_within(mask: NDArray, extent: tuple[int, int, int, int, int, int]) -> MaskPatch:
    """The patch of a ``[k, j, i]`` mask that covers an extent."""
    inner = mask_extent(mask)
    if is_empty(inner):
        return MaskPatch()
    placed = tuple(bound + extent[2 * (index // 2)] for index, bound in enumerate(inner))
    return MaskPatch(placed, mask[extent_slices(inner)].astype(np.uint8))  # type: ignore[arg-type]
