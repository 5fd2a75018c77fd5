"""``moeseg teach --method tumor``: one more tumor type for MAST-Pro from finished segmentations."""

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
    from ..training.tumor_loop import TumorSchedule
    from ..training.tumor_teach import TumorResult

DEFAULT_BASE = "mast-pro"
_OTHERS = {
    "name": "--name",
    "start_from": "--from",
    "max_slices": "--max-slices",
    "varied": "--varied",
    "automatic": "--automatic",
    "general": "--general",
}
"""Options of experts that mean nothing here."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this method alone."""
    tumor = parser.add_argument_group("with --method tumor")
    kind = "tumor type, in words: of MoESeg's records, or of your own tumors.json"
    tumor.add_argument("--type", metavar="PHRASE", help=kind)
    organs = (
        "folder with the organs of the cases, named as the images: .seg.nrrd, TotalSegmentator's label map, or its "
        "folder of masks"
    )
    tumor.add_argument("--anatomy", type=Path, metavar="FOLDER", help=organs)


def run(args: argparse.Namespace) -> int:
    """Teach, install what was learned, and print how good it is."""
    import torch

    from ..engines.taught_tumors import check_free, install_taught
    from ..engines.tumor_book import tumor_book
    from ..training.case_files import find_cases
    from ..training.tumor_teach import teach_tumor
    from .teach_command import first_patients, reporter

    _check_options(args)
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    book = tumor_book()
    record = book.find(args.type).record
    check_free(record.id, args.replace)
    cases = first_patients(find_cases(args.data, args.datasets, args.classes, args.modality), args.patients)
    told = {"command": "moeseg " + shlex.join(sys.argv[1:]), "license": args.license}

    def install(result: TumorResult) -> None:
        install_taught(result.network, record.id, {**result.details(), **told}, args.replace)

    with Progress(f"teaching {record.name}", args.json) as progress:
        result = teach_tumor(
            cases,
            args.type,
            base=args.base or DEFAULT_BASE,
            anatomy=args.anatomy,
            book=book,
            minutes=args.minutes,
            epochs=args.epochs,
            seed=args.seed,
            output=install,
            progress=reporter(progress, args.json),
            schedule=_schedule(args),
            cache=args.cache,
        )
    print(json.dumps(describe(result)) if args.json else as_text(result))
    return 0


def describe(result: TumorResult) -> dict[str, Any]:
    """What was learned, as plain data."""
    from ..engines.taught_tumors import taught_path

    return {
        **result.details(),
        "tumor": result.record.id,
        "base": result.base,
        "saved": result.adaptation.saved,
        "with_organs": result.data.with_organs,
        "notes": list(result.data.notes),
        "history": [dataclasses.asdict(epoch) for epoch in result.history],
        "file": str(taught_path(result.record.id)),
    }


def as_text(result: TumorResult) -> str:
    """The learning curve as a Markdown table, and what did not change."""
    from ..engines.taught_tumors import taught_path

    held = result.held_out
    lines = [
        f"{result.record.name}: {len(result.train_cases)} images to learn from, held out {held.patches} patches of "
        f"{held.patients} patients; {result.data.with_organs} images have organs",
        *(f"Note: {note}" for note in result.data.notes),
        str(result.adaptation),
        f"Nothing else changed: the base is {result.base[:12]} as before (SHA-256), so other tumors are answered as "
        "before, to the last bit.",
        "",
        "| | steps | seconds | loss | held-out Dice |",
        "|---" * 5 + "|",
        f"| before | | | | {result.before.score:.3f} |",
    ]
    for epoch in result.history[1:]:
        mark = " (kept)" if epoch.held_out is held else ""
        loss = "" if epoch.loss is None else f"{epoch.loss:.3f}"
        dice = f"{epoch.held_out.score:.3f}"
        lines.append(f"| epoch {epoch.epoch}{mark} | {epoch.steps} | {epoch.seconds:.0f} | {loss} | {dice} |")
    return "\n".join([*lines, "", f"Installed: {taught_path(result.record.id)}"])


def _schedule(args: argparse.Namespace) -> TumorSchedule:
    from ..training.tumor_teach import DEFAULT_SCHEDULE

    given: dict[str, Any] = {"steps": args.least_steps, "rate": args.rate}
    if args.batch is not None:
        given |= {"slices": args.batch - args.batch // 4, "volumes": args.batch // 4}
    return dataclasses.replace(DEFAULT_SCHEDULE, **{name: value for name, value in given.items() if value is not None})


def _check_options(args: argparse.Namespace) -> None:
    if not args.type:
        raise TrainingError('--method tumor needs to know which tumor. Add for example --type "brain tumor".')
    given = [option for name, option in _OTHERS.items() if getattr(args, name)]
    given += ["--runtime"] if args.runtime != "auto" else []
    if given:
        raise TrainingError(f"{given[0]} belongs to another --method. Leave it out.")
