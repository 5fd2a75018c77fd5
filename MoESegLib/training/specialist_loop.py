"""Stage 1 of SAM-Med3D-MoE: a copy of the base's mask decoder learns a task. Encoders and base stay as they are."""

from __future__ import annotations

import copy
import hashlib
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from ..core.cancel import CancelToken
from ..core.errors import Cancelled
from ..engines.sam_med3d import SamMed3DModel
from ..experts.specialist_file import rounded
from .checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from .embeddings import EmbeddingStore
from .held_out import mean_over_patients
from .progress import TeachProgress
from .specialist_samples import Sample3D, load_samples
from .specialist_step import dice_by_click, learn

_SAVE_SECONDS = 30.0
_WARM_UP_STEPS = 5
_RELEASED_WIDTH, _RELEASED_RATE = 384, 8e-5
"""Channels of the released decoder, and the rate it was trained with (upstream ``train.py``)."""
_TOGETHER = 4
"""Targets that are measured at once."""
MEASURED_CLICKS = 3


@dataclass(frozen=True)
class SpecialistPlan:
    """How long and how fast a specialist learns.

    Attributes:
        epochs: until then; the same seed gives the same specialist, however often the run is killed and resumed.
        minutes: until then, everything included; how many steps that is depends on the machine.
        batch: targets a step.
        clicks: most clicks on a target; every number from 1 on is drawn equally often.
        least_steps, most_steps: of an epoch.
        rate: learning rate; None takes :func:`rate_for` the width of the decoder.
        decay: AdamW's weight decay, as upstream.
        patience: epochs without a better held-out score after which it stops.
    """

    epochs: int | None = None
    minutes: float | None = None
    seed: int = 0
    batch: int = 4
    clicks: int = 5
    least_steps: int = 20
    most_steps: int = 100
    rate: float | None = None
    decay: float = 0.1
    patience: int = 8


@dataclass(frozen=True)
class HeldOut3D:
    """Dice on the crops of held-out patients, averaged over the targets of a patient and then over the patients.

    Attributes:
        click: one click.
        clicks: :data:`MEASURED_CLICKS` clicks, each after the first into the largest error.
    """

    click: float
    clicks: float
    targets: int
    patients: int

    @property
    def score(self) -> float:
        """What the best epoch is chosen by."""
        return (self.click + self.clicks) / 2


@dataclass(frozen=True)
class Epoch3D:
    """One line of the learning curve; epoch 0 is the copy of the base's decoder.

    Attributes:
        loss: mean training loss, None before the first epoch.
        seconds: since the start, over all runs.
    """

    epoch: int
    steps: int
    seconds: float
    loss: float | None
    held_out: HeldOut3D


@dataclass
class _Progress:
    """Where a run is; plain data, kept in the checkpoint."""

    epoch: int = 1
    step: int = 0
    steps: int = 0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)

    def curve(self) -> list[Epoch3D]:
        """The history as it is reported."""
        return [Epoch3D(**{**line, "held_out": HeldOut3D(**line["held_out"])}) for line in self.history]


def rate_for(width: int) -> float:
    """SAM-Med3D's own rate for its width, higher for narrower decoders: 6e-4 at 96, 1.8e-3 at 48 channels."""
    return _RELEASED_RATE * (_RELEASED_WIDTH / width) ** 1.5


def measure3d(
    model: SamMed3DModel, decoder: nn.Module, samples: Sequence[Sample3D], store: EmbeddingStore, cancel: CancelToken
) -> HeldOut3D:
    """How good a decoder is on samples.

    Raises:
        Cancelled: ``cancel`` was set.
    """
    scores = []
    for first in range(0, len(samples), _TOGETHER):
        cancel.check()
        some = samples[first : first + _TOGETHER]
        dice = dice_by_click(model, decoder, *load_samples(model, store, some), MEASURED_CLICKS)
        scores += [
            (sample.patient, {"click": float(row[0]), "clicks": float(row[-1])})
            for sample, row in zip(some, dice, strict=True)
        ]
    click, clicks = (mean_over_patients(scores, name) for name in ("click", "clicks"))
    return HeldOut3D(click, clicks, len(scores), len({sample.patient for sample in samples}))


