"""Prompts in the scene: answers arrive in segments, undo is one stack with the brush, markups stay editable."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from fakes import ThresholdModel

from MoESegLib import Session
from MoESegLib.core.errors import LockedError, PromptError
from MoESegLib.core.prompts import BoxPrompt, PointPrompt
from MoESegLib.core.results import MaskPatch
from MoESegLib.engines.slice_engine import SliceEngine
from MoESegLib.mrml.scene_session import LESIONS
from MoESegLib.mrml.segmentations import get_tag, segment_ids, segment_mask, segment_of
from MoESegLib.mrml.views import start_placing
from MoESegLib.mrml.volumes import volume_from_node
from MoESegLib.mrml.writer import oriented_image


def box(volume, low, high, segment, k=4):
    corners = volume.to_ras([[*low, k], [*high, k]])
    return BoxPrompt(corner_a=tuple(corners[0]), corner_b=tuple(corners[1]), segment=segment, plane="axial")


def point(volume, ijk, segment, positive=True):
    return PointPrompt(ras=tuple(volume.to_ras(ijk)), segment=segment, positive=positive, plane="axial")


def brush(session, segment_id, extent, add=True):
    """A stroke as the Segment Editor's Paint or Erase effect makes it."""
    shape = (extent[5] - extent[4] + 1, extent[3] - extent[2] + 1, extent[1] - extent[0] + 1)
    patch = MaskPatch(extent, np.ones(shape, np.uint8))
    matrix = np.linalg.inv(np.eye(4)) @ session.volume.ijk_to_ras
    logic = session.writer.logic
    logic.SaveStateForUndo()
    mode = logic.ModificationModeAdd if add else logic.ModificationModeRemove
    image = oriented_image(patch, matrix)
    logic.ModifySegmentByLabelmap(session.segmentation, segment_id, image, mode, list(extent), False, False)


@pytest.fixture
def state(segmentation, volume_node):
    """Everything undo must bring back: voxels and prompts of every segment."""

    def snapshot():
        found = {}
        for segment_id in segment_ids(segmentation):
            segment = segment_of(segmentation, segment_id)
            found[segment_id] = (
                segment_mask(segmentation, segment_id, volume_node).tobytes(),
                get_tag(segment, "MoESeg.Prompts"),
                segment.GetName(),
            )
        return found

    return snapshot


def test_a_box_becomes_the_mask_that_a_python_session_gives(open_session, settle, segmentation, volume_node, model):
    session = open_session()
    liver = session.add_segment("liver")
    prompt = box(session.volume, (10, 8), (38, 32), liver)
    session.add(prompt)
    answers = settle(session)
    expected = Session(volume_from_node(volume_node), SliceEngine(model))
    expected.add(prompt)
    mask = expected.mask(liver)
    assert mask.sum() > 50
    assert np.array_equal(segment_mask(segmentation, liver, volume_node), mask)
    assert answers[liver].added == mask.sum() and answers[liver].removed == 0
    assert answers[liver].volume_ml == pytest.approx(mask.sum() * 2.0 / 1000)


def test_prompts_and_brush_strokes_share_one_undo_stack(open_session, settle, segmentation, state):
    session = open_session()
    first, second = session.add_segment("first"), session.add_segment("second")
    states = [state()]
    session.add(box(session.volume, (10, 8), (24, 32), first))
    settle(session)
    states.append(state())
    brush(session, first, (2, 6, 2, 6, 4, 4))
    settle(session)
    states.append(state())
    session.add(box(session.volume, (25, 8), (38, 32), second))
    settle(session)
    states.append(state())
    assert len({str(item) for item in states}) == 4
    for expected in reversed(states[:-1]):
        assert session.undo()
        settle(session)
        assert state() == expected
    assert not session.undo()
    for expected in states[1:]:
        assert session.redo()
        settle(session)
        assert state() == expected
    assert not session.redo()


def test_undo_by_the_segment_editor_itself_takes_the_prompt_back_too(open_session, settle, state):
    session = open_session()
    liver = session.add_segment("liver")
    before = state()
    session.add(box(session.volume, (10, 8), (38, 32), liver))
    settle(session)
    session.writer.logic.Undo()
    update = session.pump()
    assert update.prompts_changed
    settle(session)
    assert state() == before
    assert session.prompts(liver) == () and session.nodes.nodes(liver) == []


