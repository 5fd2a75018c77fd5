"""``moeseg bench`` with engines for volumes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from moe_tools import install_mixture

from MoESegLib.cli import main
from MoESegLib.cli.bench_command import in_words
from MoESegLib.evaluation.stopwatch import row


@pytest.fixture
def mixture(home: Path, tmp_path: Path) -> None:
    """SAM-Med3D-MoE of 16 x 16 x 16 voxels with the specialist "cord"."""
    install_mixture(tmp_path)


def test_bench_times_encoder_decoder_and_clicks_of_an_engine_for_volumes(mixture, capsys) -> None:
    assert main(["bench", "--model", "sam-med3d-moe", "--runtime", "torch", "--repeats", "2", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    steps = {entry["step"]: entry for entry in report["steps"]}
    crops = next(int(step.rpartition(" ")[2]) for step in steps if step.startswith("first click as it is, crops: "))
    assert 1 <= crops <= 7
    assert list(steps)[:-1] == [
        "cut a crop out of the volume",
        "encode a crop",
        "decoder alone",
        "decoder, asked for cord",
        "first click, one crop",
        "next clicks in that crop",
    ]
    assert (steps["first click, one crop"]["runs"], steps["next clicks in that crop"]["runs"]) == (2, 6)
    assert all(0 < entry["min"] <= entry["median"] <= entry["max"] for entry in report["steps"])
    # The arithmetic of a network does not depend on the machine: two blocks over 64 places of 48 numbers.
    encoder = steps["encode a crop"]
    projections = 2 * 64 * (48 * 3 * 48 + 48 * 48 + 2 * 48 * 4 * 48)
    assert 1e9 * encoder["gflop"] > 2 * projections
    assert encoder["fraction_of_floor"] == pytest.approx(
        encoder["gflop"] / report["floor_gflops"] / encoder["median"], rel=1e-6
    )
    assert report["runtime"] == "torch-cpu-fp32"
    assert report["peak_mb"] > 100
    words = in_words(report)
    assert words.startswith("sam-med3d-moe with torch-cpu-fp32, ")
    assert "\nfirst click, one crop" in words
    assert "GPU" not in words
    assert "peak memory on the GPU: 3 MB" in in_words({**report, "peak_gpu_mb": 3.2})


def test_bench_refuses_to_measure_nothing(mixture, capsys) -> None:
    assert main(["bench", "--model", "sam-med3d-moe", "--repeats", "0"]) == 2
    assert "--repeats 0" in capsys.readouterr().err


def test_a_row_tells_the_median_and_the_share_of_the_floor() -> None:
    found = row("step", [0.5, 0.1, 0.3], 6.0, 100.0)
    assert (found["median"], found["min"], found["max"], found["runs"]) == (0.3, 0.1, 0.5, 3)
    assert found["fraction_of_floor"] == pytest.approx(0.2)
    assert not np.isin("gflop", list(row("step", [1.0], None, 100.0)))
