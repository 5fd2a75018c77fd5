"""Cut a specialist out of a checkpoint: its mask decoder, if its encoders are those of the base.

A specialist gets the embeddings of the base's encoders, so a checkpoint whose encoders were trained further cannot give
one: its decoder would read numbers that it never saw.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import WeightsError
from ..weights.safe_load import check_state_dict, load_state_dict
from ..weights.store import sha256_of
from .specialist_file import PREFIX

if TYPE_CHECKING:
    from torch import Tensor

SHARED = {"image encoder": "image_encoder.", "prompt encoder": "prompt_encoder."}
"""What a specialist takes from its base."""
_SHOWN = 3


@dataclass(frozen=True, eq=False)
class CutDecoder:
    """What was cut.

    Attributes:
        decoder: state dict of the mask decoder.
        base_sha256: of the file of the base.
        origin: the checkpoint and its SHA-256, for the card.
        changed: tensors of the decoder that differ from the base's; all of how many.
    """

    decoder: dict[str, Tensor]
    base_sha256: str
    origin: str
    changed: tuple[int, int]


def cut_specialist(checkpoint: Path, base: Path) -> CutDecoder:
    """The mask decoder of a checkpoint of the same architecture and with the same encoders as a base.

    Args:
        checkpoint: ``.pth`` or ``.safetensors``, also a whole training checkpoint.
        base: the file of the base, as it is loaded.

    Raises:
        WeightsError: a file cannot be read or holds something else, an encoder differs (the message says in what and by
            how much), or the decoder is the base's.
    """
    found, expected = load_state_dict(checkpoint), load_state_dict(base)
    decoder = {key: tensor for key, tensor in expected.items() if key.startswith(PREFIX)}
    if not decoder:
        raise WeightsError(f"The base {base} holds no mask decoder; choose the file of a SAM-like model.")
    shapes = {key: tuple(tensor.shape) for key, tensor in expected.items()}
    check_state_dict(found, shapes, f"weights of the form of {base.name} (in {checkpoint.name})")
    _check_shared(found, expected, checkpoint, base)
    changed = [key for key in decoder if not _is_same(found[key], expected[key])]
    if not changed:
        raise WeightsError(
            f"The mask decoder in {checkpoint} is that of {base.name}; there is no specialist to cut out."
        )
    return CutDecoder(
        decoder={key.removeprefix(PREFIX): found[key].float() for key in decoder},
        base_sha256=sha256_of(base),
        origin=f"the mask decoder of {checkpoint.name} (SHA-256 {sha256_of(checkpoint)})",
        changed=(len(changed), len(decoder)),
    )


def _check_shared(found: Mapping[str, Tensor], base: Mapping[str, Tensor], checkpoint: Path, base_file: Path) -> None:
    """Refuse a checkpoint with other encoders."""
    differences = [text for part, prefix in SHARED.items() if (text := _difference(found, base, part, prefix))]
    if differences:
        raise WeightsError(
            f"{checkpoint} cannot give a specialist of {base_file.name}: {'; '.join(differences)}. A specialist gets "
            "the embeddings of the base, so only a checkpoint whose mask decoder alone was trained has one. Give its "
            "own base, or teach a specialist on this one."
        )


def _difference(found: Mapping[str, Tensor], base: Mapping[str, Tensor], part: str, prefix: str) -> str:
    """What differs in one part, "" if nothing does."""
    keys = [key for key in base if key.startswith(prefix)]
    others = [key for key in keys if not _is_same(found[key], base[key])]
    if not others:
        return ""
    largest = max(float((found[key].double() - base[key].double()).abs().max()) for key in others)
    shown = ", ".join(others[:_SHOWN]) + (", ..." if len(others) > _SHOWN else "")
    return f"its {part} differs in {len(others)} of {len(keys)} tensors ({shown}) by up to {largest:.3g}"


def _is_same(found: Tensor, base: Tensor) -> bool:
    """Equal, as far as the coarser of the two types can tell."""
    import torch

    coarser = min(found.dtype, base.dtype, key=lambda dtype: dtype.itemsize)
    return torch.equal(found.to(coarser), base.to(coarser))
