"""What the commands print."""

from __future__ import annotations

import sys
import time
from types import TracebackType


class Progress:
    """A progress line on standard error, shown once the work has lasted two seconds.

    Args:
        title: what is being done.
        quiet: never show it (for ``--json``).
    """

    DELAY_SECONDS = 2.0

    def __init__(self, title: str, quiet: bool = False) -> None:
        self.title = title
        self.quiet = quiet or not sys.stderr.isatty()
        self._started = time.monotonic()
        self._shown = False

    def __call__(self, fraction: float, message: str) -> None:
        if self.quiet or time.monotonic() - self._started < self.DELAY_SECONDS:
            return
        filled = round(24 * min(1.0, max(0.0, fraction)))
        line = f"{self.title} [{'#' * filled}{'.' * (24 - filled)}] {100 * fraction:3.0f} %  {message}"
        print(f"\r{line[:100]:<100}", end="", file=sys.stderr, flush=True)
        self._shown = True

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown:
            print(f"\r{'':<100}\r", end="", file=sys.stderr, flush=True)
