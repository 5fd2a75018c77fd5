"""Where the time of an engine of slices goes: encode, clicks and propagation against the floor of the machine."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from ..core.cancel import CancelToken
from ..core.prompts import BoxPrompt
from ..core.volume import Volume
from ..engines.protocol import Context, ModelPrompt
from ..engines.slice_engine import SliceEngine
from ..resources import resource_path
from ..session import Session
from .stopwatch import MATRIX, matrix_gflops, peak_mb, row, timed

ENCODER_GFLOP = {"lite-medsam": 75.0, "segmote-lite": 75.0}
"""Multiply-adds counted twice, one 256 x 256 slice."""
DECODER_GFLOP = 3.6


def measure(engine: SliceEngine, repeats: int = 7, slices: int = 40) -> dict[str, Any]:
    """Medians and spread of the steps of a user's work on the shipped CT, and how far each is from the floor.

    The floor of a step is its arithmetic at the speed of a large float32 matrix product, measured in the same run.
    """
    import torch

    volume = Volume.read(resource_path("Demo", "ct"))
    floor = matrix_gflops()
    steps = [
        row("encode a slice", _encode_times(engine, volume, repeats), ENCODER_GFLOP.get(engine.name), floor),
        row("decoder alone", _decoder_times(engine, volume, repeats), DECODER_GFLOP, floor),
        *(row(name, times, None, floor) for name, times in _click_times(engine, volume, repeats).items()),
        *(row(name, times, None, floor) for name, times in _propagation_times(engine, volume, slices).items()),
    ]
    return {
        "model": engine.name,
        "runtime": getattr(getattr(engine.model, "encoder", None), "runtime", "unknown"),
        "threads": torch.get_num_threads(),
        "matrix": f"{MATRIX} x {MATRIX}",
        "floor_gflops": floor,
        "peak_mb": peak_mb(),
        "steps": steps,
    }


def _encode_times(engine: SliceEngine, volume: Volume, repeats: int) -> list[float]:
    axis = volume.acquisition_axis
    prepared = [engine.prepare(volume, (axis, index % volume.size[axis])) for index in range(repeats + 1)]
    engine.model.encode(prepared[0], CancelToken())  # the first run also allocates
    return [timed(lambda image=image: engine.model.encode(image, CancelToken())) for image in prepared[1:]]


def _decoder_times(engine: SliceEngine, volume: Volume, repeats: int) -> list[float]:
    prepared = engine.prepare(volume, (volume.acquisition_axis, 10))
    embedding = engine.embedding(prepared, Context())
    calls = [ModelPrompt(box=(50.0, 95.0, 130.0 + step, 185.0)) for step in range(repeats + 1)]
    engine.model.decode(embedding, calls[0])
    return [timed(lambda call=call: engine.model.decode(embedding, call)) for call in calls[1:]]


def _box(volume: Volume, index: int, shift: float = 0.0, segment: str = "target") -> BoxPrompt:
    a, b = volume.to_ras([[105 + shift, 194, index], [271, 376, index]])
    return BoxPrompt(tuple(a), tuple(b), segment=segment, plane="axial")


def _click_times(engine: SliceEngine, volume: Volume, repeats: int) -> dict[str, list[float]]:
    """First and next prompts on slices that were not and that were prefetched, from add() to the mask."""
    fresh, later, prefetched, busy, moving = [], [], [], [], []
    for _ in range(repeats):
        with Session(volume, engine, prefetch=False) as session:

            def answer(prompt: BoxPrompt, session: Session = session) -> float:
                return timed(lambda: (session.add(prompt), session.wait()))

            fresh.append(answer(_box(volume, 10)))
            for shift in (2.0, 4.0, 6.0):  # boxes that differ on the model's grid too
                later.append(answer(_box(volume, 10, shift)))
            here = _box(volume, 15, segment="other")  # of its own, so that one slice is predicted, as above
            moving.append(timed(lambda s=session, p=here: s.focus(p.corner_a, p.plane)))
            _wait_until_encoded(session, volume, 15)
            busy.append(answer(here))
            for index in (16, 14, 17, 13):
                _wait_until_encoded(session, volume, index)
            prefetched.append(answer(_box(volume, 14, segment="third")))
    return {
        "first prompt, slice not encoded": fresh,
        "next prompts on that slice": later,
        "first prompt, prefetched slice": prefetched,
        "the same while neighbors are encoded": busy,
        "moving to a new slice (caller)": moving,
    }


def _wait_until_encoded(session: Session, volume: Volume, index: int) -> None:
    point = _box(volume, index).corner_a
    while not session.is_prefetched(point, "axial"):
        time.sleep(0.01)


def _propagation_times(engine: SliceEngine, volume: Volume, slices: int) -> dict[str, list[float]]:
    """A box in the middle of a stack of slices, with nothing and with everything encoded before."""
    # The case has 20 slices; mirrored and shifted copies continue it without repeating one.
    copies = [np.roll(volume.array[:: 1 - 2 * (n % 2)], n, axis=2) for n in range(slices // volume.shape[0] + 1)]
    repeated = np.concatenate(copies)[:slices]
    stack = Volume(np.ascontiguousarray(repeated), volume.ijk_to_ras, modality=volume.modality)
    with Session(stack, engine, "volume", prefetch=False) as session:
        first = timed(lambda: (session.add(_box(stack, slices // 2)), session.wait()))
        again = timed(lambda: (session.add(_box(stack, slices // 2, 2.0)), session.wait()))
        covered = int(session.mask(session.segments[0]).any(axis=(1, 2)).sum())
    return {f"propagation, {covered} slices masked": [first], "propagation again, encoded": [again]}
