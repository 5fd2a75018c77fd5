"""``moeseg teach --method gated``: a 3D specialist and its gate from finished segmentations."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import TrainingError
from .output import Progress

if TYPE_CHECKING:
    from ..training.cases import Case
    from ..training.specialist import SpecialistResult

DEFAULT_BASE = "sam-med3d"
_OTHERS = {
    "start_from": "--from",
    "max_slices": "--max-slices",
    "automatic": "--automatic",
    "general": "--general",
}
"""Options of experts of slices that mean nothing here."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this method alone."""
    gated = parser.add_argument_group("with --method gated")
    other = "set of the manifest, or folder, of other tasks, where the base must stay as good (repeatable)"
    gated.add_argument("--unrelated", action="append", default=[], metavar="SET", help=other)
    gated.add_argument("--gate", help="name of the gate (one for every base)")


def run(args: argparse.Namespace) -> int:
    """Teach, install specialist and gate, and print what they do."""
    import torch

    from ..training.specialist import base3d, default_gate_name, teach_specialist
    from ..training.specialist_install import check_free, install_taught, specialist_card
    from ..training.specialist_loop import SpecialistPlan
    from .teach_command import first_patients, reporter

    _check_options(args)
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    base = base3d(args.base or DEFAULT_BASE)
    gate_name = args.gate or default_gate_name(base.identity.sha256)
    check_free(args.name, gate_name, base.identity.sha256, args.replace)
    cases, unrelated = _cases(args)
    cases = first_patients(cases, args.patients)
    command = "moeseg " + shlex.join(sys.argv[1:])
    given = {"batch": args.batch, "least_steps": args.least_steps, "rate": args.rate}
    plan = SpecialistPlan(**{name: value for name, value in given.items() if value is not None})
    with Progress(f"teaching {args.name}", args.json) as progress:
        result = teach_specialist(
            cases,
            args.name,
            unrelated=unrelated,
            base=base,
            minutes=args.minutes,
            epochs=args.epochs,
            seed=args.seed,
            output=lambda done: install_taught(done, specialist_card(done, cases, command, args.license), args.replace),
            progress=reporter(progress, args.json),
            plan=plan,
            cache=args.cache,
            varied=2 if args.varied is None else args.varied,
            gate_name=gate_name,
        )
    print(json.dumps(describe(result)) if args.json else as_text(result))
    return 0


def describe(result: SpecialistResult) -> dict[str, Any]:
    """What was learned, as plain data."""
    gate = result.gate
    return {
        "name": result.name,
        "base": dataclasses.asdict(result.base),
        "classes": list(result.classes),
        "samples": result.samples,
        "train_cases": list(result.train_cases),
        "held_out_cases": list(result.held_out_cases),
        "general": dataclasses.asdict(result.general),
        "held_out": dataclasses.asdict(result.held_out),
        "history": [dataclasses.asdict(epoch) for epoch in result.history],
        "gate": {
            "name": result.gate_name,
            "tau": gate.tau.tau,
            "asks": gate.asks,
            "over_all": gate.over_all,
            "rows": [dataclasses.asdict(row) for row in gate.rows],
        },
    }


def as_text(result: SpecialistResult) -> str:
    """The learning curve and what the gate makes of it, as Markdown tables."""
    from ..training.specialist_loop import MEASURED_CLICKS

    held = result.held_out
    lines = [
        f"{result.name} on {result.base.name}: {', '.join(result.classes)}; {result.samples} crops of "
        f"{len(result.train_cases)} images, held out {held.targets} crops of {held.patients} patients",
        "",
        f"| | steps | seconds | loss | one click | {MEASURED_CLICKS} clicks |",
        "|---" * 6 + "|",
    ]
    for epoch in result.history:
        name = "general" if epoch.epoch == 0 else f"epoch {epoch.epoch}"
        mark = " (kept)" if epoch.held_out is held else ""
        loss = "" if epoch.loss is None else f"{epoch.loss:.3f}"
        dice = f"{epoch.held_out.click:.3f} | {epoch.held_out.clicks:.3f}"
        lines.append(f"| {name}{mark} | {epoch.steps} | {epoch.seconds:.0f} | {loss} | {dice} |")
    return "\n".join([*lines, "", *_gate_lines(result)])


def _gate_lines(result: SpecialistResult) -> list[str]:
    gate = result.gate
    lines = [
        f"Gate {result.gate_name}, tau {gate.tau.tau:.2f}; mean Dice after one click on the cases that tau was "
        "chosen on:",
        "",
        "| targets | number | general | specialist | mixture |",
        "|---" * 5 + "|",
    ]
    for row in gate.rows:
        dice = f"{row.general:.3f} | {row.specialist:.3f} | {row.mixture:.3f}"
        lines.append(f"| {row.home or 'unrelated'} | {row.targets} | {dice} |")
    if not gate.asks:
        lines.append(
            f"\nNo threshold let {result.name} answer without harm elsewhere, so it answers only when asked by name. "
            "Give more unrelated cases, or more cases of the task."
        )
    elif not gate.over_all:
        lines.append(
            "\nThe cases of the earlier specialists are not at hand (a gate that ships, or the cache was emptied), so "
            "the gate learned the new one only, and what it says of the others is as before."
        )
    return lines


def _cases(args: argparse.Namespace) -> tuple[list[Case], list[Case]]:
    """Cases of the task and unrelated ones; a folder is recognized by its path."""
    from ..training.case_files import find_cases

    both = set(args.datasets) & set(args.unrelated)
    if both:
        raise TrainingError(f"{both.pop()} is given with --set and with --unrelated. Leave one of them out.")
    cases = find_cases(args.data, args.datasets, args.classes, args.modality)
    folders = [Path(name) for name in args.unrelated if Path(name).is_dir()]
    sets = [name for name in args.unrelated if not Path(name).is_dir()]
    unrelated = find_cases(args.data, sets) if sets else []
    return cases, [*unrelated, *(case for folder in folders for case in find_cases(folder))]


def _check_options(args: argparse.Namespace) -> None:
    given = [option for name, option in _OTHERS.items() if getattr(args, name)]
    given += ["--runtime"] if args.runtime != "auto" else []
    if given:
        raise TrainingError(f"{given[0]} belongs to --method experts. Leave it out.")
