"""Teaching at a desk in seconds: the real teacher on the tiny model."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import torch
from tiny_teaching import PLAN, tiny_engine

from MoESegLib.core.cancel import CancelToken
from MoESegLib.training.desk import TeachingDesk
from MoESegLib.training.teach import TeachResult, teach


def tiny_teacher(epochs: int = 2, seconds_a_step: float = 0.0) -> Callable[..., TeachResult]:
    """``teach`` with another engine and epochs instead of minutes."""

    def run(
        cases: Any, name: str, *, minutes: float, progress: Any, cancel: CancelToken, **options: Any
    ) -> TeachResult:
        def slowly(fraction: float, message: str, metrics: Any) -> None:
            progress(fraction, message, metrics)
            time.sleep(seconds_a_step)

        torch.set_num_threads(1)  # on a busy machine a team of two waits for itself most of the time
        options["collecting"] = dataclasses.replace(options["collecting"], max_slices=3, varied=0)
        return teach(
            cases,
            name,
            epochs=epochs,
            progress=slowly,
            cancel=cancel,
            plan=PLAN,
            engine=tiny_engine(),
            held_out_masks=3,
            **options,
        )

    return run


def tiny_desk(epochs: int = 2, seconds_a_step: float = 0.0) -> TeachingDesk:
    return TeachingDesk(tiny_teacher(epochs, seconds_a_step))


def wait(desk: TeachingDesk, seconds: float = 60.0) -> str:
    """Until the run ended; returns its message."""
    deadline = time.monotonic() + seconds
    while (message := desk.poll()) is None:
        assert time.monotonic() < deadline, "still teaching"
        time.sleep(0.005)
    return message
