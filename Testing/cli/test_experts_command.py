"""moeseg experts as a user drives it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from expert_tools import LITE_SHA256, card_for, random_pack

from MoESegLib.cli import main
from MoESegLib.experts.pack_file import read_pack, write_pack


@pytest.fixture
def file(home: Path, tmp_path: Path) -> Path:
    """A pack in a file, and an empty MOESEG_HOME."""
    pack, path = random_pack(), tmp_path / "friend.safetensors"
    write_pack(path, pack, card_for(pack))
    return path


def shown(capsys: pytest.CaptureFixture, *words: object) -> str:
    assert main(["experts", *map(str, words)]) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture, *words: object) -> str:
    assert main(["experts", *map(str, words)]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("moeseg: ")
    assert printed.out == ""
    return printed.err


def listed(capsys: pytest.CaptureFixture) -> dict[str, dict]:
    return {entry["name"]: entry for entry in json.loads(shown(capsys, "list", "--json"))}


def test_an_expert_is_imported_listed_shown_and_removed(file: Path, capsys) -> None:
    assert "liver" not in listed(capsys)
    assert "installed as liver" in shown(capsys, "import", file)
    entry = listed(capsys)["liver"]
    assert (entry["enabled"], entry["shipped"], entry["problem"]) == (True, False, "")
    assert entry["card"]["base"]["sha256"] == LITE_SHA256
    text = shown(capsys, "list")
    assert "liver" in text
    assert "CC BY 4.0" in text
    info = shown(capsys, "info", "liver")
    for part in ("Liver in CT", "BTCV, train, 20 cases", "Dice 0.800 (base 0.520)", LITE_SHA256, "--protocol click"):
        assert part in info
    assert json.loads(shown(capsys, "info", "liver", "--json"))["card"] == entry["card"]
    assert "Removed" in shown(capsys, "remove", "liver")
    assert "liver" not in listed(capsys)
    assert "no expert 'liver'" in refused(capsys, "info", "liver")


def test_an_expert_can_have_another_name_and_replace_an_older_one(file: Path, capsys) -> None:
    shown(capsys, "import", file, "--name", "mine")
    other = random_pack(seed=1)
    write_pack(file, other, card_for(other))
    assert "already" in refused(capsys, "import", file, "--name", "mine")
    before = listed(capsys)["mine"]["card"]["sha256"]
    shown(capsys, "import", file, "--name", "mine", "--replace")
    assert listed(capsys)["mine"]["card"]["sha256"] != before


def test_an_expert_is_switched_off_and_on(file: Path, capsys) -> None:
    shown(capsys, "import", file)
    assert "do not use it" in shown(capsys, "disable", "liver")
    assert not listed(capsys)["liver"]["enabled"]
    assert "do use it" in shown(capsys, "enable", "liver")
    assert listed(capsys)["liver"]["enabled"]
    assert "no expert 'heart'" in refused(capsys, "disable", "heart")


def test_an_expert_is_exported_to_a_file_and_as_a_bundle(file: Path, tmp_path: Path, capsys) -> None:
    shown(capsys, "import", file)
    out = tmp_path / "out.safetensors"
    assert str(out) in shown(capsys, "export", "liver", out)
    assert read_pack(out)[0].name == "liver"
    assert out.with_suffix(".json").exists()
    assert "--overwrite" in refused(capsys, "export", "liver", out)
    shown(capsys, "export", "liver", out, "--overwrite")
    assert "bundle" in shown(capsys, "export", "liver", tmp_path / "bundle", "--format", "monai-bundle")
    assert (tmp_path / "bundle" / "configs" / "inference.json").exists()
    assert "empty folder" in refused(capsys, "export", "liver", tmp_path / "bundle", "--format", "monai-bundle")


def test_a_damaged_expert_is_listed_with_the_reason(file: Path, capsys) -> None:
    shown(capsys, "import", file)
    path = Path(listed(capsys)["liver"]["path"])
    path.write_bytes(path.read_bytes()[:50])
    text = shown(capsys, "list")
    assert "damaged" in text
    assert "cut off" in text
    assert "cut off" in refused(capsys, "info", "liver")
    assert "whole" in refused(capsys, "import", path)
