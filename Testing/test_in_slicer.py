"""The checks for the Slicer application: their runner, and what of them can be made without the application."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import in_slicer
import pytest
from in_slicer_checks import report
from in_slicer_checks.runner import FAIL, NOT_HERE, PASS, SKIP, Check, Checks, Result, Skipped, require, run
from in_slicer_checks.usage import members_used, signals_used, widgets_of

ROOT = Path(__file__).resolve().parents[1]
UI_FILE = ROOT / "MoESeg" / "Resources" / "UI" / "MoESeg.ui"
PANEL = ROOT / "MoESeg" / "MoESegPanel"


class PlainSite:
    """No application; what slots raised is given by a test."""

    is_application = False

    def __init__(self) -> None:
        self.raised: list[str] = []

    def take_errors(self) -> list[str]:
        errors, self.raised = self.raised, []
        return errors


def made(function: Any, application: bool = False) -> Result:
    return run([Check("Area", "It holds", function, application)], PlainSite(), say=lambda line: None)[0]


def test_a_check_passes_with_what_it_measured():
    result = made(lambda site: "3 voxels")
    assert (result.outcome, result.detail, result.number) == (PASS, "3 voxels", 1)
    assert result.line == "PASS  1 It holds: 3 voxels"


def test_a_check_that_does_not_hold_fails_with_its_reason():
    result = made(lambda site: require(False, "the button is up"))
    assert (result.outcome, result.detail) == (FAIL, "the button is up")


def test_a_broken_check_fails_and_the_next_one_is_made():
    def broken(site: Any) -> None:
        raise KeyError("gone")

    results = run([Check("A", "x", broken), Check("A", "y", lambda site: None)], PlainSite(), say=lambda line: None)
    assert [result.outcome for result in results] == [FAIL, PASS]
    assert "KeyError" in results[0].detail and "broken" in results[0].detail


def test_a_check_may_be_skipped_with_a_reason():
    def skipped(site: Any) -> None:
        raise Skipped("torch is not installed")

    assert (made(skipped).outcome, made(skipped).detail) == (SKIP, "torch is not installed")


def test_a_check_for_the_application_is_not_made_elsewhere():
    result = made(lambda site: require(False, "it was made"), application=True)
    assert (result.outcome, result.detail) == (SKIP, NOT_HERE)


def test_what_a_slot_raised_meanwhile_fails_the_check():
    def silent(site: PlainSite) -> None:
        site.raised.append("TypeError: in a slot")

    assert (made(silent).outcome, made(silent).detail) == (FAIL, "raised meanwhile: TypeError: in a slot")


def test_checks_are_made_in_the_order_they_are_written():
    checks = Checks("Area")
    checks.check("first")(lambda site: None)
    checks.check("second", application=True)(lambda site: None)
    assert [(item.title, item.application) for item in checks.all] == [("first", False), ("second", True)]


def test_the_report_is_written_as_text_and_json(tmp_path: Path):
    results = [Result(1, "A", "x", PASS, "", 0.1), Result(2, "B", "y", FAIL, "why"), Result(3, "B", "z", SKIP, "later")]
    text, data = report.write(tmp_path / "new" / "report", results, {"slicer": "5.13"})
    written = text.read_text(encoding="utf-8")
    assert "slicer: 5.13" in written and "FAIL  2 y: why" in written
    assert "1 passed, 1 failed, 1 skipped" in written
    loaded = json.loads(data.read_text(encoding="utf-8"))
    assert [(item["number"], item["outcome"]) for item in loaded["results"]] == [(1, PASS), (2, FAIL), (3, SKIP)]


@pytest.mark.parametrize(
    ("outcomes", "status"), [([PASS, SKIP], 0), ([PASS, FAIL], 1), ([SKIP, SKIP], 1), ([], 1)], ids=str
)
def test_the_status_is_zero_only_when_something_passed_and_nothing_failed(outcomes: list[str], status: int):
    assert report.status([Result(1, "A", "x", outcome) for outcome in outcomes]) == status


@pytest.mark.parametrize("arguments", [["--", "/tmp/r"], ["--no-splash", "--", "/tmp/r"], ["/tmp/r"]], ids=str)
def test_the_report_goes_where_the_command_says(arguments: list[str]):
    assert in_slicer.report_path(arguments) == Path("/tmp/r").resolve()


def test_the_report_goes_to_the_working_folder_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert in_slicer.report_path([]) == tmp_path.resolve() / "moeseg-in-slicer"


def test_what_the_panel_uses_is_read_from_its_source():
    widgets = widgets_of(UI_FILE)
    assert widgets["segmentsTable"] == "qMRMLSegmentsTableView"
    used = members_used(PANEL, widgets)
    assert {("segmentsTable", "selectedSegmentIDs"), ("segmentsTable", "segmentationNode")} <= used
    assert {("segmentEditor", "saveStateForUndo"), ("segmentEditor", "setupViewObservations")} <= used
    signals = signals_used(PANEL, widgets)
    assert ("volumeSelector", "currentNodeChanged(vtkMRMLNode*)") in signals
    assert ("alternativesList", "itemClicked(QListWidgetItem*)") in signals


def test_the_script_is_plain_ascii_as_slicer_reads_it_in_the_locale_of_the_system():
    assert (ROOT / "Testing" / "in_slicer.py").read_bytes().isascii()


@pytest.fixture
def harness_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The panel on the harness, as the checks want it."""
    pytest.importorskip("slicer", reason="slicer-core is not installed")
    pytest.importorskip("PySide6", reason="PySide6 is not installed")
    monkeypatch.syspath_prepend(ROOT / "Testing" / "panel")
    from in_slicer_harness import make_site
    from panel_harness import Harness

    harness = Harness.start()
    harness.reset()
    site = make_site(harness, tmp_path)
    yield site
    site.close()
    harness.reset()


