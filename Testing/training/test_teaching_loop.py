"""The training loop: it learns, changes the pack alone, and goes on after any interruption as if there was none."""

from __future__ import annotations

import dataclasses
import errno
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_teaching import PLAN, ball_cases, teach_tiny, tiny_engine

from MoESegLib.core.cancel import CancelToken
from MoESegLib.core.errors import Cancelled, OutputError, TrainingError
from MoESegLib.training import checkpoint
from MoESegLib.training.engine import network_of
from MoESegLib.training.loop import base_digest
from MoESegLib.training.teach import teach

SCRIPT = Path(__file__).with_name("tiny_run.py")


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def same(first: dict, second: dict) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def test_an_expert_learns_and_the_base_stays_as_it_was(tmp_path: Path) -> None:
    engine, told = tiny_engine(), []
    before = base_digest(network_of(engine))
    written = []
    result = teach_tiny(
        tmp_path, 10, engine=engine, progress=lambda *args: told.append(args), output=lambda r: written.append(r)
    )
    assert base_digest(network_of(engine)) == before
    assert written == [result]
    assert result.classes == ("ball",)
    assert result.held_out.click > 0.6 > result.history[0].held_out.click
    assert result.held_out.box > result.history[0].held_out.box
    assert result.held_out.score == max(epoch.held_out.score for epoch in result.history)
    assert [epoch.epoch for epoch in result.history] == list(range(11))
    assert set(result.held_out_cases).isdisjoint(result.train_cases)
    fractions = [fraction for fraction, _, _ in told]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert {"epoch", "box", "click", "base_box", "base_click", "loss"} == set(told[-1][2])
    assert not list(tmp_path.glob("*.run.safetensors"))


def test_the_same_seed_gives_the_same_pack_and_another_seed_another(tmp_path: Path) -> None:
    first = teach_tiny(tmp_path, 2).pack.state_dict()
    torch.rand(5)  # whatever else draws random numbers does not matter
    assert same(first, teach_tiny(tmp_path / "fresh", 2).pack.state_dict())
    assert not same(first, teach_tiny(tmp_path, 2, seed=1).pack.state_dict())


def test_a_cancelled_run_goes_on_to_the_result_of_an_undisturbed_one(tmp_path: Path) -> None:
    expected = teach_tiny(tmp_path / "undisturbed", 3)
    for stop_after in (3, 5, 5):
        cancel, seen = CancelToken(), []

        def stop(fraction, message, metrics, cancel=cancel, seen=seen, stop_after=stop_after) -> None:
            seen.append(message)
            if sum("step" in message or "epoch" in message for message in seen) >= stop_after:
                cancel.cancel()

        with pytest.raises(Cancelled, match="goes on"):
            teach_tiny(tmp_path / "stopped", 3, progress=stop, cancel=cancel)
    engine = tiny_engine()
    found = teach_tiny(tmp_path / "stopped", 3, engine=engine)
    assert engine.model.encoder.calls == 0
    assert same(found.pack.state_dict(), expected.pack.state_dict())
    assert [epoch.held_out for epoch in found.history] == [epoch.held_out for epoch in expected.history]


def test_killed_at_random_moments_it_ends_as_an_undisturbed_run(tmp_path: Path) -> None:
    moments = random.Random(4)
    command = [sys.executable, str(SCRIPT), str(tmp_path / "killed"), str(tmp_path / "killed.st"), "4", "0.0"]
    for _ in range(2):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for _ in range(moments.randint(14, 19)):
            process.stdout.readline()
        time.sleep(moments.random() * 0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        assert not (tmp_path / "killed.st.0").exists()
    steps: list[str] = []
    found = teach_tiny(tmp_path / "killed", 4, progress=lambda fraction, message, metrics: steps.append(message))
    expected = teach_tiny(tmp_path / "free", 4)
    assert same(found.pack.state_dict(), expected.pack.state_dict())
    assert [epoch.held_out for epoch in found.history] == [epoch.held_out for epoch in expected.history]
    assert 0 < sum("step" in message for message in steps) < found.history[-1].steps


def test_two_processes_teach_one_pack(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(SCRIPT)]
    words = [str(tmp_path / "cache"), str(tmp_path / "done.st"), "6", "30"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, *words], check=True, env=environment, stdout=subprocess.DEVNULL, timeout=120)
    first, second = (load_file(tmp_path / f"done.st.{rank}") for rank in (0, 1))
    assert same(first, second)
    assert max(first[f"curve/{epoch}"].mean() for epoch in range(1, 7)) > first["curve/0"].mean() + 0.2


