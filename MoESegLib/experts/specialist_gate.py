"""A gate as a file, and the mixture put together: base, gate, threshold and the specialists that it was taught."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from .. import __version__
from ..core.errors import WeightsError
from ..models.sam_med3d_moe.fusion import FUSIONS
from ..models.sam_med3d_moe.selector import WEIGHINGS, Weighing
from ..weights.safe_load import load_into
from .card_rules import BaseModel, as_json, check_seal, require
from .sealed_file import Kind, check_base, read_card, read_sealed, write_sealed
from .specialist_card import FORMAT_VERSION, METHOD, SpecialistCard, check_name
from .specialist_file import read_specialist, read_specialist_card
from .specialist_store import list_specialists

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..models.sam_med3d_moe.gate import Gate
    from ..models.sam_med3d_moe.mixture import SamMed3DMoE
    from ..models.sam_med3d_moe.shelf import Specialist

GATE = Kind("a gate", "moeseg_gate_card", 32_000_000)
_WIDEST = 4096


@dataclass(frozen=True)
class GateExpert:
    """A specialist that a gate was taught, and the SHA-256 in its card."""

    name: str
    sha256: str


@dataclass(frozen=True)
class GateCard:
    """One gate.

    Attributes:
        base: the model whose embeddings it reads.
        experts: in the order of its rows.
        weighing, tau, fusion: as they were when tau was chosen.
        width: of the embeddings, C; hidden: its inner width.
        created: date, YYYY-MM-DD.
        size_bytes, sha256: as in :class:`~.specialist_card.SpecialistCard`.

    Raises:
        FieldError: a value makes no sense; the message names the field.
    """

    name: str
    description: str
    base: BaseModel
    experts: tuple[GateExpert, ...]
    weighing: str
    tau: float
    fusion: str
    width: int
    hidden: int
    created: str
    moeseg_version: str = __version__
    method: str = METHOD
    format_version: int = FORMAT_VERSION
    size_bytes: int = 0
    sha256: str = ""

    def __post_init__(self) -> None:
        check_name(self.name)
        for expert in self.experts:
            check_name(expert.name)
        require(bool(self.experts), "experts", "is empty")
        require(len({expert.name for expert in self.experts}) == len(self.experts), "experts", "names one twice")
        require(self.weighing in WEIGHINGS, "weighing", f"is {self.weighing!r}; known are {', '.join(WEIGHINGS)}")
        require(0 <= self.tau <= 1, "tau", f"is {self.tau}; a number from 0 to 1 was expected")
        require(self.fusion in FUSIONS, "fusion", f"is {self.fusion!r}; known are {', '.join(FUSIONS)}")
        for field in ("width", "hidden"):
            require(1 <= getattr(self, field) <= _WIDEST, field, f"must be 1 to {_WIDEST}")
        check_seal(self, METHOD)

    def sha256_of(self, specialist: str) -> str | None:
        """SHA-256 in the card of the specialist of that name that it was taught; None if it was taught none."""
        return next((expert.sha256 for expert in self.experts if expert.name == specialist), None)

    def to_json(self) -> str:
        """Text that :func:`~.sealed_file.read_card` reads."""
        return as_json(self)


def write_gate(path: Path, gate: Gate, card: GateCard) -> GateCard:
    """Write a gate and its card, whole or not at all; returns the card as written.

    Raises:
        WeightsError: the gate is not what the card says, or holds values that are not finite.
        OutputError: the folder is missing, not writable or full; nothing was written.
    """
    names = tuple(expert.name for expert in card.experts)
    found = (gate.experts, gate.weighing, gate.hidden.in_features, gate.hidden.out_features)
    if found != (names, card.weighing, 3 * card.width, card.hidden):
        raise WeightsError(f"The gate {card.name} has {found}, which is not what its card says. Correct the card.")
    return write_sealed(path, gate.state_dict(), card, GATE)


def read_gate(path: Path, base_sha256: str | None = None) -> tuple[GateCard, Gate]:
    """A gate in eval mode, after every check.

    Args:
        base_sha256: of the weights that it must fit, or None for any.

    Raises:
        WeightsError: missing, truncated, changed, made by a newer MoESeg, for another base, or with tensors that are
            not those of its card; the message says which.
    """
    from ..models.sam_med3d_moe.gate import Gate

    card, state = read_sealed(path, GATE, GateCard, base_sha256)
    names = [expert.name for expert in card.experts]
    gate = Gate(card.width, names, card.hidden, weighing=cast(Weighing, card.weighing))
    load_into(gate, state, f"the gate {card.name} in {path.name}")
    return card, gate.eval()


def read_gate_card(path: Path) -> GateCard:
    """The card inside a file of a gate; reads the header only, and needs no torch.

    Raises:
        WeightsError: as :func:`read_gate`, as far as the header shows it.
    """
    return read_card(path, GATE, GateCard)


def load_mixture(
    base: nn.Module, base_sha256: str, gate_file: Path, files: Iterable[Path] | None = None
) -> SamMed3DMoE:
    """A base with a taught gate and the specialists that are here; those are read when they are first asked.

    A specialist that the gate was taught and that is not here is never chosen; one that is here and that the gate was
    not taught can be asked by name only.

    Args:
        base: with its weights loaded.
        base_sha256: of the file of these weights.
        files: of specialists; by default those on this machine that are for this base.

    Raises:
        WeightsError: a file is damaged or for another base, or a specialist is not the one the gate was taught.
    """
    from ..models.sam_med3d_moe.mixture import SamMed3DMoE

    card, gate = read_gate(gate_file, base_sha256)
    if files is None:
        files = [item.path for item in list_specialists(base_sha256)]
    cards = {path: read_specialist_card(path) for path in files}
    for path, found in cards.items():
        _check_taught(found, card, path)
    specialists = [specialist_from(path, base, base_sha256) for path in cards]
    return SamMed3DMoE(base, specialists, gate, card.tau, card.fusion)


def specialist_from(path: Path, base: nn.Module, base_sha256: str) -> Specialist:
    """A specialist that is read from its file when it is first asked.

    Raises:
        WeightsError: the file is for another base, or its header is damaged. What else is wrong with it shows when it
            is first asked.
    """
    from ..models.sam_med3d_moe.shelf import Specialist

    card = read_specialist_card(path)
    check_base(card, base_sha256, path.name)
    return Specialist(card.name, partial(_tensors_of, path, base_sha256, cast("nn.Module", base.mask_decoder)))


def _tensors_of(path: Path, base_sha256: str, decoder: nn.Module) -> dict[str, Tensor]:
    return read_specialist(path, base_sha256, decoder)[1]


def _check_taught(found: SpecialistCard, gate: GateCard, path: Path) -> None:
    """Refuse a specialist of the name of another one that the gate was taught."""
    taught = gate.sha256_of(found.name)
    if taught not in (None, found.sha256):
        raise WeightsError(
            f"The specialist {found.name} ({path.name}) has SHA-256 {found.sha256[:12]}..., but the gate {gate.name} "
            f"was taught with {taught[:12]}... Teach the gate again, or get that specialist."
        )
