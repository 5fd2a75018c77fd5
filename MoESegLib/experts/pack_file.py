"""Expert packs as files: one ``.safetensors`` with the tensors of one pack and, in its metadata, the card.

``NAME.json`` beside it is a copy of the card for people and other programs, written together with the pack and never
read.

Tensors are float16 where that holds every value exactly, as it does for taught packs, which are rounded before they are
measured; else float32. Rounding afterwards would move mask borders (docs/experts.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..core.errors import WeightsError
from ..core.files import atomic_path
from ..weights.safe_load import check_state_dict
from .card import ExpertCard, PackSizes
from .sealed_file import Kind, check_values, read_card, read_sealed, write_sealed

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..models.segmote.asymmetric import ExpertPack

MAX_BYTES = 10_000_000
"""Largest pack, header included."""


def write_pack(path: Path, pack: ExpertPack, card: ExpertCard) -> ExpertCard:
    """Write a pack and its card, whole or not at all; the copy of the card goes beside it as ``.json``.

    Args:
        path: ``.safetensors`` in a folder that exists; what is there is replaced.
        card: its ``size_bytes`` and ``sha256`` are filled in.

    Returns:
        The card as written.

    Raises:
        WeightsError: the pack is not what the card says, holds values that are not finite, or is larger than 10 MB.
        OutputError: the folder is missing, not writable or full; nothing was written.
    """
    if sizes_of(pack) != card.sizes:
        raise WeightsError(f"The card of {card.name} says {card.sizes}, but the pack has {sizes_of(pack)}.")
    state = {key: tensor.detach().cpu().contiguous() for key, tensor in pack.state_dict().items()}
    return write_state(path, state, card)


def write_state(path: Path, state: Mapping[str, Tensor], card: ExpertCard) -> ExpertCard:
    """As :func:`write_pack`, from the tensors of a pack."""
    _check_tensors(state, card, f"expert pack {card.name}")
    card = write_sealed(path, _smallest(state), card, PACK)
    with atomic_path(path.with_suffix(".json")) as temporary:
        temporary.write_text(card.to_json(), encoding="utf-8")
    return card


def read_pack(path: Path, base_sha256: str | None = None) -> tuple[ExpertCard, dict[str, Tensor]]:
    """The card and the tensors (float32) of a pack, after every check.

    Args:
        base_sha256: of the weights that it must fit, or None for any.

    Raises:
        WeightsError: missing, too large, truncated, changed, made by a newer MoESeg, for another base, or with tensors
            that are not those of its card or not finite; the message says which.
    """
    card, state = read_sealed(path, PACK, ExpertCard, base_sha256)
    return card, {key: tensor.float() for key, tensor in state.items()}


def read_pack_card(path: Path) -> ExpertCard:
    """The card inside a pack; reads the header only, and needs no torch.

    Raises:
        WeightsError: as :func:`read_pack`, as far as the header shows it.
    """
    return read_card(path, PACK, ExpertCard)


def sizes_of(pack: ExpertPack) -> PackSizes:
    """The sizes that rebuild a pack."""
    from ..models.segmote.mote import TokenMixture

    first = cast(TokenMixture, pack.mixtures[0])
    early = cast("nn.ConvTranspose2d", pack.compress_vit_feat[0])
    return PackSizes(
        width=pack.expert_tokens.shape[1],
        early_channels=early.in_channels,
        depth=len(pack.mixtures),
        num_experts=pack.num_experts,
        rank=first.project.in_features,
        gate=first.gate,
        text_width=0 if pack.text_prompt is None else pack.text_prompt.in_features,
        queries=0 if pack.prompt_pool is None else len(pack.prompt_pool.query),
        scope_width=0 if pack.scope is None else len(pack.scope.mean),
    )


def form_of(sizes: PackSizes) -> dict[str, Any]:
    """The arguments of :class:`~MoESegLib.models.segmote.asymmetric.ExpertPack` besides its base."""
    names = ("num_experts", "rank", "gate", "text_width", "queries", "scope_width")
    return {name: getattr(sizes, name) for name in names}


def _smallest(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors in half precision if that changes no value, else as they are."""
    import torch

    half = {key: tensor.half() for key, tensor in state.items()}
    exact = all(torch.equal(half[key].float(), tensor) for key, tensor in state.items())
    return half if exact else dict(state)


def _check_tensors(state: Mapping[str, Tensor], card: ExpertCard, what: str) -> None:
    """Keys, shapes, type and values."""
    import torch

    check_state_dict(state, _expected_shapes(card.sizes), what)
    expected = torch.float16 if all(tensor.dtype == torch.float16 for tensor in state.values()) else torch.float32
    for key, tensor in state.items():
        if tensor.dtype != expected:
            raise WeightsError(f"{what}: {key} is {tensor.dtype}, {expected} expected. Write the pack with MoESeg.")
    check_values(state, what)


def _expected_shapes(sizes: PackSizes) -> dict[str, tuple[int, ...]]:
    """Shapes by key of a pack; it is built without memory for its values."""
    import torch

    from ..models.sam.mask_decoder import MaskDecoder
    from ..models.sam.transformer import TwoWayTransformer
    from ..models.segmote.asymmetric import ExpertPack

    with torch.device("meta"):
        transformer = TwoWayTransformer(sizes.depth, sizes.width, num_heads=8, mlp_dim=sizes.width)
        decoder = MaskDecoder(transformer_dim=sizes.width, transformer=transformer)
        pack = ExpertPack(decoder, sizes.early_channels, **form_of(sizes))
    return {key: tuple(tensor.shape) for key, tensor in pack.state_dict().items()}


PACK = Kind(
    "an expert pack", "moeseg_expert_card", MAX_BYTES, " Use fewer experts or a smaller rank.", check=_check_tensors
)
