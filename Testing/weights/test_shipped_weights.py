"""Weights that are part of MoESeg: always there, checked like all others, and neither fetched nor removed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from MoESegLib.core.errors import WeightsError, WeightsMissingError
from MoESegLib.resources import resource_path
from MoESegLib.weights import cards, ensure_weights, get_model, model_cards, store

RESOURCE = "Gate/reference.safetensors"


@pytest.fixture
def add(home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Adds the card of a model whose weights are a file that ships; fields may be given otherwise."""
    file = resource_path(*RESOURCE.split("/"))

    def add_card(**fields: Any) -> None:
        card = cards.ModelCard(**{
            **model_cards()["minilm-text"].to_dict(), "name": "tiny", "file_name": file.name,
            "size_bytes": file.stat().st_size, "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
            "provider": {"kind": "shipped", "resource": RESOURCE}, **fields,
        })  # fmt: skip
        known = {**cards.model_cards(), card.name: card}
        monkeypatch.setattr(cards, "model_cards", lambda: known)
        monkeypatch.setattr(store, "model_cards", lambda: known)

    return add_card


def test_weights_that_ship_are_installed_in_an_empty_home(add: Callable[..., None]) -> None:
    add()
    assert store.state_of("tiny") == "installed"
    assert get_model("tiny") == ensure_weights("tiny") == resource_path(*RESOURCE.split("/"))
    assert store.weights_id_of("tiny") == store.verify("tiny")


def test_they_cannot_be_removed_or_replaced_and_stay(add: Callable[..., None], tmp_path: Path) -> None:
    add()
    ensure_weights("tiny")  # leaves a stamp in the home, so there would be a folder to remove
    with pytest.raises(WeightsError, match="part of MoESeg and cannot be removed"):
        store.remove("tiny")
    with pytest.raises(WeightsError, match="part of MoESeg and cannot be replaced"):
        store.import_file(tmp_path / "other.safetensors", "tiny")
    assert store.state_of("tiny") == "installed"


def test_another_file_in_their_place_is_refused(add: Callable[..., None]) -> None:
    add(sha256="0" * 64)
    assert store.state_of("tiny") == "broken"
    with pytest.raises(WeightsError, match="SHA-256"):
        ensure_weights("tiny")
    with pytest.raises(WeightsError, match="Reinstall MoESeg"):
        get_model("tiny")


def test_a_file_that_was_left_out_is_missing_and_cannot_be_downloaded(add: Callable[..., None]) -> None:
    add(provider={"kind": "shipped", "resource": "Weights/none.safetensors"})
    assert store.state_of("tiny") == "missing"
    with pytest.raises(WeightsMissingError):
        ensure_weights("tiny")
    with pytest.raises(WeightsError, match="part of MoESeg and cannot be downloaded"):
        get_model("tiny")


def test_the_best_of_several_models_falls_back_to_them(add: Callable[..., None]) -> None:
    best = {"kind": "best", "models": "medsam-vit-b tiny"}
    add()
    add(name="any", provider=best, file_name=None, size_bytes=None, sha256=None)
    assert store.owner_of("any").name == "tiny"
    assert store.is_shipped("any")
