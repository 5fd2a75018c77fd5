"""``moeseg segment``: an image and prompts in, a segmentation out."""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .arguments import add_prompt_options, files_of, prompts_from
from .output import Progress
from .prompt_log import log_of

if TYPE_CHECKING:
    from ..session import Session


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser("segment", help="segment an image from prompts")
    parser.add_argument("image", type=Path, help="NRRD, NIfTI, MetaImage, PNG, JPEG, or a DICOM folder")
    add_prompt_options(parser)
    parser.add_argument("-o", "--output", type=Path, required=True, help=".seg.nrrd, or a label map")
    parser.add_argument("--model", default="segmote-lite", help="see moeseg models list")
    parser.add_argument(
        "--expert", metavar="NAME", help="who must answer, whatever the gate says: base, an expert or a specialist"
    )
    parser.add_argument(
        "--extent",
        default="slice",
        choices=("slice", "volume"),
        help="slice: only the slices of the prompts; volume: follow the target, or look on all slices",
    )
    parser.add_argument(
        "--window", metavar="LEVEL,WIDTH|PRESET", help="intensity window: 40,400 or soft, lung, bone ..."
    )
    add_common_options(parser)
    parser.add_argument("--log", type=Path, help="keep the prompts here, for moeseg replay")
    parser.set_defaults(run=run, prompts=[])


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Options that segment and replay share."""
    parser.add_argument("--frame", type=int, help="frame of a 4D image")
    parser.add_argument("--series", help="UID of the DICOM series")
    parser.add_argument("--runtime", default="auto", choices=("auto", "torch", "openvino"))
    parser.add_argument("--overwrite", action="store_true", help="replace the output if it exists")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Segment and write."""
    from ..core.files import atomic_path
    from ..core.volume import Volume
    from ..engines import load_engine
    from ..session import Session

    started = time.perf_counter()
    prompts = prompts_from(args.prompts, args.plane)
    window = parse_window(args.window)
    used = [args.image, *files_of(args.prompts)]
    check_output(args.output, args.overwrite, used)
    if args.log is not None:
        check_log(args.log, args.overwrite, [args.output, *used])
    volume = Volume.read(args.image, frame=args.frame, series=args.series)
    engine = load_engine(args.model, runtime=args.runtime, window=window)
    with Progress("segmenting", args.json) as progress:
        session = Session(volume, engine, args.extent, prefetch=False, cache=disk_cache(), on_progress=progress)
        with session:
            for segment in {prompt.segment for prompt in prompts}:
                session.choose_expert(segment, args.expert)
            for prompt in prompts:
                session.add(prompt)
            session.wait()
    if args.log is None:
        finish(session, args, started)
    else:
        with atomic_path(args.log) as temporary:  # neither file appears unless both could be written
            temporary.write_text(json.dumps(log_of(session, engine, args)), encoding="utf-8")
            finish(session, args, started)
    return 0


def finish(session: Session, args: argparse.Namespace, started: float) -> None:
    """Write the answers and report."""
    session.write(args.output)
    data = describe(session, time.perf_counter() - started, args.output)
    print(json.dumps(data) if args.json else as_text(data))


def describe(session: Session, seconds: float, output: Path) -> dict[str, Any]:
    """What was segmented, as plain data; voxels and extent are those of all segments together."""
    import numpy as np

    from .. import __version__
    from ..core.geometry import EMPTY_EXTENT, is_empty, union_extent

    extent, union = EMPTY_EXTENT, np.zeros(session.volume.shape, bool)
    entries = []
    for segment in session.segments:
        result = session.result(segment)
        extent = union_extent(extent, result.extent)
        union |= session.mask(segment) != 0
        entries.append(
            {
                "segment": segment,
                "voxels": result.voxels,
                "milliliters": round(result.voxels * session.volume.voxel_volume / 1000, 4),
                "extent": None if is_empty(result.extent) else list(result.extent),
                "expert": result.expert,
                "confidence": result.confidence,
                "gate_weight": result.gate_weight,
                "alternatives": [other.expert for other in result.alternatives],
                "seconds": round(result.seconds, 4),
                "notes": list(result.notes),
            }
        )
    experts = list(dict.fromkeys(entry["expert"] for entry in entries))
    confidences = [entry["confidence"] for entry in entries if entry["confidence"] is not None]
    return {
        "voxels": int(union.sum()),
        "extent": None if is_empty(extent) else list(extent),
        "expert": ", ".join(experts),
        "confidence": float(np.mean(confidences)) if confidences else None,
        "seconds": round(seconds, 4),
        "out": str(output),
        "engine": session.engine.name,
        "version": __version__,
        "segments": entries,
    }


