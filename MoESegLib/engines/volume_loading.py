"""Loads 3D models: SAM-Med3D alone, and with the gate and the specialists that fit its weights; MAST-Pro."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import UnknownModelError, WeightsError
from ..experts.gate_store import InstalledGate, gate_for, list_gates
from ..experts.sealed_file import SUFFIX
from ..experts.specialist_file import read_specialist_card
from ..experts.specialist_gate import load_mixture, specialist_from
from ..experts.specialist_store import find_specialist, list_specialists
from ..weights.safe_load import load_into, load_state_dict
from ..weights.store import sha256_of
from .cache import content_key
from .expert_gate import Traits
from .volume_engine import VolumeEngine

if TYPE_CHECKING:
    import torch

    from ..experts.specialist_card import SpecialistCard
    from ..models.sam_med3d import SamMed3D
    from ..models.sam_med3d_moe.mixture import SamMed3DMoE
    from ..weights.cards import ModelCard
    from .mast_pro import MastProEngine


@dataclass(frozen=True)
class Weights:
    """The weights of a base: their card, their file, and the SHA-256 of that."""

    card: ModelCard
    path: Path
    sha256: str


@dataclass(frozen=True)
class MixtureOptions:
    """What is chosen when a mixture is loaded.

    Attributes:
        experts: names of installed specialists, or files; None for all that fit.
        tau, fusion: instead of those that the gate was taught with.
    """

    experts: Sequence[str | Path] | None = None
    tau: float | None = None
    fusion: str | None = None


def load_sam_med3d(weights: Weights, device: torch.device, strict: bool) -> VolumeEngine:
    """SAM-Med3D of any size.

    Raises:
        WeightsError: the weights are those of something else.
    """
    from .sam_med3d import SamMed3DModel

    notes, network = _demonstration(weights), _network(weights)
    model = SamMed3DModel(weights.card.name, network, weights.sha256, device, exact=strict, notes=notes)
    return VolumeEngine(model, strict_upstream=strict)


def load_sam_med3d_moe(
    name: str, weights: Weights, device: torch.device, strict: bool, options: MixtureOptions
) -> VolumeEngine:
    """The base with the gate and the specialists on this machine that fit it; without any, the base alone.

    Raises:
        UnknownModelError: no specialist of a name that was asked for.
        PromptError: tau is not from 0 to 1, or the fusion is not known.
        WeightsError: a file is damaged, for another base, or not the specialist that the gate was taught.
    """
    from ..models.sam_med3d_moe.fusion import check_fusion
    from .sam_med3d_moe import SamMed3DMoEModel

    network, gate = _network(weights), gate_for(weights.sha256)
    paths = _specialists(weights.sha256, options.experts)
    mixture = _mixture(network, weights.sha256, gate, paths)
    mixture.tau = mixture.tau if options.tau is None else options.tau
    mixture.fusion = mixture.fusion if options.fusion is None else check_fusion(options.fusion)
    cards = [read_specialist_card(path) for path in paths]
    model = SamMed3DMoEModel(
        name,
        network,
        mixture,
        weights.sha256,
        _id_of(gate, cards),
        device,
        taught=gate is not None,
        traits={card.name: Traits(frozenset(card.prompts), tuple(one.name for one in card.classes)) for card in cards},
        exact=strict,
        notes=_notes(weights, mixture, gate),
    )
    return VolumeEngine(model, strict_upstream=strict)


def load_mast_pro(weights: Weights, device: torch.device, experts: Sequence[str | Path] | None) -> MastProEngine:
    """MAST-Pro with the tumors that the user taught it.

    Args:
        experts: ids of taught tumors, or their files; None for all of this base on this machine.

    Raises:
        UnknownModelError: no tumor of an id was taught to this base.
        WeightsError: a file is damaged, or for another base.
        ResourceError: MONAI is not installed.
    """
    from ..models.mast_pro import base_sha256, read_base, read_delta
    from .mast_pro import MastProEngine
    from .taught_tumors import taught_files
    from .tumor_book import tumor_book
    from .tumor_notes import doubt_of

    network, details = read_base(weights.path)
    here = taught_files(base_sha256(network))
    files = list(here.values()) if experts is None else [_taught_file(expert, here) for expert in experts]
    in_slices = list(details.get("in_slices", ()))
    for path in files:
        tumor, more = read_delta(path, network)
        in_slices += [tumor] if more.get("in_slices") else []
    ids = [weights.sha256, *(sha256_of(path) for path in files)]
    network, notes = network.eval().to(device), _demonstration(weights)
    return MastProEngine(
        network,
        content_key(*ids),
        tumor_book(),
        taught=details.get("taught"),
        in_slices=in_slices,
        doubt=doubt_of(details),
        notes=notes,
    )


def _taught_file(expert: str | Path, here: Mapping[str, Path]) -> Path:
    if isinstance(expert, Path) or expert.endswith(SUFFIX):
        return Path(expert)
    if expert not in here:
        raise UnknownModelError(
            f"No tumor {expert!r} was taught to this base on this machine; there are: {', '.join(here) or 'none'}."
        )
    return here[expert]


def _network(weights: Weights) -> SamMed3D:
    from ..models.sam_med3d import SamMed3D, config_of

    state = load_state_dict(weights.path)
    network = SamMed3D(config_of(state)).eval()
    load_into(network, state, f"the weights of {weights.card.name}")
    return network


def _specialists(base_sha256: str, experts: Sequence[str | Path] | None) -> list[Path]:
    """The files to load."""
    if experts is None:
        return [item.path for item in list_specialists(base_sha256)]
    return [expert if isinstance(expert, Path) else _file_of(expert) for expert in experts]


def _file_of(expert: str) -> Path:
    if expert.endswith(SUFFIX):
        return Path(expert)
    item = find_specialist(expert)
    if item.problem:
        raise WeightsError(item.problem)
    return item.path


def _mixture(network: SamMed3D, base_sha256: str, gate: InstalledGate | None, paths: list[Path]) -> SamMed3DMoE:
    from ..models.sam_med3d_moe.mixture import SamMed3DMoE

    if gate is not None:
        return load_mixture(network, base_sha256, gate.path, paths)
    return SamMed3DMoE(network, [specialist_from(path, network, base_sha256) for path in paths])


def _id_of(gate: InstalledGate | None, cards: list[SpecialistCard]) -> str:
    taught = "" if gate is None or gate.card is None else gate.card.sha256
    return content_key(taught, *sorted(f"{card.name} {card.sha256}" for card in cards))


def _demonstration(weights: Weights) -> tuple[str, ...]:
    """What is said with every answer of weights that are part of MoESeg: they are small, and taught on little."""
    return (weights.card.notes,) if weights.card.provider["kind"] == "shipped" else ()


def _notes(weights: Weights, mixture: SamMed3DMoE, gate: InstalledGate | None) -> tuple[str, ...]:
    """Which base answers, and why some or all specialists do not."""
    notes = [f"The general model is {weights.card.title}.", *_demonstration(weights)]
    here, taught = set(mixture.specialists), set(mixture.gate.experts if gate is not None else ())
    if not here:
        notes.append("No specialist has been taught for it on this machine, so it answers alone.")
    elif gate is None:
        notes.append(f"No gate has been taught for {_names(here)}: they answer only when chosen by hand.")
    else:
        if absent := taught - here:
            notes.append(f"The gate was taught with {_names(absent)}, too, which this machine does not have.")
        if new := here - taught:
            notes.append(f"The gate was not taught with {_names(new)}: asked only by hand. Teach the gate again.")
    damaged = [item for item in (*list_gates(), *list_specialists()) if item.problem]
    return (*notes, *(f"{item.name} was left out: {item.problem}" for item in damaged))


def _names(names: set[str]) -> str:
    return ", ".join(sorted(names))
