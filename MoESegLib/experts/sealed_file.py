"""Files of experts, specialists and gates: ``.safetensors`` whose metadata holds a card, which holds the hash of both.

The card travels inside, so that no file is ever without one. A file is untrusted input: nothing in it is run, and what
is not exactly what its card says is refused.
"""

from __future__ import annotations

import dataclasses
import hashlib
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import OutputError, WeightsError
from ..core.files import atomic_path
from ..core.strict_json import FieldError, parse_json
from .card_rules import SomeCard, parse_card

if TYPE_CHECKING:
    from torch import Tensor

SUFFIX = ".safetensors"
_HEADER_LENGTH = struct.Struct("<Q")
_MAX_HEADER = 1_000_000


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


def _check_values_only(state: Mapping[str, Tensor], card: Any, what: str) -> None:
    """Where the card does not say which tensors there must be."""
    check_values(state, what)


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of sealed file.

    Attributes:
        what: for people, "a specialist".
        key: of the card in the metadata.
        max_bytes: largest file, header included.
        advice: what to do about one that is too large.
        check: refuses tensors that are not those of a card; gets them, the card, and what to call them.
    """

    what: str
    key: str
    max_bytes: int
    advice: str = ""
    check: Callable[[Mapping[str, Tensor], Any, str], None] = _check_values_only

    @property
    def noun(self) -> str:
        """Without the article."""
        return self.what.partition(" ")[2]


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
    kind.check(state, card, f"{kind.noun} {card.name}")
    card = sealed(card, state)
    data = save(dict(state), {kind.key: card.to_json()})
    if len(data) > kind.max_bytes:
        raise WeightsError(
            f"{card.name} has {len(data) / 1e6:.1f} MB; {kind.what} has {kind.max_bytes / 1e6:.0f} MB at most."
            f"{kind.advice}"
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
        raise WeightsError(f"{path} is not a whole {kind.noun} ({error}); get it again.") from error
    kind.check(state, card, f"{kind.noun} {card.name} in {path.name}")
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
    return _card_in(_first_bytes(path), path, kind, card_type)


def check_base(card: Any, base_sha256: str, source: str) -> None:
    """Refuse what was made for other weights.

    Raises:
        WeightsError: naming both.
    """
    if card.base.sha256 != base_sha256:
        raise WeightsError(
            f"{card.name} ({source}) was taught on {card.base.name} with SHA-256 {card.base.sha256[:12]}..., not on "
            f"these weights ({base_sha256[:12]}...). It fits its own base only: use that base, or teach it again on "
            "this one."
        )


def sealed(card: SomeCard, state: Mapping[str, Tensor]) -> SomeCard:
    """The card with the size of the tensors, and the SHA-256 of them and of everything that it says itself."""
    size = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    card = dataclasses.replace(card, size_bytes=size, sha256="")
    digest = hashlib.sha256(card.to_json().encode())
    for key in sorted(state):
        tensor = state[key]
        digest.update(f"{key} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.numpy().astype("<f4").tobytes())
    return dataclasses.replace(card, sha256=digest.hexdigest())


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


def is_of_kind(path: Path, kind: Kind) -> bool:
    """Whether a file says that it is of a kind; it may be damaged all the same. False where it cannot be read."""
    try:
        return kind.key in _metadata(_first_bytes(path), path, kind)
    except WeightsError:
        return False


def _first_bytes(path: Path) -> bytes:
    """As much as a header may have."""
    try:
        with path.open("rb") as stream:
            return stream.read(_HEADER_LENGTH.size + _MAX_HEADER)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}.") from error


def _card_in(data: bytes, path: Path, kind: Kind, card_type: type[SomeCard]) -> SomeCard:
    """The card in the first bytes of a file."""
    text = _metadata(data, path, kind).get(kind.key)
    if not isinstance(text, str):
        raise WeightsError(f"{path} holds tensors but no card of {kind.what}. Take a file made by MoESeg.")
    return parse_card(text, path.name, card_type)


def _metadata(data: bytes, path: Path, kind: Kind) -> dict[str, Any]:
    """The metadata in the first bytes of a file, which should be of a kind."""
    start = _HEADER_LENGTH.size
    length = _HEADER_LENGTH.unpack(data[:start])[0] if len(data) >= start else 0
    if not 0 < length <= min(_MAX_HEADER, len(data) - start):
        raise WeightsError(f"{path} is not a whole {kind.noun}: its header is missing or cut off. Get it again.")
    try:
        header = parse_json(data[start : start + length].decode("utf-8"))
    except (UnicodeDecodeError, FieldError) as error:
        raise WeightsError(f"{path} is not {kind.what}: its header cannot be read ({error}). Get it again.") from error
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    return metadata if isinstance(metadata, dict) else {}
