"""Which files the page may reach: those below the allowed folders, and uploads in a private temporary folder."""

from __future__ import annotations

import os
import re
import tempfile
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import SimpleITK as sitk

from ..core.errors import MoESegError, VolumeError
from ..core.image_io import PICTURE_SUFFIXES, VOLUME_SUFFIXES, file_suffix

MAX_UPLOAD_BYTES = 2 << 30
MAX_IMAGE_BYTES = 8 << 30
MAX_FILES = 4000
"""Of one upload: a DICOM series has a file a slice."""

_DETACHED = (".nhdr", ".mhd", ".seg.nhdr")
_IMAGE_SUFFIXES = tuple(s for s in (*VOLUME_SUFFIXES, *PICTURE_SUFFIXES, ".seg.nrrd") if s not in _DETACHED)
_MAGIC = {
    ".nrrd": (b"NRRD",),
    ".seg.nrrd": (b"NRRD",),
    ".nii.gz": (b"\x1f\x8b",),
    ".png": (b"\x89PNG\r\n\x1a\n",),
    ".jpg": (b"\xff\xd8\xff",),
    ".jpeg": (b"\xff\xd8\xff",),
    ".tif": (b"II*\x00", b"MM\x00*"),
    ".tiff": (b"II*\x00", b"MM\x00*"),
    ".bmp": (b"BM",),
}
_HEADER_BYTES = 1 << 16


class FileRefusedError(MoESegError):
    """The page asked for a file it may not have, or sent one that is not what its name says."""


@dataclass(frozen=True)
class Entry:
    """One line of a folder's listing."""

    name: str
    path: str
    kind: str  # "folder", "image" or "dicom"


class Folders:
    """The folders given with ``--allow``; nothing outside of them is read, written or listed.

    Args:
        allowed: existing folders.

    Raises:
        FileRefusedError: one of them is no folder.
    """

    def __init__(self, allowed: Iterable[str | Path] = ()) -> None:
        self.roots: list[Path] = []
        for folder in allowed:
            root = Path(folder).expanduser().resolve()
            if not root.is_dir():
                raise FileRefusedError(f"--allow {folder}: there is no such folder.")
            self.roots.append(root)

    def find(self, text: str) -> Path:
        """A path below the allowed folders, symbolic links followed first.

        Raises:
            FileRefusedError: outside of them, or it does not exist. Both give the same message, so that the page cannot
                find out what else is on this computer.
        """
        refusal = FileRefusedError(
            f"{text}: not found below the allowed folders. Give folders to 'moeseg app' with --allow."
        )
        if "\0" in text or not text:
            raise refusal
        try:
            path = Path(text).resolve(strict=True)
        except (OSError, RuntimeError) as error:
            raise refusal from error
        if not any(path.is_relative_to(root) for root in self.roots):
            raise refusal
        return path

    def find_image(self, text: str) -> Path:
        """As :meth:`find`, for an image or a folder of DICOM files, none of which may lead elsewhere.

        Raises:
            FileRefusedError: see :meth:`find`.
        """
        path = self.find(text)
        if path.is_dir():
            for file in path.iterdir():
                if file.is_symlink():
                    self.find(str(file))
        return path

    def find_new(self, folder: str, name: str) -> Path:
        """A file to be written into an allowed folder.

        Raises:
            FileRefusedError: the folder is outside, or the name is more than a name.
        """
        if not name or name != plain_name(name) or name.startswith("."):
            raise FileRefusedError(f"{name!r} is not a plain file name.")
        parent = self.find(folder)
        path = parent / name
        if not parent.is_dir() or path.is_symlink():
            raise FileRefusedError(f"{name}: give a folder below the allowed ones and a new file name.")
        return path

    def listing(self, text: str = "") -> list[Entry]:
        """Folders and images in an allowed folder; the allowed folders themselves for "".

        Raises:
            FileRefusedError: see :meth:`find`.
        """
        if not text:
            return [Entry(str(root), str(root), "folder") for root in self.roots]
        folder = self.find(text)
        if not folder.is_dir():
            raise FileRefusedError(f"{text} is not a folder.")
        found = []
        with os.scandir(folder) as items:
            for item in sorted(items, key=lambda item: (not item.is_dir(), item.name.lower())):
                if not item.name.startswith(".") and self._is_inside(item) and (kind := _kind(Path(item.path))):
                    found.append(Entry(item.name, item.path, kind))
        return found

    def _is_inside(self, item: os.DirEntry[str]) -> bool:
        """Whether an entry of an allowed folder is no link that leads out of it."""
        if not item.is_symlink():
            return True
        try:
            self.find(item.path)
        except FileRefusedError:
            return False
        return True


