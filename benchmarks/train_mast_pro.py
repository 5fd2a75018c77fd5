"""Train the compact MAST-Pro that ships with MoESeg, on one CPU core.

``python benchmarks/train_mast_pro.py --data DATA --out FILE --steps 3000`` (or ``--minutes 50``) learns from the
training splits of a manifest: real lesions, and lesions drawn into the organs of CT slices. Every ``--every`` steps it
prints Dice on patches of patients that are kept back, real and synthetic apart. It writes the best network in half
precision and, beside it, a report. The same command goes on after it was stopped; with ``--steps`` the result is then
that of an undisturbed run. ``torchrun --nproc-per-node 2 benchmarks/train_mast_pro.py ...`` uses two cores or GPUs.

``--no-experts``, ``--no-text``, ``--no-anatomy`` leave a part out; seed, draws and schedule are the same, so that the
difference is what the part is worth (``benchmarks/evaluate_mast_pro.py``).
``--overfit N`` instead checks that every part can learn: a few patches by heart, N steps.
``python benchmarks/install_mast_pro.py FILE`` then makes the network part of MoESeg.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from MoESegLib.core.cancel import CancelToken
from MoESegLib.core.errors import TrainingError
from MoESegLib.core.files import atomic_path
from MoESegLib.core.organs import organ_ids
from MoESegLib.core.strict_json import to_plain
from MoESegLib.core.tumors import TumorBook
from MoESegLib.models.mast_pro import MastPro, MastProConfig, read_base, write_base
from MoESegLib.models.mast_pro.checkpoint import read_meta
from MoESegLib.training.progress import silent
from MoESegLib.training.tumor_loop import (
    TumorEpoch,
    TumorLoop,
    TumorSchedule,
    fresh_network,
    measure,
    probes_of,
    summarize,
)
from MoESegLib.training.tumor_patches import TumorData, TumorPlan, TumorSample
from MoESegLib.training.tumor_sources import licenses_of
from MoESegLib.training.world import World, use_own_gpu

OVERFIT_TUMORS = ("liver_tumor", "kidney_tumor", "soft_tissue_sarcoma")
UNCODED = {"cesm": "MG"}  # the DICOM code of a set whose images carry none: mammograms, no window depends on it


def main() -> None:
    """Train, or check that training works."""
    options = arguments()
    torch.set_num_threads(options.threads)
    use_own_gpu()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    world = World.join(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    book, plan = TumorBook.load(), TumorPlan(patch=options.patch, slice_patch=options.slice_patch)
    cache = options.cache or options.out.with_suffix(".images")
    if world.is_first:  # the others find what it prepared
        for fold in ("train", "tune"):
            TumorData.open(options.data, cache, plan, fold)
    world.wait()
    data = TumorData.open(options.data, cache, plan)
    modalities(data)  # says now what is not known, not after hours
    kept_back = TumorData.open(options.data, cache, plan, "tune")
    network = fresh_network(config_of(options, data), book, options.seed).to(world.device)
    if options.start is not None:
        network.load_state_dict(read_base(options.start)[0].state_dict())
    schedule = schedule_of(options)
    if options.overfit:
        overfit(network, data, book, schedule, options)
        return
    probes = probes_of(kept_back)
    if world.is_first:
        print(f"{parameters(network):,} parameters, {len(data.images)} images, {len(probes)} patches kept back")
    loop = TumorLoop(
        network, data, probes, book, schedule, identity_of(data, options.start),
        options.out.with_suffix(".checkpoint"), world, time.monotonic(),
    )  # fmt: skip
    curve = loop.run(show if world.is_first else silent, CancelToken())
    if world.is_first:
        network.load_state_dict(loop.best)
        write(network, options, data, curve)
    world.leave()


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of a manifest")
    parser.add_argument("--out", type=Path, required=True, help="the .safetensors to write")
    parser.add_argument("--start", type=Path, help="learn on from a network of the same sizes")
    parser.add_argument("--cache", type=Path, help="folder of prepared images; several runs can share it")
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--steps", type=int)
    length.add_argument("--minutes", type=float)
    length.add_argument("--overfit", type=int, default=0, metavar="N")
    parser.add_argument("--every", type=int, default=200, help="steps between measurements (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch, for each process")
    parser.add_argument("--rate", type=float, default=TumorSchedule.rate)
    parser.add_argument("--slices", type=int, default=TumorSchedule.slices, help="of a step")
    parser.add_argument("--volumes", type=int, default=TumorSchedule.volumes, help="patches of volumes of a step")
    parser.add_argument("--channels", type=int, nargs="+", default=MastProConfig.channels, help="of the five levels")
    parser.add_argument("--patch", type=int, nargs=3, default=MastProConfig.patch)
    parser.add_argument("--slice-patch", type=int, nargs=2, default=MastProConfig.slice_patch)
    for part in ("experts", "attention", "text", "anatomy"):
        parser.add_argument(f"--no-{part}", action="store_true", help=f"leave the {part} out")
    options = parser.parse_args()
    options.patch, options.slice_patch = tuple(options.patch), tuple(options.slice_patch)
    if options.steps is not None and (options.steps < 1 or options.steps % options.every):
        parser.error(f"--steps must be a multiple of --every ({options.every})")
    return options


def config_of(options: argparse.Namespace, data: TumorData) -> MastProConfig:
    """The network, for the tumors that the data hold."""
    parts: dict[str, Any] = {
        part: not getattr(options, f"no_{part}") for part in ("experts", "attention", "text", "anatomy")
    }
    return MastProConfig(
        data.tumors,
        organ_ids(),
        channels=tuple(options.channels),
        patch=options.patch,
        slice_patch=options.slice_patch,
        **parts,
    )


def schedule_of(options: argparse.Namespace) -> TumorSchedule:
    """How long and how fast."""
    every = min(options.every, options.overfit or options.every)
    epochs = None if options.minutes is not None else (options.steps or options.overfit) // every
    return TumorSchedule(
        epochs=epochs,
        minutes=options.minutes,
        seed=options.seed,
        steps=every,
        slices=options.slices,
        volumes=options.volumes,
        rate=options.rate,
    )


def identity_of(data: TumorData, start: Path | None) -> str:
    """Hash of what is learned from; not of the files' dates, which a copy of the data changes."""
    keys = "|".join(f"{image.dataset} {image.name} {image.voxels}" for image in data.images)
    first = "" if start is None else read_meta(start)["base"]
    return hashlib.sha256(f"{keys}|{data.plan!r}{first}".encode()).hexdigest()


