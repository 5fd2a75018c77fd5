"""The checks that only the Slicer application can make, by one command:

    Slicer --python-script Testing/in_slicer.py
    Slicer --python-script Testing/in_slicer.py -- /path/to/report

It loads the module from this checkout unless the extension is installed, makes every check, writes the report as .txt
and .json (by default moeseg-in-slicer in the working folder), and ends Slicer with status 0 when nothing failed. Use a
Slicer without unsaved work: the scene is closed many times. docs/in-slicer.md says what a person must look at.
"""

from __future__ import annotations

import sys
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DEFAULT_REPORT = "moeseg-in-slicer"


def report_path(arguments: list[str]) -> Path:
    """Where the report goes: the argument after ``--`` (or the only one), else the working folder."""
    given = arguments[arguments.index("--") + 1 :] if "--" in arguments else arguments
    return Path(given[0] if given else DEFAULT_REPORT).expanduser().resolve()


def main(arguments: list[str]) -> int:
    """Make all checks; returns the exit status."""
    for folder in (ROOT / "Testing", ROOT):
        if str(folder) not in sys.path:
            sys.path.append(str(folder))  # behind an installed extension
    if sys.version_info < (3, 11):  # noqa: UP036 - Slicer brings its own Python
        print(f"MoESeg needs Python 3.11, this Slicer has {sys.version.split()[0]}. Use a newer one.")
        return 1

    import slicer
    from in_slicer_checks import every, report
    from in_slicer_checks.runner import run
    from in_slicer_checks.site import Site

    path = report_path(arguments)
    path.parent.mkdir(parents=True, exist_ok=True)
    site = Site(path.parent)
    facts = {**report.facts_of_python(), "slicer": slicer.app.applicationVersion, "revision": slicer.app.revision}
    try:
        results = run(every.ALL, site)
    finally:
        site.close()
    text, data = report.write(path, results, facts)
    print(f"\n{report.summary(results)}\nReport: {text} and {data}")
    return report.status(results)


def end(status: int) -> None:
    """End Slicer with this status."""
    import slicer

    slicer.util.exit(status)


if __name__ == "__main__":
    try:
        STATUS = main(sys.argv[1:])
    except Exception:  # noqa: BLE001 - Slicer would stay open, and a script that waits for it would wait forever
        traceback.print_exc()
        STATUS = 1
    end(STATUS)
