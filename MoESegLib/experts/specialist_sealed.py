"""Files of specialists and gates: ``.safetensors`` whose metadata holds a card, which holds the hash of both.

A file is untrusted input: nothing in it is run, and what is not exactly what its card says is refused. Expert packs
(:mod:`.pack_file`) are made the same way; there the card rules the shapes, here the base does.
"""

from __future__ import annotations

import dataclasses
import hashlib
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .. import __version__
from ..core.errors import OutputError, WeightsError
from ..core.files import atomic_path
from .strict_json import FieldError, from_plain, parse_json

if TYPE_CHECKING:
    from torch import Tensor

SUFFIX = ".safetensors"
_HEADER_LENGTH = struct.Struct("<Q")
_MAX_HEADER = 1_000_000


SomeCard = TypeVar("SomeCard", bound=Any)
"""A frozen dataclass with ``name``, ``base``, ``format_version``, ``size_bytes``, ``sha256`` and ``to_json()``."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of sealed file.

    Attributes:
        what: for people, "a specialist".
        key: of the card in the metadata.
        max_bytes: largest file, header included.
    """

    what: str
    key: str
    max_bytes: int


def write_sealed(path: Path, state: Mapping[str, Tensor], card: SomeCard, kind: Kind) -> SomeCard:
    """Write tensors and their card, whole or not at all; returns the card as written.

    Raises:
        WeightsError: a value is not finite, or the file would be too large.
        OutputError: no ``.safetensors``, or it cannot be written; nothing was.
    """
    from safetensors.torch import save

    if path.suffix != SUFFIX:
        raise OutputError(f"{kind.what.capitalize()} is a {SUFFIX} file, not {path.name}. Choose such a name.")
    state = {key: tensor.detach().cpu().contiguous() for key, tensor in state.items()}
    check_values(state, card.name)
    card = sealed(card, state)
    data = save(dict(state), {kind.key: card.to_json()})
    if len(data) > kind.max_bytes:
        raise WeightsError(
            f"{card.name} has {len(data) / 1e6:.1f} MB; {kind.what} has {kind.max_bytes / 1e6:.0f} MB at most."
        )
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
    return card


def read_sealed(
    path: Path, kind: Kind, card_type: type[SomeCard], base_sha256: str | None = None
) -> tuple[SomeCard, dict[str, Tensor]]:
    """The card and the tensors of a file, after every check that needs no base.

    Args:
        base_sha256: of the weights that it must fit, or None for any.

    Raises:
        WeightsError: missing, too large, truncated, changed, made by a newer MoESeg, for another base, or with values
            that are not finite; the message says which.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    data = _bytes_of(path, kind)
    card = _card_in(data[: _HEADER_LENGTH.size + _MAX_HEADER], path, kind, card_type)
    if base_sha256 is not None:
        check_base(card, base_sha256, path.name)
    try:
        state = load(data)
    except SafetensorError as error:
        raise WeightsError(f"{path} is not a whole file of {kind.what} ({error}); get it again.") from error
    check_values(state, f"{card.name} in {path.name}")
    found = sealed(card, state)
    if found != card:
        raise WeightsError(
            f"{path} was changed or damaged: the SHA-256 of its card and tensors is {found.sha256}, {card.sha256} "
            "expected. Get it again."
        )
    return card, state


def read_card(path: Path, kind: Kind, card_type: type[SomeCard]) -> SomeCard:
    """The card inside a file; reads the header only, and needs no torch.

    Raises:
        WeightsError: as :func:`read_sealed`, as far as the header shows it.
    """
    try:
        with path.open("rb") as stream:
            return _card_in(stream.read(_HEADER_LENGTH.size + _MAX_HEADER), path, kind, card_type)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}.") from error


def check_base(card: Any, base_sha256: str, source: str) -> None:
    """Refuse what was made for other weights.

    Raises:
        WeightsError: naming both.
    """
    if card.base.sha256 != base_sha256:
        raise WeightsError(
            f"{card.name} ({source}) was made for {card.base.name} with SHA-256 {card.base.sha256[:12]}..., not for "
            f"these weights ({base_sha256[:12]}...). Use that base, or teach it again on this one."
        )


def check_values(state: Mapping[str, Tensor], what: str) -> None:
    """Refuse values that are not finite, and types that are none of weights.

    Raises:
        WeightsError: naming the tensor.
    """
    import torch

    for key, tensor in state.items():
        if tensor.dtype not in (torch.float16, torch.float32):
            raise WeightsError(f"{what}: {key} is {tensor.dtype}; float16 or float32 was expected. Get another copy.")
        if not bool(torch.isfinite(tensor).all()):
            raise WeightsError(f"{what}: {key} holds values that are not finite. Teach it again, or get another copy.")


def sealed(card: SomeCard, state: Mapping[str, Tensor]) -> SomeCard:
    """The card with the size of the tensors, and the SHA-256 of them and of everything that it says itself."""
    size = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    card = dataclasses.replace(card, size_bytes=size, sha256="")
    digest = hashlib.sha256(card.to_json().encode())
    for key in sorted(state):
        values = state[key].numpy()
        digest.update(f"{key} {values.shape} {values.dtype}\n".encode())
        digest.update(values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes())
    return dataclasses.replace(card, sha256=digest.hexdigest())


def parse_card(text: str, source: str, card_type: type[SomeCard]) -> SomeCard:
    """Read and check a card.

    Raises:
        WeightsError: naming the file, the field and what is wrong, or the version of MoESeg to get.
    """
    latest = card_type.format_version
    try:
        data = parse_json(text)
        version = data.get("format_version") if isinstance(data, dict) else None
        if type(version) is int and version > latest:
            raise WeightsError(
                f"{source} is of format {version}, made by MoESeg {data.get('moeseg_version')}; this MoESeg "
                f"({__version__}) reads formats up to {latest}. Update MoESeg."
            )
        card = from_plain(card_type, data)
        if version != latest or not (card.size_bytes and card.sha256):
            raise FieldError(f"format_version must be {latest}, and size_bytes and sha256 must be given")
    except FieldError as error:
        raise WeightsError(f"The card in {source} is wrong: {error}. Get the file again.") from error
    return card


def _bytes_of(path: Path, kind: Kind) -> bytes:
    try:
        size = path.stat().st_size
        if size > kind.max_bytes:
            raise WeightsError(
                f"{path} has {size / 1e6:.1f} MB; {kind.what} has {kind.max_bytes / 1e6:.0f} MB at most."
            )
        return path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}.") from error


def _card_in(data: bytes, path: Path, kind: Kind, card_type: type[SomeCard]) -> SomeCard:
    """The card in the first bytes of a file."""
    start = _HEADER_LENGTH.size
    length = _HEADER_LENGTH.unpack(data[:start])[0] if len(data) >= start else 0
    if not 0 < length <= min(_MAX_HEADER, len(data) - start):
        raise WeightsError(
            f"{path} is not a whole file of {kind.what}: its header is missing or cut off. Get it again."
        )
    try:
        header = parse_json(data[start : start + length].decode("utf-8"))
    except (UnicodeDecodeError, FieldError) as error:
        raise WeightsError(f"{path} is not {kind.what}: its header cannot be read ({error}). Get it again.") from error
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    text = metadata.get(kind.key) if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        raise WeightsError(f"{path} holds tensors but no card of {kind.what}. Take a file made by MoESeg.")
    return parse_card(text, path.name, card_type)
