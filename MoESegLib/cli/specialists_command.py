"""``moeseg specialists``: the specialists of sam-med3d-moe on this machine, and the gates that choose among them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..experts.gate_store import InstalledGate
    from ..experts.specialist_card import SpecialistCard
    from ..experts.specialist_gate import GateCard
    from ..experts.specialist_store import InstalledSpecialist


def add_parser(subparsers: Any) -> None:
    """Add the subcommand with its own subcommands."""
    parser = subparsers.add_parser(
        "specialists", help="list, show, import, remove and cut out specialists of 3D models"
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")

    def action(name: str, function: Any, text: str) -> argparse.ArgumentParser:
        sub = actions.add_parser(name, help=text)
        sub.set_defaults(run=function)
        return sub

    listing = action("list", _list, "all specialists, and the gates that choose among them")
    showing = action("show", _show, "the card of a specialist: what it was taught with, how well it does")
    removing = action("remove", _remove, "delete a specialist of your own")
    for sub in (showing, removing):
        sub.add_argument("name", help="as in moeseg specialists list")
        sub.add_argument("--gate", action="store_true", help="the gate of that name")
    for sub in (listing, showing):
        sub.add_argument("--json", action="store_true")
    importing = action("import", _import, "take a specialist or a gate from a .safetensors file")
    importing.add_argument("file", type=Path)
    _add_naming(importing, required=False)
    _add_cut(action("cut", _cut, "cut a specialist out of a checkpoint of which only the mask decoder was trained"))


def _add_naming(parser: argparse.ArgumentParser, required: bool) -> None:
    parser.add_argument("--name", required=required, help="call it so" + ("" if required else " instead"))
    parser.add_argument("--replace", action="store_true", help="overwrite yours of that name")


def _add_cut(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=Path, help=".pth or .safetensors")
    parser.add_argument("--base", default="sam-med3d", help="as in moeseg models list (default: the best one here)")
    _add_naming(parser, required=True)
    parser.add_argument("--title", help="for people (default: the name)")
    parser.add_argument("--description", default="", help="what it is good at")
    parser.add_argument(
        "--class", dest="classes", action="append", required=True, metavar="NAME", help="what it segments"
    )
    parser.add_argument("--modality", action="append", required=True, help="CT, MR, ...; may be given several times")
    parser.add_argument("--license", required=True, help="of the checkpoint")


def _list(args: argparse.Namespace) -> int:
    from ..experts.gate_store import list_gates
    from ..experts.specialist_store import list_specialists

    specialists, gates = list_specialists(), list_gates()
    if args.json:
        print(json.dumps({"specialists": [_plain(item) for item in specialists], "gates": [_plain(g) for g in gates]}))
        return 0
    for what, items in (("specialist", specialists), ("gate", gates)):
        for item in items:
            origin = "shipped" if item.shipped else "yours"
            print(f"{item.name:<24} {what:<10} {origin:<8} {_summary(item)}")
    if not specialists:
        print("No specialist is here. Take one from a file: moeseg specialists import FILE")
    return 0


def _summary(item: InstalledSpecialist | InstalledGate) -> str:
    from ..experts.specialist_card import SpecialistCard

    if item.card is None:
        return f"damaged: {item.problem}"
    if isinstance(item.card, SpecialistCard):
        classes = ", ".join(entry.name for entry in item.card.classes)
        return f"{item.card.base.name:<18} {_size(item.card)}  {classes}; license: {item.card.license}"
    return f"{item.card.base.name:<18} {_size(item.card)}  tau {item.card.tau:g}; {_experts(item.card)}"


def _size(card: SpecialistCard | GateCard) -> str:
    return f"{card.size_bytes / 1e6:.1f} MB"


def _experts(card: GateCard) -> str:
    return ", ".join(expert.name for expert in card.experts)


def _plain(item: InstalledSpecialist | InstalledGate) -> dict[str, Any]:
    from ..core.strict_json import to_plain

    state = {"path": str(item.path), "shipped": item.shipped, "problem": item.problem}
    return {"name": item.name, **state, "card": None if item.card is None else to_plain(item.card)}


def _show(args: argparse.Namespace) -> int:
    from ..core.errors import WeightsError
    from ..experts.gate_store import find_gate
    from ..experts.specialist_card import SpecialistCard
    from ..experts.specialist_store import find_specialist

    item = find_gate(args.name) if args.gate else find_specialist(args.name)
    if item.card is None:
        raise WeightsError(item.problem)
    if args.json:
        print(json.dumps(_plain(item)))
        return 0
    card = item.card
    special = _specialist_lines(card) if isinstance(card, SpecialistCard) else _gate_lines(card)
    lines = {
        "name": card.name,
        **special,
        "base": f"{card.base.name}, SHA-256 {card.base.sha256}",
        "made": f"{card.created} by MoESeg {card.moeseg_version}, format {card.format_version}",
        "file": f"{item.path} ({_size(card)}, SHA-256 {card.sha256})",
    }
    print("\n".join(f"{key:<14} {value}" for key, value in lines.items() if value))
    for result in card.measured if isinstance(card, SpecialistCard) else ():
        base = "" if result.base_dice is None else f" (base {result.base_dice:.3f})"
        print(f"{'measured':<14} Dice {result.dice:.3f}{base}, {result.prompt}: {result.data}, {result.cases} cases")
        print(f"{'':<14} {result.command}")
    return 0


def _specialist_lines(card: SpecialistCard) -> dict[str, str]:
    return {
        "title": card.title,
        "description": card.description,
        "origin": card.origin,
        "classes": ", ".join(entry.name for entry in card.classes),
        "modalities": ", ".join(card.modalities),
        "prompts": ", ".join(card.prompts),
        "taught with": "; ".join(f"{d.name}, {d.split}, {d.cases} cases, {d.license}" for d in card.training),
        "license": card.license,
    }


def _gate_lines(card: GateCard) -> dict[str, str]:
    return {
        "description": card.description,
        "specialists": _experts(card),
        "tau": f"{card.tau:g}",
        "fusion": card.fusion,
        "weighing": card.weighing,
    }


def _import(args: argparse.Namespace) -> int:
    from ..experts.gate_store import find_gate, import_specialist_or_gate
    from ..experts.specialist_gate import GateCard
    from ..experts.specialist_store import find_specialist

    card = import_specialist_or_gate(args.file, args.name, args.replace)
    if isinstance(card, GateCard):
        print(f"The gate {card.name} is installed in {find_gate(card.name).path}")
    else:
        print(f"{card.title} is installed as {card.name} in {find_specialist(card.name).path}")
    return 0


def _remove(args: argparse.Namespace) -> int:
    from ..experts.gate_store import remove_gate
    from ..experts.specialist_store import remove_specialist

    print(f"Removed {(remove_gate if args.gate else remove_specialist)(args.name) / 1e6:.1f} MB")
    return 0


def _cut(args: argparse.Namespace) -> int:
    import datetime

    from ..experts.card import ExpertClass
    from ..experts.card_rules import BaseModel
    from ..experts.specialist_card import SpecialistCard
    from ..experts.specialist_cut import cut_specialist
    from ..experts.specialist_store import find_specialist, install_specialist
    from ..weights import ensure_weights
    from ..weights.store import owner_of

    base = owner_of(args.base)
    cut = cut_specialist(args.checkpoint, ensure_weights(base.name))
    card = SpecialistCard(
        name=args.name,
        title=args.title or args.name,
        description=args.description,
        base=BaseModel(base.name, cut.base_sha256),
        origin=cut.origin,
        classes=tuple(ExpertClass.named(name) for name in args.classes),
        modalities=tuple(args.modality),
        prompts=base.prompts,
        training=(),
        measured=(),
        license=args.license,
        created=datetime.date.today().isoformat(),
    )
    install_specialist(cut.decoder, card, args.replace)
    print(f"{card.title} is installed in {find_specialist(card.name).path}")
    print(f"{cut.changed[0]} of the {cut.changed[1]} tensors of its mask decoder differ from those of {base.title}.")
    print("No gate knows it yet: it answers when it is chosen by hand. See docs/sam-med3d-moe.md, Teaching the gate.")
    return 0
