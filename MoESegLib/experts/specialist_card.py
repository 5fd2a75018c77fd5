"""Cards of specialists: what a taught mask decoder is, for which base, whence it came and how well it does."""

from __future__ import annotations

import dataclasses
import datetime
import json
import re
from dataclasses import dataclass
from typing import Any

from .. import __version__
from ..weights.cards import PROMPT_KINDS
from .card import RESERVED_NAMES, BaseModel, ExpertClass, Measurement, TrainingData
from .strict_json import FieldError, to_plain

METHOD = "sam-med3d-moe"
FORMAT_VERSION = 1
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,47}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_OURS = frozenset(("general",))
"""Names that mean something else in a gate."""


@dataclass(frozen=True)
class SpecialistCard:
    """One specialist.

    Attributes:
        name: lower-case letters, digits and hyphens.
        base: the model whose encoders it needs.
        origin: how it came to be: "taught", or the checkpoint that it was cut from.
        prompts: kinds that it was trained for.
        license: of the specialist.
        created: date, YYYY-MM-DD.
        size_bytes: of the tensors; 0 until the file is written.
        sha256: of the tensors and of this card without this field; "" until then.

    Raises:
        FieldError: a value makes no sense; the message names the field.
    """

    name: str
    title: str
    description: str
    base: BaseModel
    origin: str
    classes: tuple[ExpertClass, ...]
    modalities: tuple[str, ...]
    prompts: tuple[str, ...]
    training: tuple[TrainingData, ...]
    measured: tuple[Measurement, ...]
    license: str
    created: str
    moeseg_version: str = __version__
    method: str = METHOD
    format_version: int = FORMAT_VERSION
    size_bytes: int = 0
    sha256: str = ""

    def __post_init__(self) -> None:
        check_name(self.name)
        for field in ("title", "origin", "license", "moeseg_version"):
            require(bool(getattr(self, field).strip()), field, "is empty")
        unknown = [kind for kind in self.prompts if kind not in PROMPT_KINDS]
        require(not unknown, "prompts", f"holds {unknown[:1]}; known are {', '.join(PROMPT_KINDS)}")
        require(bool(self.prompts), "prompts", "is empty; name the kinds it was trained for")
        for number, result in enumerate(self.measured):
            dice = [result.dice] if result.base_dice is None else [result.dice, result.base_dice]
            require(all(0 <= value <= 1 for value in dice), f"measured[{number}]", "holds a Dice that is not 0 to 1")
        check_seal(self)

    def to_json(self) -> str:
        """Text that :func:`~.specialist_sealed.read_card` reads."""
        return as_json(self)


def check_name(name: str) -> None:
    """Refuse a name that cannot be a file, a module or a class of a gate.

    Raises:
        FieldError: it is one.
    """
    require(
        bool(_NAME.fullmatch(name)),
        "name",
        f"is {name!r}; up to 48 lower-case letters, digits and hyphens were expected",
    )
    taken = name in RESERVED_NAMES | _OURS
    require(not taken, "name", f"{name!r} is reserved; choose another, such as {name}-specialist")


def check_seal(card: Any) -> None:
    """The fields that every sealed file has: base, date, method, version, size and hash.

    Raises:
        FieldError: one of them makes no sense.
    """
    require(bool(_SHA256.fullmatch(card.base.sha256)), "base.sha256", "must be 64 hexadecimal digits")
    require(card.method == METHOD, "method", f"is {card.method!r}; this version knows {METHOD!r}")
    require(_is_date(card.created), "created", f"is {card.created!r}; a date YYYY-MM-DD was expected")
    require(card.size_bytes >= 0, "size_bytes", "is negative")
    require(not card.sha256 or bool(_SHA256.fullmatch(card.sha256)), "sha256", "must be 64 hexadecimal digits")


def require(holds: bool, field: str, why: str) -> None:
    """Refuse a field.

    Raises:
        FieldError: it does not hold.
    """
    if not holds:
        raise FieldError(f"{field} {why}")


def as_json(card: Any) -> str:
    """A card as text, one field a line."""
    return json.dumps(to_plain(card), indent=2, ensure_ascii=False) + "\n"


def unsealed(card: SpecialistCard, **changes: Any) -> SpecialistCard:
    """The card with other values, to be written anew."""
    return dataclasses.replace(card, size_bytes=0, sha256="", **changes)


def _is_date(text: str) -> bool:
    try:
        return datetime.date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