def test_undo_before_the_answer_came_asks_again_on_redo(open_session, settle, segmentation, volume_node):
    session = open_session()
    liver = session.add_segment("liver")
    session.add(box(session.volume, (10, 8), (38, 32), liver))
    session.undo()
    settle(session)
    assert segment_mask(segmentation, liver, volume_node).sum() == 0
    session.redo()
    settle(session)
    assert segment_mask(segmentation, liver, volume_node).sum() > 50
    assert session.is_settled(liver)


def test_two_quick_prompts_are_two_steps(open_session, settle, segmentation, volume_node):
    session = open_session()
    liver = session.add_segment("liver")
    session.add(point(session.volume, (20, 20, 4), liver))
    session.add(point(session.volume, (28, 20, 4), liver))
    settle(session)
    both = segment_mask(segmentation, liver, volume_node)
    session.undo()
    settle(session)
    one = segment_mask(segmentation, liver, volume_node)
    assert 0 < one.sum() < both.sum()
    session.redo()
    settle(session)
    assert np.array_equal(segment_mask(segmentation, liver, volume_node), both)


def test_a_brush_stroke_survives_the_next_prompt(open_session, settle, segmentation, volume_node):
    session = open_session()
    liver = session.add_segment("liver")
    session.add(point(session.volume, (20, 20, 4), liver))
    settle(session)
    brush(session, liver, (2, 6, 2, 6, 4, 4))
    session.add(point(session.volume, (28, 20, 4), liver))
    settle(session)
    mask = segment_mask(segmentation, liver, volume_node)
    assert mask[4, 2:7, 2:7].all()
    session.choose_expert(liver, None)
    for prompt in session.prompts(liver):
        session.remove(liver, prompt.id)
    settle(session)
    mask = segment_mask(segmentation, liver, volume_node)
    assert mask.sum() == 25 and mask[4, 2:7, 2:7].all()
    assert get_tag(segment_of(segmentation, liver), "MoESeg.Model") == ""


@pytest.mark.parametrize("mode", ["OverwriteNone", "OverwriteVisibleSegments", "OverwriteAllSegments"])
def test_neighbors_keep_what_the_overwrite_mode_says(mode, open_session, settle, segmentation, volume_node, writer):
    session = open_session()
    node = writer.editor_node()
    node.SetOverwriteMode(getattr(node, mode))
    first, hidden, locked = (session.add_segment(name) for name in ("first", "hidden", "locked"))
    brush(session, first, (18, 22, 16, 18, 4, 4))
    brush(session, hidden, (18, 22, 19, 21, 4, 4))
    brush(session, locked, (18, 22, 22, 24, 4, 4))
    session.accept(locked)
    segmentation.GetDisplayNode().SetSegmentVisibility(hidden, False)
    before = {key: segment_mask(segmentation, key, volume_node) for key in (first, hidden, locked)}
    liver = session.add_segment("liver")
    session.add(box(session.volume, (10, 8), (38, 32), liver))
    settle(session)
    after = {key: segment_mask(segmentation, key, volume_node) for key in (first, hidden, locked)}
    mask = segment_mask(segmentation, liver, volume_node)
    assert np.array_equal(after[locked], before[locked])
    assert np.array_equal(after[first], before[first]) == (mode == "OverwriteNone")
    assert np.array_equal(after[hidden], before[hidden]) == (mode != "OverwriteAllSegments")
    assert bool((mask & before[locked]).any()) == (mode == "OverwriteNone")


def test_masking_of_the_segment_editor_holds(open_session, settle, segmentation, volume_node, writer):
    session = open_session()
    area = session.add_segment("area")
    brush(session, area, (18, 25, 16, 24, 4, 4))
    node = writer.editor_node()
    node.SetOverwriteMode(node.OverwriteNone)
    node.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedInsideSingleSegment)
    node.SetMaskSegmentID(area)
    liver = session.add_segment("liver")
    session.add(box(session.volume, (10, 8), (38, 32), liver))
    settle(session)
    inside = segment_mask(segmentation, area, volume_node)
    mask = segment_mask(segmentation, liver, volume_node)
    assert mask.sum() > 20 and not (mask & (1 - inside)).any()
    node.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedEverywhere)
    node.SourceVolumeIntensityMaskOn()
    node.SetSourceVolumeIntensityMaskRange(0, 100)
    other = session.add_segment("other")
    session.add(point(session.volume, (20, 20, 4), other))
    settle(session)
    assert not (segment_mask(segmentation, other, volume_node) & (session.volume.array > 100)).any()


