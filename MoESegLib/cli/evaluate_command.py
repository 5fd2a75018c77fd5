"""``moeseg evaluate``: how good engines are on labeled images, asked by simulated users."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .output import Progress

if TYPE_CHECKING:
    from ..evaluation.contestants import Contestant, EngineName
    from ..evaluation.datasets import LabeledCase
    from ..evaluation.run import Plan, Score

FORGOTTEN = 1
"""Exit status when --forgetting finds that experts changed what the base says."""


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser("evaluate", help="measure and compare engines on labeled images")
    parser.add_argument("--data", type=Path, required=True, help="a manifest.json, or the folder that holds it")
    parser.add_argument(
        "--set", dest="datasets", action="append", required=True, help="set of the manifest (repeatable, or A,B)"
    )
    parser.add_argument("--split", default="val", help="train, val (default), test, demo, or all")
    parser.add_argument(
        "--protocol", default="box,click", help="box, click, clicks:N, scribble, text, auto, raw-click; comma-separated"
    )
    parser.add_argument(
        "--engine", "--model", dest="engines", action="append",
        help="NAME, NAME+EXPERT+EXPERT (these experts only), NAME+none, or NAME:EXPERT (this one answers, base for the "
        "base model); repeatable, or A,B; the first is what the others are compared with (lite-medsam)",
    )  # fmt: skip
    parser.add_argument("--runtime", default="auto", choices=("auto", "torch", "openvino"))
    parser.add_argument("--class", dest="classes", action="append", default=[], help="only this structure (repeatable)")
    parser.add_argument("--limit", type=int, help="only the first N images of each set")
    parser.add_argument("--max-slices", type=int, help="of each case, evenly spaced (2D engines)")
    parser.add_argument("--max-masks-per-image", type=int, default=20, help="where objects are counted: cells (20)")
    parser.add_argument(
        "--min-pixels", type=int, default=100, help="leave out smaller structures (100; in volumes, voxels)"
    )
    parser.add_argument("--tolerance", type=float, default=2.0, help="of the NSD: mm, in pictures pixels (2)")
    parser.add_argument("--forgetting", action="store_true", help="compare what no expert was taught with the base")
    parser.add_argument("--out", type=Path, help="folder for results.md, scores.csv, summary.csv and curves.png")
    parser.add_argument("--replace", action="store_true", help="overwrite earlier results in that folder")
    parser.add_argument("--cache", type=Path, help="folder that keeps the embeddings of images for the next run")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON instead of Markdown")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Evaluate, write the files and print the report."""
    from ..evaluation.contestants import parse_engines
    from ..evaluation.files import prepare_folder

    names = parse_engines(args.engines or ["lite-medsam"])
    plan = _plan(args)
    cases = _cases(args)
    if args.out is not None:
        prepare_folder(args.out, args.replace)
    contestants = _load(names, args.runtime, args.forgetting)
    scores = _scores(args, contestants, cases, plan)
    if scores is None:
        return _interrupted()
    _check_sets(args, cases, scores)
    return _tell(args, contestants, plan, scores)


def _plan(args: argparse.Namespace) -> Plan:
    from ..core.errors import PromptError
    from ..evaluation.protocols import parse_protocols
    from ..evaluation.run import Plan

    counts = {
        "--limit": args.limit,
        "--max-slices": args.max_slices,
        "--max-masks-per-image": args.max_masks_per_image,
        "--min-pixels": args.min_pixels,
    }
    for option, value in counts.items():
        if value is not None and value < 1:
            raise PromptError(f"{option} {value}: 1 or more was expected.")
    if not args.tolerance >= 0:
        raise PromptError(f"--tolerance {args.tolerance}: 0 or more was expected.")
    protocols = tuple(parse_protocols(args.protocol))
    return Plan(protocols, args.min_pixels, args.max_slices, args.max_masks_per_image, args.tolerance)


def _cases(args: argparse.Namespace) -> list[LabeledCase]:
    from ..evaluation.datasets import check_classes, read_cases

    sets = dict.fromkeys(name.strip() for text in args.datasets for name in text.split(","))
    cases = [case for name in sets for case in read_cases(args.data, name, args.split, args.classes, args.limit)]
    check_classes(cases, args.classes)
    return cases


def _load(names: Sequence[EngineName], runtime: Any, forgetting: bool) -> list[Contestant]:
    from ..core.errors import PromptError
    from ..engines import load_engine
    from ..evaluation.contestants import contestant

    keys = dict.fromkeys((name.model, name.experts) for name in names)  # one that is named twice is loaded once
    engines = {key: load_engine(key[0], runtime=runtime, experts=key[1]) for key in keys}
    loaded = [contestant(name, engines[name.model, name.experts]) for name in names]
    if forgetting and (loaded[0].packs or not any(other.packs for other in loaded[1:])):
        raise PromptError(
            "--forgetting compares engines with experts with the first one, which must have none: for example "
            "--engine lite-medsam,segmote-lite, with at least one expert installed."
        )
    return loaded


