"""Work kept on disk while it is done: one private folder a work, which only one program writes at a time.

A folder holds ``segments.seg.nrrd`` (voxels, names, codes, prompts, locks), ``work.json`` (the image and what was
chosen), ``prompts.jsonl`` (see :mod:`.prompt_log`), and ``image`` with the uploaded files where the image has no other
place.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ..core.errors import MoESegError, OutputError
from ..core.files import atomic_path
from ..core.segmentation_file import SegmentRecord, write_segmentation
from ..core.volume import Volume

FORMAT = "moeseg-work-1"
MOST_WORKS, MOST_DAYS, MOST_BYTES = 10, 30, 8 << 30
"""What is kept of works that no program has open; beyond, the oldest go."""
SEGMENTS, STATE, PROMPTS, IMAGE = "segments.seg.nrrd", "work.json", "prompts.jsonl", "image"
_LOCK = "lock"


@dataclass(frozen=True)
class KeptWork:
    """What a kept work is about.

    Attributes:
        name: of its folder.
        data: what ``work.json`` says.
    """

    name: str
    data: dict[str, Any]

    @property
    def changed(self) -> float:
        """Seconds since the epoch."""
        return float(self.data["changed"])


class WorkFolder:
    """The folder of one work, locked by this program until :meth:`close` or its end, however it ends."""

    def __init__(self, path: Path, lock: IO[bytes]) -> None:
        self.path = path
        self._lock = lock

    @classmethod
    def take(cls, path: Path) -> WorkFolder | None:
        """The folder, or None while another program has it."""
        lock = (path / _LOCK).open("ab")
        if _locked(lock):
            return cls(path, lock)
        lock.close()
        return None

    def write(self, volume: Volume, records: Sequence[SegmentRecord], data: dict[str, Any], log: str) -> None:
        """Keep a state of the work; each file of what was kept before stays until the new one is whole.

        Args:
            data: for ``work.json``.
            log: the text of the prompt log.

        Raises:
            OutputError: no space, or the folder is gone.
        """
        write_segmentation(self.path / SEGMENTS, volume, records)
        for name, text in ((PROMPTS, log), (STATE, json.dumps({"format": FORMAT, **data}))):
            with atomic_path(self.path / name) as temporary:
                temporary.write_text(text, encoding="utf-8")

    def log(self) -> list[str]:
        """The lines of the prompt log; none where there is no log."""
        try:
            return (self.path / PROMPTS).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            return []

    def take_files(self, files: Path) -> Path:
        """Move a folder of uploaded files in, under its name, by which a series is called; returns where it is now."""
        (self.path / IMAGE).mkdir()
        return Path(shutil.move(files, self.path / IMAGE / files.name))

    def close(self, remove: bool = False) -> None:
        """Let other programs have it; removed first when nothing in it is needed any more."""
        if remove:
            shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()
        if remove:
            shutil.rmtree(self.path, ignore_errors=True)  # Windows removes no file that is open, as the lock was


class Works:
    """All kept works.

    Args:
        home: the folder for them; made private when it is needed.
    """

    def __init__(self, home: Path) -> None:
        self.home = home

    def new(self) -> WorkFolder:
        """A folder for a new work.

        Raises:
            OutputError: it cannot be made.
        """
        path = self.home / secrets.token_hex(8)
        try:
            self.home.mkdir(parents=True, exist_ok=True)
            self.home.chmod(0o700)
            path.mkdir(mode=0o700)
            folder = WorkFolder.take(path)
        except OSError as error:
            raise OutputError(f"The work cannot be kept in {self.home}: {error}.") from error
        assert folder is not None
        return folder

    def all(self) -> list[KeptWork]:
        """What there is to go on with, the newest first; works that other programs have open are among them."""
        found = []
        for path in self._folders():
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                data = json.loads((path / STATE).read_text(encoding="utf-8"))
                if data["format"] == FORMAT and data["segments"] and float(data["changed"]):
                    found.append(KeptWork(path.name, data))
        return sorted(found, key=lambda work: work.changed, reverse=True)

    def free(self) -> list[KeptWork]:
        """As :meth:`all`, without those that a program has open."""
        found = []
        for work in self.all():
            with contextlib.suppress(OSError):  # removed meanwhile
                if (folder := WorkFolder.take(self.home / work.name)) is not None:
                    folder.close()
                    found.append(work)
        return found

    def take(self, name: str = "") -> tuple[WorkFolder, KeptWork]:
        """A work to go on with, by default the newest one that no other program has open.

        Raises:
            MoESegError: there is none.
        """
        wanted = [work for work in self.all() if name in ("", work.name)]
        for work in wanted:
            with contextlib.suppress(OSError):  # removed meanwhile
                if (folder := WorkFolder.take(self.home / work.name)) is not None:
                    return folder, work
        if wanted:
            raise MoESegError("The kept work is open in another MoESeg; go on with it there, or end that one first.")
        raise MoESegError("There is no kept work to go on with. Open an image, and MoESeg keeps what you do with it.")

    def clean_up(self) -> None:
        """Remove works that are old, too many or too large together, and those without segments."""
        known = {work.name: work for work in self.all()}
        order = sorted(self._folders(), key=lambda path: -known[path.name].changed if path.name in known else 0)
        now, size = time.time(), 0
        for number, path in enumerate(order):
            size += _size(path)
            work = known.get(path.name)
            kept = work is not None and number < MOST_WORKS and now - work.changed < MOST_DAYS * 86400
            if kept and (number == 0 or size <= MOST_BYTES):
                continue
            with contextlib.suppress(OSError):
                if (folder := WorkFolder.take(path)) is not None:
                    folder.close(remove=True)

    def _folders(self) -> list[Path]:
        try:
            return [path for path in self.home.iterdir() if path.is_dir() and not path.is_symlink()]
        except OSError:
            return []


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.stat().st_size
    return total


if sys.platform == "win32":
    import msvcrt

    def _locked(stream: IO[bytes]) -> bool:
        """Lock an open file, unless another program did."""
        try:
            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
else:
    import fcntl

    def _locked(stream: IO[bytes]) -> bool:
        """Lock an open file, unless another program did. The lock ends with the program, killed or not."""
        try:
            fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
