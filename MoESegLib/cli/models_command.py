"""``moeseg models``: what models there are, and their weights on this machine."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .output import Progress

if TYPE_CHECKING:
    from ..weights import ModelCard


def add_parser(subparsers: Any) -> None:
    """Add the subcommand with its own subcommands."""
    parser = subparsers.add_parser("models", help="list, get, import, verify and remove models")
    actions = parser.add_subparsers(required=True, metavar="ACTION")

    def action(name: str, function: Any, text: str, *, model: bool | None) -> argparse.ArgumentParser:
        sub = actions.add_parser(name, help=text)
        if model is not None:
            sub.add_argument("name", nargs=None if model else "?", help="as in moeseg models list")
        sub.set_defaults(run=function)
        return sub

    for sub in (
        action("list", _list, "all models and whether they are installed", model=None),
        action("info", _info, "the card of a model", model=True),
        action("verify", _verify, "hash the weights again", model=False),
    ):
        sub.add_argument("--json", action="store_true")
    for sub in (
        action("get", _get, "download the weights of a model", model=True),
        action("remove", _remove, "delete the weights of a model", model=True),
    ):
        sub.add_argument("--yes", action="store_true", help="do not ask")
    importing = action("import", _import, "take the weights from a file", model=None)
    importing.add_argument("file", type=Path)
    importing.add_argument("--name", required=True)
    optimize = action("optimize", _optimize, "make the encoder about twice as fast on a CPU (int8)", model=True)
    optimize.add_argument("--images", type=Path, nargs="*", help="typical images to calibrate with (default: demo CT)")


def _list(args: argparse.Namespace) -> int:
    from ..weights import model_cards
    from ..weights.store import owner_of, state_of

    states = {name: state_of(name) for name in model_cards()}
    if args.json:
        print(json.dumps([{**card.to_dict(), "state": states[card.name]} for card in model_cards().values()]))
        return 0
    for card in model_cards().values():
        owner = owner_of(card.name)
        size = card.size_text if owner is card else f"uses {owner.name}"
        print(f"{card.name:<22} {states[card.name]:<10} {card.dimension:<4} {size:<21} {', '.join(card.prompts)}")
        print(f"{'':<22} {card.title}; license: {card.license}")
    return 0


def _info(args: argparse.Namespace) -> int:
    from ..weights import model_card
    from ..weights.store import state_of, weights_path

    card = model_card(args.name)
    data = {**card.to_dict(), "state": state_of(card.name), "path": str(weights_path(card))}
    if args.json:
        print(json.dumps(data))
    else:
        print("\n".join(f"{key:<18} {_plain(value)}" for key, value in data.items() if value not in (None, (), "")))
    return 0


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}={item}" for key, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _get(args: argparse.Namespace) -> int:
    from ..core.errors import WeightsError
    from ..weights import get_model, model_card
    from ..weights.store import owner_of, state_of

    card, owner = model_card(args.name), owner_of(args.name)
    if state_of(card.name) == "installed":
        print(f"{card.title} is installed already.")
        return 0
    _announce(owner)
    if not args.yes and not _agreed("Download it?", clear=owner.license_is_clear):
        raise WeightsError(f"Nothing was downloaded. To agree without being asked: moeseg models get {card.name} --yes")
    with Progress("downloading") as progress:
        path = get_model(card.name, progress)
    print(f"{card.title} is installed in {path}")
    return 0


def _announce(card: ModelCard) -> None:
    license_text = f"{card.license} ({card.license_url})" if card.license_url else card.license
    print(f"{card.title}: {card.size_text}, license {license_text}, from {card.source_url}", file=sys.stderr)
    if card.notes:
        print(card.notes, file=sys.stderr)


def _agreed(question: str, clear: bool) -> bool:
    """Ask on a terminal; elsewhere the command itself is the consent, unless the license is not clear."""
    if not sys.stdin.isatty():
        return clear
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:  # Ctrl+D
        return False


def _import(args: argparse.Namespace) -> int:
    from ..weights.store import import_file

    print(f"{args.name} is installed in {import_file(args.file, args.name)}")
    return 0


def _verify(args: argparse.Namespace) -> int:
    from ..weights import model_cards
    from ..weights.store import state_of, verify

    names = [args.name] if args.name else [name for name in model_cards() if state_of(name) != "missing"]
    hashes = {name: verify(name) for name in names}
    if args.json:
        print(json.dumps(hashes))
    else:
        print("\n".join(f"{name}: good, SHA-256 {value}" for name, value in hashes.items()) or "No model is installed.")
    return 0


def _remove(args: argparse.Namespace) -> int:
    from ..core.errors import WeightsError
    from ..weights.store import remove, sharers

    together = sharers(args.name)
    others = [name for name in together if name != args.name]
    if others:
        print(f"{', '.join(others)} and {args.name} use the same file; it goes for all of them.", file=sys.stderr)
    if not args.yes and not _agreed(f"Delete the weights of {' and '.join(together)}?", clear=not others):
        raise WeightsError(f"Nothing was deleted. To agree without being asked: moeseg models remove {args.name} --yes")
    print(f"Removed {remove(args.name) / 1e6:.1f} MB, the weights of {' and '.join(together)}")
    return 0


def _optimize(args: argparse.Namespace) -> int:
    from ..core.errors import ResourceError
    from ..core.volume import Volume
    from ..engines import load_engine
    from ..engines.registry import optimize_engine
    from ..resources import resource_path
    from ..weights import model_card

    if model_card(args.name).dimension == "3d":
        raise ResourceError(f"{args.name} has no int8 form; only models on LiteMedSAM have.")
    volumes = [Volume.read(path) for path in args.images or [resource_path("Demo", "ct")]]
    engine = load_engine(args.name)
    slices = [
        engine.prepare(volume, (volume.acquisition_axis, index)).pixels
        for volume in volumes
        for index in range(volume.size[volume.acquisition_axis])
    ]
    step = max(1, len(slices) // 16)
    print("Quantizing; this takes about a minute.", file=sys.stderr)
    print(f"{args.name} now runs with {optimize_engine(args.name, slices[::step][:16])}")
    return 0
