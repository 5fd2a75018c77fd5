"""moeseg specialists as a user drives it, and moeseg segment with what it installs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from fakes import blob_volume
from moe_tools import INSTALLED, card_for, gate_for, install_base, install_mixture, specialist_state

from MoESegLib.cli import main
from MoESegLib.core.segmentation_file import read_segmentation
from MoESegLib.experts.specialist_file import read_specialist, rounded, write_specialist
from MoESegLib.experts.specialist_gate import write_gate
from MoESegLib.experts.specialist_store import find_specialist


def shown(capsys: pytest.CaptureFixture, *words: object) -> str:
    assert main(["specialists", *map(str, words)]) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture, *words: object) -> str:
    assert main(["specialists", *map(str, words)]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("moeseg: ")
    assert printed.out == ""
    return printed.err


@pytest.fixture
def base(nothing_shipped: Path, tmp_path: Path) -> Any:
    return install_base(tmp_path)


@pytest.fixture
def files(base: Any, tmp_path: Path) -> tuple[Path, Path]:
    """A specialist and a gate from elsewhere."""
    network, model = base
    specialist, gate = tmp_path / "friend.safetensors", tmp_path / "gate.safetensors"
    card = write_specialist(specialist, specialist_state(network, 1), card_for(base=model))
    write_gate(gate, *gate_for(card))
    return specialist, gate


def test_specialists_and_gates_are_imported_listed_shown_and_removed(files: tuple[Path, Path], capsys) -> None:
    assert "moeseg specialists import FILE" in shown(capsys, "list")
    specialist, gate = files
    assert "installed as cord in" in shown(capsys, "import", specialist)
    assert "The gate spine is installed" in shown(capsys, "import", gate)
    first, second = shown(capsys, "list").splitlines()
    assert first.split()[:4] == ["cord", "specialist", "yours", INSTALLED] and "CC BY 4.0" in first
    assert second.split()[:4] == ["spine", "gate", "yours", INSTALLED] and "tau 0.65; cord" in second
    entries = json.loads(shown(capsys, "list", "--json"))
    assert [entries[key][0]["name"] for key in ("specialists", "gates")] == ["cord", "spine"]
    for part in ("Spinal cord", INSTALLED, "CC BY 4.0", "taught", entries["specialists"][0]["card"]["sha256"]):
        assert part in shown(capsys, "show", "cord")
    assert "pairwise" in shown(capsys, "show", "spine", "--gate")
    assert json.loads(shown(capsys, "show", "cord", "--json")) == entries["specialists"][0]
    assert "Removed" in shown(capsys, "remove", "cord")
    assert "Removed" in shown(capsys, "remove", "spine", "--gate")
    assert "no specialist 'cord'" in refused(capsys, "show", "cord")
    assert "no gate 'spine'" in refused(capsys, "remove", "spine", "--gate")


def test_a_taken_name_is_refused_and_another_one_is_taken(files: tuple[Path, Path], capsys) -> None:
    shown(capsys, "import", files[0])
    assert "already" in refused(capsys, "import", files[0])
    shown(capsys, "import", files[0], "--name", "mine")
    shown(capsys, "import", files[0], "--replace")
    assert len(shown(capsys, "list").splitlines()) == 2


def test_a_damaged_specialist_is_listed_and_refused_with_the_reason(files: tuple[Path, Path], capsys) -> None:
    shown(capsys, "import", files[0])
    path = find_specialist("cord").path
    path.write_bytes(path.read_bytes()[:50])
    assert "damaged: " in shown(capsys, "list")
    assert "not a whole specialist" in refused(capsys, "show", "cord")
    assert "not a whole specialist" in refused(capsys, "import", path)
    assert "cannot be read" in refused(capsys, "import", path.with_name("none.safetensors"))


def test_a_specialist_is_cut_out_of_a_checkpoint(base: Any, tmp_path: Path, capsys) -> None:
    network, model = base
    state = specialist_state(network, 1)
    checkpoint = tmp_path / "tuned.pth"
    torch.save({**network.state_dict(), **{f"mask_decoder.{key}": value for key, value in state.items()}}, checkpoint)
    words = ["cut", checkpoint, "--name", "cord", "--class", "spinal cord", "--modality", "CT", "--license", "CC0"]
    printed = shown(capsys, *words)
    assert f"{len(state)} of the {len(state)} tensors" in printed and "No gate knows it yet" in printed
    card, tensors = read_specialist(find_specialist("cord").path, model.sha256, network.mask_decoder)
    assert all(torch.equal(tensors[key].float(), value) for key, value in rounded(state).items())
    assert (card.base, card.license, card.modalities, card.title) == (model, "CC0", ("CT",), "cord")
    assert "tuned.pth" in card.origin
    assert "already" in refused(capsys, *words)
    whole = tmp_path / "whole.pth"
    torch.save({key: value + 0.1 for key, value in network.state_dict().items()}, whole)
    assert "its image encoder differs" in refused(capsys, "cut", whole, *words[2:], "--replace")


@pytest.fixture
def words(home: Path, tmp_path: Path) -> list[str]:
    """moeseg segment with a click, where a tiny base, a specialist and a gate are installed."""
    install_mixture(tmp_path)
    volume, image = blob_volume(shape=(16, 24, 24)), tmp_path / "image.nrrd"
    picture = sitk.GetImageFromArray(volume.array)
    picture.SetSpacing((1.5, 1.5, 1.5))
    sitk.WriteImage(picture, str(image))
    common = ["--model", "sam-med3d-moe", "--runtime", "torch", "--extent", "volume", "--json"]
    return ["segment", str(image), "--point=-18,-18,12", *common]


def segmented_and_replayed(words: list[str], folder: Path, capsys: pytest.CaptureFixture) -> tuple[dict, np.ndarray]:
    """The entry of the only segment and its voxels, which a replay gave again."""
    out, log, again = (folder / name for name in ("out.seg.nrrd", "log.json", "again.seg.nrrd"))
    assert main([*words, "-o", str(out), "--log", str(log), "--overwrite"]) == 0
    [entry] = json.loads(capsys.readouterr().out)["segments"]
    assert main(["replay", str(log), "-o", str(again), "--overwrite", "--json"]) == 0
    [replayed] = json.loads(capsys.readouterr().out)["segments"]
    assert replayed["expert"] == entry["expert"]
    [first], [second] = (read_segmentation(path)[1] for path in (out, again))
    assert first.patch.extent == second.patch.extent
    assert np.array_equal(first.patch.voxels, second.patch.voxels)
    return entry, first.patch.to_array((16, 24, 24))


def test_segment_and_replay_with_specialists(words: list[str], tmp_path: Path, capsys) -> None:
    entry, _ = segmented_and_replayed(words, tmp_path, capsys)
    assert (entry["expert"], entry["alternatives"]) == ("base + cord", ["base", "cord"])
    assert entry["voxels"] > 0
    assert any("overlap with a Dice of" in note for note in entry["notes"])


def test_segment_asks_one_by_name_and_a_replay_asks_the_same(words: list[str], tmp_path: Path, capsys) -> None:
    masks = []
    for name in ("base", "cord", "base + cord"):
        entry, mask = segmented_and_replayed([*words, "--expert", name], tmp_path, capsys)
        assert entry["expert"] == name
        assert "The answer was chosen by hand." in entry["notes"]
        masks.append(mask)
    assert not np.array_equal(masks[0], masks[1])
    out = tmp_path / "wrong.seg.nrrd"
    assert main([*words, "--expert", "crod", "-o", str(out)]) == 2
    assert "no expert 'crod'; it has base, cord. Choose one of them." in capsys.readouterr().err
    assert not out.exists()


def test_an_int8_form_of_a_3d_model_is_refused(home: Path, tmp_path: Path, capsys) -> None:
    install_base(tmp_path)
    assert main(["models", "optimize", "sam-med3d-moe"]) == 2
    assert "no int8 form" in capsys.readouterr().err


def test_models_list_names_the_base_that_is_used(home: Path, tmp_path: Path, capsys) -> None:
    install_base(tmp_path)
    assert main(["models", "list"]) == 0
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if not line.startswith(" ")}
    for name in ("sam-med3d", "sam-med3d-moe"):
        assert "installed" in rows[name] and f"uses {INSTALLED}" in rows[name]
