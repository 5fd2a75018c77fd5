"""``moeseg tumors``: an image and the names of tumors in, every lesion as a numbered segment and a table out."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from .output import Progress
from .segment_command import check_output, check_table, disk_cache

if TYPE_CHECKING:
    from ..core.measure import LesionMeasures
    from ..core.prompts import BoxPrompt, MaskPrompt
    from ..core.results import MaskPatch, Prediction
    from ..core.tumor_records import TumorRecord
    from ..core.volume import Volume
    from ..engines.mast_pro import MastProEngine


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "tumors", help="find the lesions of a tumor type in a CT, MR, PET, ultrasound image or mammogram"
    )
    parser.add_argument("image", type=Path, help="NRRD, NIfTI, MetaImage, PNG, JPEG, or a DICOM folder")
    parser.add_argument(
        "--type",
        dest="types",
        action="append",
        required=True,
        metavar="PHRASE",
        help='what to look for, "liver tumor" or "left kidney tumor"; may be given several times',
    )
    parser.add_argument(
        "--anatomy",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="organs: .seg.nrrd with names, TotalSegmentator's label map or its folder of masks; may be given several "
        "times",
    )
    parser.add_argument(
        "--task", default="total", choices=("total", "total_mr", "btcv"), help="what the numbers of label maps mean"
    )
    parser.add_argument(
        "--totalsegmentator", action="store_true", help="segment the organs with TotalSegmentator, if it is installed"
    )
    parser.add_argument("--yes", action="store_true", help="run TotalSegmentator without asking")
    parser.add_argument("--box", metavar="R,A,S,R,A,S", help="search here instead of around the organs")
    parser.add_argument("--no-restrict", action="store_true", help="keep what lies farther than 10 mm from the organs")
    parser.add_argument(
        "--overlap", type=float, default=0.25, help="of the windows, 0 to 0.9 (default 0.25; 0.5 is slow)"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help=".seg.nrrd, or a label map")
    parser.add_argument(
        "--table", type=Path, metavar="FILE.csv", help="volume, diameters, center and certainty of every lesion"
    )
    parser.add_argument("--frame", type=int, help="frame of a 4D image")
    parser.add_argument("--series", help="UID of the DICOM series")
    parser.add_argument("--modality", help="what the image is, if its file does not say: CT, MR, PT, US, MG")
    parser.add_argument("--runtime", default="auto", choices=("auto", "torch"), help="torch: no graphics card")
    parser.add_argument("--overwrite", action="store_true", help="replace output and table if they exist")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


@dataclass(frozen=True, eq=False)
class FoundLesion:
    """One lesion; its certainty in percent."""

    name: str
    patch: MaskPatch
    measures: LesionMeasures
    certainty: int


@dataclass(frozen=True, eq=False)
class Found:
    """The answer to one phrase.

    Attributes:
        lesions: separate ones, the largest first.
        seconds: that the search took.
    """

    phrase: str
    record: TumorRecord
    side: str
    prediction: Prediction
    lesions: list[FoundLesion]
    seconds: float


def run(args: argparse.Namespace) -> int:
    """Search, write, report."""
    from ..core.files import atomic_path
    from ..core.measure import table_csv
    from ..engines import load_engine

    started = time.perf_counter()
    used = [args.image, *args.anatomy]
    check_output(args.output, args.overwrite, used)
    if args.table is not None:
        check_table(args.table, args.overwrite, [args.output, *used])
    box = _box(args.box)
    volume = _read(args)
    loaded = cast("MastProEngine", load_engine("mast-pro", runtime=args.runtime))
    engine = loaded.with_options(overlap=args.overlap, restrict=not args.no_restrict)
    for phrase in args.types:  # before organs are read, let alone segmented
        engine.check(volume, [*_phrase(phrase), *box], "volume")
    organs = _organs(args, volume)
    found = [_search(engine, volume, phrase, [*organs, *box], args.json) for phrase in _once(engine, args.types)]
    rows = [(lesion.name, lesion.measures, lesion.certainty) for one in found for lesion in one.lesions]
    if args.table is None:
        _write(args, volume, engine, found)
    else:
        with atomic_path(args.table) as temporary:  # neither file appears unless both could be written
            temporary.write_text(table_csv(rows), encoding="utf-8")
            _write(args, volume, engine, found)
    data = describe(found, args, time.perf_counter() - started)
    print(json.dumps(data) if args.json else as_text(data))
    return 0


def describe(found: Sequence[Found], args: argparse.Namespace, seconds: float) -> dict[str, Any]:
    """What was found, as plain data; lengths in millimeters."""
    from .. import __version__

    return {
        "types": [
            {
                "phrase": one.phrase,
                "tumor": one.record.id,
                "side": one.side,
                "expert": one.prediction.expert,
                "gate_weight": one.prediction.gate_weight,
                "seconds": round(one.seconds, 3),
                "notes": list(one.prediction.notes),
                "lesions": [
                    {
                        "name": lesion.name,
                        "milliliters": round(lesion.measures.volume_ml, 4),
                        "longest_diameter": round(lesion.measures.longest_diameter_mm, 2),
                        "longest_axial_diameter": round(lesion.measures.longest_axial_diameter_mm, 2),
                        "short_axis": round(lesion.measures.perpendicular_diameter_mm, 2),
                        "center": [round(value, 2) for value in lesion.measures.center_ras or ()],
                        "certainty": lesion.certainty,
                    }
                    for lesion in one.lesions
                ],
            }
            for one in found
        ],
        "out": str(args.output),
        "table": None if args.table is None else str(args.table),
        "seconds": round(seconds, 3),
        "version": __version__,
    }


def as_text(data: dict[str, Any]) -> str:
    """The report for people."""
    lines = []
    for one in data["types"]:
        lines.append(f"{one['phrase']}: {len(one['lesions'])} lesions in {one['seconds']:.1f} s")
        lines += [f"  {note}" for note in one["notes"]]
        lines += [
            f"  {lesion['name']:<28} {lesion['milliliters']:8.2f} mL  {lesion['longest_axial_diameter']:6.1f} x "
            f"{lesion['short_axis']:.1f} mm (axial), {lesion['longest_diameter']:.1f} mm in 3D"
            f", {lesion['certainty']} % sure"
            for lesion in one["lesions"]
        ]
    written = f"Wrote {data['out']}" + (f" and {data['table']}" if data["table"] else "")
    return "\n".join([*lines, f"{written} in {data['seconds']:.1f} s"])


def _read(args: argparse.Namespace) -> Volume:
    """The image; its modality as the user says, if its file does not."""
    from dataclasses import replace

    from ..core.errors import PromptError, VolumeError
    from ..core.modality import modality_code
    from ..core.tumor_records import MODALITIES
    from ..core.volume import Volume

    volume = Volume.read(args.image, frame=args.frame, series=args.series)
    if volume.array.min() == volume.array.max():
        raise VolumeError(f"{args.image} is empty: every voxel is {volume.array.flat[0]}. Check the file.")
    if args.modality is None:
        return volume
    code = modality_code(args.modality) or args.modality.upper()
    if code not in MODALITIES:
        raise PromptError(f"--modality takes one of {', '.join(MODALITIES)}; got {args.modality!r}.")
    return replace(volume, modality=code)


def _organs(args: argparse.Namespace, volume: Volume) -> list[MaskPrompt]:
    """The organs of all files, and TotalSegmentator's if it was asked for."""
    from ..core.anatomy_files import read_anatomy
    from ..engines import totalsegmentator

    prompts = [prompt for path in args.anatomy for prompt in read_anatomy(path, task=args.task)]
    if args.totalsegmentator:
        task = totalsegmentator.task_for(volume)
        if not totalsegmentator.kept_path(volume).exists():
            _ask(args.yes)
        with Progress("organs", args.json) as progress:
            prompts += read_anatomy(totalsegmentator.segment_organs(volume, progress), task=task)
    return prompts


