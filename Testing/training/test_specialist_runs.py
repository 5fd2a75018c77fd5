"""Runs that are killed, cancelled, or given what cannot be learned from."""

from __future__ import annotations

import itertools
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from specialist_toy import GRID, teach_toy, toy_base, toy_case, toy_cases, toy_parts

from MoESegLib.core.cancel import CancelToken
from MoESegLib.core.errors import Cancelled, TrainingError
from MoESegLib.core.results import MaskPatch
from MoESegLib.core.volume import Volume
from MoESegLib.training import gate_stage, learning, specialist, specialist_samples
from MoESegLib.training.cases import Case, Structure
from MoESegLib.training.specialist import Base3D

SCRIPT = Path(__file__).with_name("specialist_run.py")


@pytest.fixture(scope="module")
def base() -> Base3D:
    return toy_base()


@pytest.fixture(autouse=True)
def _own_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No specialist of this machine takes part, and the gate, which is not judged here, is taught briefly."""
    monkeypatch.setattr(gate_stage, "_LEAST_STEPS", 1)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """As in the process that is killed: sums of two threads differ in the last bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_killed_and_cancelled_it_ends_as_an_undisturbed_run(base: Base3D, tmp_path: Path) -> None:
    moments = random.Random(4)
    save_file(base.model.network.state_dict(), tmp_path / "base.st")
    command = [sys.executable, str(SCRIPT), *(str(tmp_path / name) for name in ("base.st", "killed", "killed.st"))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while "step" not in process.stdout.readline():
        assert process.poll() is None
    for _ in range(moments.randint(2, 6)):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not (tmp_path / "killed.st").exists()
    cancel, steps = CancelToken(), []

    def stop(fraction: float, message: str, metrics: Any) -> None:
        steps.append(message)
        if message == "epoch 2, step 3":
            cancel.cancel()

    with pytest.raises(Cancelled, match="goes on"):
        teach_toy(tmp_path / "killed", base, progress=stop, cancel=cancel)
    assert "epoch 1, step 1" not in steps
    found = teach_toy(tmp_path / "killed", base)
    expected = teach_toy(tmp_path / "free", base)
    assert same(found.decoder, expected.decoder)
    assert same(found.gate.gate.state_dict(), expected.gate.gate.state_dict())
    assert [epoch.held_out for epoch in found.history] == [epoch.held_out for epoch in expected.history]
    left = (tmp_path / "killed").glob("[!.]*.specialist.safetensors")  # a kill may leave a temporary file
    assert not list(left)


def test_a_cancelled_run_writes_nothing_but_its_checkpoint(base: Base3D, tmp_path: Path, home: Path) -> None:
    cancel, written = CancelToken(), []
    with pytest.raises(Cancelled):
        teach_toy(tmp_path, base, output=written.append, cancel=cancel, progress=lambda f, message, m: cancel.cancel())
    assert not written and not list(home.rglob("*.safetensors"))


def test_an_expert_that_learns_nothing_is_not_kept(base: Base3D, tmp_path: Path) -> None:
    plan = specialist.SpecialistPlan(batch=1, least_steps=1, most_steps=1, rate=1e-12)
    with pytest.raises(TrainingError, match="no better than the base"):
        teach_toy(tmp_path, base, 1, plan=plan, output=lambda result: pytest.fail("installed"))


def test_one_patient_is_not_enough(base: Base3D, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="1 patient: an expert is measured on patients"):
        teach_toy(tmp_path, base, cases=toy_cases("shell", 1))


@pytest.mark.parametrize("count", [0, 1])
def test_without_unrelated_cases_of_two_patients_it_is_refused(base: Base3D, tmp_path: Path, count: int) -> None:
    with pytest.raises(TrainingError, match=f"{count} unrelated case.*--unrelated"):
        teach_toy(tmp_path, base, unrelated=toy_cases("solid", count))


def test_single_slices_are_refused(base: Base3D, tmp_path: Path) -> None:
    flat = Volume(np.zeros((1, 20, 20), np.float32), GRID)
    mask = MaskPatch.of(np.ones((1, 20, 20)))
    cases = [Case(name, name, flat, (Structure("shell", mask),)) for name in ("one", "two", "three")]
    with pytest.raises(TrainingError, match="single slice; a 3D model learns from volumes"):
        teach_toy(tmp_path, base, cases=cases)


def test_dark_volumes_and_volumes_smaller_than_the_crop_are_learned_from(base: Base3D, tmp_path: Path) -> None:
    dark = [toy_case("shell", number, level=-50.0) for number in range(5)]
    small = []
    for case in toy_cases("shell", 5, seed=3):
        volume, structure = toy_parts(case)
        cut = structure.patch.extent
        window = tuple(slice(cut[2 * axis], cut[2 * axis + 1] + 1) for axis in (2, 1, 0))
        patch = MaskPatch.of(structure.patch.to_array(volume.shape)[window])
        small.append(Case(case.name, case.patient, Volume(volume.array[window], GRID), (Structure("shell", patch),)))
    found = teach_toy(tmp_path, base, 1, cases=[*dark, *small])
    assert np.isfinite(found.held_out.click) and found.samples > 4


def test_targets_that_no_3d_model_can_see_are_named(base: Base3D, tmp_path: Path) -> None:
    cases = []
    for number in range(4):
        mask = np.zeros((20, 20, 20))
        mask[10, 10, 10] = 1
        volume = toy_case("shell", number).image
        cases.append(Case(f"dot-{number}", f"dot-{number}", volume, (Structure("dot", MaskPatch.of(mask)),)))
    with pytest.raises(TrainingError, match="No held-out case holds a target"):
        teach_toy(tmp_path, base, cases=cases)


def test_a_model_of_slices_is_no_base() -> None:
    with pytest.raises(TrainingError, match="no SAM-Med3D.*--method experts"):
        specialist.base3d("lite-medsam")


@pytest.mark.parametrize("name", ["general", "Liver", "a/b"])
def test_names_that_cannot_be_files_or_classes_are_refused(base: Base3D, tmp_path: Path, name: str) -> None:
    with pytest.raises(TrainingError, match="cannot have that name"):
        teach_toy(tmp_path, base, name=name)


def test_minutes_end_the_run_and_leave_time_for_the_gate(
    base: Base3D, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(monotonic=itertools.count(0.0, 0.5).__next__)
    for module in (specialist, learning, specialist_samples):
        monkeypatch.setattr(module, "time", clock)
    told: list[str] = []
    found = teach_toy(tmp_path, base, None, minutes=1.5, progress=lambda _, message, __: told.append(message))
    assert 40 < found.history[-1].seconds < 80
    assert told[-1] == "teaching the gate"


def test_too_few_minutes_to_learn_anything_are_said(base: Base3D, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="What was encoded stays"):
        teach_toy(tmp_path, base, None, minutes=1e-6)
