"""Puts installed expert packs on a base network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import WeightsError
from ..experts.card import ExpertCard
from ..experts.pack_file import form_of, read_pack
from ..experts.store import InstalledPack, find_pack, list_packs
from ..weights.safe_load import load_into
from .cache import content_key

if TYPE_CHECKING:
    from torch import Tensor

    from ..models.segmote.asymmetric import AsymmetricSegMoTE

_Pack = tuple[ExpertCard, dict[str, "Tensor"]]


@dataclass(frozen=True)
class LoadedPacks:
    """What was put on a network.

    Attributes:
        cards: of the packs, in the order of their names.
        notes: which packs were left out, and why.
    """

    cards: tuple[ExpertCard, ...]
    notes: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """Hash of the packs, for cache keys; their order does not matter, their names do."""
        return content_key(*[part for card in self.cards for part in (card.name, card.sha256)])


def load_packs(
    network: AsymmetricSegMoTE, base_name: str, base_sha256: str, experts: Sequence[str | Path] | None
) -> LoadedPacks:
    """Attach packs to a network on their base.

    Args:
        base_name, base_sha256: of the base whose weights the network has.
        experts: names of installed packs, or files that need not be installed; None for all installed packs that are
            switched on, where a damaged one is left out with a note.

    Raises:
        UnknownModelError: no pack of a name that was asked for.
        WeightsError: a pack that was asked for is damaged, for another base, or asked for twice.
    """
    notes: list[str] = []
    packs = (
        _switched_on(base_name, base_sha256, notes)
        if experts is None
        else [read_pack(_path_of(expert), base_sha256) for expert in experts]
    )
    packs.sort(key=lambda pack: pack[0].name)
    for card, state in packs:
        if card.name in network.packs:
            raise WeightsError(f"The expert {card.name} was asked for twice. Name each expert once.")
        _attach(network, card, state)
    return LoadedPacks(tuple(card for card, _ in packs), tuple(notes))


def _switched_on(base_name: str, base_sha256: str, notes: list[str]) -> list[_Pack]:
    packs = []
    for pack in list_packs():
        if not pack.enabled or (pack.card is not None and pack.card.base.name != base_name):
            continue
        try:
            packs.append(_checked(pack, base_sha256))
        except WeightsError as error:
            notes.append(f"The expert {pack.name} was left out: {error}")
    return packs


def _checked(pack: InstalledPack, base_sha256: str) -> _Pack:
    if pack.problem:
        raise WeightsError(pack.problem)
    return read_pack(pack.path, base_sha256)


def _path_of(expert: str | Path) -> Path:
    if isinstance(expert, Path):
        return expert
    pack = find_pack(expert)
    if pack.problem:
        raise WeightsError(pack.problem)
    return pack.path


def _attach(network: AsymmetricSegMoTE, card: ExpertCard, state: dict[str, Tensor]) -> None:
    pack = network.add_pack(card.name, **form_of(card.sizes))
    try:
        load_into(pack, state, f"the experts of {card.name}")
    except WeightsError:
        del network.packs[card.name]
        raise
