"""Zipped DICOM series: what is opened, and attacks that are refused without a trace on the disk."""

from __future__ import annotations

import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from MoESegLib.core.volume import Volume
from MoESegLib.resources import resource_path
from MoESegLib.web import archives
from MoESegLib.web.archives import unpack_dicom
from MoESegLib.web.files import FileRefusedError, check_contents, check_upload_name

DICOM = bytes(128) + b"DICM"
SERIES = resource_path("Demo", "ct")


def packed(path: Path, *entries: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in entries:
            archive.writestr(name, data, method)
    return path


def link(name: str, kind: int = stat.S_IFLNK) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.external_attr = (kind | 0o777) << 16
    return entry


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder of its own, so that a test sees everything that is written near it."""
    folder = tmp_path / "deep" / "uploads"
    folder.mkdir(parents=True)
    return folder


def test_a_zipped_series_is_the_series(place: Path) -> None:
    entries = [(f"disc/series 1/{file.name}", file.read_bytes()) for file in sorted(SERIES.iterdir())]
    entries += [("disc/DICOMDIR", DICOM), ("disc/readme.txt", b"text"), ("disc/viewer.exe", b"MZ")]
    files = unpack_dicom(packed(place / "ct.zip", *entries), place / "series")
    assert len(files) == len(list(SERIES.iterdir())) and {file.suffix for file in files} == {".dcm"}
    check_contents(files)
    assert Volume.read(place / "series").content_id == Volume.read(SERIES).content_id


@pytest.mark.parametrize(
    "name",
    [
        "../evil.dcm",
        "a/../../evil.dcm",
        "/evil.dcm",
        "..\\evil.dcm",
        "C:\\evil.dcm",
        "C:evil.dcm",
        "\\\\host\\evil.dcm",
    ],
)
def test_a_path_that_leads_out_of_the_zip_is_refused(place: Path, name: str) -> None:
    archive = packed(place / "ct.zip", ("fine.dcm", DICOM), (name, DICOM))
    with pytest.raises(FileRefusedError, match="leads out of it"):
        unpack_dicom(archive, place / "series")
    assert list(place.parent.parent.rglob("*.dcm")) == []


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_are_refused(place: Path, kind: int) -> None:
    archive = packed(place / "ct.zip", ("fine.dcm", DICOM), (link("link.dcm", kind), b"/etc/passwd"))
    with pytest.raises(FileRefusedError, match="link or no ordinary file"):
        unpack_dicom(archive, place / "series")


def test_a_bomb_is_stopped_while_it_is_unpacked(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_UNPACKED_BYTES", 3_000_000)
    archive = packed(place / "ct.zip", *((f"{number}.dcm", DICOM + bytes(1_000_000)) for number in range(100)))
    assert archive.stat().st_size < 200_000
    with pytest.raises(FileRefusedError, match="larger than"):
        unpack_dicom(archive, place / "series")
    assert sum(file.stat().st_size for file in (place / "series").iterdir()) <= 3_000_000


def test_a_bomb_that_lies_about_its_size_is_stopped_too(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_UNPACKED_BYTES", 3_000_000)
    archive = packed(place / "ct.zip", ("a.dcm", DICOM + bytes(50_000_000)))
    data = archive.read_bytes()
    true_size = struct.pack("<L", 50_000_132)
    assert data.count(true_size) == 2
    archive.write_bytes(data.replace(true_size, struct.pack("<L", 200)))
    with pytest.raises(FileRefusedError):
        unpack_dicom(archive, place / "series")
    assert sum(file.stat().st_size for file in (place / "series").iterdir()) <= 3_000_000


def test_what_is_no_dicom_is_never_written_however_large(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_UNPACKED_BYTES", 1_000_000)
    archive = packed(place / "ct.zip", ("movie.avi", bytes(20_000_000)), ("again.zip", b"PK\3\4" + bytes(100)))
    with pytest.raises(FileRefusedError, match="no DICOM images"):
        unpack_dicom(archive, place / "series")
    assert list((place / "series").iterdir()) == []


def test_too_many_files_are_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = packed(place / "ct.zip", *((f"{number}.dcm", DICOM) for number in range(9)))
    monkeypatch.setattr(archives, "MAX_FILES", 8)
    with pytest.raises(FileRefusedError, match="more than 8 DICOM files"):
        unpack_dicom(archive, place / "series")


def test_a_long_listing_is_refused_before_it_is_read(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = packed(place / "ct.zip", *((f"{number}.txt", b"") for number in range(9)))
    monkeypatch.setattr(archives, "MAX_ENTRIES", 8)
    monkeypatch.setattr(zipfile, "ZipFile", None)  # it would read the whole listing
    with pytest.raises(FileRefusedError, match="more than 8 files"):
        unpack_dicom(archive, place / "series")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_unusual_compression_is_refused(place: Path, method: int) -> None:
    archive = packed(place / "ct.zip", ("a.dcm", DICOM), method=method)
    with pytest.raises(FileRefusedError, match="unusual"):
        unpack_dicom(archive, place / "series")


def test_an_encrypted_zip_is_refused(place: Path) -> None:
    archive = packed(place / "ct.zip", ("a.dcm", DICOM))
    data = bytearray(archive.read_bytes())
    for signature, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(signature) + flags] |= 1
    archive.write_bytes(data)
    with pytest.raises(FileRefusedError, match="encrypted"):
        unpack_dicom(archive, place / "series")


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: b"no zip",
        lambda data: data[:-30],
        lambda data: data[200:],
        lambda data: data[:40],
    ],
)
def test_a_damaged_zip_is_refused(place: Path, damage: Callable[[bytes], bytes]) -> None:
    archive = packed(place / "ct.zip", ("a.dcm", DICOM + bytes(range(256)) * 9))
    archive.write_bytes(damage(archive.read_bytes()))
    with pytest.raises(FileRefusedError):
        unpack_dicom(archive, place / "series")


def test_wrong_bytes_inside_are_noticed(place: Path) -> None:
    archive = packed(place / "ct.zip", ("a.dcm", DICOM + b"voxels"), method=zipfile.ZIP_STORED)
    archive.write_bytes(archive.read_bytes().replace(b"voxels", b"VOXELS"))
    with pytest.raises(FileRefusedError, match="damaged"):
        unpack_dicom(archive, place / "series")


def test_zips_are_for_uploads_only() -> None:
    assert check_upload_name("../my ct.ZIP") == "my_ct.ZIP"
    with pytest.raises(FileRefusedError):
        check_upload_name("ct.zip.exe")
