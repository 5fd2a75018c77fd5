"""A checkpoint gives a specialist only if all but its mask decoder is the base's."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
from moe_tools import slice_base, specialist_state, tiny_base
from safetensors.torch import save_file
from torch import Tensor

from MoESegLib.core.errors import WeightsError
from MoESegLib.experts.specialist_cut import cut_specialist
from MoESegLib.weights.store import sha256_of

BASE: Any = tiny_base()


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "turbo.pth"
    torch.save({"model_state_dict": BASE.state_dict()}, path)
    return path


def tuned_state() -> dict[str, Tensor]:
    """The base with another mask decoder."""
    decoder = {f"mask_decoder.{key}": value for key, value in specialist_state(BASE, 1).items()}
    return {**BASE.state_dict(), **decoder}


def saved(path: Path, state: dict[str, Tensor]) -> Path:
    if path.suffix == ".safetensors":
        save_file({key: value.contiguous() for key, value in state.items()}, path)
    else:
        torch.save({"model_state_dict": state, "args": Namespace(lr=1e-4), "epoch": 3}, path)
    return path


@pytest.mark.parametrize("name", ["organ.pth", "organ.safetensors"])
def test_the_mask_decoder_of_a_tuned_checkpoint_is_cut_out(name: str, base: Path, tmp_path: Path) -> None:
    checkpoint = saved(tmp_path / name, tuned_state())
    cut = cut_specialist(checkpoint, base)
    expected = specialist_state(BASE, 1)
    assert cut.decoder.keys() == expected.keys()
    assert all(torch.equal(cut.decoder[key], value) for key, value in expected.items())
    assert cut.base_sha256 == sha256_of(base)
    assert cut.origin == f"the mask decoder of {name} (SHA-256 {sha256_of(checkpoint)})"
    assert cut.changed == (len(expected), len(expected))


def test_a_checkpoint_in_half_precision_fits_its_float32_base(base: Path, tmp_path: Path) -> None:
    half = {key: value.half() for key, value in tuned_state().items()}
    cut = cut_specialist(saved(tmp_path / "organ.safetensors", half), base)
    assert cut.decoder["iou_token.weight"].dtype == torch.float32


@pytest.mark.parametrize(
    ("key", "part"),
    [
        ("image_encoder.neck.0.weight", "image encoder differs in 1 of"),
        ("prompt_encoder.point_embeddings.1.weight", "prompt encoder differs in 1 of"),
    ],
)
def test_a_checkpoint_with_another_encoder_is_refused_with_what_differs(
    key: str, part: str, base: Path, tmp_path: Path
) -> None:
    state = tuned_state()
    state[key] = state[key] + 0.25
    with pytest.raises(WeightsError, match=f"cannot give a specialist of turbo.pth: its {part}.*{key}.*by up to 0.25"):
        cut_specialist(saved(tmp_path / "brain.pth", state), base)


def test_both_encoders_are_named_if_both_differ(base: Path, tmp_path: Path) -> None:
    state = {key: value + 0.5 for key, value in tuned_state().items()}
    with pytest.raises(WeightsError, match="its image encoder differs in .*; its prompt encoder differs in"):
        cut_specialist(saved(tmp_path / "brain.pth", state), base)


def test_the_base_itself_has_no_specialist(base: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="is that of turbo.pth; there is no specialist"):
        cut_specialist(saved(tmp_path / "same.pth", BASE.state_dict()), base)


def test_another_architecture_is_refused(base: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="not weights of the form of turbo.pth"):
        cut_specialist(saved(tmp_path / "slices.pth", slice_base().state_dict()), base)


def test_a_relative_with_box_embeddings_is_refused_by_name(base: Path, tmp_path: Path) -> None:
    state = tuned_state()
    state["prompt_encoder.point_embeddings.2.weight"] = torch.zeros(1, 48)
    with pytest.raises(WeightsError, match="unexpected .*point_embeddings.2"):
        cut_specialist(saved(tmp_path / "boxes.pth", state), base)


def test_a_truncated_checkpoint_is_refused(base: Path, tmp_path: Path) -> None:
    checkpoint = saved(tmp_path / "organ.pth", tuned_state())
    checkpoint.write_bytes(checkpoint.read_bytes()[:-5000])
    with pytest.raises(WeightsError, match="not a whole file"):
        cut_specialist(checkpoint, base)
