"""SAM-Med3D-MoE in the panel: offered with its base, its reasons on the answer card, all masks to look at."""

from __future__ import annotations

import numpy as np
from panel_helpers import OpenPanel

from MoESegLib import Session
from MoESegLib.engines import load_engine
from MoESegLib.mrml.volumes import volume_from_node


def expected(panel: OpenPanel, expert: str | None) -> np.ndarray:
    """What the library gives without a panel."""
    session = Session(volume_from_node(panel.volume), load_engine("sam-med3d-moe"))
    for prompt in panel.prompts("target"):
        session.add(prompt)
    session.choose_expert(panel.segment("target"), expert)
    return session.mask(panel.segment("target"))


def test_the_answer_card_says_who_answered_and_all_masks_can_be_looked_at(open_moe) -> None:
    panel = open_moe()
    models = panel.ui.modelSelector
    assert "SAM-Med3D (the best one here)" in [models.itemText(number) for number in range(models.count)]
    text = panel.ui.answerLabel.text
    for part in (
        "<b>SAM-Med3D-MoE</b>, expert <b>base + cord</b> (gate 88 %)",
        "The specialist cord answers together with the general model: the gate gives cord 88 % (threshold tau 65 %).",
        "overlap with a Dice of",
        "The general model is SAM-Med3D (first release).",
    ):
        assert part in text
    fused = panel.mask("target")
    assert fused.any() and np.array_equal(fused, expected(panel, None))
    listing = panel.ui.alternativesList
    assert [listing.item(n).text() for n in range(listing.count)] == ["base", "cord (gate 88 %)"]
    for name in ("base", "cord"):
        listing = panel.ui.alternativesList
        [item] = [listing.item(n) for n in range(listing.count) if listing.item(n).text().split(" (")[0] == name]
        listing.itemClicked(item)
        panel.settle()
        assert "The answer was chosen by hand." in panel.ui.answerLabel.text
        assert np.array_equal(panel.mask("target"), expected(panel, name))
        assert panel.tag("target", "MoESeg.Expert") == name
    for _ in range(2):
        panel.harness.click(panel.ui.undoButton)
        panel.settle()
    assert np.array_equal(panel.mask("target"), fused)


def test_a_specialist_can_be_asked_where_the_gate_asks_nobody(open_moe) -> None:
    panel = open_moe(gate=False)
    assert "No gate has been taught for cord" in panel.ui.answerLabel.text
    general = panel.mask("target")
    panel.harness.choose(panel.ui.expertSelector, "cord")
    panel.settle()
    assert panel.tag("target", "MoESeg.Expert") == "cord"
    assert not np.array_equal(panel.mask("target"), general)
    assert "The answer was chosen by hand." in panel.ui.answerLabel.text
