"""A specialist as a file: whole, unchanged, for this base, of its shapes, or refused with the reason."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from moe_tools import SHA, card_for, gate_for, prompt_for, say, slice_base, specialist_state, tiny_base
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from MoESegLib.core.errors import OutputError, UnknownModelError, WeightsError
from MoESegLib.core.strict_json import FieldError
from MoESegLib.experts import specialist_store
from MoESegLib.experts.card import BaseModel
from MoESegLib.experts.specialist_file import read_specialist, read_specialist_card, rounded, write_specialist
from MoESegLib.experts.specialist_gate import (
    load_mixture,
    read_gate,
    specialist_from,
    write_gate,
)
from MoESegLib.experts.specialist_store import (
    find_specialist,
    import_specialist,
    install_specialist,
    list_specialists,
    remove_specialist,
    specialists_home,
)
from MoESegLib.models.sam_med3d_moe.mixture import SamMed3DMoE

BASE: Any = tiny_base()
KEY = "mask_decoder.iou_token.weight"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "cord.safetensors"
    write_specialist(path, specialist_state(BASE, 1), card_for())
    return path


@pytest.fixture
def shipped(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of shipped specialists that holds one, "brain"."""
    folder = tmp_path / "shipped"
    folder.mkdir()
    write_specialist(folder / "brain.safetensors", specialist_state(BASE, 2), card_for("brain"))
    monkeypatch.setattr(specialist_store, "shipped_folder", lambda: folder)
    return folder


def rewrite(path: Path, change: Callable[[dict[str, torch.Tensor], dict], None]) -> None:
    """Change tensors and card as someone would who knows safetensors, hash left as it was."""
    with safe_open(path, "pt") as file:
        (key,) = file.metadata()
        card = json.loads(file.metadata()[key])
    tensors = load_file(path)
    change(tensors, card)
    save_file(tensors, path, {key: json.dumps(card)})


def test_a_specialist_survives_the_disk_as_it_was_rounded(path: Path) -> None:
    card, state = read_specialist(path, SHA, BASE.mask_decoder)
    expected = rounded(specialist_state(BASE, 1))
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[key].float(), value) for key, value in expected.items())
    assert card == read_specialist_card(path)
    assert (card.classes[0].name, len(card.sha256)) == ("spinal cord", 64)


def test_the_file_holds_a_mask_decoder_in_half_precision_and_nothing_else(path: Path) -> None:
    tensors = load_file(path)
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    assert set(tensors) == {key for key in BASE.state_dict() if key.startswith("mask_decoder.")}
    values = sum(value.numel() for value in BASE.mask_decoder.state_dict().values())
    assert read_specialist_card(path).size_bytes == 2 * values
    assert path.stat().st_size < 2 * values + 20_000


def test_a_decoder_of_slices_is_a_specialist_too(tmp_path: Path) -> None:
    base: Any = slice_base()
    path = tmp_path / "liver.safetensors"
    write_specialist(path, specialist_state(base, 1), card_for("liver", base=BaseModel("lite-medsam", SHA)))
    moe = SamMed3DMoE(base, [specialist_from(path, base, SHA)])
    say(moe.gate, liver=2.0)
    with torch.inference_mode():
        assert moe(**prompt_for(base)).choice.expert == "liver"


def test_the_specialist_of_another_base_is_refused_with_both_named(path: Path) -> None:
    with pytest.raises(WeightsError, match="taught on sam-med3d-turbo .*aaaaaaaaaaaa.*bbbbbbbbbbbb"):
        read_specialist(path, "b" * 64)
    with pytest.raises(WeightsError, match="bbbbbbbbbbbb"):
        specialist_from(path, BASE, "b" * 64)


