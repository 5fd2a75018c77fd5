"""Memory and time per click with 1, 5 and 30 specialists on disk; both should stay flat.

``python benchmarks/many_specialists.py [--tiny] [--clicks N]`` writes specialists with random weights to a temporary
folder (15 MB each in the released form), asks each several times in turn, and prints one row for every number. A click
here is gate and decoders; the image is encoded before and not counted. Times are CPU times of one thread, so that other
work on the machine does not count.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from MoESegLib.experts.card import BaseModel
from MoESegLib.experts.specialist_card import SpecialistCard
from MoESegLib.experts.specialist_file import write_specialist
from MoESegLib.experts.specialist_gate import specialist_from
from MoESegLib.models import build_model
from MoESegLib.models.sam_med3d_moe.mixture import SamMed3DMoE

TINY = {"image_size": 32, "patch_size": 4, "width": 96, "depth": 2, "heads": 4, "global_blocks": (1,)}
SHA = "0" * 64
NUMBERS = (1, 5, 30)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="a small base instead of the released form")
    parser.add_argument("--clicks", type=int, default=10, help="clicks on the same specialist before the next")
    options = parser.parse_args()
    torch.set_num_threads(1)
    base: Any = build_model("sam_med3d", **({**TINY, "prompt_width": 96} if options.tiny else {}))
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        files = [write_random(base, Path(folder), number) for number in range(max(NUMBERS))]
        print(f"{files[0].stat().st_size / 1e6:.1f} MB each")
        print(
            "specialists  general only  specialist   first click of a specialist  kept in memory  peak of the process"
        )
        for number in NUMBERS:
            print(row(base, files[:number], options.clicks))


def write_random(base: Any, folder: Path, number: int) -> Path:
    """A specialist whose tensors are those of the base with noise."""
    path = folder / f"task-{number}.safetensors"
    state = {key: value + 0.01 * torch.randn_like(value) for key, value in base.mask_decoder.state_dict().items()}
    card = SpecialistCard(
        name=path.stem,
        title=path.stem,
        description="",
        base=BaseModel("random", SHA),
        origin="random weights",
        classes=(),
        modalities=(),
        prompts=("point",),
        training=(),
        measured=(),
        license="CC0 1.0",
        created="2026-11-21",
    )
    write_specialist(path, state, card)
    return path


def row(base: Any, files: list[Path], clicks: int) -> str:
    """One line of the table: medians in milliseconds, and megabytes."""
    moe = SamMed3DMoE(base, [specialist_from(path, base, SHA) for path in files])
    prompt = prompt_for(base)
    moe(**prompt)
    alone = [seconds(lambda: moe(**prompt)) for _ in range(clicks)]
    first, later = [], []
    for name, click in itertools.product(moe.gate.experts, range(clicks)):
        lean_to(moe, name)
        (first if click == 0 else later).append(seconds(lambda: moe(**prompt)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    times = [f"{1000 * statistics.median(times):8.1f} ms" for times in (alone, later, first)]
    kept = f"{moe.specialists.bytes_in_memory / 1e6:6.0f} MB ({len(moe.specialists.in_memory)})"
    return f"{len(files):11}  {times[0]:>12}  {times[1]:>12}  {times[2]:>26}  {kept:>14}  {peak / 1e6:10.0f} MB"


def prompt_for(base: Any) -> dict[str, torch.Tensor]:
    """One click on a random embedding."""
    pe = base.prompt_encoder.get_dense_pe()
    places = torch.full((1, 1, 3), 10.0)
    side = 4 * pe.shape[-1]
    sparse, dense = base.prompt_encoder((places, torch.ones(1, 1)), None, torch.zeros(1, 1, side, side, side))
    return {
        "image_embeddings": torch.randn_like(pe),
        "image_pe": pe,
        "sparse_prompt_embeddings": sparse,
        "dense_prompt_embeddings": dense,
    }


def lean_to(moe: SamMed3DMoE, name: str) -> None:
    """Let the gate choose one specialist, whatever is asked."""
    for row_name, gate_row in moe.gate.rows.items():
        gate_row.bias.fill_(3.0 if row_name == name else -3.0)  # type: ignore[operator]


def seconds(run: Any) -> float:
    """CPU time of one call."""
    start = time.process_time()
    run()
    return time.process_time() - start


if __name__ == "__main__":
    main()
