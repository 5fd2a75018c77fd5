"""The 3D base that is part of MoESeg: loaded where nothing better is there, and honest about what it is."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from fakes import blob_volume
from fakes3d import at
from moe_tools import tiny_base
from safetensors.torch import save_file

from MoESegLib.engines import load_engine
from MoESegLib.engines.protocol import Context
from MoESegLib.models.sam_med3d import SamMed3D, config_of
from MoESegLib.resources import resource_path
from MoESegLib.weights import cards, model_cards, store
from MoESegLib.weights.safe_load import load_into, load_state_dict

NAME = "sam-med3d-compact"
SHIPPED = sorted((resource_path("Models").parent / "Weights").glob("*.safetensors"))
LARGEST = 8e6
"""Bytes: the repository has to stay small."""


@pytest.fixture
def shipped(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A tiny base in half precision where the one that ships would lie; returns its note."""
    (tmp_path / "Weights").mkdir()
    file = tmp_path / "Weights" / f"{NAME}.safetensors"
    save_file({name: value.half().contiguous() for name, value in tiny_base().state_dict().items()}, file)
    card = dataclasses.replace(
        model_cards()["sam-med3d-turbo"],
        name=NAME,
        file_name=file.name,
        size_bytes=file.stat().st_size,
        sha256=store.sha256_of(file),
        provider={"kind": "shipped", "resource": f"Weights/{file.name}"},
        notes="Demonstration base; not for patients.",
    )
    known = {**model_cards(), NAME: card}
    for module in (cards, store):
        monkeypatch.setattr(module, "model_cards", lambda: known)
    monkeypatch.setattr(store, "resource_path", lambda *parts: tmp_path.joinpath(*parts))
    return card.notes


def test_it_stands_in_for_sam_med3d_where_nothing_better_is_there(shipped: str) -> None:
    assert load_engine("sam-med3d", runtime="torch").name == NAME
    assert store.state_of("sam-med3d-moe") == "installed"


@pytest.mark.parametrize("name", ["sam-med3d", NAME, "sam-med3d-moe"])
def test_it_says_with_every_answer_that_it_is_a_demonstration(name: str, shipped: str) -> None:
    volume = blob_volume()
    click = at(volume.to_ras(np.array(volume.size) // 2))
    assert shipped in load_engine(name, runtime="torch").predict(volume, [click], Context()).notes


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_what_ships_is_what_its_card_says_and_small(path: Path) -> None:
    provider = {"kind": "shipped", "resource": f"Weights/{path.name}"}
    (card,) = (card for card in model_cards().values() if card.provider == provider)
    assert store.verify(card.name) == card.sha256
    assert path.stat().st_size < LARGEST
    assert "not for patients" in card.notes
    assert card.measured
    assert load_engine(card.name, runtime="torch").name == card.name


def test_the_3d_base_that_ships_fits_the_network() -> None:
    state = load_state_dict(resource_path("Weights", f"{NAME}.safetensors"))
    load_into(SamMed3D(config_of(state)), state, NAME)
