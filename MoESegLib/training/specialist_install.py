"""Put a taught specialist and its gate among the user's own: both or neither."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..core.errors import MoESegError, WeightsError
from ..experts.card import ExpertClass
from ..experts.card_rules import Measurement
from ..experts.gate_store import gates_home, install_gate, list_gates
from ..experts.sealed_file import SUFFIX
from ..experts.specialist_card import SpecialistCard
from ..experts.specialist_gate import GateCard, GateExpert
from ..experts.specialist_store import install_specialist, list_specialists, specialists_home
from .card import NOT_STATED, training_data
from .cases import Case
from .gate_records import records_file, write_records
from .specialist import SpecialistResult
from .specialist_loop import MEASURED_CLICKS


def specialist_card(
    result: SpecialistResult, cases: Sequence[Case], command: str, license_name: str = NOT_STATED
) -> SpecialistCard:
    """The card of a taught specialist.

    Args:
        cases: all that :func:`~.specialist.teach_specialist` was given to learn from.
        command: what makes the numbers again.
        license_name: of the specialist.
    """
    held, general = result.held_out, result.general
    found = (("click", held.click, general.click), (f"clicks{MEASURED_CLICKS}", held.clicks, general.clicks))
    title = ", ".join(result.classes[:4]) + (" ..." if len(result.classes) > 4 else "")
    return SpecialistCard(
        name=result.name,
        title=title,
        description=f"Taught on {len(result.train_cases)} images ({result.samples} crops).",
        base=result.base,
        origin="taught",
        classes=tuple(ExpertClass.named(name) for name in result.classes),
        modalities=tuple(sorted({case.modality for case in cases if case.modality})),
        prompts=("point",),
        training=training_data([case for case in cases if case.name in set(result.train_cases)]),
        measured=tuple(
            Measurement("crops of held-out patients of the training data", prompt, dice, base, held.patients, command)
            for prompt, dice, base in found
        ),
        license=license_name,
        created=datetime.date.today().isoformat(),
    )


def check_free(name: str, gate_name: str | None, base_sha256: str, replace: bool) -> None:
    """Say before an hour of teaching what would be said after it.

    Raises:
        WeightsError: a name is taken.
    """
    taken = next((item for item in list_specialists() if item.name == name), None)
    if taken is not None and (taken.shipped or not replace):
        advice = "" if taken.shipped else ", or add --replace"
        raise WeightsError(f"There is a specialist {name} already. Choose another name{advice}.")
    gate = next((item for item in list_gates() if item.name == gate_name), None)
    if gate is not None and (gate.shipped or gate.card is None or gate.card.base.sha256 != base_sha256):
        raise WeightsError(f"There is a gate {gate_name} already, which ships or is for another base. Choose another.")


def install_taught(result: SpecialistResult, card: SpecialistCard, replace: bool = False) -> SpecialistCard:
    """Write the specialist, its gate and what the gate was taught on; returns the specialist's card as written.

    Args:
        replace: overwrite the user's specialist of that name.

    Raises:
        WeightsError: the name is taken.
        OutputError: something cannot be written; then nothing was, and earlier files are as they were.
    """
    gate_file = gates_home() / f"{result.gate_name}{SUFFIX}"
    records = records_file(result.gate_name)
    with _all_or_none([specialists_home() / f"{result.name}{SUFFIX}", gate_file, records]):
        card = install_specialist(result.decoder, card, replace)
        experts = [*result.gate.known]
        if result.name in result.gate.gate.experts:
            experts.append(GateExpert(card.name, card.sha256))
        install_gate(result.gate.gate, _gate_card(result, experts), replace=True)
        write_records(records, result.records)
    return card


def _gate_card(result: SpecialistResult, experts: Sequence[GateExpert]) -> GateCard:
    gate, choice = result.gate.gate, result.gate.tau
    judged = ", ".join(f"{row.targets} {row.home or 'unrelated'}" for row in result.gate.rows)
    return GateCard(
        name=result.gate_name,
        description=f"Asks {', '.join(gate.experts)}; tau was chosen on {judged} targets.",
        base=result.base,
        experts=tuple(experts),
        weighing=gate.weighing,
        tau=choice.tau,
        fusion="weighted",
        width=gate.hidden.in_features // 3,
        hidden=gate.hidden.out_features,
        created=datetime.date.today().isoformat(),
    )


@contextmanager
def _all_or_none(files: Sequence[Path]) -> Iterator[None]:
    """Put files back as they were when the body fails; together they have some 30 MB at most."""
    before = {path: path.read_bytes() if path.exists() else None for path in files}
    try:
        yield
    except (MoESegError, OSError):
        for path, content in before.items():
            if content is None:
                path.unlink(missing_ok=True)
            elif path.read_bytes() != content:
                path.write_bytes(content)
        raise
