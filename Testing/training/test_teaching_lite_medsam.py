"""``moeseg teach`` on the real LiteMedSAM: from a folder of images and labels to an installed expert."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from MoESegLib.cli import main
from MoESegLib.core.resample import resample_nearest
from MoESegLib.core.volume import Volume
from MoESegLib.experts.pack_file import read_pack
from MoESegLib.experts.store import find_pack
from MoESegLib.resources import resource_path
from MoESegLib.training.engine import attach, network_of, teaching_engine
from MoESegLib.weights.store import weights_id_of

LIVER = 5


@pytest.fixture
def folder(tmp_path: Path, demo_volume: Volume) -> Path:
    """Two patients made of the demo CT, a few slices each, with the liver."""
    labels = Volume.read(resource_path("Demo", "labels.nii.gz"))
    values, counts = np.unique(labels.array[labels.array > 0], return_counts=True)
    mask = (labels.array == values[counts.argmax()]).astype(np.uint8) * LIVER
    data = tmp_path / "data"
    data.mkdir()
    for name, part in (("jane", slice(4, 6)), ("john", slice(12, 14))):
        matrix = demo_volume.ijk_to_ras.copy()
        matrix[:3, 3] = demo_volume.to_ras([0, 0, part.start])
        Volume(demo_volume.array[part], matrix).write(data / f"{name}.nrrd")
        Volume(resample_nearest(mask, labels.ijk_to_ras, demo_volume)[part], matrix).write(data / f"{name}_seg.nrrd")
    (data / "labels.json").write_text(json.dumps({str(LIVER): "liver"}))
    return data


@pytest.mark.weights
def test_teach_installs_an_expert_and_prints_its_learning_curve(
    folder: Path, tmp_path: Path, lite_medsam_path: Path, home: Path, capsys: pytest.CaptureFixture
) -> None:
    shutil.copytree(lite_medsam_path.parent, home / "models" / "lite-medsam")
    words = ["teach", "--data", str(folder), "--name", "liver-test", "--modality", "CT", "--class", "liver"]
    words += ["--epochs", "1", "--least-steps", "2", "--max-slices", "1", "--runtime", "torch", "--from", "none"]
    assert main([*words, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["classes"] == ["liver"]
    assert [epoch["steps"] for epoch in data["history"]] == [0, 2]
    assert data["history"][0]["held_out"]["box"] == pytest.approx(data["base"]["box"], abs=0.01)  # untrained: the base
    assert data["train_cases"] != data["held_out_cases"]
    card, state = read_pack(find_pack("liver-test").path, weights_id_of("lite-medsam"))
    assert card.prompts == ("box", "mask", "point", "text")
    assert card.sizes.scope_width > 0
    assert card.modalities == ("CT",)
    assert card.classes[0].codes
    assert {result.prompt: result.base_dice for result in card.measured} == {
        prompt: pytest.approx(data["base"][prompt], abs=1e-3) for prompt in ("box", "click")
    }
    assert all(torch.isfinite(value).all() for value in state.values())
    assert main(words) == 2
    assert "There is an expert liver-test already" in capsys.readouterr().err
    engine = teaching_engine("torch")
    again = attach(engine, "again", find_pack("liver-test").path, 0)
    assert all(torch.equal(value, state[key]) for key, value in again.state_dict().items())
    assert list(network_of(engine).packs) == ["again"]


def test_bad_input_is_told_before_anything_is_loaded(folder: Path, home: Path, capsys: pytest.CaptureFixture) -> None:
    for words, message in (
        (["--data", str(folder / "missing"), "--name", "x"], "There is no folder"),
        (["--data", str(folder), "--name", "x", "--set", "btcv"], "has no manifest.json"),
    ):
        assert main(["teach", *words]) == 2
        assert message in capsys.readouterr().err