class SpecialistLoop:
    """One run, which :meth:`run` starts or goes on with.

    Args:
        model: the base.
        samples, held_out: to learn from, and to measure on after each epoch.
        identity: hash of what is learned from; with the plan it tells this run's checkpoint from another's.
        checkpoint: the file that is replaced every half minute and after every epoch.
        started: ``time.monotonic()`` when the user's time began to count.
        until: share of the plan's minutes after which learning ends; the gate needs the rest.
    """

    def __init__(
        self,
        model: SamMed3DModel,
        samples: Sequence[Sample3D],
        held_out: Sequence[Sample3D],
        store: EmbeddingStore,
        plan: SpecialistPlan,
        identity: str,
        checkpoint: Path,
        started: float,
        until: float = 1.0,
    ) -> None:
        self.model, self.samples, self.held_out, self.store = model, samples, held_out, store
        self.plan, self.checkpoint, self.until = plan, checkpoint, until
        self.identity = hashlib.sha256(f"{identity}|{plan!r}".encode()).hexdigest()
        self.decoder = copy.deepcopy(cast(nn.Module, model.network.mask_decoder)).requires_grad_(True).train()
        self.rate = plan.rate or rate_for(model.network.config.prompt_width)
        self.optimizer = torch.optim.AdamW(self.decoder.parameters(), self.rate, weight_decay=plan.decay)
        self.best: dict[str, Tensor] = {}
        self.at = _Progress()
        self._started = started
        self._saved = time.monotonic()
        self._measuring = 0.0

    def run(self, progress: TeachProgress, cancel: CancelToken) -> list[Epoch3D]:
        """Learn until the plan ends; ``best`` then holds the best epoch, rounded as its file will be.

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
        return self.at.curve()

    def _epoch(self, progress: TeachProgress, cancel: CancelToken) -> None:
        order = self._order()
        while self.at.step < len(order) and not self._time_is_up():
            if cancel.cancelled:
                raise Cancelled("Cancelled. The same command goes on where this one stopped.")
            self._step(order[self.at.step], len(order))
            self.at.step += 1
            self.at.steps += 1
            progress(self._fraction(len(order)), f"epoch {self.at.epoch}, step {self.at.step}", {})
            if time.monotonic() - self._saved > _SAVE_SECONDS:
                self._save()

    def _order(self) -> list[list[int]]:
        """Sample numbers of every step of this epoch; none comes twice before all have come once."""
        source = np.random.default_rng((self.plan.seed, self.at.epoch))
        all_once = -(-len(self.samples) // self.plan.batch)
        steps = min(max(all_once, self.plan.least_steps), self.plan.most_steps)
        drawn: list[int] = []
        while len(drawn) < steps * self.plan.batch:
            drawn += source.permutation(len(self.samples)).tolist()
        return [drawn[step * self.plan.batch : (step + 1) * self.plan.batch] for step in range(steps)]

    def _step(self, indices: Sequence[int], steps: int) -> None:
        """All that is drawn depends on the seed and the step, not on what ran before."""
        self._set_rate(steps)
        sources = [np.random.default_rng((self.plan.seed, self.at.steps, place)) for place in range(len(indices))]
        clicks = int(sources[0].integers(1, self.plan.clicks + 1))
        image, batch = load_samples(self.model, self.store, [self.samples[index] for index in indices])
        self.optimizer.zero_grad()
        self.at.losses.append(learn(self.model, self.decoder, image, batch, clicks, sources))
        nn.utils.clip_grad_norm_(self.decoder.parameters(), 1.0)
        self.optimizer.step()

    def _measure(self, epoch: int, loss: float | None, cancel: CancelToken) -> None:
        """Add a line to the curve; keep the decoder, rounded as its file holds it, when it is the best."""
        began = time.monotonic()
        candidate = copy.deepcopy(self.decoder).eval()
        candidate.load_state_dict(rounded(self.decoder.state_dict()))
        held_out = measure3d(self.model, candidate, self.held_out, self.store, cancel)
        self._measuring = time.monotonic() - began
        if not self.best or held_out.score > max(line.held_out.score for line in self.at.curve()):
            self.best = {name: value.cpu() for name, value in candidate.state_dict().items()}
        seconds = round(self._elapsed(), 1)
        line = {"epoch": epoch, "steps": self.at.steps, "seconds": seconds, "loss": loss, "held_out": vars(held_out)}
        self.at.history.append(line)

    def _is_over(self) -> bool:
        scores = [line.held_out.score for line in self.at.curve()]
        stale = len(scores) - 1 - scores.index(max(scores)) >= self.plan.patience
        finished = self.plan.epochs is not None and self.at.epoch > self.plan.epochs
        return stale or finished or self._time_is_up()

    def _time_is_up(self) -> bool:
        if self.plan.minutes is None:
            return False
        return self._elapsed() + self._measuring > 60 * self.plan.minutes * self.until

    def _elapsed(self) -> float:
        return self.at.seconds + time.monotonic() - self._started

    def _fraction(self, steps: int) -> float:
        """The part of the plan that is done."""
        done = 0.0
        if self.plan.epochs is not None:
            done = (self.at.epoch - 1 + self.at.step / steps) / self.plan.epochs
        if self.plan.minutes is not None:
            done = max(done, self._elapsed() / (60 * self.plan.minutes * self.until))
        return min(1.0, done)

    def _set_rate(self, steps: int) -> None:
        """A short warm-up, then a half cosine down to a hundredth."""
        cosine = 0.505 + 0.495 * math.cos(math.pi * self._fraction(steps))
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * cosine * min(1.0, (self.at.steps + 1) / _WARM_UP_STEPS)

    def _report(self, progress: TeachProgress) -> None:
        first, last = self.at.curve()[0], self.at.curve()[-1]
        metrics = {"epoch": float(last.epoch), "click": last.held_out.click, "clicks": last.held_out.clicks}
        metrics |= {"base_click": first.held_out.click, "base_clicks": first.held_out.clicks}
        if last.loss is not None:
            metrics["loss"] = last.loss
        shown = f"one click {last.held_out.click:.3f}, {MEASURED_CLICKS} clicks {last.held_out.clicks:.3f}"
        progress(self._fraction(1), f"epoch {last.epoch}: {shown}", metrics)

    def _save(self) -> None:
        self._saved = time.monotonic()
        plain = {**vars(self.at), "seconds": self._elapsed()}
        state = self.optimizer.state_dict()["state"]
        write_checkpoint(self.checkpoint, Checkpoint(self.identity, self.decoder.state_dict(), self.best, state, plain))

    def _resume(self) -> None:
        found = read_checkpoint(self.checkpoint, self.identity)
        if found is None:
            return
        self.decoder.load_state_dict(dict(found.pack))
        self.best = dict(found.best)
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": dict(found.optimizer), "param_groups": groups})
        self.at = _Progress(**found.progress)