def test_a_finished_segment_refuses_prompts_and_keeps_its_voxels(open_session, settle, segmentation, volume_node):
    session = open_session()
    liver = session.add_segment("liver")
    session.add(box(session.volume, (10, 8), (38, 32), liver))
    settle(session)
    session.accept(liver)
    before = segment_mask(segmentation, liver, volume_node)
    with pytest.raises(LockedError, match="locked"):
        session.add(point(session.volume, (20, 20, 4), liver))
    session.nodes.nodes(liver)[0].SetSize(4, 4, 0)
    answers = settle(session)
    assert any("locked" in message for message in answers["messages"])
    assert np.array_equal(segment_mask(segmentation, liver, volume_node), before)
    session.reopen(liver)
    session.add(point(session.volume, (20, 20, 4), liver))
    settle(session)
    assert session.is_settled(liver)


def test_a_refused_prompt_changes_nothing(open_session, settle, state):
    session = open_session()
    liver = session.add_segment("liver")
    session.add(point(session.volume, (20, 20, 4), liver))
    settle(session)
    before, undo = state(), session.can_undo
    with pytest.raises(PromptError, match="outside the volume"):
        session.add(point(session.volume, (200, 20, 4), liver))
    settle(session)
    assert state() == before and session.can_undo == undo
    assert len(session.nodes.read(liver)) == 1


def test_moving_a_point_in_the_view_moves_the_mask(open_session, settle, segmentation, volume_node, model):
    session = open_session()
    liver = session.add_segment("liver")
    prompt_id = session.add(point(session.volume, (20, 20, 4), liver))
    settle(session)
    node = session.nodes.nodes(liver)[0]
    target = session.volume.to_ras((28, 20, 4))
    node.InvokeEvent(slicer.vtkMRMLMarkupsNode.PointStartInteractionEvent)
    node.SetNthControlPointPositionWorld(0, *session.volume.to_ras((24, 20, 4)))
    session.pump()
    assert session.prompts(liver)[0].ras == pytest.approx(tuple(session.volume.to_ras((20, 20, 4))))
    node.SetNthControlPointPositionWorld(0, *target)
    node.InvokeEvent(slicer.vtkMRMLMarkupsNode.PointEndInteractionEvent)
    settle(session)
    moved = session.prompts(liver)[0]
    assert moved.id == prompt_id and moved.ras == pytest.approx(tuple(target))
    expected = Session(session.volume, SliceEngine(model))
    expected.add(moved)
    assert np.array_equal(segment_mask(segmentation, liver, volume_node), expected.mask(liver))


def test_deleting_a_point_or_its_list_removes_the_prompts(scene, open_session, settle):
    session = open_session()
    liver = session.add_segment("liver")
    for x in (20, 24, 28):
        session.add(point(session.volume, (x, 20, 4), liver))
    settle(session)
    session.nodes.nodes(liver)[0].RemoveNthControlPoint(1)
    settle(session)
    assert len(session.prompts(liver)) == 2
    scene.RemoveNode(session.nodes.nodes(liver)[0])
    settle(session)
    assert session.prompts(liver) == ()


def test_a_point_moved_out_of_the_volume_jumps_back_with_a_message(open_session, settle):
    session = open_session()
    liver = session.add_segment("liver")
    session.add(point(session.volume, (20, 20, 4), liver))
    settle(session)
    session.nodes.nodes(liver)[0].SetNthControlPointPositionWorld(0, 9999, 0, 0)
    messages = settle(session)["messages"]
    assert any("outside" in message for message in messages)
    position = [0.0, 0.0, 0.0]
    session.nodes.nodes(liver)[0].GetNthControlPointPositionWorld(0, position)
    assert position == pytest.approx(list(session.volume.to_ras((20, 20, 4))))


