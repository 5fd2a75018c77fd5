"""How the threads of PyTorch wait for each other."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

SPINS = "1000"
"""Turns that a thread of GNU OpenMP makes before it sleeps; its own number is 300,000."""


def let_waiting_threads_sleep(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let a thread that waits for another one soon leave its core to that one. Call it before torch is imported.

    PyTorch for Linux waits at the end of every layer, by default for about a millisecond at full speed. Beside a
    program that keeps a core busy, the thread that is waited for often has no core meanwhile: MAST-Pro searched 20
    slices in 35 s instead of 0.8 s on two cores, and so in 1.4 s; on a quiet computer no difference shows
    (``benchmarks/busy_computer.py``). What a user has set stays. PyTorch for Windows and macOS does not read it.
    """
    if "OMP_WAIT_POLICY" not in environment:
        environment.setdefault("GOMP_SPINCOUNT", SPINS)
