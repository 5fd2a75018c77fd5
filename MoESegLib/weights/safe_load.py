"""Weights are untrusted input: loading them runs no code, and a wrong file is refused by name."""

from __future__ import annotations

import argparse
import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor, nn

_WRAPPERS = ("model_state_dict", "state_dict", "model")
_SHOWN = 4

_SIGNATURES = {
    "LiteMedSAM": ("image_encoder.layers.1.blocks.0.attn.qkv.weight", (384, 128)),
    "SAM-Med3D": ("image_encoder.patch_embed.proj.weight", (768, 1, 16, 16, 16)),
    "SegMoTE": ("mask_decoder.expert_tokens.weight", (4, 768)),
    "IMIS-Net": ("mask_decoder.semantic_tokens.weight", (4, 768)),
    "SAM ViT-B or MedSAM": ("image_encoder.patch_embed.proj.weight", (768, 3, 16, 16)),
    "SAM ViT-L": ("image_encoder.patch_embed.proj.weight", (1024, 3, 16, 16)),
    "SAM ViT-H": ("image_encoder.patch_embed.proj.weight", (1280, 3, 16, 16)),
}
"""One key and shape that tells an architecture."""

_DAMAGED = (
    RuntimeError, EOFError, ValueError, OSError, zipfile.BadZipFile,
    # What the unpickler of PyTorch runs into when bytes of a file are flipped (3,600 random damages tried).
    LookupError, AssertionError, AttributeError, TypeError, struct.error,
)  # fmt: skip


def load_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a ``.safetensors`` or PyTorch file on the CPU, by name.

    Only tensors and plain containers are read (``weights_only``); a training checkpoint is unwrapped.

    Raises:
        WeightsError: missing, truncated, not a file of weights, or one that would run code.
    """
    if not path.is_file():
        raise WeightsError(f"There is no file of weights at {path}.")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    return _only_tensors(content, path)


def load_into(network: nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    """Load a state dict strictly.

    Raises:
        WeightsError: a key is missing, unexpected or of another shape; the network is unchanged.
    """
    check_state_dict(state, {key: tuple(value.shape) for key, value in network.state_dict().items()}, what)
    network.load_state_dict(dict(state), strict=True)


def check_state_dict(found: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]], what: str) -> None:
    """Compare keys and shapes.

    Args:
        what: for people, "the weights of lite-medsam".

    Raises:
        WeightsError: naming the first differences, and the architecture that the file seems to be of.
    """
    missing = [key for key in expected if key not in found]
    unexpected = [key for key in found if key not in expected]
    misshaped = [
        f"{key} {tuple(found[key].shape)} instead of {shape}"
        for key, shape in expected.items()
        if key in found and tuple(found[key].shape) != shape
    ]
    if not (missing or unexpected or misshaped):
        return
    parts = [
        f"{len(names)} {label} ({', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''})"
        for label, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", misshaped))
        if names
    ]
    guess = next((name for name, (key, shape) in _SIGNATURES.items() if _shape(found, key) == shape), None)
    seems = f" They look like {guess}." if guess else ""
    raise WeightsError(f"These are not {what}: tensors {'; '.join(parts)}.{seems} Choose the file of that model.")


def _shape(state: Mapping[str, Tensor], key: str) -> tuple[int, ...] | None:
    return tuple(state[key].shape) if key in state else None


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is not a whole safetensors file ({error}); get it again.") from error


def _read_torch(path: Path) -> Any:
    import torch

    try:
        with torch.serialization.safe_globals([argparse.Namespace]):  # training checkpoints keep their arguments
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Unsupported" in str(error) or "GLOBAL" in str(error) or "weights_only" in str(error).lower():
            raise WeightsError(
                f"{path} holds more than weights: loading it could run code, so it was refused. Get the file from its "
                "publisher, or convert it to safetensors where you trust it."
            ) from error
        raise _not_weights(path, error) from error
    except _DAMAGED as error:
        raise _not_weights(path, error) from error


def _not_weights(path: Path, error: Exception) -> WeightsError:
    reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
    return WeightsError(f"{path} is not a whole file of PyTorch weights ({reason}); get it again.")


def _only_tensors(content: Any, path: Path) -> dict[str, Tensor]:
    import torch

    if not isinstance(content, Mapping) or not content:
        raise WeightsError(f"{path} holds no weights: a state dict (name to tensor) was expected.")
    others = [key for key, value in content.items() if not isinstance(value, torch.Tensor)]
    if others:
        raise WeightsError(f"{path} is not a state dict: {', '.join(map(str, others[:_SHOWN]))} are no tensors.")
    return {str(key): value for key, value in content.items()}