def _ask(is_agreed: bool) -> None:
    from ..core.errors import Cancelled, ResourceError
    from ..engines.totalsegmentator import CONSENT, PROGRAM, installed_program

    if is_agreed or installed_program() is None:  # running it will say how to install it
        return
    if not sys.stdin.isatty():
        raise ResourceError(f"{CONSENT} Add --yes to agree.")
    print(CONSENT, file=sys.stderr)
    if input(f"Run {PROGRAM}? [y/N] ").strip().lower() not in ("y", "yes"):
        raise Cancelled("Nothing was run.")


def _once(engine: MastProEngine, phrases: Sequence[str]) -> list[str]:
    """The phrases without those that mean what an earlier one meant."""
    first: dict[tuple[str, str], str] = {}
    for match in map(engine.book.find, phrases):
        first.setdefault((match.record.id, match.side), match.phrase)
    return list(first.values())


def _search(
    engine: MastProEngine, volume: Volume, phrase: str, prompts: Sequence[MaskPrompt | BoxPrompt], quiet: bool
) -> Found:
    from ..core.lesions import certainty, split_lesions
    from ..core.measure import measure
    from ..core.results import ProbabilityMap
    from ..engines.protocol import Context
    from ..session.failures import as_user_error

    started = time.perf_counter()
    match = engine.book.find(phrase)
    asked = [*_phrase(phrase), *prompts]
    engine.check(volume, asked, "volume")
    with Progress(phrase, quiet) as progress:
        try:
            prediction = engine.predict(volume, asked, Context("volume", cache=disk_cache(), progress=progress))
        except (MemoryError, RuntimeError) as error:
            raise as_user_error(error) from error
    name = f"{match.side} {match.record.name}".strip()
    sure = prediction.probability or ProbabilityMap()
    lesions = [
        FoundLesion(
            f"{name} {number}",
            patch,
            measure(patch, volume.ijk_to_ras),
            certainty(patch, sure),
        )
        for number, patch in enumerate(split_lesions(prediction.patch, volume.voxel_volume, 0), start=1)
    ]
    return Found(phrase, match.record, match.side, prediction, lesions, time.perf_counter() - started)


