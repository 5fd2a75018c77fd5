"""Expert cards: what a pack of experts is, for which base, what it was taught with and how well it does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .. import __version__
from ..core.strict_json import to_plain
from ..core.structures import Structure, find_structure
from . import card_rules
from .card_rules import RESERVED_NAMES, BaseModel, Measurement, require

FORMAT_VERSION = 2
"""Since 2 a pack can hold parts for phrases, for automatic use and for its scope; no pack of 1 was ever released."""
METHOD = "segmote-asymmetric"
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
        card_rules.check_name(self.name, RESERVED_NAMES, "expert")
        card_rules.check_texts(self, "title", "license")
        _check_sizes(self.sizes)
        card_rules.check_prompts(self.prompts)
        for number, data in enumerate(self.training):
            require(data.cases > 0, f"training[{number}].cases", "must be 1 or more")
        card_rules.check_measured(self.measured)
        card_rules.check_seal(self, METHOD)

    @property
    def size_text(self) -> str:
        return f"{self.size_bytes / 1e6:.1f} MB"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return to_plain(self)

    def to_json(self) -> str:
        """Text that :func:`parse_card` reads."""
        return card_rules.as_json(self)


def parse_card(text: str, source: str) -> ExpertCard:
    """Read and check a card.

    Args:
        text: JSON.
        source: name of the file, for messages.

    Raises:
        WeightsError: naming the file, the field and what is wrong, or the version of MoESeg to get.
    """
    return card_rules.parse_card(text, source, ExpertCard)


def codes_of(structure: Structure) -> dict[str, str]:
    """SNOMED CT values of a known structure by part, without those it lacks."""
    parts = ("category", "type", "modifier", "region", "region_modifier")
    return {part: value for part, value in zip(parts, structure.codes, strict=True) if value}


def _check_sizes(sizes: PackSizes) -> None:
    for name, largest in _LARGEST.items():
        require(1 <= getattr(sizes, name) <= largest, f"sizes.{name}", f"must be 1 to {largest}")
    for name, largest in _LARGEST_OR_NONE.items():
        require(0 <= getattr(sizes, name) <= largest, f"sizes.{name}", f"must be 0 to {largest}")
    require(sizes.width % 16 == 0, "sizes.width", "must be a multiple of 16")
    require(sizes.gate in ("full", "released"), "sizes.gate", f'is {sizes.gate!r}; "full" or "released" was expected')
