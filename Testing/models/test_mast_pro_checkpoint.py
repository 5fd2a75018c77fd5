"""Files of MAST-Pro hold a network exactly, and a wrong one is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from mast_pro_tools import SMALL, batch_for, small_network
from safetensors.torch import load_file, save_file

from MoESegLib.core.errors import OutputError, WeightsError
from MoESegLib.core.strict_json import to_plain
from MoESegLib.models.mast_pro import (
    MastPro,
    adapt_to,
    base_sha256,
    delta_state,
    read_base,
    read_delta,
    read_meta,
    round_to_half,
    write_base,
    write_delta,
)

NEW = "brain_tumor"


def rounded(seed: int = 0, **options: Any) -> MastPro:
    network = small_network(seed, **options)
    round_to_half(network)
    return network


def rewritten(path: Path, meta: dict[str, Any]) -> Path:
    """The same tensors with other meta data."""
    other = path.with_name("other.safetensors")
    save_file(load_file(path), other, {"mast_pro": json.dumps(meta)})
    return other


def test_a_base_is_read_back_to_the_last_bit(tmp_path: Path) -> None:
    network, path, batch = rounded(), tmp_path / "base.safetensors", batch_for()
    sha256 = write_base(path, network, {"records": [{"id": "liver_tumor"}], "dice": 0.5})
    again, details = read_base(path)
    assert details == {"records": [{"id": "liver_tumor"}], "dice": 0.5}
    assert again.config == network.config and not again.training
    assert sha256 == base_sha256(again) == read_meta(path)["base"]
    with torch.inference_mode():
        assert torch.equal(again(**batch).logits, network(**batch).logits)
    again.train()
    again(**batch).logits.mean().backward()


def test_the_keys_of_the_file_are_those_of_the_layout(tmp_path: Path) -> None:
    write_base(tmp_path / "base.safetensors", rounded())
    keys = list(load_file(tmp_path / "base.safetensors"))
    for prefix in ("backbone.", "dmoe.0.generic.1.", "dmoe.1.specific.3.", "dmoe.0.router.", "dmoe.1.xattn.",
                   "prompt.text.", "prompt.anat.", "head."):  # fmt: skip
        assert any(key.startswith(prefix) for key in keys), prefix


def test_added_tumors_are_files_of_their_own(tmp_path: Path) -> None:
    network = rounded()
    write_base(tmp_path / "before.safetensors", network)
    adapt_to(network, NEW)
    for parameter in network.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter)
    round_to_half(network)
    write_base(tmp_path / "after.safetensors", network)
    write_delta(tmp_path / "tumor.safetensors", network, NEW, {"record": NEW})
    assert (tmp_path / "before.safetensors").read_bytes() == (tmp_path / "after.safetensors").read_bytes()
    assert set(load_file(tmp_path / "tumor.safetensors")) == set(delta_state(network, NEW))

    again, _ = read_base(tmp_path / "before.safetensors")
    assert read_delta(tmp_path / "tumor.safetensors", again) == (NEW, {"record": NEW})
    asked = {**batch_for(), "tumor": network.tumor_numbers([NEW] * 3)}
    with torch.inference_mode():
        assert torch.equal(again(**asked).logits, network(**asked).logits)


def test_a_tumor_of_another_base_is_refused(tmp_path: Path) -> None:
    network, other = rounded(), rounded()
    adapt_to(network, NEW)
    round_to_half(network)
    write_delta(tmp_path / "tumor.safetensors", network, NEW)
    with torch.no_grad():
        other.backbone.down[0].entry.weight[0, 0, 0, 0, 0] += 0.5
    with pytest.raises(WeightsError, match="taught on another base"):
        read_delta(tmp_path / "tumor.safetensors", other)
    assert other.added == ()


@pytest.mark.parametrize("length", [0, 5, 40, 3000, -1])
def test_a_truncated_file_is_refused(tmp_path: Path, length: int) -> None:
    path = tmp_path / "base.safetensors"
    write_base(path, rounded())
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(WeightsError):
        read_base(path)


def test_a_changed_value_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "base.safetensors"
    write_base(path, rounded())
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(WeightsError, match="changed or damaged"):
        read_base(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    base, tumor, other = (tmp_path / f"{name}.safetensors" for name in ("base", "tumor", "foreign"))
    network = rounded()
    write_base(base, network)
    adapt_to(network, NEW)
    round_to_half(network)
    write_delta(tumor, network, NEW)
    save_file({"x": torch.zeros(2)}, other)
    with pytest.raises(WeightsError, match="not a base"):
        read_base(tumor)
    with pytest.raises(WeightsError, match="not an added tumor"):
        read_delta(base, network)
    for wrong in (other, tmp_path / "missing.safetensors", tmp_path):
        with pytest.raises(WeightsError):
            read_base(wrong)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"channels": (16, 16, 24)}, "of another shape"),
        ({"specific": 5}, "missing"),
        ({"channels": (10**15, 10**15, 10**15)}, "fit"),
        ({"encoder_units": (1, 1, 10**9)}, "at most 64"),
        ({"top_k": 9}, "top_k"),
        ({"heads": "4"}, "heads"),
        ({"strange": 1}, "strange"),
    ],
)
def test_sizes_that_are_not_those_of_the_tensors_are_refused(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    path = tmp_path / "base.safetensors"
    network = rounded()
    write_base(path, network)
    meta = read_meta(path)
    meta["config"] = {**to_plain(network.config), **change}
    with pytest.raises(WeightsError, match=words):
        read_base(rewritten(path, meta))


@pytest.mark.parametrize("change", [{"version": 2}, {"base": 3}, {"base": "0" * 64}, {"details": []}, {"kind": "x"}])
def test_damaged_meta_data_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "base.safetensors"
    write_base(path, rounded())
    with pytest.raises(WeightsError):
        read_base(rewritten(path, {**read_meta(path), **change}))


def test_weights_that_half_precision_does_not_hold_are_not_written(tmp_path: Path) -> None:
    for value in (1 / 3, float("nan"), 1e6):
        network = rounded()
        with torch.no_grad():
            network.head[0].kernel.bias[0] = value
        with pytest.raises(WeightsError, match="Round the network first"):
            write_base(tmp_path / "base.safetensors", network)
    with pytest.raises(OutputError):
        write_base(tmp_path / "base.pt", rounded())
    assert list(tmp_path.iterdir()) == []


def test_an_ablation_is_read_back_as_what_it_is(tmp_path: Path) -> None:
    for part in ("experts", "attention", "text", "anatomy"):
        network = MastPro(small_network(**{**SMALL, part: False}).config)
        round_to_half(network)
        write_base(tmp_path / "base.safetensors", network)
        assert not getattr(read_base(tmp_path / "base.safetensors")[0].config, part)
