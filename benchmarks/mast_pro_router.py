"""Which experts of MAST-Pro serve which tumors, as numbers and as a picture.

``python benchmarks/mast_pro_router.py FILE --data DATA --out STEM [--delta TUMOR --cases CASES --anatomy ORGANS]`` asks
the network about patches of held-out patients and writes ``STEM.csv`` and ``STEM.png``; with a tumor that was taught
later (``moeseg teach --method tumor``) also about patches of its cases. ``MOESEG_HOME`` holds the record of that tumor.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from MoESegLib.core.cancel import CancelToken
from MoESegLib.core.files import atomic_path
from MoESegLib.core.tumors import TumorBook
from MoESegLib.engines.tumor_book import tumor_book
from MoESegLib.models.mast_pro import MastPro, MastProConfig, read_base, read_delta
from MoESegLib.models.mast_pro.checkpoint import read_meta
from MoESegLib.training.case_files import find_cases
from MoESegLib.training.tumor_cases import prepare_cases
from MoESegLib.training.tumor_loop import probes_of
from MoESegLib.training.tumor_patches import TumorData, TumorPlan, TumorSample
from MoESegLib.training.tumor_sources import Fold
from MoESegLib.training.tumor_step import batch_of

_CELL, _NAMES, _HEAD = (52, 24), 210, 44
_DARK = (12, 70, 140)


@dataclass(frozen=True, eq=False)
class Usage:
    """Mean routing of one tumor.

    Attributes:
        experts: names, the shared ones first.
        weights: ``[levels, experts]``, the deepest level last.
        balance: share of the specific experts, ``[levels]``.
        patches: how many it is the mean of.
    """

    experts: tuple[str, ...]
    weights: NDArray[np.float64]
    balance: NDArray[np.float64]
    patches: int


def main() -> None:
    """Ask, and write down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="a base that train_mast_pro.py wrote")
    parser.add_argument("--data", type=Path, required=True, help="folder of a manifest")
    parser.add_argument("--out", type=Path, required=True, help="both files, without their endings")
    parser.add_argument("--delta", type=Path, help="a tumor that was taught to it later")
    parser.add_argument("--cases", type=Path, help="finished cases of that tumor")
    parser.add_argument("--anatomy", type=Path, help="their organs")
    options = parser.parse_args()
    network, _ = read_base(options.file)
    cache = options.out.with_name("images")
    book = tumor_book()
    usage = usage_in(network, options.data, cache, "val", book)
    if options.delta is not None:
        tumor = read_meta(options.delta)["tumor"]
        probes = probes_of_added(tumor, options.cases, options.anatomy, cache, network.config, book)
        before = usage_of(network, probes, book, CancelToken())[tumor]
        read_delta(options.delta, network)
        after = usage_in(network.eval(), options.data, cache, "val", book)
        same = sum(_is_same(entry, after[name]) for name, entry in usage.items())
        print(f"{same} of {len(usage)} other tumors are routed as before, to the last bit.")
        usage |= {f"{tumor}, before": before, **usage_of(network, probes, book, CancelToken())}
    write_usage(options.out, usage)


def usage_in(network: MastPro, data: Path, cache: Path, fold: Fold, book: TumorBook) -> dict[str, Usage]:
    """By tumor id, on patches of held-out patients."""
    held_out = TumorData.open(data, cache, plan_of(network.config), fold)
    return usage_of(network, probes_of(held_out), book, CancelToken())


def probes_of_added(
    tumor: str, cases: Path, anatomy: Path | None, cache: Path, config: MastProConfig, book: TumorBook
) -> list[TumorSample]:
    """Patches of an added tumor's own cases; in this picture alone nothing is measured, so they may be learned from."""
    record = next(record for record in book.records if record.id == tumor)
    found = find_cases(cases, modality=record.modalities[0])
    prepared = prepare_cases(found, record, anatomy, cache, config.spacing_mm)
    return probes_of(TumorData(prepared.images, plan_of(config, tumor)))


def plan_of(config: MastProConfig, *tumors: str) -> TumorPlan:
    """Patches as the network knows them."""
    return TumorPlan(tumors, config.spacing_mm, patch=config.patch, slice_patch=config.slice_patch)


