"""``moeseg demo``: the shipped case, in the browser with three stories, or from weights to files without a window."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import app_command
from .output import Progress

if TYPE_CHECKING:
    from ..core.prompts import Prompt
    from ..session import Session

_FOLDER = Path("moeseg-demo")


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "demo",
        help="the shipped CT in the browser, with stories that play by themselves",
        description="Opens the shipped CT in the browser, with stories that play by themselves. With --headless, --out "
        "or --json, or without the packages of the browser app, it segments the CT from a box and two clicks instead.",
    )
    parser.add_argument("--loop", action="store_true", help="play all stories unattended, for a booth")
    parser.add_argument("--no-browser", action="store_true", help="print the address instead of opening a browser")
    parser.add_argument("--port", type=int, default=0, help="port of the page; 0 (the default) takes a free one")
    parser.add_argument("--model", default="segmote-lite", help="lite-medsam or segmote-lite")
    parser.add_argument("--headless", action="store_true", help="no page: write a segmentation and a picture")
    parser.add_argument("--out", type=Path, help=f"folder for the results without a page (default: {_FOLDER})")
    parser.add_argument("--json", action="store_true", help="no page: print one JSON object")
    parser.set_defaults(run=run)


class _Clock:
    """Seconds of each named step."""

    def __init__(self) -> None:
        self.steps: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.steps[name] = time.perf_counter() - started


def run(args: argparse.Namespace) -> int:
    """Show the demo in the browser where that can be, else run it without a page."""
    if not (args.headless or args.json or args.out is not None):
        missing = app_command.missing_packages()
        if not missing or args.loop:
            return _open_page(args)
        app_command.say(
            f"To see it in the browser, with stories that play by themselves, install {' and '.join(missing)} (pip "
            "install 'MoESegLib[web]') and run moeseg demo again."
        )
    args.out = args.out or _FOLDER
    return _run_headless(args)


def _open_page(args: argparse.Namespace) -> int:
    """The app on the shipped CT."""
    app_command.check_packages()
    from ..web.launch import Options, serve
    from ..weights.store import state_of

    if state_of(args.model) == "missing":
        _announce_weights(args.model)
    image, browser = app_command.demo_image(), not args.no_browser
    serve(
        Options(image, port=args.port, browser=browser, model=args.model, stories=True, loop=args.loop), app_command.say
    )
    return 0


def _run_headless(args: argparse.Namespace) -> int:
    from ..core.volume import Volume
    from ..engines import load_engine
    from ..resources import resource_path
    from ..session import Session

    _check_folder(args.out)
    case, clock = json.loads(resource_path("Demo", "demo.json").read_text(encoding="utf-8")), _Clock()
    with clock("get weights"):
        _get_weights(args.model, args.json)
    with clock("read image"):
        volume = Volume.read(resource_path("Demo", case["image"]))
    with clock("load model"):
        engine = load_engine(args.model)
    with Session(volume, engine, extent="slice", prefetch=False) as session:
        scores = _segment(case, session, clock)
        with clock("write"):
            args.out.mkdir(parents=True, exist_ok=True)
            session.write(args.out / "demo.seg.nrrd")
        with clock("draw"):
            _draw(session, scores, args.out / "demo.png")
        _report(session, scores, clock, args)
    return 0


def _check_folder(folder: Path) -> None:
    """Find out before the work whether the results could be written; makes nothing.

    Raises:
        OutputError: the folder, or the nearest one above it that exists, is none or cannot be written.
    """
    from ..core.files import check_writable

    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    check_writable(existing / "demo.seg.nrrd")


def _get_weights(name: str, quiet: bool) -> None:
    """Fetch the weights on first use; running the demo is the consent, and this says to what."""
    from ..weights import get_model
    from ..weights.store import state_of

    if state_of(name) == "installed":
        return
    _announce_weights(name)
    with Progress("downloading", quiet) as progress:
        get_model(name, progress)


def _announce_weights(name: str) -> None:
    from ..weights.store import owner_of

    card = owner_of(name)
    print(
        f"First use: downloading {card.title}, {card.size_text}, license {card.license}, from {card.source_url}\n"
        f"(remove it again with: moeseg models remove {card.name})",
        file=sys.stderr,
    )


def _segment(case: dict, session: Session, clock: _Clock) -> dict[str, float]:
    """Give the prompts one after the other, and score each answer."""
    from ..core.prompts import prompt_from_dict

    prompts = [prompt_from_dict(data) for entry in case["segments"] for data in entry["prompts"]]
    first = prompts[0]
    with clock("encode the slice"):
        session.focus(first.ras_points[0], first.plane)
        while not session.is_prefetched(first.ras_points[0], first.plane):
            time.sleep(0.01)
    for prompt in prompts:
        with clock(f"{prompt.kind} on {prompt.segment}"):
            session.add(prompt)
            session.wait()
    return {entry["segment"]: _score(case, entry, session) for entry in case["segments"]}


def _score(case: dict, entry: dict, session: Session) -> float:
    """Dice on the slices that were prompted, also where the answer is empty."""
    from ..core.resample import resample_nearest
    from ..core.volume import Volume
    from ..evaluation.metrics import dice
    from ..resources import resource_path

    reference = Volume.read(resource_path("Demo", case["labels"]))
    labels = resample_nearest(reference.array, reference.ijk_to_ras, session.volume)
    indices = sorted({_slice_of(session, prompt) for prompt in session.prompts(entry["segment"])})
    array_axis = 2 - session.volume.axis_of("axial")
    mask = session.mask(entry["segment"]).take(indices, array_axis)
    return dice(mask, labels.take(indices, array_axis) == entry["label"])


def _slice_of(session: Session, prompt: Prompt) -> int:
    axis = session.volume.axis_of("axial")
    return round(float(session.volume.ras_to_ijk(prompt.ras_points[0])[axis]))


def _draw(session: Session, scores: dict[str, float], path: Path) -> None:
    from ..core.render import Layer, render_slice
    from ..core.segmentation_file import COLORS

    layers = []
    for number, segment in enumerate(session.segments):
        result = session.latest(segment)
        lines = [f"{result.voxels} voxels, by {result.expert}", f"Dice {scores[segment]:.2f}"]
        if result.confidence is not None:
            lines[1] += f", expected IoU {result.confidence:.2f}"
        layers.append(Layer(segment, session.mask(segment), COLORS[number], lines))
    axis, index = session.volume.axis_of("axial"), _slice_of(session, session.prompts()[0])
    title = f"MoESeg demo, {session.engine.name}\none box, two clicks"
    render_slice(session.volume, axis, index, layers, session.prompts(), path, title=title)


def _report(session: Session, scores: dict[str, float], clock: _Clock, args: argparse.Namespace) -> None:
    from .segment_command import describe

    data = describe(session, sum(clock.steps.values()), args.out / "demo.seg.nrrd")
    for entry in data["segments"]:
        entry["dice"] = round(scores[entry["segment"]], 4)
    data |= {"picture": str(args.out / "demo.png"), "steps": {name: round(s, 3) for name, s in clock.steps.items()}}
    if args.json:
        print(json.dumps(data))
        return
    print(
        f"\nOne CT slice, {session.engine.name}, against the shipped reference (TotalSegmentator's output, not a "
        "radiologist's):"
    )
    for entry in data["segments"]:
        confidence = "" if entry["confidence"] is None else f"  expected IoU {entry['confidence']:.2f}"
        size = f"{entry['voxels']:>6} voxels"
        print(f"  {entry['segment']:<8} Dice {entry['dice']:.3f}  {size}  by {entry['expert']}{confidence}")
        for note in entry["notes"]:
            print(f"           {note}")
    print("\nSeconds:")
    for name, seconds in clock.steps.items():
        print(f"  {name:<20} {seconds:7.2f}")
    print(f"\nWrote {args.out / 'demo.seg.nrrd'} (open it in Slicer) and {args.out / 'demo.png'}")
