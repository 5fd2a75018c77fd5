"""What a user may count on: undo to any depth, answers that depend on the surviving prompts alone, nothing lost."""

from __future__ import annotations

import json
import threading
import time

import numpy as np
import pytest
from fakes import ThresholdModel, blob_volume
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from MoESegLib.core.errors import Cancelled, LockedError, PromptError, ResourceError, VolumeError
from MoESegLib.core.prompts import AutomaticPrompt, BoxPrompt, PointPrompt, TextPrompt, prompt_from_dict
from MoESegLib.core.volume import Volume
from MoESegLib.engines.slice_engine import SliceEngine
from MoESegLib.session import Session, replay

POINTS = frozenset({"point", "box", "mask"})


def box(volume: Volume, k: int = 4, low: float = 8, high: float = 30, segment: str = "ball") -> BoxPrompt:
    a, b = volume.to_ras([[low, low, k], [high, high, k]])
    return BoxPrompt(tuple(a), tuple(b), segment=segment, plane="axial")


def point(volume: Volume, i: float, j: float, k: int = 4, positive: bool = True, segment: str = "ball") -> PointPrompt:
    return PointPrompt(tuple(volume.to_ras([i, j, k])), positive, segment=segment)


def test_a_box_gives_the_bright_voxels_inside_it(ball: Volume, threshold_model: ThresholdModel) -> None:
    with Session(ball, SliceEngine(threshold_model), prefetch=False) as session:
        session.add(box(ball, low=5, high=38))
        mask = session.mask("ball")
    assert mask.dtype == np.uint8
    assert mask.shape == ball.shape
    assert not mask[:4].any()
    assert not mask[5:].any()
    expected = ball.array[4] > 200
    assert (mask[4] != expected).mean() < 0.02
    assert mask[4].sum() > 100


def test_adding_returns_before_the_prediction_is_done(ball: Volume, threshold_model: ThresholdModel) -> None:
    release = threading.Event()
    threshold_model.before_decode = release.wait
    with Session(ball, SliceEngine(threshold_model), prefetch=False) as session:
        session.add(box(ball))
        assert session.latest("ball").voxels == 0
        release.set()
        assert session.result("ball").voxels > 0


def test_undo_and_redo_walk_through_every_state(ball: Volume, threshold_model: ThresholdModel) -> None:
    with Session(ball, SliceEngine(threshold_model), prefetch=False) as session:
        counts = []
        for high in (20, 25, 30):
            session.add(box(ball, high=high))
            counts.append(int(session.mask("ball").sum()))
        assert counts == sorted(set(counts))
        for expected in (counts[1], counts[0], 0):
            assert session.undo()
            assert session.mask("ball").sum() == expected
        assert not session.undo()
        for expected in counts:
            assert session.redo()
            assert session.mask("ball").sum() == expected
        assert not session.redo()


def test_a_new_prompt_discards_what_was_undone(ball: Volume, threshold_model: ThresholdModel) -> None:
    with Session(ball, SliceEngine(threshold_model), prefetch=False) as session:
        session.add(box(ball, high=20))
        session.undo()
        session.add(box(ball, high=30))
        assert not session.can_redo
        assert len(session.prompts()) == 1


def test_segments_do_not_touch_each_other(ball: Volume, threshold_model: ThresholdModel) -> None:
    with Session(ball, SliceEngine(threshold_model), prefetch=False) as session:
        session.add(box(ball, segment="one"))
        before = session.mask("one")
        session.add(box(ball, k=5, segment="two"))
        session.wait()
        assert np.array_equal(session.mask("one"), before)
        assert session.segments == ("one", "two")


def test_moving_a_prompt_keeps_its_id_and_its_place(ball: Volume, threshold_model: ThresholdModel) -> None:
    with Session(ball, SliceEngine(threshold_model), prefetch=False) as session:
        first = session.add(box(ball, high=20))
        session.add(box(ball, k=5))
        session.replace(first, box(ball, high=30))
        assert [prompt.id for prompt in session.prompts()][0] == first
        with Session(ball, SliceEngine(ThresholdModel()), prefetch=False) as fresh:
            for prompt in session.prompts():
                fresh.add(prompt)
            assert np.array_equal(fresh.mask("ball"), session.mask("ball"))


