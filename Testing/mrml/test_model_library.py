"""The library loads a model anew when its experts changed, and only then."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes import ThresholdModel

from MoESegLib.engines.slice_engine import SliceEngine
from MoESegLib.experts.store import packs_home, set_enabled
from MoESegLib.mrml.model_library import ModelLibrary
from MoESegLib.session.worker import Worker


class Library(ModelLibrary):
    """Every model is on this machine; counts what it loads."""

    def __init__(self, while_loading: Callable[[], object] = lambda: None) -> None:
        self.loaded: list[str] = []

        def load(name: str) -> SliceEngine:
            self.loaded.append(name)
            while_loading()
            return SliceEngine(ThresholdModel())

        super().__init__(load, Worker())

    def state(self, name: str) -> str:
        return "installed"

    def wait_for(self, name: str) -> SliceEngine:
        deadline = time.monotonic() + 20
        while (engine := self.engine(name)) is None:
            assert time.monotonic() < deadline
            time.sleep(0.005)
            self.pump()
        return engine


def add_pack() -> Path:
    packs_home().mkdir(parents=True, exist_ok=True)
    path = packs_home() / "mine.safetensors"
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


def test_an_expert_that_comes_while_the_model_is_loaded_is_not_missed(home: Path):
    library = Library(lambda: add_pack() if len(library.loaded) == 1 else None)
    library.wait_for("segmote-lite")
    assert library.loaded == ["segmote-lite"] * 2
