"""Times, the speed of the machine, and memory: what the measurements of engines share."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

MATRIX = 2048


def row(step: str, times: list[float], gflop: float | None, floor: float) -> dict[str, Any]:
    """Median and spread of a step in seconds, and how far it is from the floor.

    Args:
        gflop: its arithmetic, multiply-adds counted twice; None where it is not known.
        floor: GFLOP a second of the machine.
    """
    found: dict[str, Any] = {
        "step": step,
        "median": statistics.median(times),
        "min": min(times),
        "max": max(times),
        "runs": len(times),
    }
    if gflop is not None:
        found |= {"gflop": gflop, "fraction_of_floor": gflop / floor / found["median"]}
    return found


def timed(work: Callable[[], object]) -> float:
    """Seconds that something takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def matrix_gflops(device: torch.device | None = None, dtype: torch.dtype | None = None) -> float:
    """GFLOP a second of a large matrix product, the fastest of six; by default in float32 on the CPU."""
    import torch

    matrix = torch.randn(MATRIX, MATRIX, device=device, dtype=dtype)

    def product() -> None:
        result = matrix @ matrix
        if result.is_cuda:
            torch.cuda.synchronize(device)

    return 2 * MATRIX**3 / min(timed(product) for _ in range(6)) / 1e9


def gflop_of(do: Callable[[], object]) -> float | None:
    """GFLOP of what PyTorch computes in a call, two a multiply-add; None where it does no such thing."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        do()
    return counter.get_total_flops() / 1e9 or None


def peak_mb() -> float:
    """Most memory the process has had so far, in MB; not a number where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 1e6
