"""Train a whole SAM-Med3D, small enough for one CPU core, on real crops and on synthetic volumes.

Every batch is drawn from (seed, step) alone, so a run that was killed and resumed gives the weights of an undisturbed
one, as long as its length is given in steps; a length in minutes depends on the machine.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..core.cancel import CancelToken
from ..core.errors import Cancelled, TrainingError
from ..core.volume import Volume
from ..models.sam_med3d import SamMed3D, SamMed3DConfig
from .augment3d import varied
from .checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from .clicks3d import depth_of, inner_voxel
from .crops3d import Target3D
from .rounds3d import Batch3D, clicked_dice, train_rounds
from .synthetic3d import synthetic_target, synthetic_targets

COMPACT = SamMed3DConfig(
    image_size=64,
    patch_size=8,
    width=192,
    depth=5,
    heads=6,
    global_blocks=(0, 1, 2, 3, 4),
    window_size=8,
    prompt_width=144,
    decoder_mlp=384,
)
"""96 mm at 1.5 mm, masks in steps of 3 mm; 8 MB in half precision."""
CLICKS = (1, 3, 5)
"""Numbers of clicks after which held-out Dice is told."""
HELD_OUT_SYNTHETIC = 24
"""Synthetic volumes that are measured on."""
_SAVE_SECONDS = 60.0
_HELD_OUT_STREAM = 1


@dataclass(frozen=True)
class BasePlan:
    """How long and how fast to learn.

    Attributes:
        steps, minutes: until either; a resumed run may be given other ones.
        batch, targets: crops a step, and questions that each of them is asked. Encoding a crop takes as long as
            six questions, and targets in one crop teach that it is the click that decides.
        synthetic: share of synthetic volumes among all; all of them where there are no real crops.
        measure_every: steps between measurements on held-out crops.
    """

    steps: int | None = None
    minutes: float | None = None
    seed: int = 0
    batch: int = 2
    targets: int = 4
    rate: float = 1e-3
    decay: float = 0.02
    warm_up: int = 200
    clip: float = 1.0
    synthetic: float = 0.5
    measure_every: int = 500

    def __post_init__(self) -> None:
        if self.steps is None and self.minutes is None:
            raise ValueError("Say how long to learn: in steps, in minutes, or both.")


@dataclass
class BaseProgress:
    """Where a run is; plain data, kept in the checkpoint.

    Attributes:
        losses: since the last measurement.
        history: one entry a measurement.
    """

    step: int = 0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class BaseData:
    """What is learned from and measured on.

    Attributes:
        train, held_out: crops of other patients each; either may be empty.
        anatomies: label maps for synthetic volumes (:func:`~.synthetic3d.anatomy_of`).
    """

    train: Sequence[Target3D] = ()
    held_out: Sequence[Target3D] = ()
    anatomies: Sequence[Volume] = ()

    def __post_init__(self) -> None:
        shared = {target.patient for target in self.train} & {target.patient for target in self.held_out}
        if shared:
            raise TrainingError(f"{sorted(shared)[0]} is both learned from and measured on. Split by patient.")


def fresh_network(config: SamMed3DConfig, seed: int) -> SamMed3D:
    """A network before training.

    SAM's initialization leaves the position embedding at zero, and its patch filters at random. Both are learned in any
    case, but in an hour on one core it counts where they begin: here at the Fourier features of the places, and with
    one filter for the mean of every cell of the mask that a patch covers.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = SamMed3D(config)
        encoder = network.image_encoder
        with torch.no_grad():
            features = network.prompt_encoder.get_dense_pe()[0].permute(1, 2, 3, 0)
            width = min(config.width, features.shape[-1])
            encoder.pos_embed[0, ..., :width].copy_(0.2 * features[..., :width])
            _cell_means(encoder.patch_embed.proj.weight)
    return network


def _cell_means(filters: Tensor) -> None:
    """Let the first filters ``[C, 1, P, P, P]`` be the means of the 4 x 4 x 4 cells of a patch."""
    patch = filters.shape[-1]
    if patch % 4:
        return
    side = patch // 4
    for number, (i, j, k) in enumerate(itertools.islice(itertools.product(range(4), repeat=3), len(filters))):
        filters[number].zero_()
        filters[number, 0, i * side : (i + 1) * side, j * side : (j + 1) * side, k * side : (k + 1) * side] = side**-3


