"""``load_engine("mast-pro")``: from the weights that ship, with the tumors that were taught, and without either."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes3d import CENTER
from mast_pro_tools import small_network
from tumor_tools import find, organ, ramp_volume

from MoESegLib.cli import main
from MoESegLib.core.errors import PromptError, UnknownModelError, WeightsError, WeightsMissingError
from MoESegLib.core.organs import organ_ids
from MoESegLib.core.prompts import TextPrompt
from MoESegLib.core.volume import Volume
from MoESegLib.engines import load_engine
from MoESegLib.engines.mast_pro import MastProEngine
from MoESegLib.engines.registry import engine_names
from MoESegLib.engines.taught_tumors import install_taught, taught_path
from MoESegLib.engines.tumor_notes import Doubt, doubt_of
from MoESegLib.models.mast_pro import MastPro, adapt_to, round_to_half, write_base
from MoESegLib.resources import resource_path
from MoESegLib.weights import cards, model_card, model_cards, store

PATCH = {"patch": (16, 24, 20), "slice_patch": (32, 40)}


def tiny() -> MastPro:
    network = small_network(tumors=("liver_tumor", "kidney_tumor"), organs=organ_ids(), **PATCH)
    round_to_half(network)
    return network


@pytest.fixture
def shipped(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A tiny network where the weights that ship would lie; returns the note of the card."""
    card = model_card("mast-pro")
    file = tmp_path.joinpath(*card.provider["resource"].split("/"))
    file.parent.mkdir()
    taught = {"liver_tumor": ["CT"], "kidney_tumor": ["CT", "MR"]}
    doubt = {"below": 90, "doubtful": 0.25, "sure": 0.8}
    write_base(file, tiny(), {"taught": taught, "in_slices": ["kidney_tumor"], "doubt": doubt})
    card = dataclasses.replace(card, size_bytes=file.stat().st_size, sha256=store.sha256_of(file))
    known = {**model_cards(), card.name: card}
    for module in (cards, store):
        monkeypatch.setattr(module, "model_cards", lambda: known)
    find_resource = resource_path
    monkeypatch.setattr(
        store, "resource_path", lambda *parts: file if parts[-1] == file.name else find_resource(*parts)
    )
    return card.notes


@pytest.fixture
def volume() -> Volume:
    return ramp_volume((24, 40, 40), np.diag([-1.0, -1.0, 2.0, 1.0]))


def teach(tumor: str, in_slices: bool = False) -> None:
    network = tiny()
    adapt_to(network, tumor)
    with torch.no_grad():
        for name, value in network.named_parameters():
            if value.requires_grad and "expand" in name:
                value.normal_(std=0.5)
    round_to_half(network)
    install_taught(network, tumor, {"in_slices": in_slices})


def test_it_is_in_the_catalog_as_a_model_of_volumes() -> None:
    assert "mast-pro" in engine_names()
    assert model_card("mast-pro").dimension == "3d"
    assert set(model_card("mast-pro").prompts) == MastProEngine.understands


def test_it_answers_with_the_weights_that_ship_and_says_what_they_are(shipped: str, volume: Volume) -> None:
    engine = load_engine("mast-pro", runtime="torch")
    assert isinstance(engine, MastProEngine)
    assert [record.id for record in engine.records] == ["liver_tumor", "kidney_tumor"]
    found = find(engine, volume, organ(volume, CENTER, 15.0))
    assert shipped in found.notes
    assert found.expert.startswith("expert ")
    with pytest.raises(PromptError, match="liver tumor is looked for in CT, and this image is MR"):
        find(engine, Volume(volume.array, volume.ijk_to_ras, "MR"))


def test_a_copy_without_the_weights_says_so_and_offers_no_download(
    nothing_shipped: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = dict(model_cards())
    known["mast-pro"] = dataclasses.replace(
        known["mast-pro"],
        size_bytes=None,
        sha256=None,
        provider={"kind": "shipped", "resource": "Weights/none.safetensors"},
    )
    for module in (cards, store):
        monkeypatch.setattr(module, "model_cards", lambda: known)
    assert store.state_of("mast-pro") == "missing"
    with pytest.raises(WeightsMissingError, match="this copy lacks Weights/none.safetensors"):
        load_engine("mast-pro")


def test_a_window_and_the_gate_of_other_models_are_refused(shipped: str) -> None:
    with pytest.raises(WeightsError, match="without a window"):
        load_engine("mast-pro", window=(0.0, 100.0))
    with pytest.raises(WeightsError, match="no gate over specialists"):
        load_engine("mast-pro", tau=0.5)


def test_a_tumor_that_was_taught_is_known_and_changes_no_other_answer(shipped: str, volume: Volume) -> None:
    liver = organ(volume, CENTER, 15.0)
    before = find(load_engine("mast-pro", runtime="torch"), volume, liver)
    teach("spleen_lesion")
    engine = load_engine("mast-pro", runtime="torch")
    assert "spleen_lesion" in engine.network.tumors
    after = find(engine, volume, liver)
    assert after.patch.extent == before.patch.extent
    np.testing.assert_array_equal(after.patch.voxels, before.patch.voxels)
    new = find(engine, volume, TextPrompt("spleen lesion"), organ(volume, CENTER, 15.0, "spleen"))
    assert not any("not taught" in note for note in new.notes)
    assert any("spleen lesion (" in note for note in new.notes)


def test_taught_tumors_are_chosen_by_id_or_file(shipped: str) -> None:
    teach("spleen_lesion")
    assert load_engine("mast-pro", runtime="torch", experts=[]).network.added == ()
    for expert in ("spleen_lesion", taught_path("spleen_lesion")):
        assert load_engine("mast-pro", runtime="torch", experts=[expert]).network.added == ("spleen_lesion",)
    with pytest.raises(UnknownModelError, match="there are: spleen_lesion"):
        load_engine("mast-pro", runtime="torch", experts=["brain_tumor"])


def test_what_was_learned_in_slices_is_known(shipped: str) -> None:
    teach("spleen_lesion", in_slices=True)
    teach("gastric_tumor")
    engine = load_engine("mast-pro", runtime="torch")
    assert isinstance(engine, MastProEngine)
    assert engine.in_slices == {"kidney_tumor", "spleen_lesion"}


def test_what_certainty_is_worth_is_known_and_damage_is_named(shipped: str) -> None:
    engine = load_engine("mast-pro", runtime="torch")
    assert isinstance(engine, MastProEngine) and engine.doubt == Doubt(90, 0.25, 0.8)
    assert doubt_of({}) is None
    with pytest.raises(WeightsError, match="doubt.below is .much.; a whole number was expected"):
        doubt_of({"doubt": {"below": "much", "doubtful": 0.25, "sure": 0.8}})


def test_the_command_line_runs_with_them(shipped: str, volume: Volume, tmp_path: Path, capsys) -> None:
    volume.write(tmp_path / "ct.nii.gz")
    out = str(tmp_path / "out.seg.nrrd")
    words = ["--type", "liver tumor", "--runtime", "torch", "--modality", "CT", "-o", out]
    assert main(["tumors", str(tmp_path / "ct.nii.gz"), *words]) == 0
    assert shipped in capsys.readouterr().out
