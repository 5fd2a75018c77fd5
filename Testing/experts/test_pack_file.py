"""A pack as a file: whole, unchanged, for this base, of this version, or refused with the reason."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from expert_tools import LITE_SHA256, card_for, random_pack
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from MoESegLib.core.errors import OutputError, WeightsError
from MoESegLib.experts.card import BaseModel, parse_card
from MoESegLib.experts.pack_file import read_pack, read_pack_card, write_pack

PACK = random_pack()
KEY = "mixtures.0.project.weight"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "liver.safetensors"
    write_pack(path, PACK, card_for(PACK))
    return path


def rewrite(path: Path, change: Callable[[dict[str, torch.Tensor], dict], None]) -> None:
    """Change tensors and card of a pack as someone would who knows safetensors, hash left as it was."""
    with safe_open(path, "pt") as file:
        (key,) = file.metadata()
        card = json.loads(file.metadata()[key])
    tensors = load_file(path)
    change(tensors, card)
    save_file(tensors, path, {key: json.dumps(card)})


def test_a_pack_survives_the_disk_to_the_last_bit(path: Path) -> None:
    card, state = read_pack(path, LITE_SHA256)
    assert state.keys() == PACK.state_dict().keys()
    assert all(torch.equal(state[key], value) for key, value in PACK.state_dict().items())
    assert card == read_pack_card(path)
    assert card.size_bytes == sum(4 * value.numel() for value in state.values())
    assert len(card.sha256) == 64


def test_the_card_lies_beside_the_pack_too_and_the_inner_one_wins(path: Path) -> None:
    outer = path.with_suffix(".json")
    assert parse_card(outer.read_text(encoding="utf-8"), outer.name) == read_pack_card(path)
    outer.write_text("nonsense")
    assert read_pack(path)[0].name == "liver"


def test_equal_packs_are_equal_files(path: Path) -> None:
    before = path.read_bytes()
    write_pack(path, PACK, card_for(PACK))
    assert path.read_bytes() == before


def test_only_the_experts_are_in_the_file(path: Path) -> None:
    assert not [key for key in load_file(path) if key.startswith(("image_encoder", "prompt_encoder", "mask_decoder"))]


def test_another_base_is_refused_with_both_named(path: Path) -> None:
    with pytest.raises(WeightsError, match=f"taught on lite-medsam .*{LITE_SHA256[:12]}.*bbbbbbbbbbbb"):
        read_pack(path, "b" * 64)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    for read in (read_pack, read_pack_card):
        with pytest.raises(WeightsError, match="No such file"):
            read(tmp_path / "none.safetensors")


@pytest.mark.parametrize("share", [0.0, 0.00005, 0.005, 0.02, 0.5, 0.99])
def test_a_truncated_file_is_refused(share: float, path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(WeightsError, match="whole expert pack"):
        read_pack(path)


def test_any_flipped_bit_is_refused(path: Path) -> None:
    """In the header, the card or the tensors: 150 places, most of them in the header, which is the smaller part."""
    data, chance = path.read_bytes(), random.Random(0)
    header = int.from_bytes(data[:8], "little")
    places = [*range(8), *chance.sample(range(8, 8 + header), 100), *chance.sample(range(8 + header, len(data)), 42)]
    for place in places:
        damaged = bytearray(data)
        damaged[place] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(WeightsError):
            read_pack(path)


def _nan(tensors: dict, card: dict) -> None:
    tensors[KEY][0, 0] = float("nan")


def _half(tensors: dict, card: dict) -> None:
    tensors[KEY] = tensors[KEY].half()


def _another_value(tensors: dict, card: dict) -> None:
    tensors[KEY][0, 0] += 1e-6


def _another_shape(tensors: dict, card: dict) -> None:
    tensors[KEY] = tensors[KEY].T.contiguous()


def _fewer(tensors: dict, card: dict) -> None:
    del tensors[KEY]


def _base_weights(tensors: dict, card: dict) -> None:
    tensors["mask_decoder.iou_token.weight"] = torch.zeros(1, 256)


def _better_results(tensors: dict, card: dict) -> None:
    card["measured"][0]["dice"] = 0.99


def _another_rank(tensors: dict, card: dict) -> None:
    card["sizes"]["rank"] = 16


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_nan, f"{KEY} holds values that are not finite"),
        (_half, "float16.*float32 expected"),
        (_another_value, "changed or damaged"),
        (_better_results, "changed or damaged"),
        (_another_shape, f"of another shape \\({KEY}"),
        (_another_rank, "of another shape"),
        (_fewer, f"1 missing \\({KEY}"),
        (_base_weights, "1 unexpected"),
    ],
)
def test_a_changed_file_is_refused_with_the_reason(change: Callable, reason: str, path: Path) -> None:
    rewrite(path, change)
    with pytest.raises(WeightsError, match=reason):
        read_pack(path)


def test_tensors_without_a_card_are_no_pack(tmp_path: Path) -> None:
    save_file(PACK.state_dict(), tmp_path / "bare.safetensors")
    with pytest.raises(WeightsError, match="no card of an expert pack"):
        read_pack(tmp_path / "bare.safetensors")


def test_a_large_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "large.safetensors"
    with path.open("wb") as stream:
        stream.truncate(10_000_001)
    with pytest.raises(WeightsError, match="10 MB at most"):
        read_pack(path)


def test_a_pack_that_is_too_large_or_not_finite_is_not_written(tmp_path: Path) -> None:
    large = random_pack(width=256, early=160, num_experts=24)
    with pytest.raises(WeightsError, match="fewer experts"):
        write_pack(tmp_path / "large.safetensors", large, card_for(large))
    broken = random_pack()
    with torch.no_grad():
        broken.point_offsets[0, 0] = float("inf")
    with pytest.raises(WeightsError, match="point_offsets.*not finite"):
        write_pack(tmp_path / "broken.safetensors", broken, card_for(broken))
    with pytest.raises(WeightsError, match="the pack has"):
        write_pack(tmp_path / "other.safetensors", random_pack(rank=16), card_for(PACK))
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_when_the_disk_is_full(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    before = path.read_bytes()

    def full(self: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(Path, "write_bytes", full)
    other = random_pack(seed=1)
    with pytest.raises(OutputError, match="no space"):
        write_pack(path, other, card_for(other))
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert {file.name for file in path.parent.iterdir()} == {"liver.safetensors", "liver.json"}


def test_a_pack_has_its_own_file_type(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="safetensors"):
        write_pack(tmp_path / "liver.json", PACK, card_for(PACK))


def test_an_untaught_base_says_so_before_the_tensors_are_looked_at(path: Path) -> None:
    foreign = card_for(PACK, base=BaseModel("sam-vit-b", "c" * 64))
    write_pack(path, PACK, foreign)
    assert read_pack(path)[0].base.name == "sam-vit-b"
    with pytest.raises(WeightsError, match="taught on sam-vit-b"):
        read_pack(path, LITE_SHA256)
