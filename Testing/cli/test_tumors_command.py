"""``moeseg tumors`` from files to files, with a network that takes what is bright for lesions."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from fakes3d import CENTER, dice
from tumor_tools import engine_with, inside, ramp_volume

import MoESegLib.engines
from MoESegLib.cli import main
from MoESegLib.core.geometry import extent_slices
from MoESegLib.core.results import MaskPatch
from MoESegLib.core.segmentation_file import SegmentRecord, read_segmentation, write_segmentation
from MoESegLib.core.volume import Volume

LEFT, RIGHT = CENTER + (-22, 0, 0), CENTER + (22, 0, 0)


@pytest.fixture(autouse=True)
def _oracle(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real engine with a network that needs no weights."""
    monkeypatch.setattr(MoESegLib.engines, "load_engine", lambda name, **options: engine_with())


@pytest.fixture
def volume() -> Volume:
    """A large ball on the left and a smaller one on the right."""
    return ramp_volume((30, 48, 84), np.diag([-1.0, -1.0, 1.5, 1.0]), [(LEFT, 10.0), (RIGHT, 8.0)])


@pytest.fixture
def folder(tmp_path: Path, volume: Volume) -> Path:
    """``ct.nii.gz`` and ``organs.seg.nrrd`` with a liver around the left ball and kidneys around both."""
    volume.write(tmp_path / "ct.nii.gz")
    organs = {
        "liver": inside(volume, LEFT, 16.0),
        "kidney_left": inside(volume, LEFT, 14.0),
        "kidney_right": inside(volume, RIGHT, 14.0),
    }
    records = [SegmentRecord(name, name, MaskPatch.of(mask)) for name, mask in organs.items()]
    write_segmentation(tmp_path / "organs.seg.nrrd", volume, records)
    return tmp_path


def tumors(folder: Path, *words: str, types: tuple[str, ...] = ("liver tumor",)) -> int:
    named = [word for phrase in types for word in ("--type", phrase)]
    return main(
        ["tumors", str(folder / "ct.nii.gz"), *named, "--modality", "CT", "-o", str(folder / "out.seg.nrrd"), *words]
    )


def test_every_lesion_is_a_numbered_segment_and_a_line_of_the_table(folder: Path, volume: Volume, capsys) -> None:
    organs, table = str(folder / "organs.seg.nrrd"), folder / "lesions.csv"
    assert tumors(folder, "--anatomy", organs, "--table", str(table), types=("kidney tumor",)) == 0
    _, records = read_segmentation(folder / "out.seg.nrrd")
    assert [record.name for record in records] == ["kidney tumor 1", "kidney tumor 2"]
    assert dice(records[0].patch.to_array(volume.shape), inside(volume, LEFT, 10.0)) > 0.97
    assert dice(records[1].patch.to_array(volume.shape), inside(volume, RIGHT, 8.0)) > 0.95
    assert "108369006" in records[0].tags["TerminologyEntry"]
    assert records[0].tags["MoESeg.Engine"] == "mast-pro"
    with table.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["name"] for row in rows] == ["kidney tumor 1", "kidney tumor 2"]
    assert float(rows[0]["volume (mL)"]) == pytest.approx(4 / 3 * np.pi, rel=0.08)
    assert float(rows[0]["longest diameter (mm)"]) == pytest.approx(20, abs=1.5)
    assert float(rows[1]["center R (mm)"]) == pytest.approx(RIGHT[0], abs=0.5)
    for row, record in zip(rows, records, strict=True):
        assert row["certainty (%)"] == record.tags["MoESeg.Certainty"] and int(row["certainty (%)"]) > 90
    said = capsys.readouterr().out
    assert "kidney tumor: 2 lesions" in said
    assert f"Wrote {folder / 'out.seg.nrrd'} and {table}" in said


def test_several_types_are_looked_for_one_by_one_and_the_same_twice_only_once(folder: Path, capsys) -> None:
    organs = str(folder / "organs.seg.nrrd")
    types = ("hepatic tumor", "right kidney tumor", "liver tumor")
    assert tumors(folder, "--anatomy", organs, "--json", types=types) == 0
    data = json.loads(capsys.readouterr().out)
    assert [one["phrase"] for one in data["types"]] == ["hepatic tumor", "right kidney tumor"]
    names = [[lesion["name"] for lesion in one["lesions"]] for one in data["types"]]
    assert names == [["liver tumor 1"], ["right kidney tumor 1"]]
    assert data["types"][0]["lesions"][0]["center"][0] == pytest.approx(LEFT[0], abs=0.5)
    assert len(read_segmentation(folder / "out.seg.nrrd")[1]) == 2


