"""Where the files that ship with MoESeg (model cards, the demo case) lie."""

from __future__ import annotations

from pathlib import Path


def resource_path(*parts: str) -> Path:
    """Path of a shipped file, e.g. ``resource_path("Models", "lite-medsam.json")``.

    In a source tree the folder ``Resources`` stands beside ``MoESegLib``; installed (as a wheel or in Slicer) it stands
    inside.

    Raises:
        FileNotFoundError: the file is not part of this installation.
    """
    here = Path(__file__).resolve().parent
    for root in (here / "Resources", here.parent / "Resources"):
        path = root.joinpath(*parts)
        if path.exists():
            return path
    raise FileNotFoundError(f"The file {'/'.join(parts)} is missing from this installation of MoESeg; reinstall it.")
