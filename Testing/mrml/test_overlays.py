"""What changed and how sure the model is, drawn in the right place and taken away without a trace."""

from __future__ import annotations

import numpy as np
import pytest
from fakes import blob_volume
from mrml_tools import MOVED, OBLIQUE, patch_of
from vtk.util.numpy_support import vtk_to_numpy

from MoESegLib.core.results import MaskPatch, ProbabilityMap
from MoESegLib.mrml.overlays import CONFIDENCE_OPACITY, ChangesOverlay, ConfidenceOverlay
from MoESegLib.mrml.segmentations import add_segment, create_segmentation, segment_patch
from MoESegLib.mrml.volumes import volume_from_node


@pytest.fixture
def node(add_volume):
    return add_volume(blob_volume(ijk_to_ras=OBLIQUE), MOVED)


@pytest.fixture
def names(scene):
    """IDs of everything in the scene but singletons, to see what an overlay leaves."""

    def found() -> list[str]:
        collection = scene.GetNodes()
        nodes = [collection.GetItemAsObject(index) for index in range(collection.GetNumberOfItems())]
        return sorted(each.GetID() for each in nodes if not each.GetSingletonTag() and not each.IsA("vtkMRMLColorNode"))

    return found


@pytest.fixture
def confidence(scene):
    overlay = ConfidenceOverlay(scene)
    yield overlay
    overlay.hide()


def only(scene, kind: str, name: str):
    collection = scene.GetNodesByClassByName(kind, name)
    assert collection.GetNumberOfItems() == 1
    return collection.GetItemAsObject(0)


def test_added_and_removed_voxels_are_drawn_apart(scene, node) -> None:
    overlay = ChangesOverlay(scene)
    before, after = patch_of((5, 14, 5, 14, 4, 4)), patch_of((10, 24, 8, 14, 4, 5))
    overlay.show(node, before, after)
    drawn = only(scene, "vtkMRMLSegmentationNode", "MoESeg changes")
    was, now = before.to_array((9, 40, 48)), after.to_array((9, 40, 48))
    for name, expected in (("added", now > was), ("removed", was > now)):
        assert np.array_equal(segment_patch(drawn, name).to_array((9, 40, 48)), expected)
    display = drawn.GetDisplayNode()
    assert display.GetVisibility() and not display.GetVisibility3D()
    assert display.GetSegmentOpacity2DFill("removed") == 0.0 < display.GetSegmentOpacity2DFill("added")
    assert drawn.GetTransformNodeID() == node.GetTransformNodeID()
    assert not drawn.GetSaveWithScene() and drawn.GetHideFromEditors()


def test_the_next_answer_replaces_the_drawing(scene, node) -> None:
    overlay = ChangesOverlay(scene)
    overlay.show(node, MaskPatch(), patch_of((5, 14, 5, 14, 4, 4)))
    overlay.show(node, patch_of((5, 14, 5, 14, 4, 4)), patch_of((5, 14, 5, 13, 4, 4)))
    drawn = only(scene, "vtkMRMLSegmentationNode", "MoESeg changes")
    assert segment_patch(drawn, "added").count == 0
    assert segment_patch(drawn, "removed").extent == (5, 14, 14, 14, 4, 4)
    overlay.show(node, MaskPatch(), MaskPatch())
    assert segment_patch(drawn, "added").count == segment_patch(drawn, "removed").count == 0


def test_overlays_leave_nothing_behind(scene, node, names, confidence) -> None:
    before = names()
    changes = ChangesOverlay(scene)
    for _ in range(3):
        changes.show(node, MaskPatch(), patch_of((5, 14, 5, 14, 4, 4)))
        confidence.show(node, ProbabilityMap((5, 6, 5, 6, 4, 4), np.full((1, 2, 2), 80, np.uint8)))
        changes.hide()
        confidence.hide()
    changes.hide()
    assert names() == before


def test_the_users_segmentation_and_undo_stack_are_not_touched(scene, node, writer) -> None:
    segmentation = create_segmentation(scene, node)
    add_segment(segmentation, "liver")
    writer.attach(segmentation, node)
    mtime = segmentation.GetSegmentation().GetMTime()
    overlay = ChangesOverlay(scene)
    overlay.show(node, MaskPatch(), patch_of((5, 14, 5, 14, 4, 4)))
    overlay.hide()
    assert segmentation.GetSegmentation().GetMTime() == mtime and not writer.can_undo


def test_a_probability_lies_where_its_voxels_are(scene, node, confidence) -> None:
    percent = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    confidence.show(node, ProbabilityMap((7, 10, 11, 13, 3, 4), percent))
    drawn = only(scene, "vtkMRMLScalarVolumeNode", "MoESeg confidence (%)")
    assert np.array_equal(volume_from_node(drawn).array, percent)
    ours, theirs = volume_from_node(drawn), volume_from_node(node)
    for local, whole in (((0, 0, 0), (7, 11, 3)), ((3, 2, 1), (10, 13, 4))):
        assert ours.to_ras(local) == pytest.approx(theirs.to_ras(whole), abs=1e-6)
    confidence.show(node, ProbabilityMap())
    assert vtk_to_numpy(drawn.GetImageData().GetPointData().GetScalars()).max() == 0


def test_the_foreground_of_every_view_is_given_back(scene, node, add_volume, confidence) -> None:
    other = add_volume(blob_volume(), name="PET")
    red, green = (scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode") for _ in range(2))
    red.SetForegroundVolumeID(other.GetID())
    red.SetForegroundOpacity(0.3)
    probability = ProbabilityMap((5, 6, 5, 6, 4, 4), np.full((1, 2, 2), 80, np.uint8))
    confidence.show(node, probability)
    confidence.show(node, probability)
    drawn = only(scene, "vtkMRMLScalarVolumeNode", "MoESeg confidence (%)")
    assert red.GetForegroundVolumeID() == green.GetForegroundVolumeID() == drawn.GetID()
    assert red.GetForegroundOpacity() == CONFIDENCE_OPACITY
    green.SetForegroundVolumeID(other.GetID())  # the user looks at something else meanwhile
    green.SetForegroundOpacity(0.9)
    confidence.hide()
    assert red.GetForegroundVolumeID() == other.GetID() and red.GetForegroundOpacity() == pytest.approx(0.3)
    assert green.GetForegroundVolumeID() == other.GetID() and green.GetForegroundOpacity() == pytest.approx(0.9)


def test_a_drawing_that_the_user_removed_is_made_again(scene, node) -> None:
    overlay = ChangesOverlay(scene)
    overlay.show(node, MaskPatch(), patch_of((5, 14, 5, 14, 4, 4)))
    scene.RemoveNode(only(scene, "vtkMRMLSegmentationNode", "MoESeg changes"))
    overlay.hide()
    overlay.show(node, MaskPatch(), patch_of((5, 14, 5, 14, 4, 4)))
    assert segment_patch(only(scene, "vtkMRMLSegmentationNode", "MoESeg changes"), "added").count == 100