def test_a_label_map_of_totalsegmentator_is_anatomy_too(folder: Path, volume: Volume, capsys) -> None:
    labels = 5 * inside(volume, LEFT, 16.0).astype(np.uint8)
    volume.like(labels).write(folder / "labels.nii.gz")
    assert tumors(folder, "--anatomy", str(folder / "labels.nii.gz"), "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["types"][0]["lesions"]) == 1


def test_without_restriction_a_box_finds_what_the_organ_does_not_reach(folder: Path, volume: Volume, capsys) -> None:
    low, high = volume.to_ras((0, 0, 0)), volume.to_ras(np.array(volume.size) - 1)
    box = ",".join(f"{value:g}" for value in (*low, *high))
    organs = ["--anatomy", str(folder / "organs.seg.nrrd"), "--box", box, "--json"]
    counts = []
    for words in (organs, [*organs, "--no-restrict", "--overwrite"]):
        assert tumors(folder, *words) == 0
        counts.append(len(json.loads(capsys.readouterr().out)["types"][0]["lesions"]))
    assert counts == [1, 2]


def test_nothing_found_is_an_empty_file_a_table_of_one_line_and_no_error(folder: Path, capsys) -> None:
    table = folder / "lesions.csv"
    words = ("--anatomy", str(folder / "organs.seg.nrrd"), "--table", str(table))
    assert tumors(folder, *words, types=("pancreatic tumor",)) == 0
    assert "none in which a pancreatic tumor lies" in capsys.readouterr().out
    assert len(table.read_text(encoding="utf-8").splitlines()) == 1
    assert not read_segmentation(folder / "out.seg.nrrd")[1]


def test_a_label_map_can_be_written_instead(folder: Path, volume: Volume) -> None:
    out = folder / "lesions.nii.gz"
    assert tumors(folder, "-o", str(out)) == 0
    labels = Volume.read(out).array
    assert sorted(np.unique(labels)) == [0, 1, 2]
    assert dice(labels == 1, inside(volume, LEFT, 10.0)) > 0.97
    patch = MaskPatch.of(labels == 2)
    assert patch.voxels.shape == labels[extent_slices(patch.extent)].shape


@pytest.mark.parametrize(
    ("words", "types", "message"),
    [
        ((), ("spaceship",), "spaceship"),
        ((), ("liver",), "an organ and no tumor"),
        ((), ("left liver tumor",), "says left"),
        (("--anatomy", "none.seg.nrrd"), ("liver tumor",), "none.seg.nrrd"),
        (("--anatomy", "ct.nii.gz"), ("liver tumor",), "is not a label map"),
        (("--table", "table.txt"), ("liver tumor",), "A table is a .csv file"),
        (("--table", "no/table.csv"), ("liver tumor",), "does not exist"),
        (("--overlap", "1.5"), ("liver tumor",), "overlap by 0 to 0.9"),
        (("--box", "1,2,3"), ("liver tumor",), "6 expected"),
        (("--modality", "MR"), ("colon tumor",), "this image is MR"),
        (("--modality", "banana"), ("liver tumor",), "--modality takes one of CT"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said_and_nothing_is_written(
    folder: Path, words: tuple[str, ...], types: tuple[str, ...], message: str, capsys
) -> None:
    given = [str(folder / word) if word.endswith((".nrrd", ".gz", ".csv", ".txt")) else word for word in words]
    assert tumors(folder, *given, types=types) == 2
    assert message in capsys.readouterr().err
    assert not (folder / "out.seg.nrrd").exists()
    assert not list(folder.glob("*.csv"))


def test_files_that_exist_are_not_replaced_without_being_asked_to(folder: Path, capsys) -> None:
    table = folder / "lesions.csv"
    table.write_text("mine")
    assert tumors(folder, "--table", str(table)) == 2
    assert "exists already" in capsys.readouterr().err
    assert table.read_text() == "mine"
    assert tumors(folder, "--table", str(table), "--overwrite") == 0
    assert table.read_text().startswith("name,")
    assert (
        main(
            [
                "tumors",
                str(folder / "ct.nii.gz"),
                "--type",
                "liver tumor",
                "-o",
                str(folder / "ct.nii.gz"),
                "--overwrite",
            ]
        )
        == 2
    )


def test_an_image_without_contrast_is_refused(folder: Path, volume: Volume, capsys) -> None:
    Volume(np.zeros(volume.shape, np.int16), volume.ijk_to_ras, "CT").write(folder / "ct.nii.gz")
    assert tumors(folder) == 2
    assert "every voxel is 0" in capsys.readouterr().err
