"""Prompts from the words of a command line."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..core.errors import PromptError
from ..core.prompts import (
    DEFAULT_SEGMENT,
    AutomaticPrompt,
    BoxPrompt,
    MaskPrompt,
    PointPrompt,
    PolygonPrompt,
    Prompt,
    ScribblePrompt,
    TextPrompt,
)

NEGATIVE_WORDS = ("neg", "negative", "-", "0")
POSITIVE_WORDS = ("pos", "positive", "+", "1")


class Collect(argparse.Action):
    """Keeps --segment, --at and the prompts after them in the order they were given."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        given = list(getattr(namespace, "prompts", None) or [])
        given.append((self.const, values))
        namespace.prompts = given


def add_prompt_options(parser: argparse.ArgumentParser) -> None:
    """--segment, --point, --box, --scribble, --polygon, --mask, --at, --text, --automatic and --plane."""
    options = (
        ("--segment", "NAME", "segment of the prompts that follow (default Segment_1)"),
        ("--point", "R,A,S[,neg]", "a click, in RAS millimeters; ',neg' marks background"),
        ("--box", "R,A,S,R,A,S", "two opposite corners; flat along one axis it is a box in that slice"),
        ("--scribble", "FILE[,neg]", "RAS points of a stroke: JSON list, text with three numbers a line, or .mrk.json"),
        ("--polygon", "FILE", "RAS points of an outline, as for --scribble"),
        ("--mask", "FILE", "a mask to start from, any image file"),
        ("--at", "R,A,S", "any point of the slice that the --text and --automatic after it are about; it is no click"),
        (
            "--text",
            "PHRASE",
            'what to segment, for models that understand text, for example "liver"; see --at, --extent',
        ),
    )
    for option, metavar, text in options:
        parser.add_argument(option, metavar=metavar, action=Collect, const=option[2:], help=text)
    parser.add_argument(
        "--automatic",
        nargs=0,
        action=Collect,
        const="automatic",
        help="segment what an expert was taught to find, without any other prompt: on the slice of --at, or on all "
        "with --extent volume",
    )
    parser.add_argument("--plane", choices=("axial", "coronal", "sagittal"), help="plane the prompts were drawn in")


def prompts_from(given: Sequence[tuple[str, str]], plane: Any) -> list[Prompt]:
    """The prompts in the order of the command line.

    Raises:
        PromptError: nothing was given, or a value cannot be understood.
    """
    segment, place, prompts = DEFAULT_SEGMENT, None, []
    for number, (kind, value) in enumerate(given):
        following = [later for later, _ in given[number + 1 :]]
        if kind == "segment":
            segment = value
            if not following or following[0] == "segment":
                raise PromptError(
                    f"No prompt follows --segment {value}. Name the segment first, then give its prompts."
                )
        elif kind == "at":
            place = _numbers(value.split(","), 3, value)
            if not {"text", "automatic"}.intersection(following):
                raise PromptError(f"No --text or --automatic follows --at {value}. Name the slice first.")
        elif kind in ("text", "automatic"):
            prompts.append(_MAKERS[kind](value, segment=segment, plane=plane, ras=place))
        else:
            prompts.append(_MAKERS[kind](value, segment=segment, plane=plane))
    if not prompts:
        raise PromptError("Give at least one prompt: --box R,A,S,R,A,S or --point R,A,S (see moeseg segment --help).")
    return prompts


def files_of(given: Sequence[tuple[str, str]]) -> list[Path]:
    """The files that prompts are read from."""
    return [
        Path(_split_sign(value)[0] if kind == "scribble" else value)
        for kind, value in given
        if kind in ("scribble", "polygon", "mask")
    ]


def _point(value: str, **common: Any) -> Prompt:
    words = value.split(",")
    numbers, positive = _sign(words, 3, value)
    return PointPrompt(_numbers(numbers, 3, value), positive, **common)


def _box(value: str, **common: Any) -> Prompt:
    numbers = _numbers(value.split(","), 6, value)
    return BoxPrompt(numbers[:3], numbers[3:], **common)


def _scribble(value: str, **common: Any) -> Prompt:
    name, positive = _split_sign(value)
    return ScribblePrompt(read_points(Path(name)), positive, **common)


def _polygon(value: str, **common: Any) -> Prompt:
    return PolygonPrompt(read_points(Path(value)), **common)


def _mask(value: str, **common: Any) -> Prompt:
    from ..core.volume import Volume

    volume = Volume.read(value)
    return MaskPrompt(volume.array, volume.ijk_to_ras, **common)


def _text(value: str, **common: Any) -> Prompt:
    return TextPrompt(value, **common)


def _automatic(_value: object, **common: Any) -> Prompt:
    return AutomaticPrompt(**common)


_MAKERS = {
    "point": _point,
    "box": _box,
    "scribble": _scribble,
    "polygon": _polygon,
    "mask": _mask,
    "text": _text,
    "automatic": _automatic,
}


def _split_sign(value: str) -> tuple[str, bool]:
    """A file name and whether it is positive; the name itself may hold commas."""
    name, _, word = value.rpartition(",")
    word = word.strip().lower()
    if name and word in (*NEGATIVE_WORDS, *POSITIVE_WORDS):
        return name, word in POSITIVE_WORDS
    return value, True


def _sign(words: list[str], count: int, value: str) -> tuple[list[str], bool]:
    if len(words) == count:
        return words, True
    word = words[-1].strip().lower()
    if len(words) == count + 1 and word in (*NEGATIVE_WORDS, *POSITIVE_WORDS):
        return words[:-1], word in POSITIVE_WORDS
    raise PromptError(f"A point is R,A,S or R,A,S,neg in millimeters; got {value!r}.")


def _numbers(words: Sequence[str], count: int, value: str) -> tuple[Any, ...]:
    try:
        numbers = tuple(float(word) for word in words)
    except ValueError as error:
        raise PromptError(f"{value!r} holds something that is not a number; expected {count} numbers (mm).") from error
    if len(numbers) != count:
        raise PromptError(f"{value!r} has {len(numbers)} numbers, {count} expected (RAS millimeters).")
    return numbers


def read_points(path: Path) -> tuple[Any, ...]:
    """RAS points from a JSON list, a Slicer markups file, or text with three numbers a line.

    Raises:
        PromptError: the file is missing or holds no points.
    """
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PromptError(f"The points in {path} cannot be read: {error}.") from error
    try:
        if path.suffix.lower() == ".json":
            return _json_points(json.loads(content))
        lines = [
            line.replace(",", " ").split() for line in content.splitlines() if line.strip() and line.strip()[0] != "#"
        ]
        return tuple(tuple(float(word) for word in line) for line in lines)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise PromptError(
            f"{path} does not hold points ({error}). Expected a JSON list [[R, A, S], ...], a Slicer .mrk.json, or a "
            "text file with three numbers a line."
        ) from error


def _json_points(data: Any) -> tuple[Any, ...]:
    if isinstance(data, list):
        return tuple(tuple(point) for point in data)
    markup = data["markups"][0]
    sign = -1.0 if markup.get("coordinateSystem", "LPS") in ("LPS", "1") else 1.0
    positions = [point["position"] for point in markup["controlPoints"]]
    return tuple((sign * x, sign * y, z) for x, y, z in positions)
