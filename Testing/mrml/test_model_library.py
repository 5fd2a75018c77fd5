"""The library loads a model anew when its experts changed, and only then."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes import ThresholdModel

from MoESegLib.core.errors import WeightsError
from MoESegLib.engines.slice_engine import SliceEngine
from MoESegLib.experts.gate_store import gates_home
from MoESegLib.experts.specialist_store import specialists_home
from MoESegLib.experts.store import packs_home, set_enabled
from MoESegLib.mrml.model_library import ModelLibrary
from MoESegLib.session.worker import Worker


class Library(ModelLibrary):
    """Every model is on this machine; counts what it loads."""

    def __init__(self, while_loading: Callable[[], object] = lambda: None) -> None:
        self.loaded: list[str] = []
        self.said: list[str] = []

        def load(name: str) -> SliceEngine:
            self.loaded.append(name)
            while_loading()
            return SliceEngine(ThresholdModel())

        super().__init__(load, Worker())

    def state(self, name: str) -> str:
        return "installed"

    def wait_for(self, name: str, seconds: float = 20.0) -> SliceEngine:
        deadline = time.monotonic() + seconds
        while (engine := self.engine(name)) is None:
            assert time.monotonic() < deadline
            time.sleep(0.005)
            self.said += self.pump()
        return engine


def add_pack(folder: Callable[[], Path] = packs_home) -> Path:
    folder().mkdir(parents=True, exist_ok=True)
    path = folder() / "mine.safetensors"
    path.write_bytes(b"pack")
    return path


@pytest.fixture
def library(home: Path) -> Library:
    return Library()


def test_added_switched_and_removed_experts_are_loaded_anew(library: Library):
    engines = [library.wait_for("segmote-lite")]
    path = add_pack()
    engines.append(library.wait_for("segmote-lite"))
    set_enabled("mine", False)
    engines.append(library.wait_for("segmote-lite"))
    set_enabled("mine", True)
    engines.append(library.wait_for("segmote-lite"))
    path.unlink()
    engines.append(library.wait_for("segmote-lite"))
    assert library.wait_for("segmote-lite") is engines[-1]
    assert len({id(engine) for engine in engines}) == 5 == len(library.loaded)


def test_models_without_experts_stay_loaded(library: Library):
    engine = library.wait_for("lite-medsam")
    add_pack()
    assert library.engine("lite-medsam") is engine and library.loaded == ["lite-medsam"]


@pytest.mark.parametrize("folder", [specialists_home, gates_home])
def test_specialists_and_gates_are_loaded_anew_by_their_model_alone(library: Library, folder: Callable[[], Path]):
    engines = [library.wait_for("sam-med3d-moe")]
    path = add_pack(folder)
    engines.append(library.wait_for("sam-med3d-moe"))
    path.unlink()
    engines.append(library.wait_for("sam-med3d-moe"))
    assert len({id(engine) for engine in engines}) == 3 == len(library.loaded)
    alone = library.wait_for("segmote-lite")
    add_pack(folder)
    assert library.engine("segmote-lite") is alone


def test_a_model_that_could_not_be_loaded_is_tried_again_after_its_experts_changed(home: Path):
    path = add_pack(specialists_home)

    def refuse_damaged() -> None:
        if path.exists():
            raise WeightsError("mine.safetensors is damaged.")

    library = Library(refuse_damaged)
    with pytest.raises(AssertionError):
        library.wait_for("sam-med3d-moe", seconds=0.3)
    assert len(library.loaded) == 1 == len(library.said)
    assert library.why_not("sam-med3d-moe") == library.said[0]
    assert "cannot be loaded: mine.safetensors is damaged." in library.said[0]
    path.unlink()
    library.wait_for("sam-med3d-moe")
    assert library.why_not("sam-med3d-moe") == ""


def test_an_expert_that_comes_while_the_model_is_loaded_is_not_missed(home: Path):
    library = Library(lambda: add_pack() if len(library.loaded) == 1 else None)
    library.wait_for("segmote-lite")
    assert library.loaded == ["segmote-lite"] * 2
