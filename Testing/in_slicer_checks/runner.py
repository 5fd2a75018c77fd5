"""Runs numbered checks one after the other and says PASS, FAIL or SKIP for each. Needs neither Slicer nor Qt."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

PASS, FAIL, SKIP = "PASS", "FAIL", "SKIP"
NOT_HERE = "only the Slicer application itself can tell"

CheckFunction = Callable[[Any], "str | None"]


class Skipped(Exception):  # noqa: N818 - not an error
    """A check cannot be made here; the text says why."""


@dataclass(frozen=True)
class Check:
    """One thing to find out.

    Attributes:
        area: heading in the report.
        title: what holds when the check passes, as a sentence.
        function: gets the site; returns what was measured or None, raises AssertionError when the title does not hold.
        application: can only be made in the Slicer application.
    """

    area: str
    title: str
    function: CheckFunction
    application: bool = False


@dataclass(frozen=True)
class Result:
    """What became of a check: PASS, FAIL or SKIP, why, and how many seconds it took."""

    number: int
    area: str
    title: str
    outcome: str
    detail: str = ""
    seconds: float = 0.0

    @property
    def line(self) -> str:
        """One line for the report."""
        detail = f": {self.detail}" if self.detail else ""
        return f"{self.outcome} {self.number:2d} {self.title}{detail}"


class Checks:
    """The checks of one area, in the order they are written."""

    def __init__(self, area: str) -> None:
        self.area = area
        self.all: list[Check] = []

    def check(self, title: str, application: bool = False) -> Callable[[CheckFunction], CheckFunction]:
        """Register a function as a check; ``application``: only Slicer itself can make it."""

        def register(function: CheckFunction) -> CheckFunction:
            self.all.append(Check(self.area, title, function, application))
            return function

        return register


def require(condition: Any, message: str) -> None:
    """Fail the check with a message, also under ``python -O``."""
    if not condition:
        raise AssertionError(message)


def run(checks: Sequence[Check], site: Any, say: Callable[[str], None] = print) -> list[Result]:
    """Make all checks; whatever one of them does, the next one is made too."""
    results = []
    for number, check in enumerate(checks, 1):
        started = time.perf_counter()
        outcome, detail = _make(check, site)
        results.append(
            Result(number, check.area, check.title, outcome, detail, round(time.perf_counter() - started, 2))
        )
        say(results[-1].line)
    return results


def _make(check: Check, site: Any) -> tuple[str, str]:
    if check.application and not site.is_application:
        return SKIP, NOT_HERE
    site.take_errors()
    try:
        detail = check.function(site) or ""
        outcome = PASS
    except Skipped as reason:
        outcome, detail = SKIP, str(reason)
    except AssertionError as error:
        outcome, detail = FAIL, str(error) or _where(error)
    except Exception as error:  # noqa: BLE001 - one broken check must not hide the others
        outcome, detail = FAIL, f"{type(error).__name__}: {error} ({_where(error)})"
    errors = site.take_errors()
    if errors and outcome != FAIL:
        outcome, detail = FAIL, "raised meanwhile: " + "; ".join(errors)
    return outcome, detail


def _where(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames[-3:]))
