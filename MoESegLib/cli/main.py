"""Entry point of the command line: one subcommand a module."""

from __future__ import annotations

import argparse
import logging
import re
import sys
from collections.abc import Sequence

from .. import __version__
from ..core.errors import Cancelled, MoESegError
from . import (
    app_command,
    bench_command,
    cache_command,
    demo_command,
    evaluate_command,
    experts_command,
    models_command,
    replay_command,
    segment_command,
    specialists_command,
    teach_command,
    tumors_command,
)

COMMANDS = (
    demo_command,
    app_command,
    segment_command,
    tumors_command,
    replay_command,
    models_command,
    experts_command,
    specialists_command,
    teach_command,
    evaluate_command,
    bench_command,
    cache_command,
)
_NEGATIVE = re.compile(r"-\.?\d")
USER_ERROR = 2
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 0, 2 after an error the user can mend, 130 after Ctrl+C."""
    parser = _parser()
    args = parser.parse_args(_protect_negative_numbers(sys.argv[1:] if argv is None else argv))
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    # Ours alone: at this level torch reports its caches when the program ends.
    logging.getLogger("MoESegLib").setLevel(logging.DEBUG if args.debug else logging.INFO)
    try:
        return args.run(args)
    except (KeyboardInterrupt, Cancelled):
        print("Cancelled; nothing was changed.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output (head, less) has gone
        sys.stderr.close()
        return 0
    except MoESegError as error:
        if args.debug:
            raise
        print(f"moeseg: {error}", file=sys.stderr)
        return USER_ERROR
    except MemoryError:
        if args.debug:
            raise
        print("moeseg: Out of memory; nothing was written. Close other programs, or crop the image.", file=sys.stderr)
        return USER_ERROR


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="moeseg",
        description="Interactive medical image segmentation with mixtures of experts. Research software, not a medical "
        "device.",
    )
    parser.add_argument("--version", action="version", version=f"moeseg {__version__}")
    parser.add_argument("--debug", action="store_true", help="show details and tracebacks")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_parser(subparsers)
    for subparser in subparsers.choices.values():  # --debug is understood before and after the name of the command
        subparser.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    return parser


def _protect_negative_numbers(argv: Sequence[str]) -> list[str]:
    """Join ``--point -12,3,4`` to ``--point=-12,3,4``, since argparse takes what starts with a dash for an option."""
    joined: list[str] = []
    for word in argv:
        if joined and joined[-1].startswith("--") and "=" not in joined[-1] and _NEGATIVE.match(word):
            joined[-1] = f"{joined[-1]}={word}"
        else:
            joined.append(word)
    return joined
