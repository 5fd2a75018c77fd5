"""A front end that keeps the prompts itself: all prompts of a segment at once, and asking how far the answer is."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from fakes import ThresholdModel
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from MoESegLib.core.errors import Cancelled, LockedError, PromptError, ResourceError
from MoESegLib.core.prompts import PointPrompt
from MoESegLib.core.volume import Volume
from MoESegLib.engines.slice_engine import SliceEngine
from MoESegLib.session import Session
from MoESegLib.session.worker import Worker

POINTS = frozenset({"box", "point"})


def point(volume: Volume, i: float, j: float = 20, segment: str = "ball", positive: bool = True) -> PointPrompt:
    return PointPrompt(tuple(volume.to_ras([i, j, 4])), positive, segment=segment, plane="axial")


@pytest.fixture
def model() -> ThresholdModel:
    return ThresholdModel(native=POINTS, experts=3)


@pytest.fixture
def session(ball: Volume, model: ThresholdModel):
    worker = Worker()
    with Session(ball, SliceEngine(model), prefetch=False, worker=worker) as session:
        yield session
    worker.stop()


def fresh(ball: Volume, prompts, expert: str | None = None) -> np.ndarray:
    with Session(ball, SliceEngine(ThresholdModel(native=POINTS, experts=3)), prefetch=False) as session:
        for prompt in prompts:
            session.add(prompt)
        if expert is not None:
            session.choose_expert("ball", expert)
        return session.mask("ball")


def test_setting_a_segment_is_one_step_and_gives_the_mask_of_adding_one_by_one(ball: Volume, session: Session) -> None:
    prompts = [point(ball, 18), point(ball, 28), point(ball, 20, positive=False)]
    session.set_segment("ball", prompts, "expert1")
    assert np.array_equal(session.mask("ball"), fresh(ball, prompts, "expert1"))
    assert session.prompts("ball") == tuple(prompts) and session.expert_of("ball") == "expert1"
    assert session.result("ball").expert == "expert1"
    assert session.undo() and not session.can_undo
    assert session.prompts("ball") == () and session.mask("ball").sum() == 0
    assert session.expert_of("ball") is None


def test_setting_the_same_prompts_again_predicts_nothing(ball: Volume, session: Session, model: ThresholdModel) -> None:
    prompts = [point(ball, 18), point(ball, 28)]
    session.set_segment("ball", prompts)
    session.wait()
    decoded = model.decoded
    copies = [prompt.with_id(f"copy{n}") for n, prompt in enumerate(prompts)]
    session.set_segment("ball", copies)
    session.wait()
    assert model.decoded == decoded and session.is_answered("ball") and not session.is_running()


def test_other_segments_keep_prompts_experts_and_masks(ball: Volume, session: Session) -> None:
    session.set_segment("one", [point(ball, 18, segment="one")], "expert2")
    session.wait()
    mask = session.mask("one")
    session.set_segment("two", [point(ball, 28, segment="two")])
    session.set_segment("two", ())
    session.wait()
    assert np.array_equal(session.mask("one"), mask) and session.expert_of("one") == "expert2"
    assert session.segments == ("one",)


def test_prompts_of_another_segment_are_refused(ball: Volume, session: Session) -> None:
    with pytest.raises(PromptError, match="of spleen, not of ball"):
        session.set_segment("ball", [point(ball, 18), point(ball, 20, segment="spleen")])
    assert session.segments == () and not session.can_undo


def test_a_refused_prompt_changes_nothing(ball: Volume, session: Session) -> None:
    session.set_segment("ball", [point(ball, 18)])
    before = session.prompts()
    with pytest.raises(PromptError, match="outside"):
        session.set_segment("ball", [point(ball, 18), point(ball, 500)])
    assert session.prompts() == before
    session.lock("ball")
    with pytest.raises(LockedError):
        session.set_segment("ball", [])
    assert session.prompts() == before


def test_an_expert_without_prompts_is_forgotten(ball: Volume, session: Session) -> None:
    session.set_segment("ball", [point(ball, 18)], "expert1")
    session.set_segment("ball", [], "expert1")
    assert session.expert_of("ball") is None
    session.set_segment("ball", [point(ball, 18)])
    assert session.result("ball").expert == "expert0"


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.integers(12, 36), max_size=3, unique=True), min_size=1, max_size=5))
def test_only_the_last_setting_counts(ball: Volume, settings_made: list[list[int]]) -> None:
    model = ThresholdModel(native=POINTS, experts=3)
    with Session(ball, SliceEngine(model), prefetch=False) as session:
        for columns in settings_made:
            session.set_segment("ball", [point(ball, column) for column in columns])
        session.wait()
        assert session.is_answered("ball") and session.failure("ball") is None and not session.is_running()
        last = [point(ball, column) for column in settings_made[-1]]
        expected = fresh(ball, last) if last else np.zeros(ball.shape, np.uint8)
        if any(settings_made):
            assert np.array_equal(session.mask("ball"), expected)


# How far the answer is -------------------------------------------------------------------------------------------


def test_is_answered_follows_the_prompts(ball: Volume, session: Session, model: ThresholdModel) -> None:
    assert session.is_answered("ball") and not session.is_running()
    release = threading.Event()
    model.before_decode = release.wait
    session.add(point(ball, 18))
    assert not session.is_answered("ball") and session.is_running() and session.failure("ball") is None
    release.set()
    session.wait()
    assert session.is_answered("ball") and not session.is_running()
    session.add(point(ball, 28))
    session.undo()
    session.wait()
    assert session.is_answered("ball")


def test_a_failure_is_kept_until_it_is_asked_again(ball: Volume, session: Session, model: ThresholdModel) -> None:
    def fail() -> None:
        raise RuntimeError("CUDA out of memory")

    model.before_decode = fail
    session.add(point(ball, 18))
    with pytest.raises(ResourceError):
        _settle(session, "ball").result()
    assert isinstance(session.failure("ball"), ResourceError)
    assert not session.is_answered("ball") and not session.is_running()
    model.before_decode = lambda: None
    session.retry()
    session.wait()
    assert session.failure("ball") is None and session.is_answered("ball")


def _settle(session: Session, segment: str):
    """The future of a segment, when it is done; unlike ``wait`` it leaves it in its place."""
    from concurrent.futures import wait

    future = session._pending[segment]
    wait([future], 10)
    return future


def test_a_cancelled_prediction_never_arrives(ball: Volume, model: ThresholdModel) -> None:
    release, running, published = threading.Event(), threading.Event(), []

    def slow() -> None:
        running.set()
        release.wait(10)

    model.before_decode = slow
    worker = Worker()
    engine = SliceEngine(model)
    with Session(ball, engine, prefetch=False, worker=worker, on_update=published.append) as session:
        session.add(point(ball, 18))
        session.add(point(ball, 28, segment="queued"))
        assert running.wait(10)
        session.cancel()  # the one that runs is in its last step already
        release.set()
        for segment in ("ball", "queued"):
            _settle(session, segment)
            assert isinstance(session.failure(segment), Cancelled)
            assert not session.is_answered(segment)
        assert published == [] and session.latest("ball").voxels == 0
        model.before_decode = lambda: None
        session.retry()
        session.wait()
        assert set(published) == {"ball", "queued"} and session.mask("ball").sum() > 0
    worker.stop()


def test_waiting_ends_when_what_is_waited_for_is_cancelled_in_the_queue(ball: Volume, model: ThresholdModel) -> None:
    release, running = threading.Event(), threading.Event()

    def slow() -> None:
        running.set()
        release.wait(10)

    model.before_decode = slow
    worker = Worker()
    with Session(ball, SliceEngine(model), prefetch=False, worker=worker) as session:
        session.add(point(ball, 18))
        assert running.wait(10)
        session.add(point(ball, 28, segment="queued"))
        outcome: list[BaseException] = []

        def wait() -> None:
            try:
                session.result("queued")
            except Cancelled as error:
                outcome.append(error)

        waiting = threading.Thread(target=wait, daemon=True)
        waiting.start()
        session.cancel()
        waiting.join(5)
        assert not waiting.is_alive() and len(outcome) == 1
        release.set()
    worker.stop()
