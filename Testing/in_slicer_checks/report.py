"""The report: a text for people and a JSON file with the same content."""

from __future__ import annotations

import json
import platform
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .runner import FAIL, PASS, SKIP, Result


def facts_of_python() -> dict[str, str]:
    """What every report says about the machine."""
    return {"python": sys.version.split()[0], "system": platform.platform()}


def as_text(results: Sequence[Result], facts: dict[str, str]) -> str:
    """The report for people."""
    lines = ["MoESeg: checks in the Slicer application", ""]
    lines += [f"{name}: {value}" for name, value in facts.items()]
    area = ""
    for result in results:
        if result.area != area:
            area = result.area
            lines += ["", area]
        lines.append(f"  {result.line} ({result.seconds:g} s)")
    return "\n".join([*lines, "", summary(results), ""])


def summary(results: Sequence[Result]) -> str:
    """One line: how many passed, failed and were skipped."""
    counts = Counter(result.outcome for result in results)
    return f"{counts[PASS]} passed, {counts[FAIL]} failed, {counts[SKIP]} skipped"


def as_data(results: Sequence[Result], facts: dict[str, str]) -> dict[str, Any]:
    """The report for programs."""
    return {"facts": facts, "summary": summary(results), "results": [asdict(result) for result in results]}


def write(path: Path, results: Sequence[Result], facts: dict[str, str]) -> tuple[Path, Path]:
    """Write ``path`` with the endings ``.txt`` and ``.json``; returns both."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text, data = path.with_suffix(".txt"), path.with_suffix(".json")
    text.write_text(as_text(results, facts), encoding="utf-8")
    data.write_text(json.dumps(as_data(results, facts), indent=2), encoding="utf-8")
    return text, data


def status(results: Sequence[Result]) -> int:
    """Exit status: 0 when something passed and nothing failed."""
    outcomes = {result.outcome for result in results}
    return 0 if PASS in outcomes and FAIL not in outcomes else 1
