"""moeseg teach --method tumor as a user drives it: a folder of cases becomes a tumor that MAST-Pro knows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import SimpleITK as sitk
import torch
from tumor_toy import toy_base, toy_volume

from MoESegLib.cli import main
from MoESegLib.core.results import MaskPatch
from MoESegLib.core.segmentation_file import SegmentRecord, write_segmentation
from MoESegLib.engines.taught_tumors import taught_files, taught_path
from MoESegLib.models.mast_pro import base_sha256, read_delta
from MoESegLib.training import tumor_teach

QUICK = ("--modality", "CT", "--epochs", "2", "--least-steps", "8", "--batch", "4", "--rate", "5e-3", "--threads", "1")


@pytest.fixture
def folder(tmp_path: Path, home: Path):
    """Five images with a lesion each."""
    threads = torch.get_num_threads()
    folder = tmp_path / "cases"
    folder.mkdir()
    for number in range(5):
        volume, ball = toy_volume(number)
        image = sitk.GetImageFromArray(volume.array)
        image.SetSpacing((2.0, 2.0, 2.0))
        image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))  # LPS of a matrix that is diagonal in RAS
        sitk.WriteImage(image, folder / f"p{number}.nrrd")
        lesion = SegmentRecord("lesion", "lesion", MaskPatch.of(ball))
        write_segmentation(folder / f"p{number}.seg.nrrd", volume, [lesion])
    yield folder
    torch.set_num_threads(threads)


@pytest.fixture
def cases(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, and the base is the toy."""
    monkeypatch.setattr(tumor_teach, "tumor_base", lambda name: toy_base())
    return folder


def teach(*words: object) -> int:
    return main(["teach", "--method", "tumor", *map(str, words)])


def test_a_tumor_is_taught_installed_and_told_about(cases: Path, capsys: pytest.CaptureFixture) -> None:
    assert teach("--data", cases, "--type", "brain tumour", *QUICK) == 0
    shown = capsys.readouterr().out
    base = toy_base()
    for part in (
        "parameters are trained instead of",
        "Nothing else changed",
        "| before |",
        str(taught_path("brain_tumor")),
    ):
        assert part in shown
    assert taught_files(base_sha256(base)) == {"brain_tumor": taught_path("brain_tumor")}
    _, details = read_delta(taught_path("brain_tumor"), base)
    assert details["command"].startswith("moeseg ") and details["record"]["id"] == "brain_tumor"

    assert teach("--data", cases, "--type", "brain tumor", *QUICK) == 2
    assert "--replace" in capsys.readouterr().err
    assert teach("--data", cases, "--type", "brain tumor", *QUICK, "--replace", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["tumor"] == "brain_tumor" and 0 < told["saved"] < 1
    assert told["before"]["dice"]["brain_tumor real"] < told["held_out"]["dice"]["brain_tumor real"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "which tumor"),
        (("--type", "liver tumor"), "taught liver tumor"),
        (("--type", "spoon"), "names no type of tumor"),
        (("--type", "brain tumor", "--name", "mine"), "--name belongs to another"),
        (("--type", "brain tumor", "--unrelated", "x"), "--method gated"),
    ],
)
def test_what_cannot_be_taught_is_said_at_once(
    cases: Path, capsys: pytest.CaptureFixture, words: tuple[str, ...], said: str
) -> None:
    assert teach("--data", cases, *words) == 2
    assert said in capsys.readouterr().err


def test_other_methods_need_a_name_and_take_no_type(cases: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["teach", "--data", str(cases)]) == 2
    assert "Add --name" in capsys.readouterr().err
    assert main(["teach", "--data", str(cases), "--name", "a", "--type", "brain tumor"]) == 2
    assert "--method tumor" in capsys.readouterr().err


def test_only_a_mast_pro_can_be_the_base(folder: Path, capsys: pytest.CaptureFixture) -> None:
    assert teach("--data", folder, "--type", "brain tumor", "--base", "sam-med3d-turbo") == 2
    assert "is no MAST-Pro" in capsys.readouterr().err
