"""A run of epochs that can be killed at any moment: order, rate, time limit, early stopping, checkpoints.

What is learned and how it is measured is the business of its two users, :mod:`.loop` (experts of slices) and
:mod:`.specialist_loop` (mask decoders of volumes).
"""

from __future__ import annotations

import hashlib
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from ..core.cancel import CancelToken
from ..core.errors import Cancelled
from .checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from .progress import TeachProgress
from .world import World

_WARM_UP_STEPS = 5
_SAVE_SECONDS = 30.0
"""Time between checkpoints within an epoch; writing one (17 MB) took 0.03 s."""


class Score(Protocol):
    """A held-out result: a dataclass of plain values."""

    @property
    def score(self) -> float:
        """What the best epoch is chosen by."""
        ...


Held = TypeVar("Held", bound=Score)


class Schedule(Protocol):
    """The part of a plan that says how long a run takes; ``epochs`` or ``minutes``, whichever comes first."""

    @property
    def epochs(self) -> int | None: ...
    @property
    def minutes(self) -> float | None: ...
    @property
    def batch(self) -> int: ...
    @property
    def least_steps(self) -> int: ...
    @property
    def most_steps(self) -> int: ...
    @property
    def patience(self) -> int: ...


@dataclass(frozen=True)
class Epoch(Generic[Held]):
    """One line of the learning curve; epoch 0 is what the run started from.

    Attributes:
        loss: mean training loss, None before the first epoch.
        seconds: since the start, over all runs.
    """

    epoch: int
    steps: int
    seconds: float
    loss: float | None
    held_out: Held


@dataclass
class Progress:
    """Where a run is; plain data, kept in the checkpoint."""

    epoch: int = 1
    step: int = 0
    steps: int = 0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)


