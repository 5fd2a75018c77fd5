"""Teaching all of MAST-Pro: it learns, goes on where it was killed, alone or in two processes, and is told apart."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tumor_toy import PLAN, ToySamples, toy_loop, toy_network, toy_probes

from MoESegLib.core.cancel import CancelToken
from MoESegLib.core.errors import Cancelled, TrainingError
from MoESegLib.core.tumors import TumorBook
from MoESegLib.models.mast_pro import write_base
from MoESegLib.training.progress import silent
from MoESegLib.training.tumor_loop import HeldOutTumors, measure, probes_of, summarize
from MoESegLib.training.tumor_patches import TumorData

SCRIPT = Path(__file__).parent / "tumor_run.py"


@pytest.fixture(autouse=True)
def _one_thread():
    """Faster for a network this small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def same(first: dict, second: dict) -> bool:
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


def test_it_learns_and_the_best_epoch_fits_into_its_file(tmp_path: Path) -> None:
    loop = toy_loop(tmp_path, plan=dataclasses.replace(PLAN, epochs=2, steps=20, slices=2, volumes=2, rate=5e-3))
    curve = loop.run(silent, CancelToken())
    assert max(epoch.held_out.score for epoch in curve) > curve[0].held_out.score + 0.2
    loop.network.load_state_dict(loop.best)
    write_base(tmp_path / "base.safetensors", loop.network)
    scores = measure(loop.network.eval(), loop.probes, loop.book, CancelToken())
    assert summarize(scores) == max((epoch.held_out for epoch in curve), key=lambda held_out: held_out.score)


def test_a_cancelled_run_goes_on_to_the_weights_of_an_undisturbed_one(tmp_path: Path) -> None:
    whole, seen = ToySamples(), ToySamples()
    (tmp_path / "free").mkdir()
    free = toy_loop(tmp_path / "free", data=whole)
    expected = free.run(silent, CancelToken())
    cancel = CancelToken()

    def stop(fraction: float, message: str, metrics: object) -> None:
        if "epoch 2, step 1" in message:
            cancel.cancel()

    with pytest.raises(Cancelled):
        toy_loop(tmp_path, data=seen).run(stop, cancel)
    resumed = toy_loop(tmp_path, toy_network(seed=5), data=seen)
    found = resumed.run(silent, CancelToken())
    assert same(resumed.network.state_dict(), free.network.state_dict())
    assert [epoch.held_out for epoch in found] == [epoch.held_out for epoch in expected]
    assert len(whole.drawn) == len(seen.drawn) == 2 * 3 * 2
    for first, second in zip(whole.drawn, seen.drawn, strict=True):
        np.testing.assert_array_equal(first.image, second.image)


def test_killed_at_any_moment_it_ends_as_an_undisturbed_run(tmp_path: Path) -> None:
    words = [str(tmp_path / "killed.st"), str(tmp_path / "killed"), "2", "0.0"]
    process = subprocess.Popen([sys.executable, str(SCRIPT), *words], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(5):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not (tmp_path / "killed.0").exists()
    plan = dataclasses.replace(PLAN, slices=2, volumes=2)
    (tmp_path / "free").mkdir()
    free = toy_loop(tmp_path / "free", plan=plan)
    free.run(silent, CancelToken())
    (tmp_path / "killed.st").rename(tmp_path / "run.safetensors")
    data = ToySamples()
    resumed = toy_loop(tmp_path, toy_network(seed=5), data, plan)
    resumed.run(silent, CancelToken())
    assert len(data.drawn) < 2 * 3 * 4  # it did not begin anew
    assert same(resumed.network.state_dict(), free.network.state_dict())


def test_two_processes_teach_one_network(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(SCRIPT)]
    words = [str(tmp_path / "run.st"), str(tmp_path / "done"), "2", "30"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, *words], check=True, env=environment, stdout=subprocess.DEVNULL, timeout=120)
    first, second = (load_file(tmp_path / f"done.{rank}") for rank in (0, 1))
    assert same(first, second)
    assert not same(first, toy_network().state_dict())


def test_a_network_without_a_part_learns_from_the_same_draws(tmp_path: Path) -> None:
    drawn = []
    for part in ("", "experts", "text", "anatomy"):
        (tmp_path / f"{part}.run").mkdir()
        data = ToySamples()
        network = toy_network(**({part: False} if part else {}))
        toy_loop(tmp_path / f"{part}.run", network, data).run(silent, CancelToken())
        drawn.append(data.drawn)
    for other in drawn[1:]:
        for first, second in zip(drawn[0], other, strict=True):
            assert first.tumor == second.tumor
            np.testing.assert_array_equal(first.image, second.image)


def test_only_slices_or_only_volumes_can_be_learned_from(tmp_path: Path) -> None:
    class OnlySlices(ToySamples):
        def tumors_of(self, is_slice: bool) -> tuple[str, ...]:
            return self.tumors if is_slice else ()

    data = OnlySlices()
    toy_loop(tmp_path, data=data, plan=dataclasses.replace(PLAN, epochs=1)).run(silent, CancelToken())
    assert {sample.target.shape[1] for sample in data.drawn} == {1}


def test_the_score_counts_every_type_the_same_and_patients_before_patches() -> None:
    scores = [
        ("a", {"liver_tumor real": 1.0}),
        ("a", {"liver_tumor real": 0.0}),
        ("b", {"liver_tumor real": 1.0}),
        ("a", {"absent synthetic": 0.25}),
    ]
    held_out = summarize(scores)
    assert held_out == HeldOutTumors({"absent synthetic": 0.25, "liver_tumor real": 0.75}, 4, 2)
    assert held_out.score == 0.5


def test_an_empty_answer_is_right_where_the_tumor_is_absent() -> None:
    network, book = toy_network(), TumorBook.load()
    with torch.no_grad():
        network.head[0].kernel.weight.zero_()  # type: ignore[union-attr]
        network.head[0].kernel.bias.zero_()  # type: ignore[union-attr]
        network.head[0].kernel.bias[-1] = -5  # type: ignore[union-attr,index]
    scores = measure(network, toy_probes(8), book, CancelToken())
    by_name = summarize(scores).dice
    assert by_name["absent synthetic"] == 1 and by_name["liver_tumor synthetic"] == 0


def test_without_a_lesion_nothing_can_be_measured() -> None:
    with pytest.raises(TrainingError, match="No held-out image"):
        probes_of(TumorData(()))
