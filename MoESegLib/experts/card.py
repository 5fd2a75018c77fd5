"""Expert cards: what a pack of experts is, for which base, what it was taught with and how well it does."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .. import __version__
from ..core.errors import WeightsError
from ..core.structures import Structure, find_structure
from ..weights.cards import PROMPT_KINDS
from .strict_json import FieldError, from_plain, parse_json, to_plain

FORMAT_VERSION = 2
"""Since 2 a pack can hold parts for phrases, for automatic use and for its scope; no pack of 1 was ever released."""
METHOD = "segmote-asymmetric"
_USED_BY_PYTORCH = (
    "apply bfloat16 buffers children clear compile cpu cuda double eval float forward half ipu items keys modules mtia "
    "parameters pop to train training type update values xpu"
)
RESERVED_NAMES = frozenset(("base", "untrained", "con", "prn", "aux", "nul", *_USED_BY_PYTORCH.split()))
"""Names that no expert can have: what answers without a pack, and what PyTorch or Windows use themselves."""

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,47}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LARGEST = {"width": 4096, "early_channels": 4096, "depth": 64, "num_experts": 64, "rank": 1024}
_LARGEST_OR_NONE = {"text_width": 4096, "queries": 64, "scope_width": 16384}
"""Sizes beyond these would take a machine's memory before the file could be found wrong."""


@dataclass(frozen=True)
class ExpertClass:
    """A structure that an expert was taught.

    Attributes:
        codes: SNOMED CT values by part ("category", "type", "modifier", "region", "region_modifier"), as far as known.
    """

    name: str
    codes: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def named(cls, name: str) -> ExpertClass:
        """With the codes of the known structure of that name, if there is one."""
        structure = find_structure(name)
        return cls(name, {} if structure is None else codes_of(structure))


@dataclass(frozen=True)
class BaseModel:
    """The model that a pack was taught on and fits: its name, and the SHA-256 of its file of weights."""

    name: str
    sha256: str


@dataclass(frozen=True)
class PackSizes:
    """What is needed to rebuild an :class:`~MoESegLib.models.segmote.asymmetric.ExpertPack`.

    Attributes:
        width, depth: of the base's mask decoder.
        early_channels: width of the base encoder's early feature.
        num_experts, rank, gate: of the pack.
        text_width: of the phrase embeddings it takes, or 0.
        queries: prompt tokens that it pools from an image without prompt, or 0.
        scope_width: features by which it knows what it was taught, or 0.
    """

    width: int
    early_channels: int
    depth: int
    num_experts: int
    rank: int
    gate: str
    text_width: int = 0
    queries: int = 0
    scope_width: int = 0


@dataclass(frozen=True)
class TrainingData:
    """A data set that a pack was taught with: its license, the split used, and the number of cases (patients)."""

    name: str
    license: str
    split: str
    cases: int


@dataclass(frozen=True)
class Measurement:
    """A result on data that the pack was not taught with.

    Attributes:
        data: what was segmented.
        prompt: as in ``moeseg evaluate --protocol``.
        dice: mean Dice with this pack, 0 to 1.
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


@dataclass(frozen=True)
class ExpertCard:
    """One pack of experts.

    Attributes:
        name: lower-case letters, digits and hyphens.
        prompts: kinds (:data:`~MoESegLib.weights.cards.PROMPT_KINDS`) that it was trained for; for others it gets the
            box that the base model would get.
        license: of the pack.
        created: date, YYYY-MM-DD.
        general: it answers clicks where no other expert knows.
        moeseg_version: that made it.
        size_bytes: of the tensors; 0 until :func:`~MoESegLib.experts.pack_file.write_pack` fills it in.
        sha256: of the tensors and of this card without this field; "" until then.

    Raises:
        FieldError: a value makes no sense; the message names the field.
    """

    name: str
    title: str
    description: str
    base: BaseModel
    sizes: PackSizes
    classes: tuple[ExpertClass, ...]
    modalities: tuple[str, ...]
    prompts: tuple[str, ...]
    training: tuple[TrainingData, ...]
    measured: tuple[Measurement, ...]
    license: str
    created: str
    general: bool = False
    moeseg_version: str = __version__
    method: str = METHOD
    format_version: int = FORMAT_VERSION
    size_bytes: int = 0
    sha256: str = ""

    def __post_init__(self) -> None:
        _check_name(self.name)
        for name in ("title", "license", "moeseg_version"):
            _require(bool(getattr(self, name).strip()), name, "is empty")
        _require(self.method == METHOD, "method", f"is {self.method!r}; this version knows {METHOD!r}")
        _require(bool(_SHA256.fullmatch(self.base.sha256)), "base.sha256", "must be 64 hexadecimal digits")
        _check_sizes(self.sizes)
        unknown = [kind for kind in self.prompts if kind not in PROMPT_KINDS]
        _require(not unknown, "prompts", f"holds {unknown[:1]}; known are {', '.join(PROMPT_KINDS)}")
        _require(bool(self.prompts), "prompts", "is empty; name the kinds it was trained for")
        for number, data in enumerate(self.training):
            _require(data.cases > 0, f"training[{number}].cases", "must be 1 or more")
        for number, result in enumerate(self.measured):
            _check_measurement(result, f"measured[{number}]")
        _require(_is_date(self.created), "created", f"is {self.created!r}; a date YYYY-MM-DD was expected")
        _require(self.size_bytes >= 0, "size_bytes", "is negative")
        _require(not self.sha256 or bool(_SHA256.fullmatch(self.sha256)), "sha256", "must be 64 hexadecimal digits")

    @property
    def size_text(self) -> str:
        return f"{self.size_bytes / 1e6:.1f} MB"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return to_plain(self)

    def to_json(self) -> str:
        """Text that :func:`parse_card` reads."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"


