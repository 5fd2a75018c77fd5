"""The gates on this machine: those that ship with MoESeg, and the user's own, in ``gates`` beside the specialists."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from . import specialist_store
from .card_rules import unsealed
from .sealed_file import is_of_kind
from .sealed_store import Installed, SealedStore
from .specialist_card import SpecialistCard
from .specialist_gate import GATE, GateCard, read_gate, write_gate

if TYPE_CHECKING:
    from ..models.sam_med3d_moe.gate import Gate

InstalledGate = Installed[GateCard]
"""A gate on this machine."""
_FOLDER = "gates"


def gates_home() -> Path:
    """The folder of the user's own gates."""
    return specialist_store.specialists_home() / _FOLDER


def _shipped() -> Path | None:
    folder = specialist_store.shipped_folder()
    return None if folder is None else folder / _FOLDER


_STORE = SealedStore(GATE, GateCard, "gate", gates_home, _shipped)


def list_gates(base_sha256: str | None = None) -> list[InstalledGate]:
    """All gates by name, damaged ones included. The user's own goes before a shipped one of the same name.

    Args:
        base_sha256: only those for these weights (damaged ones are left out then).
    """
    return _STORE.listed(base_sha256)


def gate_for(base_sha256: str) -> InstalledGate | None:
    """The gate that is used with these weights: the user's own before a shipped one, then the newest; None if none."""

    def rank(item: InstalledGate) -> tuple[bool, str, int]:
        assert item.card is not None  # list_gates leaves damaged ones out
        return not item.shipped, item.card.created, item.path.stat().st_mtime_ns

    return max(list_gates(base_sha256), key=rank, default=None)


def find_gate(name: str) -> InstalledGate:
    """One gate.

    Raises:
        UnknownModelError: there is none of that name; the message lists those there are.
    """
    return _STORE.find(name)


def install_gate(gate: Gate, card: GateCard, replace: bool = False) -> GateCard:
    """Put a gate that was taught among the user's own; returns its card as written.

    Args:
        replace: overwrite the user's gate of that name.

    Raises:
        WeightsError: the name is taken, or as :func:`~.specialist_gate.write_gate`.
        OutputError: it cannot be written; nothing was.
    """
    return write_gate(_STORE.free_path(card.name, replace), gate, card)


def import_gate(file: Path, name: str | None = None, replace: bool = False) -> GateCard:
    """Copy a gate from a file to the user's own, after every check.

    Args:
        name: to have it under another name than its own.
        replace: overwrite the user's gate of that name.

    Raises:
        WeightsError: the file is no whole gate, or the name is taken.
        OutputError: it cannot be written; nothing was.
    """
    card, gate = read_gate(file)
    return install_gate(gate, unsealed(card) if name is None else unsealed(card, name=name), replace)


def import_specialist_or_gate(file: Path, name: str | None = None, replace: bool = False) -> SpecialistCard | GateCard:
    """Copy whichever of the two a file says it is to the user's own, after every check; returns its card.

    Args:
        name, replace: as in :func:`import_gate`.

    Raises:
        WeightsError: the file is neither, or not whole, or the name is taken.
        OutputError: it cannot be written; nothing was.
    """
    if is_of_kind(file, GATE):
        return import_gate(file, name, replace)
    return specialist_store.import_specialist(file, name, replace)


def remove_gate(name: str) -> int:
    """Delete one of the user's gates; returns the bytes freed.

    Raises:
        UnknownModelError: no such gate.
        WeightsError: it ships with MoESeg, or cannot be deleted.
    """
    return _STORE.remove(name)
