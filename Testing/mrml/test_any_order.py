"""Whatever the user does in whatever order, and whenever something is taken away: nothing is lost or mixed up."""

from __future__ import annotations

import random
import threading
import time
from contextlib import suppress

import numpy as np
import pytest
import slicer
from fakes import ThresholdModel, blob_volume
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mrml_tools import MOVED, box, brush, point, vtk_matrix

from MoESegLib import Session
from MoESegLib.core.errors import PromptError
from MoESegLib.engines.slice_engine import SliceEngine
from MoESegLib.mrml.scene_session import SceneSession
from MoESegLib.mrml.segmentations import create_segmentation, get_tag, segment_ids, segment_mask, segment_of

STROKES = ((0, 4, 0, 4, 4, 4), (2, 7, 30, 38, 3, 5), (40, 47, 33, 39, 4, 4))  # where no answer reaches
ACTIONS = st.one_of(
    st.tuples(st.just("point"), st.integers(0, 1), st.integers(16, 31), st.booleans()),
    st.tuples(st.just("stroke"), st.integers(0, 1), st.integers(0, 2), st.booleans()),
    st.tuples(st.just("remove"), st.integers(0, 1), st.integers(0, 3)),
    st.tuples(st.just("drag"), st.integers(0, 1), st.integers(16, 31)),
    st.tuples(st.sampled_from(["undo", "redo", "pump", "settle", "cancel", "retry"])),
    st.tuples(st.sampled_from(["undo", "redo"])),
)


class User:
    """Does things to two segments, without waiting for answers unless told to."""

    def __init__(self, session: SceneSession, settle) -> None:
        self.session, self.settle = session, settle
        self.ids = [session.add_segment(name) for name in ("first", "second")]

    def act(self, action: tuple) -> None:
        kind, *values = action
        session = self.session
        if kind == "point":
            with suppress(PromptError):  # inside and outside at the same voxel
                session.add(point(session.volume, (values[1], 20, 4), self.ids[values[0]], values[2]))
        elif kind == "stroke":
            brush(session.writer, self.ids[values[0]], STROKES[values[1]], add=values[2])
        elif kind == "remove":
            prompts = session.prompts(self.ids[values[0]])
            if prompts:
                session.remove(self.ids[values[0]], prompts[values[1] % len(prompts)].id)
        elif kind == "drag":
            nodes = session.nodes.nodes(self.ids[values[0]])
            if nodes and nodes[0].GetNumberOfControlPoints():
                nodes[0].SetNthControlPointPositionWorld(0, *session.volume.to_ras((values[1], 22, 4)))
        elif kind == "settle":
            self.settle(session)
        else:
            getattr(session, kind)()

    def state(self) -> list:
        """Voxels and prompts of both segments, and whether the voxels show the answer."""
        found = []
        for segment_id in self.ids:
            segment = segment_of(self.session.segmentation, segment_id)
            mask = segment_mask(self.session.segmentation, segment_id, self.session.volume_node).astype(bool)
            found.append((mask, get_tag(segment, "MoESeg.Prompts"), self.session.is_settled(segment_id)))
        return found

    def check_answers(self) -> None:
        """Where a segment is settled it shows what a fresh Python session answers, beside the strokes."""
        for segment_id, (mask, _, settled) in zip(self.ids, self.state(), strict=True):
            if not settled:
                continue
            expected = np.zeros_like(mask)
            prompts = self.session.prompts(segment_id)
            if prompts:
                model = ThresholdModel(native=frozenset({"box", "point"}))
                with Session(self.session.volume, SliceEngine(model), prefetch=False) as python:
                    python.set_segment(segment_id, prompts)
                    expected = python.mask(segment_id).astype(bool)
            bright = self.session.volume.array > 200
            assert np.array_equal(mask & bright, expected & bright)


