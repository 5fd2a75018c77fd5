"""What a run leaves in its folder: report, scores, summary, curves; a broken one leaves a marked partial file."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from ..core.errors import OutputError
from ..core.files import atomic_path, check_writable
from .run import Score
from .summary import Estimate, Row

REPORT, SCORES, SUMMARY, CURVES = "results.md", "scores.csv", "summary.csv", "curves.png"
PARTIAL = "scores.partial.csv"


def prepare_folder(folder: Path, replace: bool = False) -> None:
    """Make the folder of a run, before an hour of work.

    Args:
        replace: overwrite the results of an earlier run.

    Raises:
        OutputError: it cannot be written, or holds results already.
    """
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"Cannot make the folder {folder}: {error.strerror}. Choose another place.") from error
    if not replace and (folder / SCORES).exists():
        raise OutputError(f"{folder} holds the results of an earlier run. Give a new folder, or add --replace.")
    check_writable(folder / SCORES)


class ScoreWriter:
    """Writes scores as they come to :data:`PARTIAL`, which becomes :data:`SCORES` when the run is whole.

    A run that is cancelled or killed leaves what it had in the partial file; one that had nothing leaves nothing.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / PARTIAL
        self.count = 0
        self._final = folder / SCORES
        self._stream: TextIO

    def __enter__(self) -> ScoreWriter:
        self._stream = self.path.open("w", newline="", encoding="utf-8")
        self._writer = csv.DictWriter(self._stream, [field.name for field in dataclasses.fields(Score)])
        self._writer.writeheader()
        return self

    def write(self, scores: Sequence[Score]) -> None:
        """Add scores.

        Raises:
            OutputError: no space is left.
        """
        try:
            self._writer.writerows(_plain(score) for score in scores)
            self._stream.flush()
        except OSError as error:
            raise OutputError(f"Cannot write {self.path}: {error.strerror}. Free some space and try again.") from error
        self.count += len(scores)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()
        if not self.count:
            self.path.unlink(missing_ok=True)
        elif kind is None:
            self.path.replace(self._final)


def _plain(score: Score) -> dict[str, Any]:
    values = dataclasses.asdict(score)
    values |= {name: round(values[name], 6) for name in ("dice", "nsd")}
    return values | {name: "" if values[name] is None else int(values[name]) for name in ("same_mask", "same_base")}


def write_summary(path: Path, rows: Iterable[Row], engines: Sequence[str]) -> None:
    """One line per row and engine.

    Raises:
        OutputError: it cannot be written.
    """
    lines = summary_lines(rows, engines)
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)


def summary_lines(rows: Iterable[Row], engines: Sequence[str]) -> list[dict[str, Any]]:
    """Rows as plain data, one per engine; None where there is no number."""
    return [
        {
            "set": row.dataset,
            "structure": row.structure,
            "protocol": row.protocol,
            "click": row.click,
            "engine": engine,
            "masks": row.masks,
            "patients": row.patients,
            "refused": cell.refused,
            **_numbers("dice", cell.dice),
            **_numbers("dice_change", cell.dice_change, sd=False),
            **_numbers("nsd", cell.nsd),
            **_numbers("nsd_change", cell.nsd_change, sd=False),
        }
        for row in rows
        for engine, cell in zip(engines, row.cells, strict=True)
    ]


def _numbers(name: str, estimate: Estimate | None, sd: bool = True) -> Mapping[str, float | None]:
    values = {"": "mean", "_sd": "sd", "_low": "low", "_high": "high"}
    return {
        f"{name}{ending}": None if estimate is None or (value := getattr(estimate, part)) is None else round(value, 6)
        for ending, part in values.items()
        if sd or ending != "_sd"
    }


def write_text(path: Path, text: str) -> None:
    """Write a report.

    Raises:
        OutputError: it cannot be written.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