def parse_card(text: str, source: str) -> ExpertCard:
    """Read and check a card.

    Args:
        text: JSON.
        source: name of the file, for messages.

    Raises:
        WeightsError: naming the file, the field and what is wrong, or the version of MoESeg to get.
    """
    try:
        data = parse_json(text)
        version = data.get("format_version") if isinstance(data, dict) else None
        if type(version) is int and version > FORMAT_VERSION:
            raise WeightsError(
                f"{source} is of format {version}, made by MoESeg {data.get('moeseg_version')}; this MoESeg "
                f"({__version__}) reads formats up to {FORMAT_VERSION}. Update MoESeg."
            )
        card = from_plain(ExpertCard, data)
        _require(card.format_version == FORMAT_VERSION, "format_version", f"must be {FORMAT_VERSION}")
        _require(card.size_bytes > 0 and bool(card.sha256), "sha256", "and size_bytes must say which tensors they are")
    except FieldError as error:
        raise WeightsError(f"The expert card in {source} is wrong: {error}. Get the file again.") from error
    return card


def codes_of(structure: Structure) -> dict[str, str]:
    """SNOMED CT values of a known structure by part, without those it lacks."""
    parts = ("category", "type", "modifier", "region", "region_modifier")
    return {part: value for part, value in zip(parts, structure.codes, strict=True) if value}


def _check_name(name: str) -> None:
    _require(
        bool(_NAME.fullmatch(name)),
        "name",
        f"is {name!r}; up to 48 lower-case letters, digits and hyphens were expected",
    )
    _require(name not in RESERVED_NAMES, "name", f"{name!r} is reserved; choose another, such as {name}-expert")


def _check_sizes(sizes: PackSizes) -> None:
    for name, largest in _LARGEST.items():
        _require(1 <= getattr(sizes, name) <= largest, f"sizes.{name}", f"must be 1 to {largest}")
    for name, largest in _LARGEST_OR_NONE.items():
        _require(0 <= getattr(sizes, name) <= largest, f"sizes.{name}", f"must be 0 to {largest}")
    _require(sizes.width % 16 == 0, "sizes.width", "must be a multiple of 16")
    _require(sizes.gate in ("full", "released"), "sizes.gate", f'is {sizes.gate!r}; "full" or "released" was expected')


def _check_measurement(result: Measurement, where: str) -> None:
    _require(0 <= result.dice <= 1, f"{where}.dice", "must be 0 to 1")
    _require(result.base_dice is None or 0 <= result.base_dice <= 1, f"{where}.base_dice", "must be 0 to 1")
    _require(result.cases > 0, f"{where}.cases", "must be 1 or more")
    _require(bool(result.command.strip()), f"{where}.command", "is empty; say what makes the number again")


def _require(holds: bool, name: str, why: str) -> None:
    if not holds:
        raise FieldError(f"{name} {why}")


def _is_date(text: str) -> bool:
    try:
        return datetime.date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