class BaseTraining:
    """One run, which :meth:`run` starts or goes on with.

    Attributes:
        draw: gives the targets of one crop for a source of chance; may be replaced.

    Args:
        network: :func:`fresh_network`; trained in place.
        checkpoint: replaced every minute.
        identity: of what is learned from, to tell this run's checkpoint from another's.
    """

    def __init__(self, network: SamMed3D, data: BaseData, plan: BasePlan, checkpoint: Path, identity: str = "") -> None:
        self.network, self.data, self.plan, self.checkpoint = network, data, plan, checkpoint
        endless = replace(plan, steps=0, minutes=None)  # a longer run may go on where a shorter one ended
        self.identity = hashlib.sha256(f"{identity}|{endless!r}|{network.config!r}".encode()).hexdigest()
        self.optimizer = torch.optim.AdamW(network.parameters(), plan.rate, weight_decay=plan.decay)
        self.at = BaseProgress()
        self._real = _by_dataset(data.train)
        roots = np.sqrt([len(patients) for patients in self._real])
        self._chances = roots / roots.sum()
        self._started = self._saved = time.monotonic()

    def run(self, report: Callable[[float, str], None], cancel: CancelToken) -> list[dict[str, Any]]:
        """Learn until the plan ends; returns the measurements.

        Raises:
            Cancelled: ``cancel`` was set; the same call goes on from there.
            OutputError: a checkpoint cannot be written.
        """
        self._resume()
        try:
            while (done := self._done()) < 1:
                cancel.check()
                self._step(done)
                self.at.step += 1
                if self.at.step % self.plan.measure_every == 0:
                    self._measure(report)
                if time.monotonic() - self._saved > _SAVE_SECONDS:
                    self._save()
        except Cancelled:
            self._save()
            raise
        if not self.at.history or self.at.history[-1]["step"] != self.at.step:
            self._measure(report)
        self._save()
        self.network.eval()
        return self.at.history

    def _step(self, done: float) -> None:
        rate = self.plan.rate * (0.505 + 0.495 * math.cos(math.pi * done))
        for group in self.optimizer.param_groups:
            group["lr"] = rate * min(1.0, (self.at.step + 1) / self.plan.warm_up)
        sources = [np.random.default_rng((self.plan.seed, self.at.step, row)) for row in range(self.plan.batch)]
        drawn = [target for source in sources for target in self.draw(source)]
        batch = Batch3D.of(drawn, self.network.config.mask_size, self.plan.targets)
        self.network.train()
        self.optimizer.zero_grad()
        rows = [source for source in sources for _ in range(self.plan.targets)]
        self.at.losses.append(train_rounds(self.network, batch, rows))
        nn.utils.clip_grad_norm_(self.network.parameters(), self.plan.clip)
        self.optimizer.step()

    def draw(self, source: np.random.Generator) -> list[Target3D]:
        """Targets in one crop: real (of a set by the square root of its patients, then of a patient), or synthetic.

        Of a real crop one target is known, and it is asked for by several clicks.
        """
        count = self.plan.targets
        if not self._real or source.random() < self.plan.synthetic:
            return synthetic_targets(source, self.network.config.image_size, self.data.anatomies, count)
        patients = self._real[source.choice(len(self._real), p=self._chances)]
        crops = patients[source.integers(len(patients))]
        crop = varied(crops[source.integers(len(crops))], source)
        depth = depth_of(crop.mask)
        return [crop, *(replace(crop, click=inner_voxel(depth, source)) for _ in range(count - 1))]

    def _measure(self, report: Callable[[float, str], None]) -> None:
        """Add the Dice on held-out crops, of the weights in half precision, as they are shipped."""
        exact = {name: value.clone() for name, value in self.network.state_dict().items()}
        self.network.load_state_dict({name: value.half().float() for name, value in exact.items()})
        dice = held_out_dice(self.network.eval(), self.data)
        self.network.load_state_dict(exact)
        loss = float(np.mean(self.at.losses)) if self.at.losses else None
        line = {"step": self.at.step, "seconds": round(self._elapsed()), "loss": loss, "dice": dice}
        self.at.history.append(line)
        self.at.losses = []
        report(min(1.0, self._done()), json.dumps(line))

    def _elapsed(self) -> float:
        return self.at.seconds + time.monotonic() - self._started

    def _done(self) -> float:
        """The part of the plan that is done."""
        parts = [0.0]
        if self.plan.steps is not None:
            parts.append(self.at.step / self.plan.steps)
        if self.plan.minutes is not None:
            parts.append(self._elapsed() / (60 * self.plan.minutes))
        return max(parts)

    def _save(self) -> None:
        self._saved = time.monotonic()
        plain = {**vars(self.at), "seconds": self._elapsed()}
        state = self.optimizer.state_dict()["state"]
        write_checkpoint(self.checkpoint, Checkpoint(self.identity, self.network.state_dict(), {}, state, plain))

    def _resume(self) -> None:
        found = read_checkpoint(self.checkpoint, self.identity)
        self._started = self._saved = time.monotonic()
        if found is None:
            return
        self.network.load_state_dict(dict(found.pack))
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": dict(found.optimizer), "param_groups": groups})
        self.at = BaseProgress(**found.progress)


def held_out_dice(network: SamMed3D, data: BaseData) -> dict[str, list[float]]:
    """Dice after :data:`CLICKS` clicks by data set, averaged over the crops of a patient and then over patients.

    "synthetic" are volumes that are never drawn in training.
    """
    size = network.config.image_size
    sources = [np.random.default_rng((_HELD_OUT_STREAM, 0, 0, number)) for number in range(HELD_OUT_SYNTHETIC)]
    crops = [*data.held_out, *(synthetic_target(source, size, data.anatomies) for source in sources)]
    found: dict[str, dict[str, list[Any]]] = {}
    for number, crop in enumerate(crops):
        dice = clicked_dice(network, Batch3D.of([crop], network.config.mask_size), max(CLICKS))[0]
        chosen = [float(dice[clicks - 1]) for clicks in CLICKS]
        found.setdefault(crop.dataset, {}).setdefault(crop.patient or str(number), []).append(chosen)
    return {
        dataset: np.round(np.mean([np.mean(scores, axis=0) for scores in patients.values()], axis=0), 4).tolist()
        for dataset, patients in sorted(found.items())
    }


def _by_dataset(crops: Sequence[Target3D]) -> list[list[list[Target3D]]]:
    """Crops by data set and patient, in a fixed order."""
    found: dict[str, dict[str, list[Target3D]]] = {}
    for crop in crops:
        found.setdefault(crop.dataset, {}).setdefault(crop.patient, []).append(crop)
    return [[patients[name] for name in sorted(patients)] for _, patients in sorted(found.items())]
