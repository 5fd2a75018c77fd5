"""The specialists on this machine: those that ship with MoESeg, and the user's own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..resources import resource_path
from ..weights import models_home
from .card_rules import unsealed
from .sealed_store import Installed, SealedStore
from .specialist_card import SpecialistCard
from .specialist_file import SPECIALIST, read_specialist, write_specialist

if TYPE_CHECKING:
    from torch import Tensor

InstalledSpecialist = Installed[SpecialistCard]
"""A specialist on this machine."""


def specialists_home() -> Path:
    """The folder of the user's own specialists."""
    return models_home() / "specialists"


def shipped_folder() -> Path | None:
    """The folder of the specialists that came with MoESeg, None if none did."""
    try:
        return resource_path("Specialists")
    except FileNotFoundError:
        return None


_STORE = SealedStore(SPECIALIST, SpecialistCard, "specialist", specialists_home, lambda: shipped_folder())


def list_specialists(base_sha256: str | None = None) -> list[InstalledSpecialist]:
    """All specialists by name, damaged ones included. The user's own goes before a shipped one of the same name.

    Args:
        base_sha256: only those for these weights (damaged ones are left out then).
    """
    return _STORE.listed(base_sha256)


def find_specialist(name: str) -> InstalledSpecialist:
    """One specialist.

    Raises:
        UnknownModelError: there is none of that name; the message lists those there are.
    """
    return _STORE.find(name)


def install_specialist(decoder: Mapping[str, Tensor], card: SpecialistCard, replace: bool = False) -> SpecialistCard:
    """Put a mask decoder that was taught or cut out among the user's own; returns its card as written.

    Args:
        replace: overwrite the user's specialist of that name.

    Raises:
        WeightsError: the name is taken, or as :func:`~.specialist_file.write_specialist`.
        OutputError: it cannot be written; nothing was.
    """
    return write_specialist(_STORE.free_path(card.name, replace), decoder, card)


def import_specialist(file: Path, name: str | None = None, replace: bool = False) -> SpecialistCard:
    """Copy a specialist from a file to the user's own, after every check that needs no base.

    Args:
        name: to have it under another name than its own. A gate that was taught with it then takes it for another one.
        replace: overwrite the user's specialist of that name.

    Raises:
        WeightsError: the file is no whole specialist, or the name is taken.
        OutputError: it cannot be written; nothing was.
    """
    card, decoder = read_specialist(file)
    card = unsealed(card) if name is None else unsealed(card, name=name)
    return install_specialist(decoder, card, replace)


def remove_specialist(name: str) -> int:
    """Delete one of the user's specialists; returns the bytes freed.

    Raises:
        UnknownModelError: no such specialist.
        WeightsError: it ships with MoESeg, or cannot be deleted.
    """
    return _STORE.remove(name)