def parameters(network: MastPro) -> int:
    """How many."""
    return sum(value.numel() for value in network.parameters())


def modalities(data: TumorData) -> dict[str, list[str]]:
    """DICOM codes of the images that a tumor is learned in; lesions are drawn into CT.

    Raises:
        TrainingError: the code of a set is not known.
    """
    found: dict[str, set[str]] = {tumor: set() for tumor in data.tumors}
    for image in data.images:
        if not image.tumor:
            continue
        code = image.modality or UNCODED.get(image.dataset)
        if code is None:
            raise TrainingError(f"What {image.dataset} is made with is not known. Add its DICOM code to UNCODED.")
        found[image.tumor].add(code)
    return {tumor: sorted(codes or {"CT"}) for tumor, codes in found.items()}


def show(fraction: float, message: str, metrics: object) -> None:
    """A line for every measurement."""
    if metrics:
        print(f"{fraction:.3f} {message}", flush=True)


def steps_of(file: Path) -> int:
    """How long the network of a file was taught."""
    details = read_meta(file)["details"]
    return int(details.get("steps_before", 0)) + int(details["best_steps"])


def write(network: MastPro, options: argparse.Namespace, data: TumorData, curve: list[TumorEpoch]) -> None:
    """The network and its report."""
    best = max(curve, key=lambda epoch: epoch.held_out.score)
    report = {
        "steps_before": steps_of(options.start) if options.start else 0,
        "steps": curve[-1].steps,
        "best_steps": best.steps,
        "minutes": round(curve[-1].seconds / 60),
        "parameters": parameters(network),
        "config": to_plain(network.config),
        "seed": options.seed,
        "rate": options.rate,
        "images": {name: len([i for i in data.images if i.dataset == name]) for name in data.patients},
        "patients": {name: len(patients) for name, patients in data.patients.items()},
        "taught": modalities(data),
        "in_slices": list(data.tumors_of(True)),
        "licenses": licenses_of(options.data),
        "kept_back": dataclasses.asdict(best.held_out),
        "history": [dataclasses.asdict(epoch) for epoch in curve],
    }
    said = ("steps_before", "steps", "best_steps", "images", "taught", "in_slices", "licenses", "kept_back")
    details = {name: report[name] for name in said}
    report["sha256"] = write_base(options.out, network, details)
    with atomic_path(options.out.with_suffix(".report.json")) as temporary:
        temporary.write_text(json.dumps(report, indent=1), encoding="utf-8")
    print(f"{options.out}: {options.out.stat().st_size / 1e6:.1f} MB, best after {best.steps} steps")


class ByHeart:
    """The same few patches again and again."""

    def __init__(self, samples: list[TumorSample]) -> None:
        self.samples = samples

    def tumors_of(self, is_slice: bool) -> tuple[str, ...]:
        """Those of the patches."""
        return tuple({s.tumor for s in self.samples if (s.target.shape[1] == 1) == is_slice})

    def draw(self, rng: np.random.Generator, is_slice: bool | None = None) -> TumorSample:
        """One of them."""
        fitting = [s for s in self.samples if is_slice is None or (s.target.shape[1] == 1) == is_slice]
        return fitting[rng.integers(len(fitting))]


def overfit(
    network: MastPro, data: TumorData, book: TumorBook, schedule: TumorSchedule, options: argparse.Namespace
) -> None:
    """Learn a few patches by heart; prints their Dice."""
    samples = [
        data.draw(np.random.default_rng((7, is_slice, number)), is_slice, tumor)
        for is_slice in (True, False)
        for number, tumor in enumerate(OVERFIT_TUMORS)
        if tumor in data.tumors_of(is_slice)
    ]
    checkpoint = options.out.with_suffix(".overfit")
    checkpoint.unlink(missing_ok=True)
    world = World(0, 1, network.prompt.text.null.device)
    loop = TumorLoop(network, ByHeart(samples), samples, book, schedule, "", checkpoint, world, time.monotonic())
    loop.run(show, CancelToken())
    for sample in samples:
        found = summarize(measure(network.eval(), [sample], book, CancelToken())).dice
        share = sample.target.mean()
        print(sample.dataset, sample.target.shape, f"target {share:.4f} of the voxels", found)


if __name__ == "__main__":
    main()