@pytest.mark.parametrize("share", [0.0, 0.00005, 0.005, 0.5, 0.99])
def test_a_truncated_file_is_refused(share: float, path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(WeightsError, match="not a whole specialist"):
        read_specialist(path)


def test_other_shapes_are_refused_by_name(path: Path) -> None:
    other: Any = slice_base()
    with pytest.raises(WeightsError, match=r"not the mask decoder that cord \(cord.safetensors\) must be.*shape"):
        read_specialist(path, SHA, other.mask_decoder)


def test_changed_values_and_a_changed_card_are_refused(path: Path) -> None:
    whole = path.read_bytes()
    rewrite(path, lambda tensors, card: tensors[KEY].add_(1.0))
    with pytest.raises(WeightsError, match="changed or damaged"):
        read_specialist(path)
    path.write_bytes(whole)
    rewrite(path, lambda tensors, card: card.update(title="Something else"))
    with pytest.raises(WeightsError, match="changed or damaged"):
        read_specialist(path)


def test_values_that_are_no_numbers_are_neither_written_nor_read(path: Path) -> None:
    state = specialist_state(BASE, 1)
    state["iou_token.weight"][0, 0] = 1e6  # beyond half precision
    before = path.read_bytes()
    with pytest.raises(WeightsError, match="iou_token.weight holds values that are not finite"):
        write_specialist(path, state, card_for())
    assert path.read_bytes() == before
    rewrite(path, lambda tensors, card: tensors[KEY].fill_(float("nan")))
    with pytest.raises(WeightsError, match="not finite"):
        read_specialist(path)


def test_other_tensors_and_other_files_are_refused(path: Path, tmp_path: Path) -> None:
    rewrite(path, lambda tensors, card: tensors.update({"image_encoder.x": torch.zeros(1).half()}))
    with pytest.raises(WeightsError, match="changed or damaged|image_encoder.x"):
        read_specialist(path)
    plain = tmp_path / "plain.safetensors"
    save_file({"a": torch.zeros(1)}, plain)
    with pytest.raises(WeightsError, match="no card of a specialist"):
        read_specialist(plain)
    with pytest.raises(WeightsError, match="cannot be read: No such file"):
        read_specialist(tmp_path / "none.safetensors")
    with pytest.raises(OutputError, match=r"a \.safetensors file"):
        write_specialist(tmp_path / "cord.pth", specialist_state(BASE, 1), card_for())


def test_a_newer_format_names_the_version_that_made_it(path: Path) -> None:
    rewrite(path, lambda tensors, card: card.update(format_version=2, moeseg_version="9.1", surprise=1))
    with pytest.raises(WeightsError, match=r"format 2, made by MoESeg 9\.1.*Update MoESeg"):
        read_specialist_card(path)


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("name", "Spinal Cord", "lower-case"),
        ("name", "general", "reserved"),
        ("title", " ", "is empty"),
        ("prompts", ("telepathy",), "known are"),
        ("created", "yesterday", "YYYY-MM-DD"),
        ("base", BaseModel("x", "short"), "64 hexadecimal"),
        ("method", "other", "sam-med3d-moe"),
    ],
)
def test_a_card_that_makes_no_sense_is_refused_by_field(field: str, value: Any, why: str) -> None:
    with pytest.raises(FieldError, match=f"^{field}.*{why}"):
        card_for(**{field: value})