@torch.inference_mode()
def usage_of(network: MastPro, probes: Sequence[TumorSample], book: TumorBook, cancel: CancelToken) -> dict[str, Usage]:
    """By tumor id; {} for a network without experts."""
    found: dict[str, list[tuple[NDArray, NDArray]]] = {}
    experts: tuple[str, ...] = ()
    for sample in probes:
        cancel.check()
        routing = batch_of([sample], book, network).ask(network).routing
        if not routing:
            return {}
        experts = routing[0].experts
        weights = np.stack([level.weights[0].float().cpu().numpy() for level in routing])
        balance = np.array([float(level.balance[0]) for level in routing])
        found.setdefault(sample.tumor, []).append((weights, balance))
    return {
        tumor: Usage(
            experts,
            np.mean([weights for weights, _ in pairs], axis=0),
            np.mean([balance for _, balance in pairs], axis=0),
            len(pairs),
        )
        for tumor, pairs in sorted(found.items())
    }


def write_usage(stem: Path, usage: Mapping[str, Usage]) -> None:
    """``STEM.csv`` and ``STEM.png``; nothing for a network without experts. An added expert serves its tumor only."""
    if not usage:
        return
    usage = _widened(usage)
    with atomic_path(stem.with_suffix(".csv")) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["tumor", "patches", "level", "balance", *next(iter(usage.values())).experts])
        for tumor, entry in usage.items():
            for level, (weights, balance) in enumerate(zip(entry.weights, entry.balance, strict=True)):
                row = [tumor, entry.patches, level, f"{balance:.4f}"]
                writer.writerow([*row, *(f"{weight:.4f}" for weight in weights)])
    with atomic_path(stem.with_suffix(".png")) as temporary:
        draw_usage(usage).save(temporary)


def _is_same(before: Usage, after: Usage) -> bool:
    """Whether a tumor is routed as before, and not at all to the expert that was added since."""
    known = len(before.experts)
    return (
        np.array_equal(before.weights, after.weights[:, :known])
        and not after.weights[:, known:].any()
        and np.array_equal(before.balance, after.balance)
    )


def _widened(usage: Mapping[str, Usage]) -> dict[str, Usage]:
    """With the same experts everywhere; those that a tumor cannot have weigh nothing."""
    experts = max((entry.experts for entry in usage.values()), key=len)
    return {
        tumor: dataclasses.replace(
            entry, experts=experts, weights=np.pad(entry.weights, ((0, 0), (0, len(experts) - len(entry.experts))))
        )
        for tumor, entry in usage.items()
    }


def draw_usage(usage: Mapping[str, Usage]) -> Image.Image:
    """A row a tumor, a block of columns a level: the darker, the more an expert counts."""
    first = next(iter(usage.values()))
    levels, experts = first.weights.shape
    columns = levels * (experts + 1)
    width, height = _NAMES + columns * _CELL[0] + 10, _HEAD + len(usage) * _CELL[1] + 8
    picture = Image.new("RGB", (width, height), "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(12)
    for level in range(levels):
        left = _NAMES + level * (experts + 1) * _CELL[0]
        pen.text((left, 6), f"level {level + 1} of {levels} with experts", "black", font)
        for number, name in enumerate((*first.experts, "specific")):
            pen.text((left + number * _CELL[0] + 4, 24), name[:7], "black", font)
    for row, (tumor, entry) in enumerate(usage.items()):
        top = _HEAD + row * _CELL[1]
        pen.text((6, top + 4), tumor.replace("_", " "), "black", font)
        for level in range(levels):
            values = [*entry.weights[level], entry.balance[level]]
            for number, value in enumerate(values):
                left = _NAMES + (level * (experts + 1) + number) * _CELL[0]
                shade = tuple(round(255 - value * (255 - dark)) for dark in _DARK)
                pen.rectangle((left, top, left + _CELL[0] - 3, top + _CELL[1] - 3), fill=shade)
                pen.text((left + 12, top + 4), f"{value:.2f}", "white" if value > 0.5 else "black", font)
    return picture


if __name__ == "__main__":
    main()
