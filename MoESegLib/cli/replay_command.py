"""``moeseg replay``: the prompts of a log on their image give the same masks again."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from .output import Progress
from .prompt_log import arithmetic_of, read_log
from .segment_command import add_common_options, check_output, checked_window, disk_cache, finish


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser("replay", help="segment again from a prompt log")
    parser.add_argument("log_file", type=Path, metavar="LOG", help="file written by moeseg segment --log")
    parser.add_argument("--image", type=Path, help="the image, if it is not where it was")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--force", action="store_true", help="replay even if the image has changed")
    add_common_options(parser)
    parser.set_defaults(run=run, runtime=None)


def run(args: argparse.Namespace) -> int:
    """Replay and write; frame, series, window and runtime are those of the log unless given."""
    from ..core.errors import PromptError
    from ..core.volume import Volume
    from ..engines import load_engine
    from ..session import replay

    started = time.perf_counter()
    log = read_log(args.log_file)
    if args.image is None and not log.get("path"):
        raise PromptError(f"{args.log_file} does not say where its image is. Give it with --image.")
    image = args.image or Path(log["path"])
    check_output(args.output, args.overwrite, [image, args.log_file])
    frame, series = args.frame if args.frame is not None else log.get("frame"), args.series or log.get("series")
    volume = Volume.read(image, frame=frame, series=series)
    _check_image(volume, log, image, args.force)
    engine = load_engine(
        log["engine"], runtime=args.runtime or log.get("runtime", "auto"), window=checked_window(log.get("window"))
    )
    if log.get("arithmetic") not in (None, arithmetic_of(engine)):
        print(
            "This log was made with other weights or another runtime; some voxels at the border may differ.",
            file=sys.stderr,
        )
    with Progress("segmenting", args.json) as progress:
        session = replay(log, volume, engine, prefetch=False, cache=disk_cache(), on_progress=progress)
        with session:
            session.wait()
    finish(session, args, started)
    return 0


def _check_image(volume: Any, log: dict[str, Any], image: Path, force: bool) -> None:
    """Raises VolumeError, or with ``force`` warns, when the image is not the one of the log."""
    from ..core.errors import VolumeError

    if volume.content_id == log.get("image", {}).get("content_id"):
        return
    problem = f"{image} is not the image this log was made on"
    if not force:
        raise VolumeError(f"{problem}. Give the right one with --image, or add --force to replay on this one.")
    print(f"{problem}; replayed all the same (--force).", file=sys.stderr)
