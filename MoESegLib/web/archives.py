"""Zipped DICOM series: unpacked file by file, within limits, and under names that the zip has no say in."""

from __future__ import annotations

import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from .files import MAX_FILES, MAX_UPLOAD_BYTES, FileRefusedError

MAX_UNPACKED_BYTES = MAX_UPLOAD_BYTES
MAX_ENTRIES = 4 * MAX_FILES
"""Of all kinds: what hospitals put on a disc has folders, viewers and text files beside the images."""
_MAX_LISTING_BYTES = 1024 * MAX_ENTRIES
_CHUNK = 1 << 20
_END = struct.Struct("<4s4H2LH")
_MAX_COMMENT = 1 << 16
_DICOM_AT, _DICOM = 128, b"DICM"


def unpack_dicom(archive: Path, folder: Path) -> list[Path]:
    """Write the DICOM files of a zip flat into a new folder, numbered; whatever else is in it is never written.

    Neither the names nor the sizes in the zip are trusted: names are only looked at to refuse those that lead
    elsewhere, and bytes are counted while they are unpacked.

    Raises:
        FileRefusedError: it is damaged, encrypted, holds links or paths that lead out of it, more or larger files than
            can be opened, or no DICOM images.
    """
    found: list[Path] = []
    folder.mkdir(mode=0o700)
    left = min(MAX_UNPACKED_BYTES, shutil.disk_usage(folder).free)
    try:
        _check_listing(archive)
        with zipfile.ZipFile(archive) as opened:
            for entry in _files_of(opened):
                with opened.open(entry) as stream:
                    head = stream.read(_DICOM_AT + len(_DICOM))
                    if head[_DICOM_AT:] != _DICOM:
                        continue
                    if len(found) == MAX_FILES:
                        raise FileRefusedError(f"The zip holds more than {MAX_FILES} DICOM files; upload one series.")
                    path = folder / f"{len(found):05d}.dcm"
                    found.append(path)
                    left = _write(path, head, stream, left)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, struct.error, OSError) as error:
        raise FileRefusedError(f"{archive.name} cannot be unpacked; it may be damaged ({error}).") from error
    if not found:
        raise FileRefusedError(
            f"{archive.name} holds no DICOM images. Other images are uploaded as they are, unzipped."
        )
    return found


def _check_listing(archive: Path) -> None:
    """Before the list of entries is read into memory as a whole: how long it is."""
    with archive.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(max(0, size - _END.size - _MAX_COMMENT))
        tail = stream.read()
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) - at < _END.size:
        raise FileRefusedError(f"{archive.name} is no zip, or it was not uploaded whole.")
    _, _, _, _, entries, listing, _, _ = _END.unpack_from(tail, at)
    if entries > MAX_ENTRIES or listing > _MAX_LISTING_BYTES:  # also the values that point to a longer list elsewhere
        raise FileRefusedError(f"{archive.name} holds more than {MAX_ENTRIES} files; upload one series.")


def _files_of(archive: zipfile.ZipFile) -> Iterator[zipfile.ZipInfo]:
    """The entries that are files, after all entries were checked."""
    entries = archive.infolist()
    if len(entries) > MAX_ENTRIES:
        raise FileRefusedError(f"The zip holds more than {MAX_ENTRIES} files; upload one series.")
    for entry in entries:
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise FileRefusedError(f"The zip holds {entry.filename!r}, which is a link or no ordinary file.")
        if _leads_elsewhere(entry.orig_filename):
            raise FileRefusedError(f"The zip holds {entry.filename!r}, a path that leads out of it.")
        if entry.flag_bits & 1:
            raise FileRefusedError("The zip is encrypted. Unpack it, and upload the files.")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise FileRefusedError("The zip is packed in an unusual way. Pack it again with the usual one (deflate).")
    for entry in entries:
        if not entry.is_dir() and PurePosixPath(entry.filename).name.upper() != "DICOMDIR":
            yield entry


def _leads_elsewhere(name: str) -> bool:
    windows = PureWindowsPath(name)
    return "\0" in name or bool(windows.drive or windows.root) or ".." in windows.parts


def _write(path: Path, head: bytes, stream: IO[bytes], left: int) -> int:
    """Write one file; returns how many bytes may still be written."""
    with path.open("xb") as target:
        chunk = head
        while chunk:
            left -= len(chunk)
            if left < 0:
                raise FileRefusedError(
                    f"Unpacked, the zip is larger than {MAX_UNPACKED_BYTES >> 20} MB or than the space that is free. "
                    "Start MoESeg with --allow FOLDER and open the folder by its path."
                )
            target.write(chunk)
            chunk = stream.read(_CHUNK)
    return left