def _write(args: argparse.Namespace, volume: Volume, engine: MastProEngine, found: Sequence[Found]) -> None:
    from .. import __version__
    from ..core.segmentation_file import SegmentRecord, write_segmentation
    from ..core.terminology import TERMINOLOGY_TAG, terminology_entry

    records = []
    for one in found:
        tags = {
            "MoESeg.Engine": engine.name,
            "MoESeg.Expert": one.prediction.expert,
            "MoESeg.Version": __version__,
            "MoESeg.Prompts": json.dumps([{"kind": "text", "text": one.phrase}]),
            TERMINOLOGY_TAG: terminology_entry(one.record.structure(one.side)),
        }
        records += [
            SegmentRecord(
                f"Lesion_{len(records) + n}",
                lesion.name,
                lesion.patch,
                tags={**tags, "MoESeg.Certainty": str(lesion.certainty)},
            )
            for n, lesion in enumerate(one.lesions, start=1)
        ]
    for warning in write_segmentation(args.output, volume, records):
        print(warning, file=sys.stderr)


def _phrase(text: str) -> list[Any]:
    from ..core.prompts import TextPrompt

    return [TextPrompt(text)]


def _box(text: str | None) -> list[BoxPrompt]:
    from ..core.prompts import BoxPrompt
    from .arguments import prompts_from

    given = [] if text is None else prompts_from([("box", text)], None)
    return [prompt for prompt in given if isinstance(prompt, BoxPrompt)]