def test_a_locked_segment_does_not_change(ball: Volume, threshold_model: ThresholdModel) -> None:
    with Session(ball, SliceEngine(threshold_model), prefetch=False) as session:
        first = session.add(box(ball, high=20))
        before = session.mask("ball")
        session.lock("ball")
        for change in (
            lambda: session.add(box(ball)),
            lambda: session.remove(first),
            lambda: session.replace(first, box(ball)),
        ):
            with pytest.raises(LockedError, match="locked"):
                change()
        assert np.array_equal(session.mask("ball"), before)
        session.undo()  # the lock itself is a step
        session.add(box(ball))
        assert session.mask("ball").sum() > before.sum()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda v: point(v, 500, 5), "outside the volume"),
        (lambda v: BoxPrompt(tuple(v.to_ras([5, 5, 4])), tuple(v.to_ras([5, 5, 4]))), "no size"),
        (lambda v: TextPrompt("liver"), "does not understand text"),
        (lambda v: AutomaticPrompt(ras=tuple(v.to_ras([5, 5, 4]))), "teach one with `moeseg teach --automatic`"),
    ],
)
def test_a_prompt_that_makes_no_sense_is_refused_and_changes_nothing(ball: Volume, make, message: str) -> None:
    with Session(ball, SliceEngine(ThresholdModel()), prefetch=False) as session:
        with pytest.raises(PromptError, match=message):
            session.add(make(ball))
        assert session.prompts() == ()
        assert not session.can_undo


def test_contradictory_points_are_refused(ball: Volume) -> None:
    with Session(ball, SliceEngine(ThresholdModel(POINTS)), prefetch=False) as session:
        session.add(point(ball, 20, 20))
        with pytest.raises(PromptError, match="Contradictory"):
            session.add(point(ball, 20.2, 20.1, positive=False))
        session.add(point(ball, 20, 20, positive=False, segment="other"))
        assert len(session.prompts("ball")) == 1


def test_an_empty_volume_is_refused() -> None:
    with pytest.raises(VolumeError, match="empty"):
        Session(Volume(np.zeros((3, 4, 5), np.int16), np.eye(4)), SliceEngine(ThresholdModel()))


def test_an_outdated_result_is_dropped(ball: Volume, threshold_model: ThresholdModel) -> None:
    started, release, seen = threading.Event(), threading.Event(), []

    def slow() -> None:
        started.set()
        release.wait()

    threshold_model.before_decode = slow
    session = Session(ball, SliceEngine(threshold_model), prefetch=False)
    session.on_update = lambda segment: seen.append(session.latest(segment).voxels)
    with session:
        first = session.add(box(ball, high=20))
        assert started.wait(5)
        session.replace(first, box(ball, high=30))
        release.set()
        final = session.result("ball").voxels
    assert seen == [final]


def test_cancel_keeps_the_prompts_and_the_published_mask(ball: Volume, threshold_model: ThresholdModel) -> None:
    with Session(ball, SliceEngine(threshold_model), prefetch=False) as session:
        session.add(box(ball, high=20))
        before = session.mask("ball")
        started = threading.Event()

        def wait_for_cancel(token) -> None:
            started.set()
            while not token.cancelled:
                time.sleep(0.005)

        threshold_model.before_encode = wait_for_cancel
        session.add(box(ball, k=5))
        assert started.wait(5)
        session.cancel()
        with pytest.raises(Cancelled):
            session.wait()
        assert np.array_equal(session.latest("ball").prediction.patch.to_array(ball.shape), before)
        assert len(session.prompts()) == 2
        threshold_model.before_encode = lambda token: None
        session.retry()
        assert session.mask("ball")[5].any()


def test_running_out_of_memory_is_said_and_loses_nothing(ball: Volume, threshold_model: ThresholdModel) -> None:
    def no_memory() -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes")

    with Session(ball, SliceEngine(threshold_model), prefetch=False) as session:
        session.add(box(ball, high=20))
        before = session.result("ball").voxels
        threshold_model.before_decode = no_memory
        session.add(box(ball, high=30))
        with pytest.raises(ResourceError, match="out of memory"):
            session.wait()
        assert session.latest("ball").voxels == before
        session.undo()
        assert session.result("ball").voxels == before