def as_text(data: dict[str, Any]) -> str:
    """The report for people."""
    lines = []
    for entry in data["segments"]:
        sure = "" if entry["confidence"] is None else f", expected IoU {entry['confidence']:.2f}"
        lines.append(
            f"{entry['segment']}: {entry['voxels']} voxels, {entry['milliliters']:.2f} mL, by {entry['expert']}{sure}"
        )
        lines += [f"  {note}" for note in entry["notes"]]
    lines.append(f"Wrote {data['out']} in {data['seconds']:.1f} s")
    return "\n".join(lines)


def check_output(path: Path, overwrite: bool, inputs: Sequence[Path]) -> None:
    """Refuse early a segmentation file that could not or should not be written at the end.

    Args:
        inputs: files that it must not replace, whatever ``overwrite`` says.

    Raises:
        OutputError: its type is not known, it exists, it is an input, or its folder cannot be written.
    """
    from ..core.segmentation_file import check_segmentation_suffix

    check_segmentation_suffix(path)
    _check_file(path, overwrite, inputs)


def check_log(path: Path, overwrite: bool, taken: Sequence[Path]) -> None:
    """As :func:`check_output`, for the prompt log."""
    from ..core.errors import OutputError

    if path.suffix.lower() != ".json":
        raise OutputError(f"A prompt log is a .json file; got {path.name}.")
    _check_file(path, overwrite, taken)


def check_table(path: Path, overwrite: bool, taken: Sequence[Path]) -> None:
    """As :func:`check_output`, for a table of lesions."""
    from ..core.errors import OutputError

    if path.suffix.lower() != ".csv":
        raise OutputError(f"A table is a .csv file; got {path.name}.")
    _check_file(path, overwrite, taken)


def _check_file(path: Path, overwrite: bool, taken: Sequence[Path]) -> None:
    from ..core.errors import OutputError
    from ..core.files import check_writable

    for other in taken:
        if path.resolve() == other.resolve():
            raise OutputError(f"{path} would replace a file that this command uses itself. Choose another name.")
    if path.is_dir():
        raise OutputError(f"{path} is a folder. Give the name of a file.")
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists already. Choose another name, or add --overwrite to replace it.")
    check_writable(path)


def parse_window(text: str | None) -> tuple[float, float] | None:
    """An intensity window from "level,width" or the name of a preset.

    Raises:
        PromptError: neither.
    """
    from ..core.errors import PromptError
    from ..core.intensity import CT_WINDOWS, level_width

    if text is None:
        return None
    if text in CT_WINDOWS:
        return level_width(*CT_WINDOWS[text])
    try:
        level, width = (float(part) for part in text.split(","))
    except ValueError as error:
        raise PromptError(f"--window takes LEVEL,WIDTH or one of {', '.join(CT_WINDOWS)}; got {text!r}.") from error
    return checked_window(level_width(level, width))


def checked_window(window: Any) -> tuple[float, float] | None:
    """A window of (lowest, highest) intensity that shows something, or None.

    Raises:
        PromptError: not two finite numbers, the lower one first.
    """
    from ..core.errors import PromptError

    if window is None:
        return None
    try:
        low, high = (float(value) for value in window)
    except (TypeError, ValueError) as error:
        raise PromptError(f"An intensity window is two numbers, lowest and highest; got {window!r}.") from error
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise PromptError(f"The intensity window from {low:g} to {high:g} shows nothing; its width must be above 0.")
    return low, high


def disk_cache() -> Any:
    """A cache that also keeps embeddings on disk, so that the next command on the image starts at once."""
    from ..engines.cache import DiskCache, EngineCache
    from ..weights.store import models_home

    return EngineCache(disk=DiskCache(models_home() / "cache"))
