"""Files of MAST-Pro: a base, and what a tumor that was added later brings.

Both are ``.safetensors`` in half precision. The meta data holds one JSON text: what the file is, the sizes of the
network or the name of the tumor, and the SHA-256 of the base. That hash is over the values of the base's tensors, so it
can be taken from a network at any time, also to show that teaching a tumor left the base as it was.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...core.errors import OutputError, WeightsError
from ...core.files import atomic_path
from ...core.strict_json import FieldError, from_plain, parse_json, to_plain
from ...weights.safe_load import check_state_dict, load_state_dict
from .adapt import added_tumor, apply_delta, delta_state
from .config import MastProConfig
from .network import MastPro

KEY = "mast_pro"
VERSION = 1
_BASE, _DELTA = "base", "tumor"
_LARGEST_HEADER = 4_000_000


def round_to_half(model: MastPro) -> None:
    """Round all weights to what a file holds. Do it before measuring, and before teaching a tumor on top."""
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.copy_(tensor.half())


def base_sha256(model: MastPro) -> str:
    """The SHA-256 of the base: names, shapes and float32 values of all tensors but those of added tumors."""
    digest = hashlib.sha256(json.dumps(to_plain(model.config), sort_keys=True).encode())
    for key, tensor in sorted(model.state_dict().items()):
        if added_tumor(key, model.added) is None:
            digest.update(f"{key} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.detach().cpu().float().contiguous().numpy().astype("<f4").tobytes())
    return digest.hexdigest()


def write_base(path: Path, model: MastPro, details: Mapping[str, Any] | None = None) -> str:
    """Write a base, whole or not at all; added tumors are left out.

    Args:
        path: ``.safetensors``.
        model: rounded by :func:`round_to_half`.
        details: whatever else the file should say, as JSON: records of the tumors, data, measured Dice.

    Returns:
        The SHA-256 of the base.

    Raises:
        WeightsError: the weights are not finite, or not those that half precision holds.
        OutputError: the file cannot be written; nothing was.
    """
    state = {key: value for key, value in model.state_dict().items() if added_tumor(key, model.added) is None}
    sha256 = base_sha256(model)
    _write(path, state, {"kind": _BASE, "config": to_plain(model.config), "base": sha256, "details": details or {}})
    return sha256


def read_base(path: Path) -> tuple[MastPro, dict[str, Any]]:
    """A network in float32 and eval mode, and the details that were written with it.

    Raises:
        WeightsError: missing, truncated, damaged, of another kind or version, or not the values that it says.
    """
    meta = read_meta(path, _BASE)
    state = _finite(load_state_dict(path), path)
    try:
        with torch.device("meta"):  # the sizes are not believed, and nothing is allocated, until the tensors fit them
            model = MastPro(from_plain(MastProConfig, meta.get("config"))).eval()
    except (ValueError, RuntimeError, ZeroDivisionError) as error:
        raise WeightsError(f"{path}: the sizes of the network do not fit together ({error}). Get it again.") from error
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    check_state_dict(state, shapes, f"the weights of a MAST-Pro network ({path.name})")
    model.load_state_dict(state, strict=True, assign=True)
    if base_sha256(model) != meta["base"]:
        raise WeightsError(f"{path} was changed or damaged: its values are not those that it was made with.")
    return model, meta["details"]


def write_delta(path: Path, model: MastPro, tumor: str, details: Mapping[str, Any] | None = None) -> None:
    """Write what an added tumor brings, and the SHA-256 of the base that it needs.

    Args:
        model: whose added parts are rounded by :func:`round_to_half`.

    Raises:
        TrainingError: the tumor was not added to this network.
        WeightsError, OutputError: as :func:`write_base`.
    """
    meta = {"kind": _DELTA, "tumor": tumor, "base": base_sha256(model), "details": details or {}}
    _write(path, delta_state(model, tumor), meta)


def read_delta(path: Path, model: MastPro) -> tuple[str, dict[str, Any]]:
    """Add the tumor of a file to a network; returns its id and the details.

    Raises:
        WeightsError: as :func:`read_base`, or made for another base; the network is unchanged.
        TrainingError: the tumor's id cannot be used, or the base knows it already.
    """
    meta = read_meta(path, _DELTA)
    found = base_sha256(model)
    if meta["base"] != found:
        raise WeightsError(
            f"{path} was taught on another base (SHA-256 {meta['base'][:12]}..., these weights are {found[:12]}...). "
            "Use that base, or teach the tumor again on this one."
        )
    tumor = meta.get("tumor")
    if not isinstance(tumor, str):
        raise WeightsError(f"{path} does not say which tumor it is for. Get it again.")
    apply_delta(model, tumor, _finite(load_state_dict(path), path))
    return tumor, meta["details"]


def read_meta(path: Path, kind: str | None = None) -> dict[str, Any]:
    """What a file says of itself: ``kind`` ("base" or "tumor"), ``base`` (SHA-256), ``details`` and more.

    Reads the header only.

    Raises:
        WeightsError: missing, damaged, of another kind, or of a newer version.
    """
    try:
        with path.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            header = parse_json(stream.read(min(length, _LARGEST_HEADER)).decode())
        meta = parse_json(header["__metadata__"][KEY])
        kinds, version, sha256, details = meta["kind"], meta["version"], meta["base"], meta["details"]
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}.") from error
    except (struct.error, UnicodeDecodeError, FieldError, LookupError, TypeError) as error:
        raise WeightsError(f"{path} is not a whole file of MAST-Pro ({type(error).__name__}); get it again.") from error
    if version != VERSION:
        raise WeightsError(f"{path} is of version {version!r} of MAST-Pro's files; this MoESeg reads {VERSION}.")
    if not isinstance(sha256, str) or not isinstance(details, dict) or (kind is not None and kinds != kind):
        expected = {_BASE: "a base", _DELTA: "an added tumor"}.get(kind or kinds, "a file of MAST-Pro")
        raise WeightsError(f"{path} is not {expected}, but {kinds!r}. Choose another file.")
    return meta


def _write(path: Path, state: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    from safetensors.torch import save

    if path.suffix != ".safetensors":
        raise OutputError(f"Weights are a .safetensors file, not {path.name}. Choose such a name.")
    halves = {key: value.detach().cpu().half().contiguous() for key, value in state.items()}
    changed = [
        key for key, value in state.items() if not torch.equal(halves[key].float(), value.detach().cpu().float())
    ]
    if changed:
        raise WeightsError(f"{changed[0]} is not finite, or not rounded to half precision. Round the network first.")
    data = save(halves, {KEY: json.dumps({"version": VERSION, **meta})})
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def _finite(state: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """In float32.

    Raises:
        WeightsError: a value is not finite, or no number in half precision.
    """
    for key, tensor in state.items():
        if tensor.dtype != torch.float16 or not bool(torch.isfinite(tensor).all()):
            raise WeightsError(f"{path} is damaged: {key} holds no finite half precision numbers. Get it again.")
    return {key: tensor.float() for key, tensor in state.items()}