def test_a_bug_in_a_model_reaches_the_waiting_caller_and_the_worker_lives_on(ball: Volume) -> None:
    model = ThresholdModel()
    model.before_decode = lambda: {}["no such key"]
    with Session(ball, SliceEngine(model), prefetch=False) as session:
        session.add(box(ball))
        with pytest.raises(KeyError):
            session.wait()
        model.before_decode = lambda: None
        session.retry()
        assert session.result("ball").voxels > 0


def test_moving_to_another_slice_never_blocks_and_prefetches_its_neighbors(
    ball: Volume, threshold_model: ThresholdModel
) -> None:
    release = threading.Event()
    threshold_model.before_encode = lambda token: release.wait()
    here = tuple(ball.to_ras([20, 20, 4]))
    with Session(ball, SliceEngine(threshold_model), prefetch=False) as session:
        started = time.perf_counter()
        for k in (2, 3, 4):
            session.focus(tuple(ball.to_ras([20, 20, k])), "axial")
        assert time.perf_counter() - started < 5.0  # the encoder never returns, so any wait would last for ever
        release.set()
        deadline = time.monotonic() + 10
        while not session.is_prefetched(tuple(ball.to_ras([20, 20, 6])), "axial"):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert session.is_prefetched(here, "axial")
        encoded = threshold_model.encoded
        session.add(box(ball))
        session.wait()
        assert threshold_model.encoded == encoded


def test_a_click_interrupts_background_encoding(ball: Volume, threshold_model: ThresholdModel) -> None:
    started = threading.Event()

    def endless_unless_cancelled(token) -> None:
        started.set()
        while not token.cancelled:
            time.sleep(0.002)

    with Session(ball, SliceEngine(threshold_model), prefetch=False) as session:
        session.add(box(ball))
        session.wait()
        threshold_model.before_encode = endless_unless_cancelled
        session.focus(tuple(ball.to_ras([20, 20, 7])), "axial")
        assert started.wait(5)
        session.add(box(ball, high=25))  # its slice is encoded, so it must not wait for the background
        session.wait(timeout=10)


def test_a_further_prompt_costs_one_decoder_pass(ball: Volume) -> None:
    model = ThresholdModel(POINTS, refines=True)
    with Session(ball, SliceEngine(model), prefetch=False) as session:
        for number in range(4):
            before = model.decoded
            session.add(point(ball, 18 + number, 20))
            session.wait()
            assert model.decoded == before + 1
        session.undo()
        session.wait()
        assert model.decoded == 4  # known already
        assert model.encoded == 1


def test_the_other_experts_masks_are_offered_and_can_be_chosen(ball: Volume) -> None:
    model = ThresholdModel(experts=3)
    with Session(ball, SliceEngine(model), prefetch=False) as session:
        session.add(box(ball))
        result = session.result("ball")
        assert result.expert == "expert0"
        assert [other.expert for other in result.alternatives] == ["expert1", "expert2"]
        session.choose_expert("ball", "expert2")
        assert session.result("ball").expert == "expert2"
        session.undo()
        assert session.result("ball").expert == "expert0"
        session.choose_expert("ball", "nobody")
        with pytest.raises(PromptError, match="no expert 'nobody'"):
            session.wait()


def test_the_result_says_what_changed(ball: Volume, threshold_model: ThresholdModel) -> None:
    with Session(ball, SliceEngine(threshold_model), prefetch=False) as session:
        session.add(box(ball, high=20))
        before = session.mask("ball")
        session.add(box(ball, k=5))
        result, after = session.result("ball"), session.mask("ball")
        assert result.added == int((after > before).sum()) > 0
        assert result.removed == 0
        i0, i1, j0, j1, k0, k1 = result.changed_extent
        assert (k0, k1) == (5, 5)
        changed = np.argwhere(after != before)
        assert changed.min(axis=0).tolist() == [k0, j0, i0]
        assert changed.max(axis=0).tolist() == [k1, j1, i1]


def test_a_log_replays_to_the_same_masks(ball: Volume, threshold_model: ThresholdModel) -> None:
    with Session(ball, SliceEngine(threshold_model), prefetch=False) as session:
        session.add(box(ball))
        session.add(box(ball, k=6, segment="other"))
        session.lock("other")
        log = session.log()
        with replay(log, ball, SliceEngine(ThresholdModel()), prefetch=False) as again:
            for segment in ("ball", "other"):
                assert np.array_equal(again.mask(segment), session.mask(segment))
            assert again.is_locked("other")
    assert [prompt_from_dict(data) for data in log["prompts"]] == list(session.prompts())


