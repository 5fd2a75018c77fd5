"""The one thread that runs models."""

from __future__ import annotations

import atexit
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field

from ..core.cancel import CancelToken
from ..core.errors import Cancelled

Work = Callable[[CancelToken], None]


@dataclass(eq=False)
class Job:
    """Work in the queue or running."""

    key: Hashable
    work: Work
    background: bool = False
    token: CancelToken = field(default_factory=CancelToken)
    future: Future[None] = field(default_factory=Future)
    dropped: bool = False


class Worker:
    """One long-lived thread with two queues: predictions first, background encoding when there is nothing else.

    A prediction interrupts background work at its next check; that work starts again later. Submitting under a key that
    is still queued replaces the queued work. All models run here, so that per-thread plans and caches of the runtimes
    stay warm, and no two predictions compete for the cores.
    """

    def __init__(self) -> None:
        self._queues: dict[bool, OrderedDict[Hashable, Job]] = {False: OrderedDict(), True: OrderedDict()}
        self._running: Job | None = None
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None
        self._stopping = False

    def submit(self, key: Hashable, work: Work, background: bool = False) -> Future[None]:
        """Queue work and return at once; the future tells when it is done, failed or was dropped."""
        with self._wake:
            queue = self._queues[background]
            if key in queue:
                _forget(queue.pop(key))
            job = queue[key] = Job(key, work, background)
            if not background and self._running is not None and self._running.background:
                self._running.token.cancel()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="moeseg-inference", daemon=True)
                self._thread.start()
                # A runtime that is torn down under a running inference aborts the process.
                atexit.register(self.stop)
            self._wake.notify_all()
            return job.future

    def drop(self, keys: Callable[[Hashable], bool], background_only: bool = False) -> None:
        """Forget queued work and interrupt running work whose key matches."""
        with self._wake:
            for background, queue in self._queues.items():
                if background or not background_only:
                    for key in [key for key in queue if keys(key)]:
                        _forget(queue.pop(key))
            running = self._running
            if running is not None and keys(running.key) and (running.background or not background_only):
                running.dropped = True
                running.token.cancel()

    def interrupt(self, key: Hashable) -> None:
        """Interrupt the work running under a key, if any; what is queued stays."""
        with self._wake:
            if self._running is not None and self._running.key == key:
                self._running.dropped = True
                self._running.token.cancel()

    def stop(self, timeout: float = 10.0) -> None:
        """Drop everything and end the thread; called when the interpreter exits."""
        self.drop(lambda key: True)
        with self._wake:
            self._stopping = True
            self._wake.notify_all()
        if self._thread is not None:
            self._thread.join(timeout)

    def _run(self) -> None:
        while True:
            with self._wake:
                while not any(self._queues.values()):
                    if self._stopping:
                        return
                    self._wake.wait()
                queue = self._queues[False] or self._queues[True]
                _, job = queue.popitem(last=False)
                self._running = job
            self._execute(job)
            with self._wake:
                self._running = None

    def _execute(self, job: Job) -> None:
        try:
            job.work(job.token)
            job.future.set_result(None)
        except Cancelled as error:
            with self._wake:
                if job.background and not job.dropped and job.key not in self._queues[True]:
                    job.token = CancelToken()
                    self._queues[True][job.key] = job
                    self._queues[True].move_to_end(job.key, last=False)
                    return
            job.future.set_exception(error)
        except BaseException as error:  # noqa: BLE001 - carried to the thread that waits, as concurrent.futures does
            job.future.set_exception(error)


def _forget(job: Job) -> None:
    """Cancel what never started; without the notification those who wait for it would wait forever."""
    if job.future.cancel():
        job.future.set_running_or_notify_cancel()


_default: Worker | None = None
_default_lock = threading.Lock()


def default_worker() -> Worker:
    """The worker that all sessions of a process share."""
    global _default
    with _default_lock:
        if _default is None:
            _default = Worker()
        return _default
