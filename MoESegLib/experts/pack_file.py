"""Expert packs as files: one ``.safetensors`` with the tensors of one pack and, in its metadata, the card.

The card travels inside, so that no pack is ever without one; ``NAME.json`` beside it is a copy for people and other
programs, written together with the pack and never read. A pack is untrusted input: nothing in it is run, and whatever
is not exactly what its card says is refused.

Tensors are float16 where that holds every value exactly, as it does for taught packs, which are rounded before they are
measured; else float32. Rounding afterwards would move mask borders (docs/experts.md).
"""

from __future__ import annotations

import dataclasses
import hashlib
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..core.errors import OutputError, WeightsError
from ..core.files import atomic_path
from ..weights.safe_load import check_state_dict
from .card import ExpertCard, PackSizes, parse_card
from .strict_json import FieldError, parse_json

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..models.segmote.asymmetric import ExpertPack

SUFFIX = ".safetensors"
MAX_BYTES = 10_000_000
"""Largest pack, header included."""
_CARD_KEY = "moeseg_expert_card"
_HEADER_LENGTH = struct.Struct("<Q")
_MAX_HEADER = 1_000_000


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
    from safetensors.torch import save

    if path.suffix != SUFFIX:
        raise OutputError(f"An expert pack is a {SUFFIX} file, not {path.name}. Choose such a name.")
    _check_tensors(state, card, f"the experts of {card.name}")
    state = _smallest(state)
    card = sealed(card, state)
    data = save(dict(state), {_CARD_KEY: card.to_json()})
    if len(data) > MAX_BYTES:
        raise WeightsError(
            f"The pack {card.name} has {len(data) / 1e6:.1f} MB; {MAX_BYTES / 1e6:.0f} MB is the most. Use fewer "
            "experts or a smaller rank."
        )
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
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
    from safetensors import SafetensorError
    from safetensors.torch import load

    data = _read(path)
    card = _card_in(data[: _HEADER_LENGTH.size + _MAX_HEADER], path)
    if base_sha256 is not None:
        check_base(card, base_sha256, path.name)
    try:
        state = load(data)
    except SafetensorError as error:
        raise WeightsError(f"{path} is not a whole expert pack ({error}); get it again.") from error
    _check_tensors(state, card, f"the experts of {card.name} in {path.name}")
    found = sealed(card, state)
    if found != card:
        raise WeightsError(
            f"{path} was changed or damaged: the SHA-256 of its card and tensors is {found.sha256}, {card.sha256} "
            "expected. Get it again."
        )
    return card, {key: tensor.float() for key, tensor in state.items()}


def read_pack_card(path: Path) -> ExpertCard:
    """The card inside a pack; reads the header only, and needs no torch.

    Raises:
        WeightsError: as :func:`read_pack`, as far as the header shows it.
    """
    try:
        with path.open("rb") as stream:
            return _card_in(stream.read(_HEADER_LENGTH.size + _MAX_HEADER), path)
    except OSError as error:
        raise WeightsError(f"The expert pack {path} cannot be read: {error.strerror}.") from error


def check_base(card: ExpertCard, base_sha256: str, source: str) -> None:
    """Refuse a pack that was taught on other weights.

    Raises:
        WeightsError: naming both.
    """
    if card.base.sha256 != base_sha256:
        raise WeightsError(
            f"The expert {card.name} ({source}) was taught on {card.base.name} with SHA-256 "
            f"{card.base.sha256[:12]}..., not on these weights ({base_sha256[:12]}...). An expert fits its own base "
            "only: use that base, or teach the expert again on this one."
        )


def sealed(card: ExpertCard, state: Mapping[str, Tensor]) -> ExpertCard:
    """The card with the size of the tensors, and the SHA-256 of them and of everything that it says itself."""
    size = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    card = dataclasses.replace(card, size_bytes=size, sha256="")
    digest = hashlib.sha256(card.to_json().encode())
    for key in sorted(state):
        tensor = state[key]
        digest.update(f"{key} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.numpy().astype("<f4").tobytes())
    return dataclasses.replace(card, sha256=digest.hexdigest())


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


def _read(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise WeightsError(f"{path} has {size / 1e6:.1f} MB; an expert pack has {MAX_BYTES / 1e6:.0f} MB at most.")
        return path.read_bytes()
    except OSError as error:
        raise WeightsError(f"The expert pack {path} cannot be read: {error.strerror}.") from error


def _card_in(data: bytes, path: Path) -> ExpertCard:
    """The card in the first bytes of a file."""
    start = _HEADER_LENGTH.size
    length = _HEADER_LENGTH.unpack(data[:start])[0] if len(data) >= start else 0
    if not 0 < length <= min(_MAX_HEADER, len(data) - start):
        raise WeightsError(f"{path} is not a whole expert pack: its header is missing or cut off. Get it again.")
    try:
        header = parse_json(data[start : start + length].decode("utf-8"))
    except (UnicodeDecodeError, FieldError) as error:
        raise WeightsError(
            f"{path} is not an expert pack: its header cannot be read ({error}). Get it again."
        ) from error
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    text = metadata.get(_CARD_KEY) if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        raise WeightsError(
            f"{path} holds tensors but no expert card, so it is not an expert pack. Take a file made by MoESeg (moeseg "
            "experts export)."
        )
    return parse_card(text, path.name)


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
        if not bool(torch.isfinite(tensor).all()):
            raise WeightsError(f"{what}: {key} holds values that are not finite. Teach it again, or get another copy.")


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
