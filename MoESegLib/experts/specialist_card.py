"""Cards of specialists: what a taught mask decoder is, for which base, whence it came and how well it does."""

from __future__ import annotations

from dataclasses import dataclass

from .. import __version__
from . import card_rules
from .card import ExpertClass, TrainingData
from .card_rules import RESERVED_NAMES, BaseModel, Measurement

METHOD = "sam-med3d-moe"
FORMAT_VERSION = 1
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
        card_rules.check_texts(self, "title", "origin", "license")
        card_rules.check_prompts(self.prompts)
        card_rules.check_measured(self.measured)
        card_rules.check_seal(self, METHOD)

    def to_json(self) -> str:
        """Text that :func:`~.sealed_file.read_card` reads."""
        return card_rules.as_json(self)


def check_name(name: str) -> None:
    """Refuse a name that cannot be a file, a module or a class of a gate.

    Raises:
        FieldError: it is one.
    """
    card_rules.check_name(name, RESERVED_NAMES | _OURS, "specialist")
