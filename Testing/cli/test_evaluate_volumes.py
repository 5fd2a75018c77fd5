"""``moeseg evaluate`` with engines for volumes: general, specialist and mixture in one report."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from evaluation_tools import BrightEngine, Painter, add_to_manifest, write_balls, write_case, write_rods
from moe_tools import install_mixture
from PIL import Image

from MoESegLib.cli import main


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Volumes with rods, and pictures of balls."""
    folder = tmp_path / "data"
    folder.mkdir()
    write_rods(folder)
    write_balls(folder)
    return folder


@pytest.fixture
def engines(home: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A general model, a mixture whose specialist paints everything, and an engine of slices; counts what is loaded."""
    traits = {"rods": SimpleNamespace(classes=("thin rod",))}
    found: dict[str, Any] = {
        "general": Painter({"base": 4.0}),
        "mixture": Painter({"base": 4.0, "rods": np.inf}, "rods", traits),
        "plane": BrightEngine(),
        "loaded": [],
    }

    def load(name: str, **options: Any) -> Any:
        found["loaded"].append(name)
        return found[name]

    monkeypatch.setattr("MoESegLib.engines.load_engine", load)
    return found


def evaluate(data: Path, *words: str, sets: str = "rods") -> int:
    return main(["evaluate", "--data", str(data), "--set", sets, "--min-pixels", "20", *words])


def test_general_specialist_and_mixture_in_one_table_with_the_gate_and_the_clicks(
    data: Path, engines, tmp_path: Path, capsys
) -> None:
    out = tmp_path / "out"
    three = "mixture:base,mixture:rods,mixture"
    assert evaluate(data, "--engine", three, "--protocol", "box,clicks:10", "--out", str(out), "--forgetting") == 0
    assert engines["loaded"] == ["mixture"]
    text = (out / "results.md").read_text()
    assert text == capsys.readouterr().out
    assert (
        "| set | structure | prompt | masks | patients | mixture:base | mixture:rods | difference | mixture |" in text
    )
    for click in (1, 3, 5, 10):
        assert f"| rods | all | clicks:10, click {click} | 4 | 2 |" in text
    assert "click 2 |" not in text
    assert "Structures of at least 20 voxels. NSD: share of both surfaces within 2 mm." in text
    assert "| rods | clicks:10 | 0.80 |" in text
    assert "## Who answered: mixture\n" in text
    assert "## Who answered: mixture:rods" not in text
    assert "| rods | clicks:10, click 1 | 100 % | 0 % | 100 % |" in text
    assert "non-forgetting holds" in text
    section = text[text.index("## Forgetting") :]
    assert "the final answer of mixture to the first prompt is that of mixture:base" in section
    assert "the final answer of mixture:rods" not in section
    assert "thick rod" in section
    assert "thin rod" not in section
    with (out / "scores.csv").open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert len(lines) == 3 * 4 * (1 + 10)
    assert {line["slice"] for line in lines} == {""}
    with Image.open(out / "curves.png") as picture:
        assert picture.size[0] > 300


def test_json_of_volumes_holds_the_clicks_that_were_needed(data: Path, engines, capsys) -> None:
    assert evaluate(data, "--engine", "general,mixture", "--protocol", "clicks:3", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    clicks = {
        entry["threshold"]: entry["clicks"] for entry in result["clicks_to_reach"] if entry["engine"] == "mixture"
    }
    assert clicks == {0.8: 1.0, 0.85: 1.0, 0.9: 1.0}
    assert {entry["engine"] for entry in result["answered_by"]} == {"mixture"}


@pytest.mark.parametrize(
    ("words", "sets", "said"),
    [
        (["--engine", "general,plane"], "rods", "general segments whole volumes and plane single slices"),
        (["--engine", "mixture:spine"], "rods", "mixture has no expert 'spine'; it has base, rods"),
        (["--engine", "general:rods"], "rods", "general has no expert 'rods'; it has base"),
        (["--engine", "general"], "rods,balls", "balls-0 is a 2D image"),
        (["--engine", "general", "--max-slices", "2"], "rods", "Leave --max-slices out"),
        (["--engine", "general", "--min-pixels", "9999"], "rods", "No image of rods holds a structure"),
    ],
)
def test_what_makes_no_sense_in_volumes_is_refused_before_any_engine_is_asked(
    data: Path, engines, tmp_path: Path, capsys, words, sets, said
) -> None:
    out = tmp_path / "out"
    assert evaluate(data, "--protocol", "click", "--out", str(out), *words, sets=sets) == 2
    assert said in capsys.readouterr().err
    assert not engines["general"].asked
    assert not engines["mixture"].asked
    assert not list(out.glob("*"))


def test_sam_med3d_moe_is_measured_beside_its_general_model_and_its_specialist(
    home: Path, tmp_path: Path, capsys
) -> None:
    """A tiny one with random weights: what matters is who is asked, and that the base stays itself."""
    install_mixture(tmp_path)
    labels = np.zeros((30, 30, 30), np.uint8)
    labels[10:20, 10:20, 10:20] = 1
    labels[3:8, 3:8, 3:8] = 2
    image = np.random.default_rng(0).normal(100, 30, labels.shape).astype(np.int16) + 80 * labels
    case = write_case(tmp_path, "noise", "one", "one", "val", image, labels, "nii.gz")
    add_to_manifest(tmp_path, "noise", {"labels": {"1": "spinal cord", "2": "liver"}, "modality": "MR"}, [case])
    names = "sam-med3d,sam-med3d-moe:base,sam-med3d-moe:cord,sam-med3d-moe"
    words = ["--engine", names, "--runtime", "torch", "--protocol", "clicks:2", "--forgetting"]
    assert evaluate(tmp_path, *words, "--out", str(tmp_path / "out"), sets="noise") == 0
    text = capsys.readouterr().out
    assert text.count("non-forgetting holds") == 2
    assert "- sam-med3d-moe: expert cord, taught spinal cord" in text
    # The gate of the toy gives everything to the cord, which is right for one of the two structures.
    assert "| set | prompt | cord | base | right |" in text
    assert "| noise | clicks:2, click 1 | 100 % | 0 % | 100 % |" in text
    assert "| taught to | prompt | masks | cord | base |" in text
    assert "| cord | clicks:2, click 2 | 1 | 100 % | 0 % |" in text
    assert "| none | clicks:2, click 2 | 1 | 100 % | 0 % |" in text
    with (tmp_path / "out" / "scores.csv").open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    experts = {name: {line["expert"] for line in lines if line["engine"] == name} for name in names.split(",")}
    assert experts == {
        "sam-med3d": {"base"},
        "sam-med3d-moe:base": {"base"},
        "sam-med3d-moe:cord": {"cord"},
        "sam-med3d-moe": {"base + cord"},
    }
    dice = {
        name: [(line["dice"], line["nsd"]) for line in lines if line["engine"] == name] for name in names.split(",")
    }
    assert dice["sam-med3d"] == dice["sam-med3d-moe:base"]
    assert dice["sam-med3d"] != dice["sam-med3d-moe:cord"]