def _scores(
    args: argparse.Namespace, contestants: Sequence[Contestant], cases: Sequence[LabeledCase], plan: Plan
) -> list[Score] | None:
    """The scores, or None when the user pressed Ctrl+C."""
    from contextlib import nullcontext

    from ..engines.cache import DiskCache, EngineCache
    from ..evaluation.files import ScoreWriter
    from ..evaluation.run import evaluate

    cache = EngineCache(disk=None if args.cache is None else DiskCache(args.cache, max_bytes=32 << 30))
    writer = None if args.out is None else ScoreWriter(args.out)
    try:
        with RunProgress(args.json) as progress, writer or nullcontext():
            return evaluate(contestants, cases, plan, cache, None if writer is None else writer.write, progress)
    except KeyboardInterrupt:
        if writer is not None and writer.count:
            print(f"Cancelled; the {writer.count} scores so far are in {writer.path}.", file=sys.stderr)
        else:
            print("Cancelled; nothing was written.", file=sys.stderr)
        return None


def _interrupted() -> int:
    from .main import INTERRUPTED

    return INTERRUPTED


def _check_sets(args: argparse.Namespace, cases: Sequence[LabeledCase], scores: Sequence[Score]) -> None:
    """Say which sets gave nothing to measure.

    Raises:
        VolumeError: none did.
    """
    from ..core.errors import VolumeError

    measured = {score.dataset for score in scores}
    empty = list(dict.fromkeys(case.dataset for case in cases if case.dataset not in measured))
    message = f"No image of {', '.join(empty)} holds a structure of at least {args.min_pixels} pixels"
    if not scores:
        raise VolumeError(f"{message}. Lower --min-pixels, or choose other sets or classes.")
    if empty:
        print(f"{message}; left out.", file=sys.stderr)


def _tell(args: argparse.Namespace, contestants: Sequence[Contestant], plan: Plan, scores: Sequence[Score]) -> int:
    from ..evaluation.files import CURVES, REPORT, SUMMARY, summary_lines, write_summary, write_text
    from ..evaluation.forgetting import confusion_rows, gate_rows, identities
    from ..evaluation.plots import write_curves
    from ..evaluation.report import report
    from ..evaluation.summary import efforts, summarize

    labels = [contestant.label for contestant in contestants]
    rows = summarize(scores)
    text = report(scores, rows, contestants, plan, "moeseg " + shlex.join(sys.argv[1:]), args.forgetting)
    if args.out is not None:
        write_text(args.out / REPORT, text)
        write_summary(args.out / SUMMARY, rows, labels)
        write_curves(args.out / CURVES, rows, labels)
    unchanged = identities(scores, contestants)
    if args.json:
        print(
            json.dumps(
                {
                    "rows": summary_lines(rows, labels),
                    "clicks_to_reach": [dataclasses.asdict(entry) for entry in efforts(scores)],
                    "answered_by": [dataclasses.asdict(entry) for entry in gate_rows(scores, contestants)],
                    "confusion": [dataclasses.asdict(entry) for entry in confusion_rows(scores, contestants)],
                    "base_unchanged": [dataclasses.asdict(entry) for entry in unchanged],
                }
            )
        )
    else:
        print(text, end="")
    return FORGOTTEN if args.forgetting and not all(entry.holds for entry in unchanged) else 0


class RunProgress:
    """How far a run is and how long it will take: a bar in a terminal, a line a minute where there is none."""

    SECONDS_BETWEEN_LINES = 60.0

    def __init__(self, quiet: bool) -> None:
        self._bar = Progress("evaluating", quiet)
        self._lines = not quiet and not sys.stderr.isatty()
        self._started = self._last = time.monotonic()

    def __call__(self, fraction: float, message: str) -> None:
        now = time.monotonic()
        left = f"{_duration((now - self._started) * (1 / fraction - 1))} left, " if fraction > 0 else ""
        self._bar(fraction, left + message)
        if self._lines and now - self._last >= self.SECONDS_BETWEEN_LINES:
            print(f"{100 * fraction:.0f} %, {left}{message}", file=sys.stderr, flush=True)
            self._last = now

    def __enter__(self) -> RunProgress:
        self._bar.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._bar.__exit__(*error)


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{round(seconds)} s"
    return f"{minutes} min" if minutes < 90 else f"{seconds / 3600:.1f} h"
