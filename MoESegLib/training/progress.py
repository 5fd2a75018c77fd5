"""How a teacher reports."""

from __future__ import annotations

from collections.abc import Callable, Mapping

TeachProgress = Callable[[float, str, Mapping[str, float]], None]
"""Called with the finished fraction (0..1), a short message, and what was measured (empty between epochs)."""


def silent(fraction: float, message: str, metrics: Mapping[str, float]) -> None:
    """Report nothing."""


def part_of(progress: TeachProgress, first: float, last: float) -> TeachProgress:
    """Progress of one step of a longer work, which runs from ``first`` to ``last``."""
    return lambda fraction, message, metrics: progress(first + fraction * (last - first), message, metrics)
