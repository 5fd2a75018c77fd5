"""``moeseg replay``: the prompts of a log on their image give the same masks again."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from .output import Progress
from .segment_command import add_common_options, check_output, disk_cache, finish


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser("replay", help="segment again from a prompt log")
    parser.add_argument("log_file", type=Path, metavar="LOG", help="file written by moeseg segment --log")
    parser.add_argument("--image", type=Path, help="the image, if it is not where it was")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--force", action="store_true", help="replay even if the image has changed")
    add_common_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Replay and write."""
    from ..core.errors import PromptError, VolumeError
    from ..core.volume import Volume
    from ..engines import load_engine
    from ..session import replay

    started = time.perf_counter()
    check_output(args.output, args.overwrite)
    try:
        log = json.loads(args.log_file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PromptError(f"The prompt log {args.log_file} cannot be read: {error}.") from error
    if not isinstance(log, dict) or "engine" not in log:
        raise PromptError(f"{args.log_file} is not a prompt log of MoESeg.")
    volume = Volume.read(args.image or log.get("path", ""), frame=args.frame, series=args.series)
    if volume.content_id != log.get("image", {}).get("content_id") and not args.force:
        raise VolumeError(
            f"{args.image or log.get('path')} is not the image this log was made on. Give the right one with "
            "--image, or add --force to replay on this one."
        )
    engine = load_engine(log["engine"], runtime=args.runtime)
    with Progress("segmenting", args.json) as progress:
        session = replay(log, volume, engine, prefetch=False, cache=disk_cache(), on_progress=progress)
        with session:
            session.wait()
    finish(session, args, started)
    return 0
