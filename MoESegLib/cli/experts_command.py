"""``moeseg experts``: the expert packs on this machine."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..experts import InstalledPack
    from ..experts.card import ExpertCard


def add_parser(subparsers: Any) -> None:
    """Add the subcommand with its own subcommands."""
    parser = subparsers.add_parser("experts", help="list, import, export, remove and switch expert packs")
    actions = parser.add_subparsers(required=True, metavar="ACTION")

    def action(name: str, function: Any, text: str, *, pack: bool = True) -> argparse.ArgumentParser:
        sub = actions.add_parser(name, help=text)
        if pack:
            sub.add_argument("name", help="as in moeseg experts list")
        sub.set_defaults(run=function)
        return sub

    for sub in (
        action("list", _list, "all experts, and which are switched on", pack=False),
        action("info", _info, "the card of an expert: what it was taught with, how well it does"),
    ):
        sub.add_argument("--json", action="store_true")
    importing = action("import", _import, "take an expert from a .safetensors file", pack=False)
    importing.add_argument("file", type=Path)
    importing.add_argument("--name", help="call it so instead of by its own name")
    importing.add_argument("--replace", action="store_true", help="overwrite your expert of that name")
    exporting = action("export", _export, "copy an expert to a file or folder, or make a MONAI bundle of it")
    exporting.add_argument("path", type=Path, help="a .safetensors file or a folder; for a bundle a new folder")
    exporting.add_argument("--format", choices=("pack", "monai-bundle"), default="pack")
    exporting.add_argument("--overwrite", action="store_true", help="replace the file if it exists")
    action("remove", _remove, "delete an expert of your own")
    action("enable", _enable, "let models use an expert")
    action("disable", _disable, "keep an expert but do not use it")


def _list(args: argparse.Namespace) -> int:
    from ..experts import list_packs

    packs = list_packs()
    if args.json:
        print(json.dumps([_plain(pack) for pack in packs]))
        return 0
    for pack in packs:
        state = "damaged" if pack.problem else "on" if pack.enabled else "off"
        origin = "shipped" if pack.shipped else "yours"
        print(f"{pack.name:<24} {state:<8} {origin:<8} {_summary(pack.card)}")
        if pack.card is not None:
            print(f"{'':<24} {pack.card.title}; license: {pack.card.license}")
        if pack.problem:
            print(f"{'':<24} {pack.problem}")
    if not packs:
        print("No expert is installed. Take one from a file: moeseg experts import FILE")
    return 0


def _summary(card: ExpertCard | None) -> str:
    if card is None:
        return ""
    return f"{card.base.name:<12} {card.size_text:<8} {', '.join(card.prompts)}; {', '.join(card.modalities)}"


def _plain(pack: InstalledPack) -> dict[str, Any]:
    state = {"path": str(pack.path), "shipped": pack.shipped, "enabled": pack.enabled, "problem": pack.problem}
    return {"name": pack.name, **state, "card": None if pack.card is None else pack.card.to_dict()}


def _info(args: argparse.Namespace) -> int:
    from ..core.errors import WeightsError
    from ..experts import find_pack

    pack = find_pack(args.name)
    if pack.card is None:
        raise WeightsError(pack.problem)
    if args.json:
        print(json.dumps(_plain(pack)))
        return 0
    card = pack.card
    lines = {
        "name": card.name,
        "title": card.title,
        "description": card.description,
        "state": "on" if pack.enabled else "off",
        "problem": pack.problem,
        "base": f"{card.base.name}, SHA-256 {card.base.sha256}",
        "experts": f"{card.sizes.num_experts} ({card.method}, rank {card.sizes.rank})",
        "classes": ", ".join(entry.name for entry in card.classes),
        "modalities": ", ".join(card.modalities),
        "prompts": ", ".join(card.prompts),
        "taught with": "; ".join(f"{d.name}, {d.split}, {d.cases} cases, {d.license}" for d in card.training),
        "license": card.license,
        "made": f"{card.created} by MoESeg {card.moeseg_version}, format {card.format_version}",
        "file": f"{pack.path} ({card.size_text}, SHA-256 {card.sha256})",
    }
    print("\n".join(f"{key:<14} {value}" for key, value in lines.items() if value))
    for result in card.measured:
        base = "" if result.base_dice is None else f" (base {result.base_dice:.3f})"
        print(f"{'measured':<14} Dice {result.dice:.3f}{base}, {result.prompt}: {result.data}, {result.cases} cases")
        print(f"{'':<14} {result.command}")
    return 0


def _import(args: argparse.Namespace) -> int:
    from ..experts import find_pack, import_pack

    card = import_pack(args.file, args.name, args.replace)
    print(f"{card.title} is installed as {card.name} in {find_pack(card.name).path}")
    return 0


def _export(args: argparse.Namespace) -> int:
    from ..experts.store import export_pack

    if args.format == "monai-bundle":
        from ..experts.monai_bundle import export_bundle

        print(f"The bundle is in {export_bundle(args.name, args.path)}")
    else:
        print(f"The expert is in {export_pack(args.name, args.path, args.overwrite)}")
    return 0


def _remove(args: argparse.Namespace) -> int:
    from ..experts.store import remove_pack

    print(f"Removed {remove_pack(args.name) / 1e6:.1f} MB")
    return 0


def _enable(args: argparse.Namespace) -> int:
    return _switch(args.name, True)


def _disable(args: argparse.Namespace) -> int:
    return _switch(args.name, False)


def _switch(name: str, on: bool) -> int:
    from ..experts.store import find_pack, set_enabled

    find_pack(name)
    set_enabled(name, on)
    use = "" if on else " not"
    print(f"{name} is switched {'on' if on else 'off'}; models that are loaded from now on do{use} use it.")
    return 0
