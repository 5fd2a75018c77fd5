"""``moeseg app``: MoESeg in a browser, served from this computer."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

from ..core.errors import MoESegError

_NEEDED = {"aiohttp": "aiohttp", "slicer": "slicer-core"}


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser("app", help="segment in the browser, without Slicer")
    parser.add_argument("image", type=Path, nargs="?", metavar="IMAGE", help="image file or DICOM folder to open")
    parser.add_argument("--demo", action="store_true", help="open the CT that comes with MoESeg")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; others than this computer get a token"
    )
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 (the default) takes a free one")
    parser.add_argument("--no-browser", action="store_true", help="print the address instead of opening a browser")
    parser.add_argument(
        "--allow",
        type=Path,
        nargs="+",
        action="extend",
        default=[],
        metavar="FOLDER",
        help="folders whose files may be opened and written from the page",
    )
    parser.add_argument("--model", help="model to begin with (see moeseg models list)")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with the work that was kept last, for example after a crash: image, segments, prompts, locks",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl+C."""
    check_packages()
    from ..web.launch import Options, serve
    from ..weights import model_card

    image = args.image
    if args.demo:
        image = demo_image()
    if args.model is not None:
        model_card(args.model)
    if args.resume and image is not None:
        raise MoESegError("Give an image, or --resume to go on with the work that was kept last; not both.")
    options = Options(
        image, args.host, args.port, not args.no_browser, args.allow, args.model, resume=args.resume, keep=True
    )
    serve(options, say)
    return 0


def missing_packages() -> list[str]:
    """What is to be installed before there can be a page."""
    return [package for name, package in _NEEDED.items() if importlib.util.find_spec(name) is None]


def check_packages() -> None:
    """Refuse to go on without them.

    Raises:
        MoESegError: some are not installed.
    """
    missing = missing_packages()
    if missing:
        raise MoESegError(
            f"The browser app needs {' and '.join(missing)}, which is not installed. Run: pip install 'MoESegLib[web]'"
        )


def demo_image() -> Path:
    """The CT that comes with MoESeg."""
    from ..resources import resource_path

    case = json.loads(resource_path("Demo", "demo.json").read_text(encoding="utf-8"))
    return resource_path("Demo", case["image"])


def say(text: str) -> None:
    """Tell the user, beside what a command prints as its result."""
    print(text, file=sys.stderr, flush=True)