class UploadRoom:
    """A private folder for uploads, removed when the server ends; use it in a ``with`` statement."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="moeseg-uploads-")  # mode 0700
        self.path = Path(self._folder.name)

    def __enter__(self) -> UploadRoom:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._folder.cleanup()

    def new_folder(self) -> Path:
        """For the files of one upload."""
        folder = self.path / uuid.uuid4().hex
        folder.mkdir(mode=0o700)
        return folder


def plain_name(name: str) -> str:
    """What is left of a file name that a browser sent: no folders, nothing but letters, digits and ``._-``."""
    return re.sub(r"[^\w.\-]", "_", re.split(r"[\\/]", name)[-1])[-120:]


def check_name(name: str) -> str:
    """The safe name of an uploaded file.

    Raises:
        FileRefusedError: not a type that MoESeg reads from one file.
    """
    safe = plain_name(name).lstrip(".")
    suffix = file_suffix(Path(safe))
    if not safe or suffix in _DETACHED or suffix not in (*_IMAGE_SUFFIXES, ".dcm", ""):
        kinds = ".nrrd, .nii.gz, .nii, .mha, .dcm, .zip (a DICOM series), .png, .jpg, .tif"
        raise FileRefusedError(f"{safe or 'This file'} cannot be opened here. Give one of {kinds}.")
    return safe


def check_upload_name(name: str) -> str:
    """As :func:`check_name`, but zipped DICOM series may be uploaded too.

    Raises:
        FileRefusedError: see there.
    """
    safe = plain_name(name).lstrip(".")
    return safe if file_suffix(Path(safe)) == ".zip" else check_name(name)


def check_contents(paths: Iterable[Path]) -> None:
    """As :func:`check_content`, for the files of one image, which must not be too large together either.

    Raises:
        FileRefusedError: see there.
    """
    if sum(check_content(path) for path in paths) * 4 > MAX_IMAGE_BYTES:
        raise FileRefusedError("These files say that they have more voxels together than MoESeg can hold.")


def check_content(path: Path) -> int:
    """Look into a file before a reader gets it: type as the name says, all data inside, not larger than can be held.

    Returns:
        How many numbers the file says it holds: voxels times components.

    Raises:
        FileRefusedError: see above.
    """
    with path.open("rb") as stream:
        head = stream.read(_HEADER_BYTES)
    suffix = file_suffix(path)
    if suffix in _DETACHED or not _is_what_it_says(suffix, head):
        raise FileRefusedError(f"{path.name} is not what its name says, or keeps its voxels in another file.")
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise FileRefusedError(f"{path.name} cannot be read as an image; it may be damaged.") from error
    voxels = reader.GetNumberOfComponents()
    for length in reader.GetSize():
        voxels *= length
    if voxels * 4 > MAX_IMAGE_BYTES:
        raise FileRefusedError(f"{path.name} says it has {voxels:,} voxels, more than MoESeg can hold.")
    return voxels


def check_before_reading(path: Path) -> None:
    """As :func:`check_content`, for an image or a DICOM folder below the allowed folders.

    Raises:
        FileRefusedError, VolumeError: see there.
    """
    if path.is_dir():
        if not any(_is_dicom(file) for file in _some_files(path)):
            raise VolumeError(f"The folder {path.name} holds no DICOM images.")
        return
    check_content(path)


def _is_what_it_says(suffix: str, head: bytes) -> bool:
    if suffix in (".nrrd", ".seg.nrrd"):
        fields = head.split(b"\n\n")[0].replace(b"\r", b"").lower()
        detached = re.search(rb"^data ?file\s*:", fields, re.MULTILINE) is not None
        return head.startswith(b"NRRD") and not detached
    if suffix == ".mha":
        match = re.search(rb"^\s*ElementDataFile\s*=\s*(\S+)", head, re.MULTILINE | re.IGNORECASE)
        return match is not None and match.group(1).upper() == b"LOCAL"
    if suffix == ".nii":
        return len(head) >= 348 and head[344:348] == b"n+1\0" or head[4:8] == b"n+2\0"
    if suffix in (".dcm", ""):
        return head[128:132] == b"DICM"
    return head.startswith(_MAGIC[suffix]) if suffix in _MAGIC else False


def _kind(path: Path) -> str:
    if path.is_dir():
        return "dicom" if any(_is_dicom(file) for file in _some_files(path)) else "folder"
    if file_suffix(path) in _IMAGE_SUFFIXES or _is_dicom(path):
        return "image"
    return ""


def _some_files(folder: Path, most: int = 3) -> Sequence[Path]:
    """A few files of a folder, enough to tell whether it is a DICOM series."""
    found: list[Path] = []
    try:
        with os.scandir(folder) as items:
            for item in items:
                if len(found) == most:
                    break
                if item.is_file() and not item.name.startswith("."):
                    found.append(Path(item.path))
    except OSError:
        return []
    return found


def _is_dicom(path: Path) -> bool:
    if file_suffix(path) not in (".dcm", ".ima", "") and not path.suffix[1:].isdigit():
        return False
    try:
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False