def test_an_expert_chosen_before_the_first_prompt_answers_alone_and_in_a_replay(ball: Volume) -> None:
    models = [ThresholdModel(experts=3), ThresholdModel(experts=3)]
    with Session(ball, SliceEngine(models[0]), prefetch=False) as session:
        session.choose_expert("ball", "expert2")
        session.add(box(ball))
        assert session.result("ball").expert == "expert2"
        with replay(session.log(), ball, SliceEngine(models[1]), prefetch=False) as again:
            assert again.result("ball").expert == "expert2"
            assert np.array_equal(again.mask("ball"), session.mask("ball"))
    assert all({prompt.expert for prompt in model.seen} == {"expert2"} for model in models)


VOLUME = blob_volume()

steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(8, 38), st.integers(8, 30), st.integers(2, 6), st.booleans()),
        st.tuples(st.just("box"), st.integers(3, 15), st.integers(18, 37), st.integers(2, 6)),
        st.tuples(st.just("remove"), st.integers(0, 9)),
        st.tuples(st.just("replace"), st.integers(0, 9), st.integers(8, 38), st.integers(8, 30)),
        st.tuples(st.just("undo")),
        st.tuples(st.just("redo")),
    ),
    max_size=12,
)


@pytest.mark.parametrize("refines", [False, True])
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=steps)
def test_any_sequence_of_edits_equals_a_fresh_session_with_the_surviving_prompts(refines: bool, steps) -> None:
    engine = SliceEngine(ThresholdModel(POINTS, refines))
    with Session(VOLUME, engine, prefetch=False) as session:
        for step in steps:
            _apply(session, step)
        survivors = session.prompts()
        with Session(VOLUME, SliceEngine(ThresholdModel(POINTS, refines)), prefetch=False) as fresh:
            for prompt in survivors:
                fresh.add(prompt)
            session.wait()
            for segment in session.segments:
                assert np.array_equal(session.mask(segment), fresh.mask(segment))


def _apply(session: Session, step: tuple) -> None:
    kind, *values = step
    prompts = session.prompts()
    try:
        if kind == "add":
            i, j, k, positive = values
            session.add(point(VOLUME, i, j, k, positive, segment=f"s{k % 2}"))
        elif kind == "box":
            low, high, k = values
            session.add(box(VOLUME, k, low, high, segment=f"s{k % 2}"))
        elif kind == "remove" and prompts:
            session.remove(prompts[values[0] % len(prompts)].id)
        elif kind == "replace" and prompts:
            old = prompts[values[0] % len(prompts)]
            session.replace(old.id, point(VOLUME, values[1], values[2], segment=old.segment))
        elif kind == "undo":
            session.undo()
        elif kind == "redo":
            session.redo()
    except PromptError as error:
        assert "Contradictory" in str(error)


@pytest.mark.parametrize("make", [AutomaticPrompt, lambda **place: TextPrompt("ball", **place)], ids=["auto", "text"])
def test_prompts_that_point_at_nothing_are_undone_moved_and_replayed_like_others(ball: Volume, make) -> None:
    engine = SliceEngine(ThresholdModel(frozenset({"point", "box", "mask", "text", "automatic"}), refines=True))
    with Session(ball, engine, prefetch=False) as session:
        first = session.add(make(ras=tuple(ball.to_ras([0, 0, 3])), segment="ball"))
        third = session.mask("ball")
        session.add(point(ball, 23, 20, k=3, positive=False))
        corrected = session.mask("ball")
        assert third[3].any() and corrected[3, 20, 23] == 0 < third[3, 20, 23]
        with replay(json.loads(json.dumps(session.log())), ball, engine, prefetch=False) as again:
            assert np.array_equal(again.mask("ball"), corrected)
        session.undo()
        assert np.array_equal(session.mask("ball"), third)
        session.replace(first, make(ras=tuple(ball.to_ras([9, 9, 5])), segment="ball"))
        assert np.flatnonzero(session.mask("ball").any(axis=(1, 2))).tolist() == [5]
