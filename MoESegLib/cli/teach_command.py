"""``moeseg teach``: an expert from finished segmentations; :mod:`.teach_gated` and :mod:`.teach_tumor` have the other
methods."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import TrainingError
from . import teach_gated, teach_tumor
from .output import Progress

if TYPE_CHECKING:
    from ..training.cases import Case
    from ..training.held_out import HeldOut
    from ..training.loop import Plan
    from ..training.teach import TeachResult


ANEW = "none"


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser("teach", help="teach an expert from segmented images")
    parser.add_argument("--data", type=Path, required=True, help="folder of images and labels, or a manifest.json")
    methods = (
        "experts: for slices (the default); gated: a 3D specialist beside SAM-Med3D, and a gate that asks it; tumor: "
        "one more tumor type for MAST-Pro"
    )
    parser.add_argument("--method", choices=("experts", "gated", "tumor"), default="experts", help=methods)
    parser.add_argument("--base", help="model to teach it on, with --method gated (sam-med3d) or tumor (mast-pro)")
    parser.add_argument("--name", help="of the expert: lower-case letters, digits, hyphens; a tumor needs none")
    parser.add_argument("--set", dest="datasets", action="append", default=[], help="set of the manifest (repeatable)")
    parser.add_argument("--class", dest="classes", action="append", default=[], help="class to learn (repeatable)")
    parser.add_argument("--modality", default="", help="of a folder's images: CT, MR, US ...")
    parser.add_argument("--patients", type=int, help="only the first N patients")
    parser.add_argument("--max-slices", type=int, help="of each case, evenly spaced")
    copies = "copies of each slice (1) or 3D crop (2) with other places and grays"
    parser.add_argument("--varied", type=int, help=copies)
    parser.add_argument("--automatic", action="store_true", help="also learn to segment one class without a prompt")
    start = "expert to go on teaching (name or file); the general one that ships by default, 'none' for a new one"
    parser.add_argument("--from", dest="start_from", metavar="EXPERT", help=start)
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, help="stop after so many minutes, encoding and measuring included")
    length.add_argument("--epochs", type=int, help="stop after so many epochs (20)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, help="images (1; on a GPU 8 or more), 3D crops (4) or patches (4) a step")
    parser.add_argument("--least-steps", type=int, help="of an epoch; few samples are seen several times")
    parser.add_argument("--rate", type=float, help="learning rate")
    parser.add_argument("--threads", type=int, help="threads of PyTorch")
    parser.add_argument("--runtime", default="auto", choices=("auto", "torch", "openvino"))
    parser.add_argument("--cache", type=Path, help="folder of embeddings and of the checkpoint")
    parser.add_argument("--license", default="not stated", help="of the expert, for its card")
    parser.add_argument("--general", action="store_true", help="it answers clicks where no other expert knows")
    parser.add_argument("--replace", action="store_true", help="replace an expert of that name")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    teach_gated.add_arguments(parser)
    teach_tumor.add_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Teach, install the expert and print its learning curve."""
    if args.method != "gated" and (args.unrelated or args.gate):
        raise TrainingError("--unrelated and --gate belong to --method gated. Add it, or leave them out.")
    if args.method != "tumor" and (args.type or args.anatomy):
        raise TrainingError("--type and --anatomy belong to --method tumor. Add it, or leave them out.")
    if args.method == "tumor":
        return teach_tumor.run(args)
    if not args.name:
        raise TrainingError("An expert needs a name. Add --name, for example --name liver-mine.")
    if args.method == "gated":
        return teach_gated.run(args)
    if args.base:
        raise TrainingError("--base belongs to --method gated or tumor; experts of slices are for LiteMedSAM.")
    import torch

    from ..experts.store import install_pack
    from ..training.card import card_of
    from ..training.case_files import find_cases
    from ..training.engine import teaching_engine
    from ..training.samples import Collecting
    from ..training.teach import teach

    _check_name_is_free(args.name, args.replace)
    cases = first_patients(find_cases(args.data, args.datasets, args.classes, args.modality), args.patients)
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    command = "moeseg " + shlex.join(sys.argv[1:])
    with Progress(f"teaching {args.name}", args.json) as progress:
        result = teach(
            cases,
            args.name,
            start_from=_start(args.start_from),
            minutes=args.minutes,
            epochs=args.epochs,
            seed=args.seed,
            output=lambda done: install_pack(
                done.pack, card_of(done, cases, command, args.license, general=args.general), args.replace
            ),
            progress=reporter(progress, args.json),
            plan=_plan(args),
            engine=teaching_engine(args.runtime),
            cache=args.cache,
            collecting=Collecting(
                args.max_slices, varied=1 if args.varied is None else args.varied, automatic=args.automatic
            ),
        )
    if os.environ.get("RANK", "0") == "0":  # the others, under torchrun, have the same result
        print(json.dumps(describe(result)) if args.json else as_text(result))
    return 0