def test_cards_are_read_without_torch(path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from MoESegLib.experts.specialist_file import read_specialist_card;"
        "print(read_specialist_card(Path(sys.argv[1])).name, 'torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["cord", "False"]


def test_specialists_are_imported_listed_and_removed(shipped: Path, path: Path) -> None:
    assert import_specialist(path).name == "cord"
    import_specialist(path, "my-cord")
    assert [(item.name, item.shipped, item.problem) for item in list_specialists()] == [
        ("brain", True, ""),
        ("cord", False, ""),
        ("my-cord", False, ""),
    ]
    first, second = (read_specialist(find_specialist(name).path)[1] for name in ("cord", "my-cord"))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert remove_specialist("cord") > 0
    assert [item.name for item in list_specialists()] == ["brain", "my-cord"]
    with pytest.raises(UnknownModelError, match="'cord'. Known specialists: brain, my-cord"):
        find_specialist("cord")


def test_a_taken_name_is_refused_and_a_shipped_one_stays(shipped: Path, path: Path) -> None:
    import_specialist(path)
    with pytest.raises(WeightsError, match="a specialist cord already"):
        import_specialist(path)
    import_specialist(path, replace=True)
    with pytest.raises(WeightsError, match="brain ships with MoESeg"):
        import_specialist(path, "brain", replace=True)
    with pytest.raises(WeightsError, match="ships with MoESeg and cannot be removed"):
        remove_specialist("brain")


def test_damaged_ones_are_listed_with_the_reason_and_not_taken(shipped: Path, path: Path) -> None:
    import_specialist(path)
    (specialists_home() / "half.safetensors").write_bytes(path.read_bytes()[:1000])
    (specialists_home() / "renamed.safetensors").write_bytes(path.read_bytes())
    problems = {item.name: item.problem for item in list_specialists()}
    assert "not a whole specialist" in problems["half"]
    assert "rename the file to cord.safetensors" in problems["renamed"]
    assert [item.name for item in list_specialists(SHA)] == ["brain", "cord"]
    assert list_specialists("b" * 64) == []
    assert remove_specialist("half") == 1000


def test_a_mixture_comes_back_from_its_files(shipped: Path, tmp_path: Path) -> None:
    cord = install_specialist(specialist_state(BASE, 1), card_for())
    gate, card = gate_for(cord, read_specialist_card(shipped / "brain.safetensors"))
    file = tmp_path / "gate.safetensors"
    write_gate(file, gate, card)
    moe = load_mixture(BASE, SHA, file)
    assert (moe.tau, moe.fusion, moe.gate.experts, list(moe.specialists)) == (
        0.65,
        "weighted",
        ("cord", "brain"),
        ["brain", "cord"],
    )
    before = {key: value.clone() for key, value in gate.state_dict().items()}
    assert all(torch.equal(moe.gate.state_dict()[key], value) for key, value in before.items())
    with torch.inference_mode():
        answer = moe(**prompt_for(BASE))
    assert answer.choice.expert == "cord"
    remove_specialist("cord")
    with torch.inference_mode():
        assert load_mixture(BASE, SHA, file)(**prompt_for(BASE)).choice.expert is None


def test_a_specialist_that_is_not_the_one_the_gate_was_taught_is_refused(shipped: Path, tmp_path: Path) -> None:
    gate, card = gate_for(install_specialist(specialist_state(BASE, 1), card_for()))
    write_gate(tmp_path / "gate.safetensors", gate, card)
    install_specialist(specialist_state(BASE, 5), card_for(), replace=True)
    with pytest.raises(WeightsError, match="the gate spine was taught with .* Teach the gate again"):
        load_mixture(BASE, SHA, tmp_path / "gate.safetensors")


def test_a_damaged_specialist_is_refused_when_it_is_asked(path: Path) -> None:
    moe = SamMed3DMoE(BASE, [specialist_from(path, BASE, SHA)])
    say(moe.gate, cord=2.0)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(WeightsError, match="not a whole specialist"), torch.inference_mode():
        moe(**prompt_for(BASE))


@pytest.mark.parametrize(
    ("field", "value"),
    [("tau", 1.5), ("tau", float("nan")), ("fusion", "sum"), ("weighing", "x"), ("width", 0), ("experts", ())],
)
def test_a_gate_whose_card_makes_no_sense_is_refused_by_field(field: str, value: Any) -> None:
    with pytest.raises(FieldError, match=f"^{field} "):
        gate_for(card_for(sha256="c" * 64), **{field: value})


def test_a_gate_for_another_base_or_of_other_sizes_is_refused(tmp_path: Path) -> None:
    cord = card_for(sha256="c" * 64)
    gate, card = gate_for(cord)
    file = tmp_path / "gate.safetensors"
    write_gate(file, gate, card)
    with pytest.raises(WeightsError, match="spine .* was taught on sam-med3d-turbo"):
        read_gate(file, "b" * 64)
    with pytest.raises(WeightsError, match="not what its card says"):
        write_gate(file, gate, dataclasses.replace(card, hidden=32))
    rewrite(file, lambda tensors, card: tensors.update({"hidden.weight": torch.zeros(16, 9)}))
    with pytest.raises(WeightsError, match="changed or damaged"):
        read_gate(file, SHA)
