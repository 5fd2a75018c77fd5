"""The training loop: epochs, held-out measurement, early stopping, checkpoints. Only the pack's parameters change."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..core.cancel import CancelToken
from ..core.errors import Cancelled
from ..engines.slice_engine import SliceEngine
from ..models.segmote.asymmetric import AsymmetricSegMoTE, ExpertPack
from .batches import epoch_order, load_batch
from .checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from .embeddings import EmbeddingStore
from .engine import network_of
from .fused_norm import use_fused_norms
from .held_out import HeldOut, measure, summarize
from .losses import LossWeights
from .progress import TeachProgress
from .samples import Probe, Sample
from .step import train_step
from .world import World

_WARM_UP_STEPS = 5
_SAVE_SECONDS = 30.0
"""Time between checkpoints within an epoch; writing one (17 MB) took 0.03 s."""


@dataclass(frozen=True)
class Plan:
    """How long and how fast to learn.

    Attributes:
        epochs: until then; the same seed gives the same pack, however often the run is killed and resumed.
        minutes: until then, encoding and measuring included; how many steps that is depends on the machine.
        batch: images a step, of all processes together. In a minute on one CPU core, one image a step learned far more
            than four: 46 steps of one gave a click Dice of 0.64, 16 steps of four in three minutes 0.00.
        least_steps, most_steps: of an epoch; few samples are seen several times in it, of many only a part, so that the
            held-out measurement is neither rare nor most of the work.
        patience: epochs without a better held-out score after which it stops.
    """

    epochs: int | None = None
    minutes: float | None = None
    seed: int = 0
    batch: int = 1
    least_steps: int = 25
    most_steps: int = 200
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    patience: int = 10
    weights: LossWeights = LossWeights()


@dataclass(frozen=True)
class Epoch:
    """One line of the learning curve; epoch 0 is the untrained pack.

    Attributes:
        loss: mean training loss, None before the first epoch.
        seconds: since the start, over all runs.
    """

    epoch: int
    steps: int
    seconds: float
    loss: float | None
    held_out: HeldOut


@dataclass
class Progress:
    """Where a run is; plain data, kept in the checkpoint."""

    epoch: int = 1
    step: int = 0
    steps: int = 0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)

    def curve(self) -> list[Epoch]:
        """The history as it is reported."""
        return [Epoch(**{**entry, "held_out": HeldOut(**entry["held_out"])}) for entry in self.history]


class Loop:
    """One run, which :meth:`run` starts or goes on with.

    Args:
        engine: a teaching engine with the pack attached.
        phrases: embedding of the name of each structure that has one.
        base: what the model without experts reached, for reports.
        identity: hash of what is learned from; together with the plan it tells this run's checkpoint from another's.
        checkpoint: the file that is replaced every half minute and after every epoch.
        started: ``time.monotonic()`` when the user's time began to count.
    """

    def __init__(
        self,
        engine: SliceEngine,
        pack: ExpertPack,
        samples: Sequence[Sample],
        probes: Sequence[Probe],
        store: EmbeddingStore,
        phrases: Mapping[str, NDArray[np.float32]],
        base: HeldOut,
        plan: Plan,
        identity: str,
        checkpoint: Path,
        world: World,
        started: float,
    ) -> None:
        self.engine, self.pack, self.samples, self.probes, self.store = engine, pack, samples, probes, store
        self.phrases, self.base, self.plan, self.checkpoint, self.world = phrases, base, plan, checkpoint, world
        self.identity = hashlib.sha256(f"{identity}|{plan!r}|{world.size}".encode()).hexdigest()
        self.network: AsymmetricSegMoTE = network_of(engine)
        self.optimizer = torch.optim.AdamW(pack.parameters(), plan.learning_rate, weight_decay=plan.weight_decay)
        self.best: dict[str, Tensor] = {}
        self.at = Progress()
        self._started = started
        self._saved = time.monotonic()
        self._measuring = 0.0

    def run(self, progress: TeachProgress, cancel: CancelToken) -> list[Epoch]:
        """Learn until the plan ends; the pack then holds the best epoch.

        Raises:
            Cancelled: ``cancel`` was set; the same call goes on from there.
            OutputError: a checkpoint cannot be written; the last one stays.
        """
        base = base_digest(self.network)
        self._resume()
        use_fused_norms(self.pack)
        try:
            if not self.at.history:
                self._measure(0, None, cancel)
                self._report(progress)
            while not self._is_over():
                self._epoch(progress, cancel)
                self._measure(self.at.epoch, sum(self.at.losses) / max(1, len(self.at.losses)), cancel)
                self.at.epoch, self.at.step, self.at.losses = self.at.epoch + 1, 0, []
                self._save()
                self._report(progress)
        except Cancelled:
            self._save()
            raise
        if base_digest(self.network) != base:
            raise RuntimeError("Training changed the base model; this must never happen. The pack was not kept.")
        self.pack.load_state_dict(self.best)
        use_fused_norms(self.pack.eval(), fused=False)
        return self.at.curve()

    def _epoch(self, progress: TeachProgress, cancel: CancelToken) -> None:
        order = epoch_order(self.samples, self.plan.batch, self._steps(), self.plan.seed, self.at.epoch)
        self.pack.train()
        while self.at.step < len(order) and not self._time_is_up():
            self._agreed_cancel(cancel)
            self._step(order[self.at.step], len(order))
            self.at.step += 1
            self.at.steps += 1
            if self.world.is_first:
                progress(self._fraction(len(order)), f"epoch {self.at.epoch}, step {self.at.step}", {})
            if self.world.agree(time.monotonic() - self._saved > _SAVE_SECONDS):
                self._save()

    def _steps(self) -> int:
        """Of an epoch."""
        all_once = -(-len(self.samples) // self.plan.batch)
        return min(max(all_once, self.plan.least_steps), self.plan.most_steps)

    def _step(self, indices: tuple[int, ...], steps: int) -> None:
        self._set_rate(steps)
        mine = self.world.share(indices)
        self.optimizer.zero_grad()
        loss = 0.0
        if mine:
            batch = load_batch(self.samples, mine, self.store, self.world.device, self.phrases)
            # The gate's noise is the only thing drawn by PyTorch: its seed is the step, not what ran before.
            with torch.random.fork_rng():
                torch.manual_seed(hash((self.plan.seed, self.at.steps, self.world.rank)) & 0x7FFFFFFF)
                loss = train_step(self.network, self.pack, batch, self.plan.weights, self.plan.seed, self.at.epoch)
        self.world.mean_gradients(self.pack.parameters(), len(mine))
        nn.utils.clip_grad_norm_(self.pack.parameters(), 1.0)
        self.optimizer.step()
        self.at.losses += self.world.gather([loss] if mine else [])

    def _measure(self, epoch: int, loss: float | None, cancel: CancelToken) -> None:
        """Add a line to the curve; keep the pack when it is the best.

        What is measured and kept is the pack in half precision, as its file holds it: 2 MB less to download, and the
        numbers are those of the file.
        """
        began = time.monotonic()
        self.pack.eval()
        exact = {name: value.detach().clone() for name, value in self.pack.state_dict().items()}
        rounded = {name: value.half().float() for name, value in exact.items()}
        self.pack.load_state_dict(rounded)
        scores = measure(self.engine, self.world.share(self.probes), self.store, cancel)
        self.pack.load_state_dict(exact)
        held_out = summarize(self.world.gather(scores))
        self._measuring = time.monotonic() - began
        if not self.best or held_out.score > max(entry.held_out.score for entry in self.at.curve()):
            self.best = {name: value.cpu() for name, value in rounded.items()}
        seconds = round(self._elapsed(), 1)
        line = {"epoch": epoch, "steps": self.at.steps, "seconds": seconds, "loss": loss, "held_out": vars(held_out)}
        self.at.history.append(line)

    def _is_over(self) -> bool:
        scores = [entry.held_out.score for entry in self.at.curve()]
        stale = len(scores) - 1 - scores.index(max(scores)) >= self.plan.patience
        finished = self.plan.epochs is not None and self.at.epoch > self.plan.epochs
        return stale or finished or self._time_is_up()

    def _time_is_up(self) -> bool:
        """Whether the minutes are over, less what the measurement at the end takes."""
        if self.plan.minutes is None:
            return False
        return self.world.agree(self._elapsed() + self._measuring > 60 * self.plan.minutes)

    def _elapsed(self) -> float:
        return self.at.seconds + time.monotonic() - self._started

    def _fraction(self, steps: int) -> float:
        """The part of the plan that is done."""
        done = 0.0
        if self.plan.epochs is not None:
            done = (self.at.epoch - 1 + self.at.step / steps) / self.plan.epochs
        if self.plan.minutes is not None:
            done = max(done, self._elapsed() / (60 * self.plan.minutes))
        return min(1.0, done)

    def _set_rate(self, steps: int) -> None:
        """A short warm-up, then a half cosine down to a hundredth."""
        cosine = 0.505 + 0.495 * math.cos(math.pi * self.world.agree(self._fraction(steps)))
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.learning_rate * cosine * min(1.0, (self.at.steps + 1) / _WARM_UP_STEPS)

    def _agreed_cancel(self, cancel: CancelToken) -> None:
        if self.world.agree(cancel.cancelled):
            raise Cancelled("Cancelled. The same command goes on where this one stopped.")

    def _report(self, progress: TeachProgress) -> None:
        if not self.world.is_first:
            return
        last = self.at.curve()[-1]
        metrics = {"epoch": float(last.epoch), "box": last.held_out.box, "click": last.held_out.click}
        metrics |= {"base_box": self.base.box, "base_click": self.base.click}
        if last.held_out.automatic is not None:
            metrics["automatic"] = last.held_out.automatic
        if last.loss is not None:
            metrics["loss"] = last.loss
        message = f"epoch {last.epoch}: box {last.held_out.box:.3f}, one click {last.held_out.click:.3f}"
        progress(self._fraction(1), message, metrics)

    def _save(self) -> None:
        self._saved = time.monotonic()
        if not self.world.is_first:
            return
        plain = {**vars(self.at), "seconds": self._elapsed()}
        state = self.optimizer.state_dict()["state"]
        write_checkpoint(self.checkpoint, Checkpoint(self.identity, self.pack.state_dict(), self.best, state, plain))

    def _resume(self) -> None:
        found = read_checkpoint(self.checkpoint, self.identity)
        if found is None:
            return
        self.pack.load_state_dict(dict(found.pack))
        self.best = dict(found.best)
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": dict(found.optimizer), "param_groups": groups})
        self.at = Progress(**found.progress)


def base_digest(network: nn.Module) -> str:
    """Hash of every parameter and buffer that is not a pack's."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in network.state_dict().items():
        if not name.startswith("packs."):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
