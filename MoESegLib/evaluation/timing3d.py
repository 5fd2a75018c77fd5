"""Where the time of an engine for volumes goes: encode, first and next click, and memory."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ..core.cancel import CancelToken
from ..core.prompts import PointPrompt
from ..core.volume import Volume
from ..engines.canvas3d import as_triple
from ..engines.crop3d import centered
from ..engines.protocol import Embedding
from ..engines.protocol3d import Crop, CropPrompt
from ..engines.volume_engine import VolumeEngine
from ..resources import resource_path
from ..session import Session
from .stopwatch import MATRIX, gflop_of, matrix_gflops, peak_mb, row, timed

_CLICK = (188, 285, 10)
"""Voxel (i, j, k) in the liver of the shipped CT."""
_LATER = ((-1, 0), (0, 1), (1, -1))
"""Eighths of a crop to the right and to the front, from there to the next clicks: all in the same crop."""


def measure_volumes(engine: VolumeEngine, repeats: int = 7) -> dict[str, Any]:
    """Medians and spread of the steps of a user's work on the shipped CT, and how far the network is from the floor.

    The floor is the arithmetic of the encoder or decoder (matrix products, convolutions and attention as PyTorch runs
    them) at the speed of a large matrix product of the same precision on the same device, measured in the same run.
    Clicks are timed with one crop, which does not depend on what the network takes for the target, and one as it is.
    """
    import torch

    volume = Volume.read(resource_path("Demo", "ct"))
    device = getattr(engine.model, "device", torch.device("cpu"))
    dtype = getattr(engine.model, "dtype", torch.float32)
    floor = matrix_gflops(device, dtype)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    work = _network_work(engine, volume)
    times = {step: _times(do, repeats) for step, do in work.items()}
    clicks = _click_times(engine, volume, repeats)
    report = {
        "model": engine.name,
        "runtime": f"torch-{device.type}-{'fp16' if dtype == torch.float16 else 'fp32'}",
        "threads": torch.get_num_threads(),
        "matrix": f"{MATRIX} x {MATRIX}",
        "floor_gflops": floor,
        "peak_mb": peak_mb(),
    }
    if device.type == "cuda":
        report["peak_gpu_mb"] = torch.cuda.max_memory_allocated(device) / 1e6
    # Counted after the memory: the counter loads PyTorch's compiler.
    network = [row(step, times[step], gflop_of(do), floor) for step, do in work.items()]
    return report | {"steps": [*network, *(row(step, found, None, floor) for step, found in clicks.items())]}


def _network_work(engine: VolumeEngine, volume: Volume) -> dict[str, Callable[[], object]]:
    """A crop, the encoder, and the decoder as the gate chooses and with the first of the experts."""
    model, grid = engine.model, engine.grid(volume)
    voxel = grid.voxels(volume.to_ras(_CLICK))
    origin = as_triple(centered(voxel, voxel, model.crop_size))
    crop = engine.crop(volume, grid, origin)
    embedding = _encoded(engine, crop)
    points = (voxel - np.array(origin))[np.newaxis].astype(np.float32)

    def decode(expert: str | None) -> object:
        return model.decode(embedding, CropPrompt(points, np.ones(1, np.int64), expert=expert))

    return {
        "cut a crop out of the volume": lambda: engine.crop(volume, grid, origin),
        "encode a crop": lambda: _encoded(engine, crop),
        "decoder alone": lambda: decode(None),
        **{f"decoder, asked for {name}": partial(decode, name) for name in [*getattr(model, "traits", {})][:1]},
    }


def _times(do: Callable[[], object], repeats: int) -> list[float]:
    do()  # the first run also allocates, and reads an expert
    return [timed(do) for _ in range(repeats)]


def _encoded(engine: VolumeEngine, crop: Crop) -> Embedding:
    """The embedding on the CPU, which waits for a GPU."""
    return {name: tensor.cpu() for name, tensor in engine.model.encode(crop, CancelToken()).items()}


def _click_times(engine: VolumeEngine, volume: Volume, repeats: int) -> dict[str, list[float]]:
    """From add() to the mask on the voxels of the volume."""
    alone = VolumeEngine(engine.model, strict_upstream=engine.strict_upstream, max_crops=1)
    step = engine.model.crop_size * engine.model.spacing / 8
    first, later, crops = [], [], []
    for _ in range(repeats):
        with Session(volume, alone, "volume", prefetch=False) as session:
            first.append(_answer(session, _at(volume)))
            later += [_answer(session, _at(volume, step * right, step * front)) for right, front in _LATER]
    with Session(
        volume, engine, "volume", prefetch=False, on_progress=lambda _, message: crops.append(message)
    ) as session:
        whole = _answer(session, _at(volume))
    return {
        "first click, one crop": first,
        "next clicks in that crop": later,
        f"first click as it is, crops: {len(crops)}": [whole],
    }


def _at(volume: Volume, right: float = 0.0, front: float = 0.0) -> PointPrompt:
    r, a, s = volume.to_ras(_CLICK)
    return PointPrompt((float(r) + right, float(a) + front, float(s)))


def _answer(session: Session, prompt: PointPrompt) -> float:
    return timed(lambda: (session.add(prompt), session.wait()))
