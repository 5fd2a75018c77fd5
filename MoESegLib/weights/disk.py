"""Room on the disk, asked before something large is written."""

from __future__ import annotations

import shutil
from pathlib import Path

from ..core.errors import WeightsError

SPARE_BYTES = 50 << 20
"""Free space that must remain."""


def check_space(folder: Path, size: int) -> None:
    """Find out whether ``size`` bytes fit into a folder that exists.

    Raises:
        WeightsError: they do not; the message says how much is missing and what to do.
    """
    free = shutil.disk_usage(folder).free
    if free < size + SPARE_BYTES:
        raise WeightsError(
            f"Not enough space in {folder}: {size / 1e6:.0f} MB needed (and {SPARE_BYTES >> 20} MB to spare), "
            f"{free / 1e6:.0f} MB free. Free some, or set MOESEG_HOME to a folder on another disk."
        )
