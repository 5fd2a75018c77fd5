"""Which experts of MAST-Pro serve which tumors, as numbers and as a picture."""

from __future__ import annotations

import csv
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
from MoESegLib.models.mast_pro import MastPro
from MoESegLib.training.tumor_patches import TumorSample
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
    """``STEM.csv`` and ``STEM.png``; nothing for a network without experts."""
    if not usage:
        return
    with atomic_path(stem.with_suffix(".csv")) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["tumor", "patches", "level", "balance", *next(iter(usage.values())).experts])
        for tumor, entry in usage.items():
            for level, (weights, balance) in enumerate(zip(entry.weights, entry.balance, strict=True)):
                row = [tumor, entry.patches, level, f"{balance:.4f}"]
                writer.writerow([*row, *(f"{weight:.4f}" for weight in weights)])
    with atomic_path(stem.with_suffix(".png")) as temporary:
        draw_usage(usage).save(temporary)


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
            pen.text((left + number * _CELL[0] + 4, 24), name[:9], "black", font)
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