def test_clicks_placed_by_the_user_become_prompts(scene, open_session, settle, segmentation, volume_node):
    session = open_session()
    liver = session.add_segment("liver")
    node = session.nodes.new_node(liver, "liver", "point+")
    start_placing(scene, node, persistent=True)
    node.AddControlPointWorld(*session.volume.to_ras((20, 20, 4)))
    node.AddControlPointWorld(*session.volume.to_ras((24, 20, 4)))
    settle(session)
    assert [prompt.positive for prompt in session.prompts(liver)] == [True, True]
    assert node.GetNthControlPointLabel(0) == "+1" and node.GetNthControlPointLabel(1) == "+2"
    assert segment_mask(segmentation, liver, volume_node).sum() > 0


def test_every_click_in_lesion_mode_is_a_new_numbered_segment(scene, open_session, settle, segmentation, state):
    session = open_session()
    before = state()
    node = session.nodes.new_node(LESIONS, "Lesions", "point+")
    start_placing(scene, node, persistent=True)
    node.AddControlPointWorld(*session.volume.to_ras((20, 20, 4)))
    settle(session)
    node.AddControlPointWorld(*session.volume.to_ras((28, 20, 4)))
    settle(session)
    names = [segment_of(segmentation, key).GetName() for key in segment_ids(segmentation)]
    assert names == ["Lesion 1", "Lesion 2"]
    assert node.GetNumberOfControlPoints() == 0
    session.undo()
    session.undo()
    settle(session)
    assert state() == before


def test_the_mask_a_user_painted_can_be_the_start(open_session, settle, segmentation, volume_node):
    session = open_session()
    liver = session.add_segment("liver")
    brush(session, liver, (14, 34, 10, 30, 4, 4))
    drawn = segment_mask(segmentation, liver, volume_node)
    session.start_from_segment(liver)
    settle(session)
    mask = segment_mask(segmentation, liver, volume_node)
    assert 0 < mask.sum() < drawn.sum()  # the model tightened it
    session.undo()
    settle(session)
    assert np.array_equal(segment_mask(segmentation, liver, volume_node), drawn)
    with pytest.raises(PromptError, match="empty"):
        session.start_from_segment(session.add_segment("nothing"))


def test_a_failing_prediction_is_told_once_and_can_be_tried_again(open_session, settle, model: ThresholdModel):
    session = open_session()
    liver = session.add_segment("liver")

    def fail():
        raise RuntimeError("the model broke")

    model.before_decode = fail
    session.add(point(session.volume, (20, 20, 4), liver))
    messages = settle(session)["messages"]
    assert messages == ["the model broke"]
    assert not session.is_settled(liver) and len(session.prompts(liver)) == 1
    model.before_decode = lambda: None
    session.retry()
    settle(session)
    assert session.is_settled(liver)


def test_removing_a_segment_while_it_is_predicted_is_no_error(open_session, settle, segmentation):
    session = open_session()
    liver, spleen = session.add_segment("liver"), session.add_segment("spleen")
    session.add(point(session.volume, (20, 20, 4), liver))
    session.add(point(session.volume, (24, 20, 4), spleen))
    segmentation.GetSegmentation().RemoveSegment(liver)
    answers = settle(session)
    assert liver not in answers and spleen in answers
    assert session.nodes.nodes(liver) == []


def test_a_flat_box_has_the_depth_of_a_slice_and_handles_so_that_it_can_be_resized(open_session, settle):
    session = open_session()
    liver = session.add_segment("liver")
    prompt = box(session.volume, (10, 8), (38, 32), liver)
    session.add(prompt)
    settle(session)
    (roi,) = session.nodes.nodes(liver)
    assert roi.GetSize() == pytest.approx((28.0, 24.0, 2.0))
    assert roi.GetDisplayNode().GetHandlesInteractive()
    assert session.nodes.read(liver) == [prompt]
    roi.SetSize(20.0, 24.0, 2.0)
    settle(session)
    (moved,) = session.prompts(liver)
    ijk = np.sort(session.volume.ras_to_ijk(moved.ras_points), axis=0)
    assert np.allclose(ijk, [[14, 8, 4], [34, 32, 4]])


def test_overwriting_visible_segments_is_still_the_choice_after_the_scene_was_closed(scene, writer):
    node = writer.editor_node()
    assert node.GetOverwriteMode() == node.OverwriteVisibleSegments
    node.SetOverwriteMode(node.OverwriteNone)
    assert writer.editor_node().GetOverwriteMode() == node.OverwriteNone
    scene.Clear(0)
    node = writer.editor_node()
    assert node.GetOverwriteMode() == node.OverwriteVisibleSegments
