"""Where the time of an engine for volumes goes: encode, first and next click, and memory."""

from __future__ import annotations

from collections.abc import Callable
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
from .stopwatch import MATRIX, matrix_gflops, peak_mb, row, timed

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
    steps = [*_network_rows(engine, volume, repeats, floor), *_click_rows(engine, volume, repeats, floor)]
    report = {
        "model": engine.name,
        "runtime": f"torch-{device.type}-{'fp16' if dtype == torch.float16 else 'fp32'}",
        "threads": torch.get_num_threads(),
        "matrix": f"{MATRIX} x {MATRIX}",
        "floor_gflops": floor,
        "peak_mb": peak_mb(),
        "steps": steps,
    }
    if device.type == "cuda":
        report["peak_gpu_mb"] = torch.cuda.max_memory_allocated(device) / 1e6
    return report


def _network_rows(engine: VolumeEngine, volume: Volume, repeats: int, floor: float) -> list[dict[str, Any]]:
    """The encoder, and the decoder as the gate chooses and with the first of the experts."""
    model, grid = engine.model, engine.grid(volume)
    voxel = grid.voxels(volume.to_ras(_CLICK))
    origin = as_triple(centered(voxel, voxel, model.crop_size))
    cuts = [timed(lambda: engine.crop(volume, grid, origin)) for _ in range(repeats)]
    crop = engine.crop(volume, grid, origin)
    embedding = _encoded(engine, crop)
    points = (voxel - np.array(origin))[np.newaxis].astype(np.float32)
    rows = [
        row("cut a crop out of the volume", cuts, None, floor),
        _network_row("encode a crop", lambda: _encoded(engine, crop), repeats, floor),
    ]
    experts = {"decoder alone": None} | {
        f"decoder, asked for {name}": name for name in [*getattr(model, "traits", {})][:1]
    }
    for step, expert in experts.items():
        prompt = CropPrompt(points, np.ones(1, np.int64), expert=expert)
        rows.append(_network_row(step, lambda prompt=prompt: model.decode(embedding, prompt), repeats, floor))
    return rows


def _network_row(step: str, work: Callable[[], object], repeats: int, floor: float) -> dict[str, Any]:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:  # this first run also allocates
        work()
    return row(step, [timed(work) for _ in range(repeats)], counter.get_total_flops() / 1e9 or None, floor)


def _encoded(engine: VolumeEngine, crop: Crop) -> Embedding:
    """The embedding on the CPU, which waits for a GPU."""
    return {name: tensor.cpu() for name, tensor in engine.model.encode(crop, CancelToken()).items()}


def _click_rows(engine: VolumeEngine, volume: Volume, repeats: int, floor: float) -> list[dict[str, Any]]:
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
    return [
        row("first click, one crop", first, None, floor),
        row("next clicks in that crop", later, None, floor),
        row(f"first click as it is, crops: {len(crops)}", [whole], None, floor),
    ]


def _at(volume: Volume, right: float = 0.0, front: float = 0.0) -> PointPrompt:
    r, a, s = volume.to_ras(_CLICK)
    return PointPrompt((float(r) + right, float(a) + front, float(s)))


def _answer(session: Session, prompt: PointPrompt) -> float:
    return timed(lambda: (session.add(prompt), session.wait()))
