"""``moeseg evaluate``: Dice of a model on labeled images."""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .output import Progress

if TYPE_CHECKING:
    from ..evaluation.slices import Row, Score


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser("evaluate", help="measure the Dice of a model on labeled images")
    parser.add_argument("--data", type=Path, required=True, help="folder with a manifest.json")
    parser.add_argument("--set", dest="dataset", required=True, help="name of the data set in the manifest")
    parser.add_argument("--split", default="val", choices=("train", "val", "demo", "all"))
    parser.add_argument("--protocol", default="box,click", help="box, click, raw-click, comma-separated")
    parser.add_argument("--model", default="lite-medsam")
    parser.add_argument("--runtime", default="auto", choices=("auto", "torch", "openvino"))
    parser.add_argument("--min-pixels", type=int, default=100, help="leave out smaller structures")
    parser.add_argument("--limit", type=int, help="only the first N images")
    parser.add_argument("--csv", type=Path, help="write every score to this file")
    parser.add_argument("--json", action="store_true", help="print the table as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Evaluate and print a Markdown table."""
    from ..core.errors import PromptError
    from ..engines import load_engine
    from ..evaluation.datasets import read_cases
    from ..evaluation.slices import PROTOCOLS, evaluate_slices, summarize

    protocols = args.protocol.split(",")
    if unknown := [name for name in protocols if name not in PROTOCOLS]:
        raise PromptError(f"Unknown protocol {unknown[0]!r}; known are {', '.join(PROTOCOLS)}.")
    cases = read_cases(args.data, args.dataset, args.split)[: args.limit]
    engine = load_engine(args.model, runtime=args.runtime)
    with Progress("evaluating") as progress:
        scores = evaluate_slices(engine, cases, protocols, args.min_pixels, progress)
    rows = summarize(scores)
    if args.csv is not None:
        _write_csv(args.csv, scores)
    if args.json:
        print(json.dumps([dataclasses.asdict(row) for row in rows]))
    else:
        print(_markdown(rows))
    return 0


def _markdown(rows: list[Row]) -> str:
    lines = ["| protocol | structure | masks | patients | Dice | SD | 95 % interval |", "|---|---|---|---|---|---|---|"]
    lines += [
        f"| {row.protocol} | {row.label} | {row.masks} | {row.patients} | {row.mean:.3f} | {row.spread:.3f} "
        f"| {row.low:.3f} to {row.high:.3f} |"
        for row in rows
    ]
    return "\n".join(lines)


def _write_csv(path: Path, scores: list[Score]) -> None:
    from ..core.files import atomic_path

    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, [field.name for field in dataclasses.fields(scores[0])])
        writer.writeheader()
        writer.writerows(dataclasses.asdict(score) for score in scores)
