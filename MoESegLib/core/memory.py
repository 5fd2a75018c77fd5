"""How much memory is free, asked before something large is begun."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from pathlib import Path

from .errors import ResourceError

_LIMITS = (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"))
"""Files below ``/sys/fs/cgroup`` that say what a container may use and uses, of both versions."""

_M_MMAP_THRESHOLD = -3  # of glibc's malloc.h
_LARGE_BLOCK = 1 << 20


def check_memory(needed: int, free: int | None, what: str, advice: str) -> None:
    """Refuse work that does not fit.

    Args:
        needed, free: bytes; None where it is not known what is free, which refuses nothing.
        what: begins the message: "Searching the image".
        advice: what to do instead, a sentence.

    Raises:
        ResourceError: it does not fit.
    """
    if free is not None and needed > free:
        raise ResourceError(
            f"{what} needs about {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free. {advice}"
        )


def free_memory() -> int | None:
    """Bytes that programs can still take without swapping, or None where the system does not say."""
    if sys.platform == "linux":
        found = [size for size in (_linux(), *_container()) if size is not None]
        return min(found, default=None)
    return _windows() if sys.platform == "win32" else None


def _linux() -> int | None:
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


def _container() -> list[int]:
    """What a limit on this container leaves; a limit counts the disk cache as used, which is given back on demand."""
    found = []
    for limit, used in _LIMITS:
        with contextlib.suppress(OSError, ValueError):  # "max" where there is no limit
            root = Path("/sys/fs/cgroup")
            cached = _cached(root / Path(used).parent / "memory.stat")
            most, now = (int((root / name).read_text(encoding="ascii")) for name in (limit, used))
            found.append(most - now + cached)
    return found


def _cached(stat: Path) -> int:
    with contextlib.suppress(OSError, ValueError):
        entries = dict(line.split() for line in stat.read_text(encoding="ascii").splitlines())
        return int(entries.get("inactive_file", entries.get("total_inactive_file", 0)))
    return 0


def _windows() -> int | None:
    class Status(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ulong), ("load", ctypes.c_ulong)] + [
            (name, ctypes.c_ulonglong) for name in ("total", "free", "page", "page_free", "own", "own_free", "extended")
        ]

    status = Status(length=ctypes.sizeof(Status))
    kernel = getattr(ctypes, "windll").kernel32  # noqa: B009 - not there on other systems
    return int(status.free) if kernel.GlobalMemoryStatusEx(ctypes.byref(status)) else None


def give_back_freed_memory() -> bool:
    """Let glibc hand large blocks back to the system as soon as they are freed; call it once, early.

    By itself it learns from the first large block to cut later ones (up to 32 MB) out of its heap, where what is freed
    stays with the process between the small objects that live on: 68 of 722 MB after 450 clicks in the browser app.
    With a fixed border the blocks are mapped one by one.

    Returns:
        Whether this system has such a setting.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):  # not glibc
        return False
    return mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK) == 1
