"""Which files the page may reach, and which uploads are refused."""

from __future__ import annotations

import gzip
import stat
from pathlib import Path

import numpy as np
import pytest
from fakes import blob_volume

from MoESegLib.core.volume import Volume
from MoESegLib.web import files
from MoESegLib.web.files import (
    FileRefusedError,
    Folders,
    UploadRoom,
    check_before_reading,
    check_content,
    check_name,
    plain_name,
)


@pytest.fixture
def places(tmp_path: Path) -> tuple[Folders, Path, Path]:
    """The allowed folders, one of them, and a folder that is not."""
    allowed, secret = tmp_path / "allowed", tmp_path / "allowed-not"
    for folder in (allowed / "deep", secret):
        folder.mkdir(parents=True)
    blob_volume().write(allowed / "deep" / "ball.nrrd")
    blob_volume().write(secret / "secret.nrrd")
    return Folders([allowed]), allowed, secret


def test_files_below_an_allowed_folder_are_found(places) -> None:
    folders, allowed, _ = places
    assert folders.find(str(allowed / "deep" / "ball.nrrd")).name == "ball.nrrd"
    assert [entry.name for entry in folders.listing(str(allowed))] == ["deep"]
    assert [(entry.name, entry.kind) for entry in folders.listing(str(allowed / "deep"))] == [("ball.nrrd", "image")]


@pytest.mark.parametrize(
    "attack",
    ["{allowed}/../allowed-not/secret.nrrd", "{secret}/secret.nrrd", "{secret}", "/etc/passwd", "{allowed}/..", "/",
     "", "deep/ball.nrrd", "{allowed}/deep/ball.nrrd\0.png", "{allowed}/nothing.nrrd", "~"],
)  # fmt: skip
def test_nothing_outside_is_found_and_the_refusal_does_not_say_what_is_there(places, attack: str) -> None:
    folders, allowed, secret = places
    text = attack.format(allowed=allowed, secret=secret)
    with pytest.raises(FileRefusedError, match="not found below the allowed folders"):
        folders.find(text)


def test_a_link_does_not_lead_out_of_an_allowed_folder(places) -> None:
    folders, allowed, secret = places
    (allowed / "link.nrrd").symlink_to(secret / "secret.nrrd")
    (allowed / "away").symlink_to(secret)
    for name in ("link.nrrd", "away", "away/secret.nrrd"):
        with pytest.raises(FileRefusedError):
            folders.find(str(allowed / name))
    assert [entry.name for entry in folders.listing(str(allowed))] == ["deep"]
    with pytest.raises(FileRefusedError):
        folders.find_image(str(allowed))  # a folder of slices, one of which lies elsewhere


def test_without_allowed_folders_nothing_is_listed_or_found(tmp_path: Path) -> None:
    assert Folders().listing() == []
    with pytest.raises(FileRefusedError):
        Folders().find(str(tmp_path))


@pytest.mark.parametrize("name", ["../out.seg.nrrd", "a/b.seg.nrrd", ".hidden.seg.nrrd", "", "a\\b.seg.nrrd", "a\0b"])
def test_a_segmentation_is_saved_under_a_plain_name_only(places, name: str) -> None:
    folders, allowed, _ = places
    assert folders.find_new(str(allowed), "new.seg.nrrd") == allowed / "new.seg.nrrd"
    with pytest.raises(FileRefusedError):
        folders.find_new(str(allowed), name)


def test_saving_does_not_follow_a_link(places) -> None:
    folders, allowed, secret = places
    (allowed / "out.seg.nrrd").symlink_to(secret / "secret.nrrd")
    with pytest.raises(FileRefusedError):
        folders.find_new(str(allowed), "out.seg.nrrd")


def test_an_allowed_folder_must_exist(tmp_path: Path) -> None:
    with pytest.raises(FileRefusedError, match="no such folder"):
        Folders([tmp_path / "missing"])


def test_the_names_of_uploads_keep_no_folders() -> None:
    assert plain_name("../../etc/pass wd.nrrd") == "pass_wd.nrrd"
    assert plain_name("C:\\Users\\me\\ct.nii.gz") == "ct.nii.gz"
    assert len(plain_name("x" * 400 + ".nrrd")) == 120


@pytest.mark.parametrize("name", ["run.sh", "page.html", "detached.mhd", "detached.nhdr", "a.py", "..", "model.pkl"])
def test_files_that_are_no_images_are_refused_by_their_names(name: str) -> None:
    with pytest.raises(FileRefusedError):
        check_name(name)


@pytest.mark.parametrize("suffix", [".nrrd", ".nii", ".nii.gz", ".mha"])
def test_real_images_pass(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"ball{suffix}"
    blob_volume().write(path)
    check_content(path)
    check_before_reading(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("script.nrrd", b"#!/bin/sh\nrm -rf /\n"),
        ("page.png", b"<html></html>"),
        ("ct.nii.gz", b"\x1f\x8b not really"),
        ("ct.nii", b"\x5c\x01\x00\x00" + bytes(400)),
        ("ct.dcm", bytes(200)),
        ("noname", b"text"),
        ("other.nrrd", b"NRRD0004\ntype: uchar\ndimension: 1\nsizes: 4\nencoding: raw\ndata file: /etc/passwd\n\n"),
        ("other2.nrrd", b"NRRD0004\r\ntype: uchar\r\ndimension: 1\r\nsizes: 4\r\nDataFile: /etc/passwd\r\n\r\n"),
        ("other.mha", b"ObjectType = Image\nNDims = 2\nDimSize = 2 2\nElementDataFile = /etc/passwd\n"),
        ("list.mha", b"ObjectType = Image\nNDims = 2\nElementDataFile = LIST\n/etc/passwd\n"),
    ],
)
def test_what_is_not_what_its_name_says_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(FileRefusedError):
        check_content(path)


def test_an_image_that_claims_to_be_huge_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "large.nii.gz"
    Volume(np.zeros((40, 40, 40), np.uint8), np.eye(4)).write(path)
    assert len(gzip.decompress(path.read_bytes())) > 64_000
    monkeypatch.setattr(files, "MAX_IMAGE_BYTES", 100_000)
    with pytest.raises(FileRefusedError, match="64,000 voxels"):
        check_content(path)


def test_uploads_lie_in_a_private_folder_that_is_removed_in_the_end() -> None:
    with UploadRoom() as room:
        folder = room.new_folder()
        (folder / "ct.nrrd").write_bytes(b"x")
        assert stat.S_IMODE(room.path.stat().st_mode) == 0o700
        assert folder != room.new_folder()
    assert not room.path.exists()