class LearningLoop(ABC, Generic[Held]):
    """One run, which :meth:`run` starts or goes on with.

    Args:
        module: what learns.
        schedule: the plan; all of it is part of the run's identity.
        rate, decay: of AdamW.
        identity: hash of what is learned from; together with the plan it tells this run's checkpoint from another's.
        checkpoint: the file that is replaced every half minute and after every epoch.
        world: the processes that learn together.
        started: ``time.monotonic()`` when the user's time began to count.
        until: share of the plan's minutes after which learning ends.
    """

    held_out_type: type[Held]

    def __init__(
        self,
        module: nn.Module,
        schedule: Schedule,
        rate: float,
        decay: float,
        identity: str,
        checkpoint: Path,
        world: World,
        started: float,
        until: float = 1.0,
    ) -> None:
        self.module, self.schedule, self.rate = module, schedule, rate
        self.checkpoint, self.world, self.until = checkpoint, world, until
        self.identity = hashlib.sha256(f"{identity}|{schedule!r}|{world.size}".encode()).hexdigest()
        self.optimizer = torch.optim.AdamW(module.parameters(), rate, weight_decay=decay)
        self.best: dict[str, Tensor] = {}
        self.at = Progress()
        self._started = started
        self._saved = time.monotonic()
        self._measuring = 0.0

    @abstractmethod
    def order(self, steps: int) -> Sequence[Sequence[int]]:
        """Sample numbers of so many steps of the epoch that is to come."""

    @abstractmethod
    def learn_from(self, indices: Sequence[int]) -> list[float]:
        """Set the gradients of one step; the losses of all processes. What is drawn depends on seed and step alone."""

    @abstractmethod
    def measured(self, cancel: CancelToken) -> tuple[Held, dict[str, Tensor]]:
        """The held-out result, and the tensors that it is of."""

    @abstractmethod
    def describe(self, curve: Sequence[Epoch[Held]]) -> tuple[str, dict[str, float]]:
        """The last line of the curve in words and numbers."""

    @property
    @abstractmethod
    def sample_count(self) -> int:
        """Samples to learn from."""

    def run(self, progress: TeachProgress, cancel: CancelToken) -> list[Epoch[Held]]:
        """Learn until the plan ends; ``best`` then holds the best epoch, as its file will hold it.

        Raises:
            Cancelled: ``cancel`` was set; the same call goes on from there.
            OutputError: a checkpoint cannot be written; the last one stays.
        """
        self._resume()
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
        return self.curve()

    def curve(self) -> list[Epoch[Held]]:
        """The learning curve so far."""
        return [Epoch(**{**line, "held_out": self.held_out_type(**line["held_out"])}) for line in self.at.history]

    def _epoch(self, progress: TeachProgress, cancel: CancelToken) -> None:
        all_once = -(-self.sample_count // self.schedule.batch)
        order = self.order(min(max(all_once, self.schedule.least_steps), self.schedule.most_steps))
        self.module.train()
        while self.at.step < len(order) and not self._time_is_up():
            if self.world.agree(cancel.cancelled):
                raise Cancelled("Cancelled. The same command goes on where this one stopped.")
            self._step(order[self.at.step], len(order))
            self.at.step += 1
            self.at.steps += 1
            if self.world.is_first:
                progress(self._fraction(len(order)), f"epoch {self.at.epoch}, step {self.at.step}", {})
            if self.world.agree(time.monotonic() - self._saved > _SAVE_SECONDS):
                self._save()

    def _step(self, indices: Sequence[int], steps: int) -> None:
        self._set_rate(steps)
        self.optimizer.zero_grad()
        self.at.losses += self.learn_from(indices)
        nn.utils.clip_grad_norm_(self.module.parameters(), 1.0)
        self.optimizer.step()

    def _measure(self, epoch: int, loss: float | None, cancel: CancelToken) -> None:
        """Add a line to the curve; keep the tensors when they are the best."""
        began = time.monotonic()
        held_out, tensors = self.measured(cancel)
        self._measuring = time.monotonic() - began
        if not self.best or held_out.score > max(line.held_out.score for line in self.curve()):
            self.best = {name: value.cpu() for name, value in tensors.items()}
        seconds = round(self._elapsed(), 1)
        line = {"epoch": epoch, "steps": self.at.steps, "seconds": seconds, "loss": loss, "held_out": vars(held_out)}
        self.at.history.append(line)

    def _is_over(self) -> bool:
        scores = [line.held_out.score for line in self.curve()]
        stale = len(scores) - 1 - scores.index(max(scores)) >= self.schedule.patience
        finished = self.schedule.epochs is not None and self.at.epoch > self.schedule.epochs
        return stale or finished or self._time_is_up()

    def _time_is_up(self) -> bool:
        """Whether the minutes are over, less what the measurement at the end takes."""
        if self.schedule.minutes is None:
            return False
        return self.world.agree(self._elapsed() + self._measuring > 60 * self.schedule.minutes * self.until)

    def _elapsed(self) -> float:
        return self.at.seconds + time.monotonic() - self._started

    def _fraction(self, steps: int) -> float:
        """The part of the plan that is done."""
        done = 0.0
        if self.schedule.epochs is not None:
            done = (self.at.epoch - 1 + self.at.step / steps) / self.schedule.epochs
        if self.schedule.minutes is not None:
            done = max(done, self._elapsed() / (60 * self.schedule.minutes * self.until))
        return min(1.0, done)

    def _set_rate(self, steps: int) -> None:
        """A short warm-up, then a half cosine down to a hundredth."""
        cosine = 0.505 + 0.495 * math.cos(math.pi * self.world.agree(self._fraction(steps)))
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * cosine * min(1.0, (self.at.steps + 1) / _WARM_UP_STEPS)

    def _report(self, progress: TeachProgress) -> None:
        if not self.world.is_first:
            return
        curve = self.curve()
        last = curve[-1]
        words, metrics = self.describe(curve)
        metrics["epoch"] = float(last.epoch)
        if last.loss is not None:
            metrics["loss"] = last.loss
        progress(self._fraction(1), f"epoch {last.epoch}: {words}", metrics)

    def _save(self) -> None:
        self._saved = time.monotonic()
        if not self.world.is_first:
            return
        plain = {**vars(self.at), "seconds": self._elapsed()}
        state = self.optimizer.state_dict()["state"]
        write_checkpoint(self.checkpoint, Checkpoint(self.identity, self.module.state_dict(), self.best, state, plain))

    def _resume(self) -> None:
        found = read_checkpoint(self.checkpoint, self.identity)
        if found is None:
            return
        self.module.load_state_dict(dict(found.pack))
        self.best = dict(found.best)
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": dict(found.optimizer), "param_groups": groups})
        self.at = Progress(**found.progress)