@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.lists(ACTIONS, min_size=2, max_size=12))
def test_undo_and_redo_walk_the_same_states_and_every_answer_is_the_right_one(
    scene, writer, volume_node, settle, actions
) -> None:
    writer.editor_node().SetOverwriteMode(writer.editor_node().OverwriteNone)
    segmentation = create_segmentation(scene, volume_node)
    session = SceneSession(
        writer, volume_node, segmentation, SliceEngine(ThresholdModel(native=frozenset({"box", "point"})))
    )
    try:
        user = User(session, settle)
        for action in actions:
            user.act(action)
        settle(session)
        while session.redo():
            settle(session)
        session.retry()
        settle(session)
        user.check_answers()
        states = [user.state()]
        while session.undo():
            settle(session)
            user.check_answers()
            states.append(user.state())
        assert all(not mask.any() and prompts == "" for mask, prompts, _ in states[-1])
        for expected in reversed(states[:-1]):
            assert session.redo()
            settle(session)
            for (mask, prompts, settled), (mask_before, prompts_before, settled_before) in zip(
                user.state(), expected, strict=True
            ):
                assert prompts == prompts_before
                if settled == settled_before:
                    assert np.array_equal(mask, mask_before)
        assert not session.redo()
    finally:
        session.close()
        scene.RemoveNode(segmentation)


@pytest.mark.parametrize("event", ["scene closed", "volume removed", "segmentation removed", "cancel", "close"])
def test_anything_may_be_taken_away_at_any_moment_of_a_prediction(scene, add_volume, writer, settle, event) -> None:
    moments = random.Random(event)
    for moment in range(20):
        node = add_volume(blob_volume(), name=f"CT {moment}")
        segmentation = create_segmentation(scene, node)
        model = ThresholdModel(native=frozenset({"box", "point"}))
        model.before_decode = lambda: time.sleep(0.002)
        session = SceneSession(writer, node, segmentation, SliceEngine(model), moments.choice(["slice", "volume"]))
        liver, done = session.add_segment("liver"), session.add_segment("done")
        brush(writer, done, STROKES[0])
        session.add(box(session.volume, (10, 8), (38, 32), liver))
        deadline = time.monotonic() + moments.random() * 0.03
        while time.monotonic() < deadline:
            session.pump()
        if event == "scene closed":
            scene.Clear(0)
        elif event == "volume removed":
            scene.RemoveNode(node)
        elif event == "segmentation removed":
            scene.RemoveNode(segmentation)
        else:
            getattr(session, event)()
        assert settle(session)["messages"] == []
        assert session.closed == (event != "cancel")
        assert segment_mask(segmentation, done, node)[4, 0:5, 0:5].all()
        assert segment_ids(segmentation) == (liver, done)
        if event == "cancel":
            session.retry()
            settle(session)
            assert session.is_settled(liver) and segment_mask(segmentation, liver, node).sum() > 50
            session.close()
        if event == "close":
            again = SceneSession(writer, node, segmentation, SliceEngine(ThresholdModel()))
            again.retry()
            settle(again)
            assert again.is_settled(liver) and segment_mask(segmentation, liver, node).sum() > 50
            again.close()


@pytest.mark.parametrize("waiting", [False, True], ids=["one runs", "another waits"])
@pytest.mark.parametrize("change", ["new voxels", "moved"])
def test_the_image_may_change_while_a_prediction_runs(scene, add_volume, writer, settle, waiting, change) -> None:
    node = add_volume(blob_volume(), np.eye(4))
    segmentation = create_segmentation(scene, node)
    release = threading.Event()
    model = ThresholdModel(native=frozenset({"box", "point"}))
    model.before_decode = lambda: release.wait(10)
    session = SceneSession(writer, node, segmentation, SliceEngine(model))
    liver = session.add_segment("liver")
    session.add(point(session.volume, (18, 20, 4), liver))
    if waiting:
        session.add(point(session.volume, (28, 20, 4), liver))
    session.pump()
    if change == "moved":
        node.GetParentTransformNode().SetMatrixTransformToParent(vtk_matrix(MOVED))
    else:
        node.Modified()
        node.GetImageData().Modified()
        node.InvokeEvent(slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent)
    session.pump()
    release.set()
    settle(session)
    session.add(point(session.volume, (24, 26, 4), liver))
    settle(session)
    assert session.is_settled(liver)
    columns = [round(float(session.volume.ras_to_ijk(prompt.ras)[0])) for prompt in session.prompts(liver)]
    assert columns == ([18, 28, 24] if waiting else [18, 24])
    mask = segment_mask(segmentation, liver, node)
    assert all(mask[4, 26 if column == 24 else 20, column] for column in columns)
    session.close()


