"""What the cards of experts, specialists and gates have in common: names, dates, hashes, prompts, results, JSON."""

from __future__ import annotations

import dataclasses
import datetime
import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from .. import __version__
from ..core.errors import WeightsError
from ..core.strict_json import FieldError, from_plain, parse_json, to_plain
from ..weights.cards import PROMPT_KINDS

SomeCard = TypeVar("SomeCard", bound=Any)
"""A frozen dataclass with ``name``, ``base``, ``format_version``, ``size_bytes``, ``sha256`` and ``to_json()``."""
_USED_BY_PYTORCH = (
    "apply bfloat16 buffers children clear compile cpu cuda double eval float forward half ipu items keys modules mtia "
    "parameters pop to train training type update values xpu"
)
RESERVED_NAMES = frozenset(("base", "untrained", "con", "prn", "aux", "nul", *_USED_BY_PYTORCH.split()))
"""Names that no expert can have: what answers without a pack, and what PyTorch or Windows use themselves."""
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,47}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class BaseModel:
    """The model that something was taught on and fits: its name, and the SHA-256 of its file of weights."""

    name: str
    sha256: str


@dataclass(frozen=True)
class Measurement:
    """A result on data that was not taught.

    Attributes:
        data: what was segmented.
        prompt: as in ``moeseg evaluate --protocol``.
        dice: mean Dice, 0 to 1.
        base_dice: of the base model with the same prompts, or None.
        cases: number of cases (patients).
        command: what makes the number again.
    """

    data: str
    prompt: str
    dice: float
    base_dice: float | None
    cases: int
    command: str


def require(holds: bool, field: str, why: str) -> None:
    """Refuse a field.

    Raises:
        FieldError: it does not hold.
    """
    if not holds:
        raise FieldError(f"{field} {why}")


def is_name(name: str) -> bool:
    """Whether something can have this name; it may still be reserved."""
    return bool(_NAME.fullmatch(name))


def check_name(name: str, reserved: Collection[str], noun: str) -> None:
    """Refuse a name that cannot be a file, a module or an answer.

    Raises:
        FieldError: it is one.
    """
    form = "up to 48 lower-case letters, digits and hyphens were expected"
    require(is_name(name), "name", f"is {name!r}; {form}")
    require(name not in reserved, "name", f"{name!r} is reserved; choose another, such as {name}-{noun}")


def check_texts(card: Any, *fields: str) -> None:
    """Refuse texts that say nothing.

    Raises:
        FieldError: one does.
    """
    for field in fields:
        require(bool(getattr(card, field).strip()), field, "is empty")


def check_prompts(prompts: Sequence[str]) -> None:
    """Refuse kinds of prompts that nobody knows, and none at all.

    Raises:
        FieldError: there is one, or none.
    """
    unknown = [kind for kind in prompts if kind not in PROMPT_KINDS]
    require(not unknown, "prompts", f"holds {unknown[:1]}; known are {', '.join(PROMPT_KINDS)}")
    require(bool(prompts), "prompts", "is empty; name the kinds it was trained for")


def check_measured(measured: Sequence[Measurement]) -> None:
    """Refuse results that make no sense.

    Raises:
        FieldError: one does not.
    """
    for number, result in enumerate(measured):
        where = f"measured[{number}]"
        require(0 <= result.dice <= 1, f"{where}.dice", "must be 0 to 1")
        require(result.base_dice is None or 0 <= result.base_dice <= 1, f"{where}.base_dice", "must be 0 to 1")
        require(result.cases > 0, f"{where}.cases", "must be 1 or more")
        require(bool(result.command.strip()), f"{where}.command", "is empty; say what makes the number again")


def check_seal(card: Any, method: str) -> None:
    """The fields that every sealed file has: base, date, method, version, size and hash.

    Raises:
        FieldError: one of them makes no sense.
    """
    check_texts(card, "moeseg_version")
    require(card.method == method, "method", f"is {card.method!r}; this version knows {method!r}")
    require(bool(_SHA256.fullmatch(card.base.sha256)), "base.sha256", "must be 64 hexadecimal digits")
    require(_is_date(card.created), "created", f"is {card.created!r}; a date YYYY-MM-DD was expected")
    require(card.size_bytes >= 0, "size_bytes", "is negative")
    require(not card.sha256 or bool(_SHA256.fullmatch(card.sha256)), "sha256", "must be 64 hexadecimal digits")


def as_json(card: Any) -> str:
    """A card as text, one field a line, that :func:`parse_card` reads."""
    return json.dumps(to_plain(card), indent=2, ensure_ascii=False) + "\n"


def parse_card(text: str, source: str, card_type: type[SomeCard]) -> SomeCard:
    """Read and check a card.

    Args:
        text: JSON.
        source: name of the file, for messages.

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
        require(card.format_version == latest, "format_version", f"must be {latest}")
        require(card.size_bytes > 0 and bool(card.sha256), "sha256", "and size_bytes must say which tensors they are")
    except FieldError as error:
        raise WeightsError(f"The card in {source} is wrong: {error}. Get the file again.") from error
    return card


def unsealed(card: SomeCard, **changes: Any) -> SomeCard:
    """The card with other values, to be written anew."""
    return dataclasses.replace(card, size_bytes=0, sha256="", **changes)


def _is_date(text: str) -> bool:
    try:
        return datetime.date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