def test_the_checkpoint_of_another_run_is_not_gone_on_from(tmp_path: Path) -> None:
    cancel = CancelToken()
    with pytest.raises(Cancelled):
        teach_tiny(tmp_path, 3, cancel=cancel, progress=lambda f, message, m: "step" in message and cancel.cancel())
    assert list(tmp_path.glob("*.run.safetensors"))
    other = teach_tiny(tmp_path, 2, cases=ball_cases(4))
    assert same(other.pack.state_dict(), teach_tiny(tmp_path / "fresh", 2, cases=ball_cases(4)).pack.state_dict())


def test_a_full_disk_keeps_the_last_checkpoint_and_the_run_goes_on_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, saved = checkpoint.save_file, []

    def full_after_two(*args) -> None:
        if len(saved) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        saved.append(write(*args))

    monkeypatch.setattr(checkpoint, "save_file", full_after_two)
    with pytest.raises(OutputError, match="no space is left"):
        teach_tiny(tmp_path / "full", 4)
    (kept,) = tmp_path.glob("full/*.run.safetensors")
    assert [path.name for path in kept.parent.iterdir() if path.is_file()] == [kept.name]  # no part of another file
    monkeypatch.undo()
    found = teach_tiny(tmp_path / "full", 4)
    assert same(found.pack.state_dict(), teach_tiny(tmp_path / "free", 4).pack.state_dict())


def test_time_that_went_into_encoding_is_said_and_no_untaught_expert_comes_out(tmp_path: Path) -> None:
    written = []
    with pytest.raises(TrainingError, match="before anything was learned.*more minutes"):
        teach_tiny(tmp_path, None, minutes=1e-6, output=written.append)
    assert written == []


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / "ball.run.safetensors").write_bytes(b"half a file")
    with pytest.raises(TrainingError, match=r"ball\.run\.safetensors is not a whole checkpoint"):
        teach_tiny(tmp_path, 1)


def test_teaching_goes_on_from_another_pack(tmp_path: Path) -> None:
    first = teach_tiny(tmp_path, 2)
    again = teach_tiny(tmp_path, 1, start_from=first.pack)
    assert again.history[0].held_out == first.held_out
    assert same(first.pack.state_dict(), teach_tiny(tmp_path, 2).pack.state_dict())


def test_it_stops_early_when_nothing_gets_better(tmp_path: Path) -> None:
    still = dataclasses.replace(PLAN, learning_rate=0.0, patience=2)
    assert [epoch.epoch for epoch in teach_tiny(tmp_path, 9, plan=still).history] == [0, 1, 2]


def test_the_minutes_are_kept(tmp_path: Path) -> None:
    started = time.monotonic()
    result = teach_tiny(tmp_path, 10_000, minutes=0.15, plan=dataclasses.replace(PLAN, patience=10_000))
    assert 6 < time.monotonic() - started < 60
    assert result.history[-1].steps > 0


@pytest.mark.parametrize("name", ["", "base", "Liver", "a.b", "a b"])
def test_a_name_that_cannot_be_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="name of an expert"):
        teach(ball_cases(), name, engine=tiny_engine(), cache=tmp_path)


def test_no_time_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="needs some time"):
        teach_tiny(tmp_path, 0)


def test_a_class_that_no_case_holds_is_refused(tmp_path: Path) -> None:
    cases = [dataclasses.replace(case, wanted=frozenset({"liver"})) for case in ball_cases()]
    with pytest.raises(TrainingError, match="holds a structure"):
        teach_tiny(tmp_path, 1, cases=cases)
