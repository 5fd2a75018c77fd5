"""Free memory, and the refusal of what does not fit."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from MoESegLib.core.errors import ResourceError
from MoESegLib.core.memory import check_memory, free_memory


def test_what_does_not_fit_is_refused_with_both_numbers() -> None:
    with pytest.raises(ResourceError, match=r"Looking needs about 3.0 GB of memory, and 2.0 GB are free. Look away."):
        check_memory(3_000_000_000, 2_000_000_000, "Looking", "Look away.")


def test_what_fits_or_cannot_be_known_is_not_refused() -> None:
    check_memory(1, 2, "Looking", "")
    check_memory(1 << 60, None, "Looking", "")


@pytest.mark.skipif(sys.platform not in ("linux", "win32"), reason="not known elsewhere")
def test_some_memory_is_free_here() -> None:
    free = free_memory()
    assert free is not None
    assert 1 << 20 < free < 1 << 50


def _own_kilobytes() -> int:
    text = Path("/proc/self/smaps_rollup").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Anonymous:"))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has the setting")
def test_blocks_that_are_freed_between_others_go_back_to_the_system() -> None:
    script = """
import sys
sys.path.insert(0, sys.argv[1])
from test_memory import _own_kilobytes
from MoESegLib.core.memory import give_back_freed_memory
assert give_back_freed_memory()
before = _own_kilobytes()
kept = []
for size in (24 << 20, 8 << 20, 4 << 20) * 4:  # the first ones make glibc raise its own border
    large = [bytearray(size) for _ in range(3)]
    kept.append(bytearray(3000))
    del large
print(_own_kilobytes() - before)
"""
    command = [sys.executable, "-c", script, str(Path(__file__).parent)]
    left = int(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)
    assert left < 4000
