"""A specialist as a file: the tensors of one mask decoder in half precision, keyed as in the checkpoint of its base."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import WeightsError
from ..weights.safe_load import check_state_dict
from .sealed_file import Kind, read_card, read_sealed, write_sealed
from .specialist_card import SpecialistCard

if TYPE_CHECKING:
    from torch import Tensor, nn

SPECIALIST = Kind("a specialist", "moeseg_specialist_card", 64_000_000)
PREFIX = "mask_decoder."


def write_specialist(path: Path, decoder: Mapping[str, Tensor], card: SpecialistCard) -> SpecialistCard:
    """Write a taught mask decoder and its card, whole or not at all.

    Args:
        path: ``.safetensors`` in a folder that exists; what is there is replaced.
        decoder: the state dict of the mask decoder. It is rounded to half precision; round it with :func:`rounded`
            before it is measured, so that the file holds what was measured.
        card: its ``size_bytes`` and ``sha256`` are filled in.

    Returns:
        The card as written.

    Raises:
        WeightsError: a value is not finite, or beyond what half precision holds.
        OutputError: the folder is missing, not writable or full; nothing was written.
    """
    if not decoder:
        raise WeightsError(f"The specialist {card.name} holds no tensors; a mask decoder was expected.")
    state = {PREFIX + key: tensor.half() for key, tensor in rounded(decoder).items()}
    return write_sealed(path, state, card, SPECIALIST)


def rounded(decoder: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The values that a file of these tensors holds, in float32."""
    return {key: tensor.detach().half().float() for key, tensor in decoder.items()}


def read_specialist(
    path: Path, base_sha256: str | None = None, decoder: nn.Module | None = None
) -> tuple[SpecialistCard, dict[str, Tensor]]:
    """The card and the tensors (as in the file) of a specialist, keyed as in a mask decoder, after every check.

    Args:
        base_sha256: of the weights that it must fit, or None for any.
        decoder: the mask decoder of the base, whose keys and shapes it must have; None to leave that for later.

    Raises:
        WeightsError: missing, too large, truncated, changed, made by a newer MoESeg, for another base, of other shapes,
            or with values that are not finite; the message says which.
    """
    card, state = read_sealed(path, SPECIALIST, SpecialistCard, base_sha256)
    others = [key for key in state if not key.startswith(PREFIX)]
    if others or not state:
        raise WeightsError(
            f"{path} holds {', '.join(others[:3]) or 'no tensors'}; a specialist is a mask decoder and nothing else."
        )
    tensors = {key.removeprefix(PREFIX): tensor for key, tensor in state.items()}
    if decoder is not None:
        shapes = {key: tuple(tensor.shape) for key, tensor in decoder.state_dict().items()}
        check_state_dict(tensors, shapes, f"the mask decoder that {card.name} ({path.name}) must be")
    return card, tensors


def read_specialist_card(path: Path) -> SpecialistCard:
    """The card inside a file of a specialist; reads the header only, and needs no torch.

    Raises:
        WeightsError: as :func:`read_specialist`, as far as the header shows it.
    """
    return read_card(path, SPECIALIST, SpecialistCard)
