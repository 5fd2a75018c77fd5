"""``moeseg bench``: where the time goes, on this machine."""

from __future__ import annotations

import argparse
import json
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser("bench", help="measure encode, click and propagation times, and memory")
    parser.add_argument("--model", default="lite-medsam")
    parser.add_argument("--runtime", default="auto", choices=("auto", "torch", "openvino"))
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--slices", type=int, default=40, help="slices to propagate through (2D models)")
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    from ..core.errors import PromptError
    from ..engines import load_engine
    from ..engines.volume_engine import VolumeEngine
    from ..evaluation.timing import measure
    from ..evaluation.timing3d import measure_volumes

    if args.repeats < 1 or args.slices < 1:
        raise PromptError(f"--repeats {args.repeats}, --slices {args.slices}: 1 or more was expected.")
    engine = load_engine(args.model, runtime=args.runtime)
    if isinstance(engine, VolumeEngine):
        report = measure_volumes(engine, args.repeats)
    else:
        report = measure(engine, args.repeats, args.slices)
    print(json.dumps(report) if args.json else in_words(report))
    return 0


def in_words(report: dict[str, Any]) -> str:
    """A report as a table."""
    lines = [f"{report['model']} with {report['runtime']}, {report['threads']} threads", ""]
    lines.append(f"{'step':<34} {'median s':>9} {'min':>8} {'max':>8} {'GFLOP':>7} {'of floor':>9}")
    for row in report["steps"]:
        work = f"{row['gflop']:7.1f} {100 * row['fraction_of_floor']:7.0f} %" if row.get("gflop") else ""
        lines.append(f"{row['step']:<34} {row['median']:9.3f} {row['min']:8.3f} {row['max']:8.3f} {work}")
    lines += ["", f"floor: a {report['matrix']} product of matrices runs at {report['floor_gflops']:.0f} GFLOP/s"]
    lines.append(f"peak memory of the process: {report['peak_mb']:.0f} MB")
    if "peak_gpu_mb" in report:
        lines.append(f"peak memory on the GPU: {report['peak_gpu_mb']:.0f} MB")
    return "\n".join(lines)
