"""Atomic file writing: a result appears whole or not at all."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import OutputError


@contextmanager
def atomic_path(path: Path, suffix: str | None = None) -> Iterator[Path]:
    """Give the body a temporary path beside ``path`` and rename it there when the body succeeds.

    Args:
        suffix: file type of the temporary file; by default everything after the first dot of the name, so that writers
            which choose a format by it see ``.seg.nrrd`` or ``.nii.gz``.

    Raises:
        OutputError: the folder is missing, not writable or full; whatever was at ``path`` is untouched.
    """
    path = Path(path)
    suffix = suffix if suffix is not None else path.name[path.name.find(".") :] if "." in path.name else ""
    if path.is_dir():
        raise OutputError(f"Cannot write {path}: it is a folder. Give a file name.")
    try:
        handle, name = tempfile.mkstemp(prefix=".moeseg-", suffix=suffix, dir=path.parent)
    except OSError as error:
        raise _output_error(path, error) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())  # mkstemp makes files private; a result is an ordinary file
        temporary.replace(path)
    except OSError as error:
        raise _output_error(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Find out now whether a file could be written later; leaves nothing behind.

    Raises:
        OutputError: the folder is missing or not writable.
    """
    try:
        with tempfile.TemporaryFile(dir=Path(path).parent):
            pass
    except OSError as error:
        raise _output_error(Path(path), error) from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _output_error(path: Path, error: OSError) -> OutputError:
    advice = {
        errno.ENOENT: f"the folder {path.parent} does not exist; create it first",
        errno.ENOTDIR: f"{path.parent} is not a folder; choose another place",
        errno.EACCES: "no permission; choose a folder you may write to",
        errno.EPERM: "no permission; choose a folder you may write to",
        errno.EROFS: "the disk is read-only; choose another folder",
        errno.ENOSPC: "no space is left on the disk; free some and try again",
        errno.EDQUOT: "your disk quota is used up; free some space and try again",
    }.get(error.errno or 0, str(error))
    return OutputError(f"Cannot write {path}: {advice}. Nothing was written.")
