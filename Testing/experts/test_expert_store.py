"""Packs arrive whole under a free name, can be switched off, and leave nothing behind when they go."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from expert_tools import card_for, random_pack

from MoESegLib.core.errors import OutputError, UnknownModelError, WeightsError
from MoESegLib.experts import store
from MoESegLib.experts.card import BaseModel
from MoESegLib.experts.pack_file import read_pack, write_pack
from MoESegLib.experts.store import (
    export_pack,
    find_pack,
    import_pack,
    install_pack,
    is_enabled,
    list_packs,
    packs_home,
    remove_pack,
    set_enabled,
)

PACK = random_pack()


@pytest.fixture(autouse=True)
def shipped(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of shipped packs that holds one, "abdomen"."""
    folder = tmp_path / "shipped"
    folder.mkdir()
    write_pack(folder / "abdomen.safetensors", PACK, card_for(PACK, "abdomen"))
    monkeypatch.setattr(store, "shipped_folder", lambda: folder)
    return folder


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "from a friend.safetensors"
    write_pack(path, PACK, card_for(PACK))
    return path


def names() -> list[str]:
    return [pack.name for pack in list_packs()]


def everything() -> list[str]:
    return sorted(path.name for path in packs_home().iterdir())


def test_an_imported_pack_is_found_with_its_card_and_switched_on(file: Path) -> None:
    card = import_pack(file)
    pack = find_pack("liver")
    assert pack.card == card == read_pack(file)[0]
    assert (pack.shipped, pack.enabled, pack.problem) == (False, True, "")
    assert names() == ["abdomen", "liver"]
    assert everything() == ["liver.json", "liver.safetensors"]


def test_a_pack_under_another_name_has_the_same_tensors(file: Path) -> None:
    import_pack(file, "my-liver")
    import_pack(file, "my-liver")
    card, state = read_pack(find_pack("my-liver").path)
    assert card.name == "my-liver"
    assert all(torch.equal(state[key], value) for key, value in PACK.state_dict().items())


def test_a_taken_name_is_not_overwritten_unless_asked(file: Path) -> None:
    import_pack(file)
    assert import_pack(file) == find_pack("liver").card  # the same pack again
    other = random_pack(seed=1)
    with pytest.raises(WeightsError, match="--name OTHER"):
        install_pack(other, card_for(other))
    assert find_pack("liver").card == read_pack(file)[0]
    card = install_pack(other, card_for(other), replace=True)
    assert find_pack("liver").card == card != read_pack(file)[0]
    with pytest.raises(WeightsError, match="ships with MoESeg"):
        import_pack(file, "abdomen", replace=True)


def test_a_wrong_file_or_base_is_refused_and_nothing_is_kept(file: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.safetensors"
    for base, reason in (
        (BaseModel("lite-medsam", "d" * 64), "taught on lite-medsam"),
        (BaseModel("gpt", "d" * 64), "gpt"),
    ):
        write_pack(foreign, PACK, card_for(PACK, base=base))
        with pytest.raises(WeightsError, match=reason):
            import_pack(foreign)
    data = file.read_bytes()
    file.write_bytes(data[:-1])
    with pytest.raises(WeightsError, match="whole"):
        import_pack(file)
    file.write_bytes(data)
    with pytest.raises(WeightsError, match="name is '../evil'"):
        import_pack(file, "../evil")
    assert names() == ["abdomen"]


def test_a_damaged_pack_is_listed_with_its_problem_and_can_be_removed(file: Path) -> None:
    import_pack(file)
    path = find_pack("liver").path
    path.write_bytes(path.read_bytes()[:100])
    assert "cut off" in find_pack("liver").problem
    with pytest.raises(WeightsError, match="cut off"):
        export_pack("liver", file.parent)
    assert remove_pack("liver") > 100
    assert names() == ["abdomen"]
    assert everything() == []


def test_a_renamed_file_is_a_problem(file: Path) -> None:
    import_pack(file)
    find_pack("liver").path.rename(packs_home() / "spleen.safetensors")
    assert "rename the file to liver.safetensors" in find_pack("spleen").problem


def test_shipped_packs_cannot_be_removed_but_switched_off(shipped: Path) -> None:
    with pytest.raises(WeightsError, match="moeseg experts disable abdomen"):
        remove_pack("abdomen")
    set_enabled("abdomen", False)
    assert not is_enabled("abdomen")
    assert (shipped / "abdomen.safetensors").exists()
    set_enabled("abdomen", True)
    assert is_enabled("abdomen")


def test_a_pack_that_comes_again_after_its_removal_is_switched_on(file: Path) -> None:
    import_pack(file)
    set_enabled("liver", False)
    remove_pack("liver")
    import_pack(file)
    assert is_enabled("liver")


def test_the_users_pack_goes_before_one_that_an_update_ships_under_its_name(shipped: Path) -> None:
    mine = random_pack(seed=2)
    card = install_pack(mine, card_for(mine, "spine"))
    write_pack(shipped / "spine.safetensors", PACK, card_for(PACK, "spine"))
    assert find_pack("spine").card == card
    remove_pack("spine")
    assert find_pack("spine").shipped


def test_an_exported_pack_can_be_imported_again(file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    import_pack(file)
    assert export_pack("liver", folder) == folder / "liver.safetensors"
    assert {path.name for path in folder.iterdir()} == {"liver.safetensors", "liver.json"}
    assert (folder / "liver.safetensors").read_bytes() == file.read_bytes()
    with pytest.raises(OutputError, match="exists"):
        export_pack("liver", folder)
    export_pack("liver", folder, overwrite=True)
    with pytest.raises(OutputError, match="itself"):
        export_pack("liver", packs_home(), overwrite=True)
    with pytest.raises(OutputError, match="does not exist"):
        export_pack("liver", tmp_path / "none" / "liver.safetensors")
    with pytest.raises(OutputError, match="file"):
        export_pack("liver", tmp_path / "liver.pth")
    remove_pack("liver")
    import_pack(folder / "liver.safetensors")
    assert names() == ["abdomen", "liver"]


def test_an_unknown_name_lists_the_known_ones(shipped: Path) -> None:
    for act in (find_pack, is_enabled, remove_pack):
        with pytest.raises(UnknownModelError, match="abdomen"):
            act("heart")
    (shipped / "abdomen.safetensors").unlink()
    with pytest.raises(UnknownModelError, match="No expert is installed"):
        find_pack("heart")


@pytest.mark.parametrize("text", ["", "[]", '{"switched_off": "liver"}', '{"switched_off": [1]}'])
def test_damaged_settings_are_named_and_left_alone(text: str) -> None:
    packs_home().mkdir(parents=True)
    settings = packs_home() / "switched-off.json"
    settings.write_text(text)
    for act in (list_packs, lambda: set_enabled("abdomen", False)):
        with pytest.raises(WeightsError, match=r"switched-off\.json.*Delete it"):
            act()
    assert settings.read_text() == text


def test_settings_and_half_written_files_are_no_packs(file: Path) -> None:
    import_pack(file)
    set_enabled("liver", False)
    (packs_home() / ".moeseg-abc.safetensors").write_bytes(b"half")
    assert names() == ["abdomen", "liver"]
    assert json.loads((packs_home() / "switched-off.json").read_text()) == {"switched_off": ["liver"]}


def test_listing_needs_no_torch(file: Path) -> None:
    import_pack(file)
    code = (
        "import sys; from MoESegLib.experts.store import list_packs; "
        "print([pack.name for pack in list_packs() if not pack.shipped and not pack.problem], 'torch' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "['liver'] False"
