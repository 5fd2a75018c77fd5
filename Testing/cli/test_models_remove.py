"""``moeseg models remove`` says whose weights go before they go."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from MoESegLib.cli import main
from MoESegLib.weights import model_card
from MoESegLib.weights.store import weights_path


class Terminal(io.StringIO):
    """A person who types one answer."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def shared_file(home: Path) -> Path:
    """Something where the weights of lite-medsam lie, which segmote-lite uses, too."""
    path = weights_path(model_card("lite-medsam"))
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x" * 1000)
    return path


@pytest.mark.parametrize("name", ["segmote-lite", "lite-medsam"])
def test_weights_that_others_use_are_not_removed_without_saying_yes(name: str, shared_file: Path, capsys) -> None:
    assert main(["models", "remove", name]) == 2
    assert shared_file.exists()
    told = capsys.readouterr().err
    other = ({"segmote-lite", "lite-medsam"} - {name}).pop()
    assert f"{other} and {name} use the same file" in told
    assert f"moeseg models remove {name} --yes" in told


def test_with_yes_they_are_removed_for_all_that_use_them(shared_file: Path, capsys) -> None:
    assert main(["models", "remove", "segmote-lite", "--yes"]) == 0
    assert not shared_file.exists()
    output = capsys.readouterr()
    assert "the weights of lite-medsam and segmote-lite" in output.out
    assert "lite-medsam and segmote-lite use the same file" in output.err


@pytest.mark.parametrize(("answer", "left"), [("y\n", False), ("n\n", True), ("", True)])
def test_on_a_terminal_the_question_names_all_of_them(
    answer: str, left: bool, shared_file: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    assert main(["models", "remove", "segmote-lite"]) == (2 if left else 0)
    assert shared_file.exists() == left
    assert "Delete the weights of lite-medsam and segmote-lite?" in capsys.readouterr().out


def test_weights_of_one_model_alone_go_when_the_command_says_so(home: Path) -> None:
    path = weights_path(model_card("sam-vit-b"))
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    assert main(["models", "remove", "sam-vit-b"]) == 0
    assert not path.exists()
