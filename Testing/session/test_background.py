"""Work beside the predictions: progress, result, failure, and cancelling it at any time."""

from __future__ import annotations

import threading

import pytest

from MoESegLib.core.errors import Cancelled, MoESegError
from MoESegLib.session.background import BackgroundTask
from MoESegLib.session.worker import Worker


@pytest.fixture
def worker():
    worker = Worker()
    yield worker
    worker.stop()


def wait(task: BackgroundTask) -> None:
    finished = threading.Event()
    task._future.add_done_callback(lambda _: finished.set())
    assert finished.wait(10)


def test_the_result_comes_with_progress_on_another_thread(worker: Worker) -> None:
    reported, go = threading.Event(), threading.Event()
    threads = []

    def work(report, token) -> int:
        threads.append(threading.current_thread())
        report(0.5, "half")
        reported.set()
        go.wait(10)
        return 42

    task = BackgroundTask(worker, "Counting", work)
    assert task.name == "Counting"
    assert reported.wait(10)
    assert task.progress == (0.5, "half") and not task.done
    go.set()
    wait(task)
    assert task.done and task.result() == 42 and task.result() == 42
    assert threads[0] is not threading.current_thread()


def test_before_it_starts_the_progress_is_its_name(worker: Worker) -> None:
    go = threading.Event()
    first = BackgroundTask(worker, "first", lambda *_: go.wait(10))
    second = BackgroundTask(worker, "second", lambda *_: "done")
    assert second.progress == (0.0, "second") and not second.done
    go.set()
    wait(second)
    assert first.result() is True and second.result() == "done"


def test_what_the_work_raises_comes_out_of_the_result(worker: Worker) -> None:
    def fail(report, token) -> None:
        raise MoESegError("the disk is full")

    task = BackgroundTask(worker, "Storing", fail)
    wait(task)
    with pytest.raises(MoESegError, match="disk is full"):
        task.result()
    after = BackgroundTask(worker, "after", lambda *_: 1)
    wait(after)
    assert after.result() == 1


def test_cancelling_stops_running_work_at_its_next_check(worker: Worker) -> None:
    started, go = threading.Event(), threading.Event()

    def work(report, token) -> None:
        started.set()
        go.wait(10)
        token.check()
        raise AssertionError("went on")

    task = BackgroundTask(worker, "Slow", work)
    assert started.wait(10)
    task.cancel()
    go.set()
    wait(task)
    with pytest.raises(Cancelled):
        task.result()


def test_cancelling_what_waits_never_starts_it(worker: Worker) -> None:
    go, calls = threading.Event(), []
    first = BackgroundTask(worker, "first", lambda *_: go.wait(10))
    second = BackgroundTask(worker, "second", lambda *_: calls.append(1))
    second.cancel()
    assert second.done
    go.set()
    wait(first)
    with pytest.raises(Cancelled, match="second"):
        second.result()
    assert calls == []


def test_cancelling_one_task_leaves_the_others_alone(worker: Worker) -> None:
    go = threading.Event()
    tasks = [BackgroundTask(worker, "same name", lambda *_: go.wait(10)) for _ in range(3)]
    tasks[1].cancel()
    go.set()
    for task in tasks:
        wait(task)
    assert tasks[0].result() and tasks[2].result()
    with pytest.raises(Cancelled):
        tasks[1].result()


def test_cancelling_after_the_end_keeps_the_result(worker: Worker) -> None:
    task = BackgroundTask(worker, "quick", lambda *_: "here")
    wait(task)
    task.cancel()
    assert task.result() == "here"
