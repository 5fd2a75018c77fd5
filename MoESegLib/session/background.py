"""Long work beside the predictions: fetching weights, loading a model."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import Generic, TypeVar

from ..core.cancel import CancelToken, ProgressCallback
from ..core.errors import Cancelled
from .worker import Worker

Result = TypeVar("Result")


class BackgroundTask(Generic[Result]):
    """One piece of work on a worker thread, looked at from the main thread.

    Args:
        worker: where it runs; loading a model belongs on the inference thread, a download on one of its own.
        name: what is done, for the progress bar.
        work: gets a progress callback and a token to poll.
    """

    def __init__(self, worker: Worker, name: str, work: Callable[[ProgressCallback, CancelToken], Result]) -> None:
        self.name = name
        self.progress: tuple[float, str] = (0.0, name)
        self._token = CancelToken()
        self._result: Result | None = None
        self._worker = worker
        self._key = (id(self), name)

        def run(_token: CancelToken) -> None:
            self._token.check()
            self._result = work(self._report, self._token)

        self._future: Future[None] = worker.submit(self._key, run)

    @property
    def done(self) -> bool:
        """Whether it ended, in whatever way."""
        return self._future.done()

    def result(self) -> Result:
        """What the work returned; call it when :attr:`done`.

        Raises:
            Cancelled: it was cancelled.
            Exception: whatever the work raised.
        """
        try:
            self._future.result()
        except CancelledError as error:
            raise Cancelled(f"{self.name}: cancelled.") from error
        return self._result  # type: ignore[return-value]

    def cancel(self) -> None:
        """Ask it to stop at its next check."""
        self._token.cancel()
        self._worker.drop(lambda key: key == self._key)

    def _report(self, fraction: float, message: str) -> None:
        self.progress = (fraction, message)
