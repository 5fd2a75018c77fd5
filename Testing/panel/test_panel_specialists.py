"""The list of experts with SAM-Med3D-MoE: what specialists and gates are, import, removal, and what then answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from moe_tools import card_for, gate_for, specialist_state, tiny_base
from panel_helpers import OpenPanel

from MoESegLib.cli import main
from MoESegLib.experts.card_rules import BaseModel, Measurement
from MoESegLib.experts.gate_store import list_gates
from MoESegLib.experts.specialist_card import SpecialistCard
from MoESegLib.experts.specialist_file import write_specialist
from MoESegLib.experts.specialist_gate import write_gate
from MoESegLib.experts.specialist_store import find_specialist, install_specialist, list_specialists


@pytest.fixture
def open_list(open_moe: Callable[..., OpenPanel]) -> Callable[..., OpenPanel]:
    """Opens the panel with one answer and an open list of experts."""

    def make(**options: Any) -> OpenPanel:
        panel = open_moe(**options)
        panel.ui.expertsSection.collapsed = False
        panel.harness.pump()
        return panel

    return make


def texts(panel: OpenPanel) -> list[str]:
    return [panel.ui.expertsList.item(row).text() for row in range(panel.ui.expertsList.count)]


def row_of(panel: OpenPanel, name: str) -> int:
    return next(row for row, text in enumerate(texts(panel)) if text.startswith(f"{name} (yours)"))


def tip_of(panel: OpenPanel, name: str) -> str:
    return panel.ui.expertsList.item(row_of(panel, name)).toolTip()


def bring(panel: OpenPanel, path: Path) -> str:
    """Import a file; what the panel says."""
    panel.harness.dialogs.answer("getOpenFileName", str(path))
    panel.harness.click(panel.ui.importExpertButton)
    return panel.ui.statusLabel.text


def take_away(panel: OpenPanel, name: str, agree: bool = True) -> None:
    panel.harness.select_row(panel.ui.expertsList, row_of(panel, name))
    panel.harness.dialogs.answer("confirmOkCancelDisplay", agree)
    panel.harness.click(panel.ui.removeExpertButton)
    panel.settle()


def kinds(panel: OpenPanel) -> list[str]:
    """Of the windows that the user saw."""
    return [shown.kind for shown in panel.harness.dialogs.shown]


def card_of(name: str) -> SpecialistCard:
    card = find_specialist(name).card
    assert card is not None
    return card


def base_of_cord() -> BaseModel:
    return card_of("cord").base


def friend(folder: Path, name: str, **changes: Any) -> Path:
    """A specialist from elsewhere, for the base of "cord"."""
    path = folder / f"from-a-friend-{name}.safetensors"
    card = card_for(name, title="Left hip", base=base_of_cord(), **changes)
    write_specialist(path, specialist_state(tiny_base(), 7), card)
    return path


def test_the_list_says_what_specialists_and_gates_are_and_packs_are_listed_with_other_models(open_list) -> None:
    panel = open_list()
    assert [text for text in texts(panel) if "(yours)" in text] == ["cord (yours): Spinal cord", "spine (yours): gate"]
    for part in (
        "Clicks on the spinal cord",
        "Structures: spinal cord",
        "Images: CT",
        "Prompts: point",
        "Measured (Dice): nothing yet",
        "License: CC BY 4.0",
        "Fits: SAM-Med3D (first release)",
        "The gate spine was taught with it",
    ):
        assert part in tip_of(panel, "cord")
    for part in ("Chooses among: cord", "Threshold (tau): 65 %", "Fits: SAM-Med3D (first release)"):
        assert part in tip_of(panel, "spine")
    import qt

    listing = panel.ui.expertsList
    assert [listing.item(row).data(qt.Qt.CheckStateRole) for row in range(listing.count)] == [None] * listing.count
    assert "SAM-Med3D-MoE" in listing.toolTip
    panel.harness.choose(panel.ui.modelSelector, "LiteMedSAM")
    assert not any(text.startswith("cord") for text in texts(panel))
    assert any(text.startswith("click: ") for text in texts(panel))
    assert "SegMoTE-lite" in listing.toolTip


def test_an_imported_specialist_answers_by_hand_until_its_gate_comes(open_list, tmp_path: Path) -> None:
    panel = open_list()
    fused = panel.mask("target")
    measured = (Measurement("three patients", "clicks:1", 0.81, 0.64, 3, "moeseg evaluate"),)
    assert "hip is installed." in bring(panel, friend(tmp_path, "hip", measured=measured))
    panel.settle()
    assert texts(panel)[row_of(panel, "hip")] == "hip (yours): Left hip, only by hand"
    for part in ("No gate was taught with it", "clicks:1 0.81 (without it 0.64)"):
        assert part in tip_of(panel, "hip")
    assert np.array_equal(panel.mask("target"), fused)
    panel.harness.choose(panel.ui.expertSelector, "hip")
    panel.settle()
    assert panel.tag("target", "MoESeg.Expert") == "hip"
    both = gate_for(card_of("cord"), card_of("hip"), name="both", created="2027-01-01")
    write_gate(tmp_path / "both.safetensors", *both)
    assert "both is installed." in bring(panel, tmp_path / "both.safetensors")
    assert texts(panel)[row_of(panel, "hip")] == "hip (yours): Left hip"
    assert texts(panel)[row_of(panel, "spine")] == "spine (yours): gate, not used"
    panel.settle()
    assert kinds(panel) == ["getOpenFileName"] * 2


@pytest.mark.parametrize("damage", ["cut off", "no specialist", "taken"])
def test_a_bad_file_is_refused_with_the_words_of_the_command_line(
    damage: str, open_list, tmp_path: Path, capsys
) -> None:
    panel = open_list()
    path = friend(tmp_path, "cord" if damage == "taken" else "hip")
    if damage == "cut off":
        path.write_bytes(path.read_bytes()[:-100])
    if damage == "no specialist":
        path.write_bytes(b"something else altogether")
    before = texts(panel)
    said = bring(panel, path)
    assert main(["specialists", "import", str(path)]) == 2
    assert said and capsys.readouterr().err.strip() == f"moeseg: {said}"
    assert texts(panel) == before
    assert kinds(panel) == ["getOpenFileName"]


def test_a_removed_specialist_answers_no_more_and_prompts_stay(open_list) -> None:
    panel = open_list()
    assert "Select an expert first" in panel.ui.removeExpertButton.toolTip
    take_away(panel, "cord", agree=False)
    assert find_specialist("cord").name == "cord"
    take_away(panel, "cord")
    assert [item.name for item in list_specialists() if not item.shipped] == []
    assert not any(text.startswith("cord") for text in texts(panel))
    assert len(panel.prompts("target")) == 1
    assert panel.workbench.session.engine.experts == ("base",)
    take_away(panel, "spine")
    assert [item.name for item in list_gates() if not item.shipped] == []
    assert [shown.text for shown in panel.harness.dialogs.shown] == [
        "Delete the specialist cord from this computer?",
        "Delete the specialist cord from this computer?",
        "Delete the gate spine from this computer? Specialists without a gate answer only by hand.",
    ]


def test_one_for_another_base_and_a_damaged_one_are_listed_as_such(open_moe, home: Path) -> None:
    panel = open_moe()
    install_specialist(specialist_state(tiny_base(), 3), card_for("elsewhere"))  # for sam-med3d-turbo
    path = find_specialist("elsewhere").path
    (path.parent / "broken.safetensors").write_bytes(path.read_bytes()[:60])
    panel.ui.expertsSection.collapsed = False
    panel.harness.pump()
    assert texts(panel)[row_of(panel, "elsewhere")].startswith("elsewhere (yours): Spinal cord, for SAM-Med3D")
    assert "broken: cannot be used" in texts(panel)
    tip = panel.ui.expertsList.item(texts(panel).index("broken: cannot be used")).toolTip()
    assert "not a whole specialist" in tip


def test_a_specialist_that_keeps_the_model_from_loading_is_named_and_removing_it_helps(open_list) -> None:
    """The gate was taught with another one of that name."""
    panel = open_list()
    install_specialist(specialist_state(tiny_base(), 9), card_for(base=base_of_cord()), replace=True)
    panel.loaded.widget.panel.reload_experts()
    panel.settle()
    assert "cannot be loaded" in panel.workbench.why_not()
    panel.loaded.widget.panel.refresh()
    assert texts(panel)[row_of(panel, "cord")] == "cord (yours): Spinal cord, only by hand"
    assert "was taught with another cord, so the model cannot be loaded" in tip_of(panel, "cord")
    take_away(panel, "cord")
    assert panel.workbench.why_not() == ""
