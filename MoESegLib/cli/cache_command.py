"""``moeseg cache``: embeddings kept on disk."""

from __future__ import annotations

import argparse
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser("cache", help="show or clear the embeddings kept on disk")
    parser.add_argument("action", choices=("info", "clear"))
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Show or clear."""
    from ..engines.cache import DiskCache
    from ..weights.store import models_home

    folder = models_home() / "cache"
    if args.action == "clear":
        print(f"Removed {DiskCache(folder).clear() / 1e6:.1f} MB from {folder}")
    else:
        files = list(folder.glob("*/*.safetensors"))
        size = sum(path.stat().st_size for path in files)
        print(f"{len(files)} embeddings, {size / 1e6:.1f} MB, in {folder}")
    return 0