@pytest.mark.parametrize("waiting", [False, True], ids=["one runs", "another waits"])
def test_a_segment_may_be_accepted_while_it_is_predicted(open_session, settle, model, segmentation, waiting) -> None:
    release = threading.Event()
    model.before_decode = lambda: release.wait(10)
    session = open_session()
    liver, spleen = session.add_segment("liver"), session.add_segment("spleen")
    session.add(point(session.volume, (18, 20, 4), liver))
    if waiting:
        session.add(point(session.volume, (28, 20, 4), liver))
    session.accept(liver)
    release.set()
    messages = settle(session)["messages"]
    assert len(messages) == 1 + waiting and all("locked" in text or "finished" in text for text in messages)
    assert not segment_mask(segmentation, liver, session.volume_node).any()
    assert len(session.prompts(liver)) == len(session.nodes.read(liver)) == 1
    session.add(point(session.volume, (28, 20, 4), spleen))
    settle(session)
    assert session.is_settled(spleen)
    session.reopen(liver)
    session.retry()
    settle(session)
    assert segment_mask(segmentation, liver, session.volume_node)[4, 20, 18]


def test_undo_to_an_unanswered_state_while_the_next_one_is_predicted(open_session, settle, segmentation, model) -> None:
    release = threading.Event()
    release.set()
    model.before_decode = lambda: release.wait(10)
    session = open_session()
    liver = session.add_segment("liver")
    release.clear()
    session.add(point(session.volume, (18, 20, 4), liver))
    session.cancel()
    session.add(point(session.volume, (28, 20, 4), liver))
    session.pump()
    assert len(session.prompts(liver)) == 2
    session.undo()
    release.set()
    settle(session)
    assert len(session.prompts(liver)) == 1
    mask = segment_mask(segmentation, liver, session.volume_node)
    assert not mask[4, 20, 28]
    assert session.redo()
    settle(session)
    mask = segment_mask(segmentation, liver, session.volume_node)
    assert mask[4, 20, 18] and mask[4, 20, 28] and session.is_settled(liver)


def test_the_last_prompt_may_be_removed_right_after_opening(open_session, settle, segmentation, volume_node) -> None:
    session = open_session()
    liver = session.add_segment("liver")
    prompt_id = session.add(point(session.volume, (18, 20, 4), liver))
    settle(session)
    brush(session.writer, liver, STROKES[0])
    session.close()
    again = open_session()
    again.remove(liver, prompt_id)
    assert settle(again)["messages"] == []
    mask = segment_mask(segmentation, liver, volume_node)
    assert mask[4, 0:5, 0:5].all() and mask.sum() == 25
    assert again.undo()
    settle(again)
    assert segment_mask(segmentation, liver, volume_node)[4, 20, 18]


def test_an_answer_that_came_just_before_the_image_changed_is_dropped(
    scene, add_volume, writer, settle, segmentation
) -> None:
    node = add_volume(blob_volume(), np.eye(4))
    segmentation = create_segmentation(scene, node)
    session = SceneSession(writer, node, segmentation, SliceEngine(ThresholdModel(native=frozenset({"point"}))))
    liver = session.add_segment("liver")
    session.add(point(session.volume, (18, 20, 4), liver))
    session._session.wait()  # answered, but not taken yet
    node.GetParentTransformNode().SetMatrixTransformToParent(vtk_matrix(MOVED))
    assert settle(session)["messages"] == []
    session.retry()
    settle(session)
    assert segment_mask(segmentation, liver, node)[4, 20, 18]
    session.close()


def test_the_image_may_change_while_it_is_found_out_what_loaded_voxels_show(
    scene, add_volume, writer, settle, open_session
) -> None:
    node = add_volume(blob_volume(), np.eye(4))
    segmentation = create_segmentation(scene, node)
    session = open_session(node, segmentation)
    liver = session.add_segment("liver")
    session.add(point(session.volume, (18, 20, 4), liver))
    settle(session)
    session.close()
    again = open_session(node, segmentation)
    again.add(point(again.volume, (28, 20, 4), liver))
    again._session.wait()  # both are answered, but not taken yet
    node.GetParentTransformNode().SetMatrixTransformToParent(vtk_matrix(MOVED))
    assert settle(again)["messages"] == []
    again.retry()
    settle(again)
    mask = segment_mask(segmentation, liver, node)
    assert again.is_settled(liver) and mask[4, 20, 18] and mask[4, 20, 28]