def _plan(args: argparse.Namespace) -> Plan:
    from ..training.loop import Plan

    given = {"batch": args.batch, "least_steps": args.least_steps, "learning_rate": args.rate}
    return Plan(**{name: value for name, value in given.items() if value is not None})


def first_patients(cases: Sequence[Case], count: int | None) -> list[Case]:
    """The cases of the first patients."""
    chosen = list(dict.fromkeys(case.patient for case in cases))[:count]
    return [case for case in cases if case.patient in chosen]


def describe(result: TeachResult) -> dict[str, Any]:
    """What was learned, as plain data."""
    return {
        "name": result.name,
        "classes": list(result.classes),
        "samples": result.samples,
        "train_cases": list(result.train_cases),
        "held_out_cases": list(result.held_out_cases),
        "base": dataclasses.asdict(result.base),
        "held_out": dataclasses.asdict(result.held_out),
        "history": [dataclasses.asdict(epoch) for epoch in result.history],
        "steps_per_second": round(result.steps_per_second, 4),
    }


def as_text(result: TeachResult) -> str:
    """The learning curve as a Markdown table, the base first."""
    best = max(result.history, key=lambda epoch: epoch.held_out.score)
    columns = ["box", "one click", *([] if result.held_out.automatic is None else ["no prompt"])]
    lines = [
        f"{result.name}: {', '.join(result.classes)}; {result.samples} structures on slices of "
        f"{len(result.train_cases)} images, held out {result.held_out.masks} of {result.held_out.patients} patients; "
        f"{result.steps_per_second:.3f} steps/s",
        "",
        f"| | steps | seconds | loss | {' | '.join(columns)} |",
        "|---" * (4 + len(columns)) + "|",
        f"| base | | | | {_dices(result.base, len(columns))} |",
    ]
    for epoch in result.history:
        loss = "" if epoch.loss is None else f"{epoch.loss:.3f}"
        mark = " (kept)" if epoch is best else ""
        dices = _dices(epoch.held_out, len(columns))
        lines.append(f"| epoch {epoch.epoch}{mark} | {epoch.steps} | {epoch.seconds:.0f} | {loss} | {dices} |")
    return "\n".join(lines)


def _dices(held_out: HeldOut, columns: int) -> str:
    found = [held_out.box, held_out.click, held_out.automatic][:columns]
    return " | ".join("" if value is None else f"{value:.3f}" for value in found)


def reporter(progress: Progress, quiet: bool) -> Any:
    """What a teacher reports to: a progress line, and a line of its own for every measurement."""

    def report(fraction: float, message: str, metrics: Mapping[str, float]) -> None:
        progress(fraction, message)
        if metrics and not quiet:
            print(f"\r{message:<100}", file=sys.stderr)

    return report


def _start(name: str | None) -> Path | None:
    """The pack to go on from: by default the general one that ships, which knows what a click is."""
    from ..experts.store import find_pack, list_packs

    if name is None:
        return next((pack.path for pack in list_packs() if pack.shipped and pack.card and pack.card.general), None)
    if name == ANEW:
        return None
    return Path(name) if name.endswith(".safetensors") else find_pack(name).path


def _check_name_is_free(name: str, replace: bool) -> None:
    """Say before an hour of training what would be said after it."""
    from ..experts.store import list_packs

    taken = next((pack for pack in list_packs() if pack.name == name), None)
    if taken is not None and (taken.shipped or not replace):
        advice = "" if taken.shipped else ", or add --replace"
        raise TrainingError(f"There is an expert {name} already. Choose another name{advice}.")