def test_every_check_passes_on_the_harness_or_says_that_it_needs_the_application(harness_site: Any):
    from in_slicer_checks import every

    results = run(every.ALL, harness_site)
    assert [result.line for result in results if result.outcome == FAIL] == []
    assert sum(result.outcome == PASS for result in results) > 40
    skipped = {result.title for result in results if result.detail == NOT_HERE}
    assert skipped == {item.title for item in every.ALL if item.application}


def one_check(title: str, site: Any) -> Result:
    from in_slicer_checks import every

    chosen = [check for check in every.ALL if check.title == title]
    assert len(chosen) == 1
    return run(chosen, site, say=lambda line: None)[0]


def test_shortcuts_that_stay_are_noticed(harness_site: Any):
    harness_site.panel.shortcuts.remove = lambda: None
    result = one_check("Opening the module makes its shortcuts, leaving deletes them", harness_site)
    assert result.outcome == FAIL and "left behind" in result.detail


def test_an_undo_that_does_nothing_is_noticed(harness_site: Any, monkeypatch: pytest.MonkeyPatch):
    from MoESegLib.mrml.writer import SegmentWriter

    monkeypatch.setattr(SegmentWriter, "undo", lambda self: False)
    result = one_check("Prompts and brush strokes share the editor's undo stack", harness_site)
    assert (result.outcome, result.detail) == (FAIL, "undo 1 brings back something else")


def test_an_attribute_that_a_control_lacks_is_noticed(harness_site: Any, monkeypatch: pytest.MonkeyPatch):
    from in_slicer_checks import module_checks

    monkeypatch.setattr(module_checks, "members_used", lambda sources, widgets: {("runButton", "noSuchMember")})
    result = one_check("The real controls have every attribute that the panel uses", harness_site)
    assert (result.outcome, result.detail) == (FAIL, "missing: runButton.noSuchMember")


def test_the_script_fails_without_slicer_and_says_so(tmp_path: Path):
    (tmp_path / "slicer.py").write_text("raise ImportError('no Slicer here')\n", encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    script = ROOT / "Testing" / "in_slicer.py"
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode != 0 and "no Slicer here" in done.stderr
