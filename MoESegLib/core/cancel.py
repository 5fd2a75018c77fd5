"""Cooperative cancellation and progress, shared by every long-running function."""

from __future__ import annotations

import threading
from collections.abc import Callable

from .errors import Cancelled

ProgressCallback = Callable[[float, str], None]
"""Called with the finished fraction (0..1) and a short message."""


class CancelToken:
    """A flag that one thread sets and another polls.

    Long work calls :meth:`check` at least every 200 ms or so, for example between the blocks of an encoder or after
    each downloaded chunk.
    """

    def __init__(self) -> None:
        self._event = threading.Event()

    def cancel(self) -> None:
        """Ask the work to stop at its next check."""
        self._event.set()

    @property
    def cancelled(self) -> bool:
        return self._event.is_set()

    def check(self) -> None:
        """Raise :class:`~MoESegLib.core.errors.Cancelled` when :meth:`cancel` was called."""
        if self._event.is_set():
            raise Cancelled("Cancelled; nothing was changed.")
