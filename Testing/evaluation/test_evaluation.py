"""Numbers people can believe: known values, simulated users, and a whole run on a small data set."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from fakes import ThresholdModel, blob_volume

from MoESegLib.cli import main
from MoESegLib.core.errors import VolumeError
from MoESegLib.core.volume import Volume
from MoESegLib.engines.slice_engine import SliceEngine
from MoESegLib.evaluation.datasets import read_cases
from MoESegLib.evaluation.metrics import bootstrap_interval, dice
from MoESegLib.evaluation.simulated import center_click, tight_box
from MoESegLib.evaluation.slices import PROTOCOLS, evaluate_slices, summarize


def test_dice_has_its_known_values() -> None:
    empty, half, full = np.zeros((4, 4)), np.zeros((4, 4)), np.ones((4, 4))
    half[:2] = 1
    assert dice(full, full) == 1
    assert dice(half, full) == pytest.approx(2 * 8 / 24)
    assert dice(half, 1 - half) == 0
    assert dice(empty, empty) == 1
    assert dice(empty, full) == dice(full, empty) == 0
    with pytest.raises(ValueError, match="shape"):
        dice(full, full[:2])


def test_the_interval_draws_patients_not_masks() -> None:
    """One patient with many masks weighs as one draw, so the interval is wide."""
    values, groups = [0.9] * 50 + [0.1] * 50, ["a"] * 50 + ["b"] * 50
    low, high = bootstrap_interval(values, groups)
    assert (low, high) == pytest.approx((0.1, 0.9))
    assert bootstrap_interval(values, groups) == (low, high)
    separate = bootstrap_interval(values, range(100))
    assert separate[1] - separate[0] < 0.25


def test_the_simulated_user_clicks_in_the_middle_and_boxes_tightly() -> None:
    mask = np.zeros((20, 30), bool)
    mask[5:12, 8:21] = True
    mask[2, 2] = True
    assert tight_box(mask) == (2, 2, 20, 11)
    x, y = center_click(mask)
    assert y == 8
    assert 11 <= x <= 17
    ring = np.zeros((21, 21), bool)
    ring[2:19, 2:19] = True
    ring[6:15, 6:15] = False
    x, y = center_click(ring)
    assert ring[y, x]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three images of bright balls; one belongs to another split."""
    cases = []
    for number, (split, group) in enumerate((("val", "p1"), ("val", "p2"), ("train", "p3"))):
        volume = blob_volume((1, 60, 60), radius=8.0 + 2 * number)
        labels = np.where(volume.array > 200, 2, 0).astype(np.uint8)
        labels[0, 0, 0] = 1  # below the least size
        Volume(volume.array[0], volume.ijk_to_ras).write(tmp_path / f"{number}_img.png")
        Volume(labels[0], volume.ijk_to_ras).write(tmp_path / f"{number}_lab.png")
        cases.append(
            {"set": "balls", "case": str(number), "group": group, "split": split,
             "image": f"{number}_img.png", "label": f"{number}_lab.png"}
        )  # fmt: skip
    manifest = {"sets": {"balls": {"labels": {"1": "speck", "2": "ball"}}}, "cases": cases}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    return tmp_path


def test_every_structure_is_scored_under_every_protocol(data: Path) -> None:
    engine = SliceEngine(ThresholdModel())
    scores = evaluate_slices(engine, read_cases(data, "balls"), PROTOCOLS, least_pixels=20)
    assert {(score.case, score.protocol, score.label) for score in scores} == {
        (case, protocol, "ball") for case in ("0", "1") for protocol in PROTOCOLS
    }
    by_protocol = {row.protocol: row for row in summarize(scores) if row.label == "all"}
    assert by_protocol["box"].mean > 0.9
    assert by_protocol["click"].mean > 0.85
    assert by_protocol["raw-click"].mean < by_protocol["click"].mean
    assert (by_protocol["box"].masks, by_protocol["box"].patients) == (2, 2)


def test_splits_are_kept_apart_and_missing_ones_are_said(data: Path) -> None:
    assert [case.group for case in read_cases(data, "balls", "train")] == ["p3"]
    assert len(read_cases(data, "balls", "all")) == 3
    for folder, name in ((data, "cubes"), (data / "none", "balls")):
        with pytest.raises(VolumeError):
            read_cases(folder, name)


def test_labels_of_another_size_are_refused(data: Path) -> None:
    Volume(np.zeros((5, 5), np.uint8), np.eye(4)).write(data / "0_lab.png")
    with pytest.raises(VolumeError, match="shape"):
        read_cases(data, "balls")[0].load()


def test_the_command_prints_a_table_and_keeps_every_score(
    data: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr("MoESegLib.engines.load_engine", lambda name, **options: SliceEngine(ThresholdModel()))
    words = ["evaluate", "--data", str(data), "--set", "balls", "--protocol", "box", "--csv", str(data / "s.csv")]
    assert main([*words, "--min-pixels", "20"]) == 0
    assert "| box | ball | 2 | 2 | 0.9" in capsys.readouterr().out
    with (data / "s.csv").open() as stream:
        assert [row["case"] for row in csv.DictReader(stream)] == ["0", "1"]
    assert main([*words, "--protocol", "wishes"]) == 2
    assert "wishes" in capsys.readouterr().err
