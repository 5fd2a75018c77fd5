"""Where specialists lie on this machine: those that ship with MoESeg, and the user's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import OutputError, UnknownModelError, WeightsError
from ..resources import resource_path
from ..weights import models_home
from .specialist_card import SpecialistCard, unsealed
from .specialist_file import read_specialist, read_specialist_card, write_specialist
from .specialist_sealed import SUFFIX

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class InstalledSpecialist:
    """A specialist on this machine.

    Attributes:
        name: also the name of its file.
        card: None when it cannot be read.
        shipped: came with MoESeg, and cannot be removed.
        problem: why it cannot be used, "" if it can; the tensors are looked at when it is first asked.
    """

    name: str
    path: Path
    card: SpecialistCard | None
    shipped: bool
    problem: str = ""


def specialists_home() -> Path:
    """The folder of the user's own specialists."""
    return models_home() / "specialists"


def shipped_folder() -> Path | None:
    """The folder of the specialists that came with MoESeg, None if none did."""
    try:
        return resource_path("Specialists")
    except FileNotFoundError:
        return None


def list_specialists(base_sha256: str | None = None) -> list[InstalledSpecialist]:
    """All specialists by name, damaged ones included. The user's own goes before a shipped one of the same name.

    Args:
        base_sha256: only those for these weights (damaged ones are left out then).
    """
    shipped = shipped_folder()
    found = {path.stem: (path, True) for path in (shipped.glob(f"*{SUFFIX}") if shipped is not None else ())}
    found |= {path.stem: (path, False) for path in specialists_home().glob(f"[!.]*{SUFFIX}")}
    everyone = [_look_at(name, *found[name]) for name in sorted(found)]
    if base_sha256 is None:
        return everyone
    return [item for item in everyone if item.card is not None and item.card.base.sha256 == base_sha256]


def find_specialist(name: str) -> InstalledSpecialist:
    """One specialist.

    Raises:
        UnknownModelError: there is none of that name; the message lists those there are.
    """
    everyone = {item.name: item for item in list_specialists()}
    if name not in everyone:
        known = f"Known specialists: {', '.join(everyone)}." if everyone else "None is installed yet."
        raise UnknownModelError(f"There is no specialist {name!r}. {known}")
    return everyone[name]


def install_specialist(decoder: Mapping[str, Tensor], card: SpecialistCard, replace: bool = False) -> SpecialistCard:
    """Put a mask decoder that was taught or cut out among the user's own; returns its card as written.

    Args:
        replace: overwrite the user's specialist of that name.

    Raises:
        WeightsError: the name is taken, or as :func:`~.specialist_file.write_specialist`.
        OutputError: it cannot be written; nothing was.
    """
    return write_specialist(_free_path(card.name, replace), decoder, card)


def import_specialist(file: Path, name: str | None = None, replace: bool = False) -> SpecialistCard:
    """Copy a specialist from a file to the user's own, after every check that needs no base.

    Args:
        name: to have it under another name than its own.
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
    item = find_specialist(name)
    if item.shipped:
        raise WeightsError(f"The specialist {name} ships with MoESeg and cannot be removed.")
    try:
        freed = item.path.stat().st_size
        item.path.unlink()
    except OSError as error:
        raise WeightsError(f"The specialist {name} cannot be deleted: {error}.") from error
    return freed


def _look_at(name: str, path: Path, shipped: bool) -> InstalledSpecialist:
    try:
        card = read_specialist_card(path)
    except WeightsError as error:
        return InstalledSpecialist(name, path, None, shipped, str(error))
    if card.name != name:
        problem = f"{path} holds the specialist {card.name}; rename the file to {card.name}{SUFFIX}."
        return InstalledSpecialist(name, path, None, shipped, problem)
    return InstalledSpecialist(name, path, card, shipped)


def _free_path(name: str, replace: bool) -> Path:
    """Where a new specialist of the user goes."""
    path = specialists_home() / f"{name}{SUFFIX}"
    shipped = shipped_folder()
    if shipped is not None and (shipped / path.name).exists():
        raise WeightsError(f"A specialist {name} ships with MoESeg. Give yours another name.")
    if path.exists() and not replace:
        raise WeightsError(f"There is a specialist {name} already. Choose another name, or replace it.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"The folder {path.parent} cannot be made ({error.strerror}). Set MOESEG_HOME to another folder."
        ) from error
    return path
