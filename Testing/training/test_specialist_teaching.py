"""A taught specialist and its gate: better at home, harmless elsewhere, both files or none."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from specialist_toy import PLAN, SHA, install_toy, teach_toy, toy_base, toy_case, toy_cases, toy_parts

from MoESegLib.cli.main import main
from MoESegLib.core.errors import OutputError, WeightsError
from MoESegLib.experts.gate_store import gate_for, list_gates
from MoESegLib.experts.specialist_gate import load_mixture, read_gate
from MoESegLib.experts.specialist_store import find_specialist, list_specialists, specialists_home
from MoESegLib.training import specialist, specialist_install
from MoESegLib.training.gate3d import MAY_LOSE
from MoESegLib.training.gate_records import read_records, records_file
from MoESegLib.training.loop import base_digest
from MoESegLib.training.specialist import Base3D, SpecialistResult, default_gate_name


@pytest.fixture(scope="module")
def base() -> Base3D:
    return toy_base()


@pytest.fixture(scope="module")
def before(base: Base3D) -> str:
    """Hash of the base before anything was taught."""
    return base_digest(base.model.network)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def result(base: Base3D, before: str, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> SpecialistResult:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOESEG_HOME", str(tmp_path_factory.mktemp("home")))
        return teach_toy(cache, base)


def test_a_specialist_is_better_at_home_and_the_mixture_harmless_elsewhere(result: SpecialistResult) -> None:
    assert result.held_out.click > result.general.click + 0.1
    home, others = result.gate.rows
    assert (home.home, others.home) == ("shell", "")
    assert home.targets == result.held_out.targets  # each is asked once, after its first click
    assert home.specialist > home.general + 0.1 and home.mixture > home.general + 0.1
    assert others.mixture >= others.general - MAY_LOSE
    assert result.gate.asks and result.gate.over_all


def test_the_base_stays_as_it_was(base: Base3D, before: str, result: SpecialistResult) -> None:
    assert result.history[-1].steps > 0 and base_digest(base.model.network) == before


def test_what_is_installed_answers_as_it_was_measured(base: Base3D, result: SpecialistResult, home: Path) -> None:
    card = install_toy(result)
    gate = gate_for(SHA)
    assert gate is not None and gate.name == result.gate_name
    mixture = load_mixture(base.model.network, SHA, gate.path)
    assert mixture.tau == result.gate.tau.tau and mixture.gate.experts == ("shell",)
    decoder = mixture.specialists.decoder("shell").state_dict()
    assert all(torch.equal(decoder[name], value) for name, value in result.decoder.items())
    assert card.measured[0].dice == result.held_out.click and card.measured[0].base_dice == result.general.click
    assert card.training[0].name == "toy shell"


def test_a_further_specialist_makes_a_gate_over_both(
    base: Base3D, result: SpecialistResult, cache: Path, home: Path
) -> None:
    install_toy(result)
    second = teach_toy(cache, base, name="core", cases=toy_cases("core", 14), unrelated=())
    assert second.gate.over_all
    assert {row.home for row in second.gate.rows} == {"core", "shell", ""}
    unrelated = next(row for row in second.gate.rows if not row.home)
    assert unrelated.mixture >= unrelated.general - MAY_LOSE
    install_toy(second)
    gate = gate_for(SHA)
    assert gate is not None and gate.card is not None
    assert "shell" in {expert.name for expert in gate.card.experts}
    load_mixture(base.model.network, SHA, gate.path)


def test_without_the_cases_of_before_only_a_row_is_added(
    base: Base3D, result: SpecialistResult, cache: Path, home: Path
) -> None:
    install_toy(result)
    records_file(result.gate_name).unlink()
    second = teach_toy(cache, base, name="again", cases=toy_cases("shell", 14, seed=1))
    assert not second.gate.over_all
    old, new = result.gate.gate, second.gate.gate
    assert torch.equal(old.hidden.weight, new.hidden.weight)
    assert all(
        torch.equal(value, new.rows["shell"].state_dict()[name])
        for name, value in old.rows["shell"].state_dict().items()
    )
    assert second.gate.tau.tau >= result.gate.tau.tau


def test_a_gate_that_cannot_be_written_leaves_nothing_behind(
    result: SpecialistResult, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OutputError("the disk is full")

    monkeypatch.setattr(specialist_install, "install_gate", full)
    with pytest.raises(OutputError, match="full"):
        install_toy(result)
    assert all(item.shipped for item in [*list_specialists(), *list_gates()])
    assert not [path for path in specialists_home().rglob("*") if path.is_file()]


def test_a_failed_replacement_leaves_the_earlier_files(
    result: SpecialistResult, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_toy(result)
    before = {path: path.read_bytes() for path in specialists_home().rglob("*") if path.is_file()}
    other = dataclasses.replace(result, decoder={name: value + 1 for name, value in result.decoder.items()})
    with pytest.raises(WeightsError, match="already"):
        install_toy(other)

    def full(*_: object, **__: object) -> None:
        raise OutputError("the disk is full")

    monkeypatch.setattr(specialist_install, "write_records", full)
    with pytest.raises(OutputError, match="full"):
        install_toy(other, replace=True)
    assert {path: path.read_bytes() for path in specialists_home().rglob("*") if path.is_file()} == before


def test_records_whose_embeddings_were_removed_are_left_out(
    result: SpecialistResult, home: Path, tmp_path: Path
) -> None:
    install_toy(result)
    assert read_records(records_file(result.gate_name), specialist.EmbeddingStore(tmp_path)) == []


def write_case(folder: Path, family: str, number: int) -> None:
    case = toy_case(family, number)
    volume, structure = toy_parts(case)
    for array, end in ((volume.array, "img"), (structure.patch.to_array(volume.shape), "seg")):
        image = sitk.GetImageFromArray(np.asarray(array))
        image.SetSpacing((1.5, 1.5, 1.5))
        sitk.WriteImage(image, str(folder / f"{case.name}_{end}.nrrd"))


def test_the_command_teaches_from_two_folders(
    base: Base3D, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(specialist, "base3d", lambda name: base)
    for family in ("shell", "solid"):
        (tmp_path / family).mkdir()
        for number in range(8):
            write_case(tmp_path / family, family, number)
    words = ["--data", tmp_path / "shell", "--unrelated", tmp_path / "solid", "--epochs", 2, "--rate", PLAN.rate]
    command = ["teach", "--method", "gated", "--name", "shell", "--varied", 0, "--least-steps", 10, *words]
    assert main([*map(str, command), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["gate"]["name"] == default_gate_name(SHA) and found["held_out"]["click"] > found["general"]["click"]
    assert find_specialist("shell").card is not None
    assert read_gate(specialists_home() / "gates" / f"{found['gate']['name']}.safetensors", SHA)[1].experts == (
        "shell",
    )
    assert main([*map(str, command)]) == 2
    assert "--replace" in capsys.readouterr().err
    assert main([*map(str, command), "--replace", "--automatic"]) == 2
    assert "--automatic belongs to --method experts" in capsys.readouterr().err
