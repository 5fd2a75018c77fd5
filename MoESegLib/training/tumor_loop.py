"""Teaching MAST-Pro: all of it (stage 1), or the parts of one more tumor (stage 2); a run can be killed and resumed."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..core.cancel import CancelToken
from ..core.errors import TrainingError
from ..core.tumors import TumorBook
from ..models.mast_pro import (
    MastPro,
    MastProConfig,
    build_mast_pro,
    delta_state,
    round_to_half,
    trainable_parameters,
)
from .gate3d import dice_of
from .held_out import mean_over_patients
from .learning import Epoch, LearningLoop
from .tumor_patches import TumorData, TumorSample
from .tumor_step import batch_of, learn
from .world import World

_HELD_OUT_STREAM = 1
ABSENT = "absent"
"""Name of the score of patches without the tumor that is asked for: 1 where the answer is empty."""


@dataclass(frozen=True)
class TumorSchedule:
    """How long and how fast to learn.

    A step of five slices of 128 x 128 and two patches of 48 x 48 x 48 voxels took 0.9 s of one core (bfloat16).

    Attributes:
        epochs: until then; the same seed gives the same weights, however often the run is killed and resumed.
        minutes: until then; how many steps that is depends on the machine.
        steps: of an epoch; held-out patches are measured after each.
        slices, volumes: samples of a step; where the data hold only one of the two, as many of that one.
        rate, decay: of AdamW.
        warm_up: share of the run in which the router is told which expert serves which family of tumors.
        patience: epochs without a better held-out score after which it stops.
    """

    epochs: int | None = None
    minutes: float | None = None
    seed: int = 0
    steps: int = 200
    slices: int = 3
    volumes: int = 1
    rate: float = 1e-3
    decay: float = 1e-5
    warm_up: float = 0.2
    patience: int = 1000

    @property
    def batch(self) -> int:
        """Samples of a step."""
        return self.slices + self.volumes

    @property
    def least_steps(self) -> int:
        """An epoch always has as many steps."""
        return self.steps

    @property
    def most_steps(self) -> int:
        """An epoch always has as many steps."""
        return self.steps


class Samples(Protocol):
    """Where patches come from: :class:`~.tumor_patches.TumorData`."""

    def draw(self, rng: np.random.Generator, is_slice: bool | None = None) -> TumorSample:
        """A patch."""
        ...

    def tumors_of(self, is_slice: bool) -> tuple[str, ...]:
        """Ids of the types in single slices, or in volumes."""
        ...


@dataclass(frozen=True)
class HeldOutTumors:
    """Dice on patches of held-out patients, averaged over the patches of a patient and then over the patients.

    Attributes:
        dice: by tumor id and "real" or "synthetic"; "absent real" and "absent synthetic" are the shares of patches
            without the tumor that is asked for in which nothing was found.
    """

    dice: Mapping[str, float]
    patches: int
    patients: int

    @property
    def score(self) -> float:
        """What the best epoch is chosen by: every type counts the same, real and synthetic."""
        return float(np.mean(list(self.dice.values())))


TumorEpoch = Epoch[HeldOutTumors]


def fresh_network(config: MastProConfig, book: TumorBook, seed: int) -> MastPro:
    """A network before training that knows how the texts of its tumors differ."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_mast_pro(config=config)
    text = np.stack([book.embedding_of(name) for name in config.tumors])
    with torch.no_grad():
        network.prompt.text.fit(torch.from_numpy(text))
    return network


def probes_of(data: TumorData, slices: int = 4, volumes: int = 2, seed: int = 0) -> list[TumorSample]:
    """Patches to measure on, of every tumor type; around lesions as they are, and a fifth without the tumor asked for.

    Args:
        data: of patients that nothing is learned from.
        slices, volumes: patches of every type.
    """
    shown = TumorData(data.images, replace(data.plan, centered=1.0, absent=0.0, varied=False))
    empty = TumorData(data.images, replace(shown.plan, absent=1.0))
    found = []
    for is_slice, count in ((True, slices), (False, volumes)):
        for place, tumor in enumerate(data.tumors_of(is_slice)):
            for number in range(count + 1):
                rng = np.random.default_rng((seed, _HELD_OUT_STREAM, is_slice, place, number))
                source = shown if number < count else empty
                try:
                    sample = source.draw(rng, is_slice, tumor)
                except TrainingError:  # no lesion of this type finds a place in the few bodies that are held out
                    continue
                if sample.is_absent or sample.target.any():
                    found.append(sample)
    if not found:
        raise TrainingError("No held-out image holds a lesion to measure on. Give more cases, or another seed.")
    return found


Scores = tuple[str, dict[str, float]]
"""Patient, and Dice by name."""


@torch.inference_mode()
def measure(
    network: MastPro,
    probes: Sequence[TumorSample],
    book: TumorBook,
    cancel: CancelToken,
    *,
    text: bool = True,
    anatomy: bool = True,
) -> list[Scores]:
    """Dice of every probe; without text or anatomy where False.

    Raises:
        Cancelled: ``cancel`` was set.
    """
    scores = []
    for sample in probes:
        cancel.check()
        batch = batch_of([sample], book, network, text=text, anatomy=anatomy)
        logits = batch.ask(network).logits[:, 0].float()
        kind = "synthetic" if sample.is_synthetic else "real"
        name = ABSENT if sample.is_absent else sample.tumor
        scores.append((sample.patient, {f"{name} {kind}": float(dice_of(logits, batch.target[:, 0])[0])}))
    return scores


def summarize(scores: Sequence[Scores]) -> HeldOutTumors:
    """Means over patients."""
    names = sorted({name for _, found in scores for name in found})
    means = {name: round(mean_over_patients(scores, name), 4) for name in names}
    return HeldOutTumors(means, len(scores), len({patient for patient, _ in scores}))


class TumorLoop(LearningLoop[HeldOutTumors]):
    """Teaches a network what of it is trainable.

    Every sample is drawn from (seed, its number) alone: another network learns from the same draws.

    Args:
        network: :func:`fresh_network`, or one that was adapted to ``tumor``; changed in place.
        data: to learn from.
        probes: to measure on after each epoch.
        identity, checkpoint, world, started: as in :class:`~.learning.LearningLoop`.
        tumor: the added tumor whose parts are kept; "" keeps the whole network.
    """

    held_out_type = HeldOutTumors

    def __init__(
        self,
        network: MastPro,
        data: Samples,
        probes: Sequence[TumorSample],
        book: TumorBook,
        schedule: TumorSchedule,
        identity: str,
        checkpoint: Path,
        world: World,
        started: float,
        tumor: str = "",
    ) -> None:
        of_all = hashlib.sha256(f"{identity}|{network.config!r}|{tumor}".encode()).hexdigest()
        super().__init__(network, schedule, schedule.rate, schedule.decay, of_all, checkpoint, world, started)
        self.network, self.data, self.probes, self.book, self.plan = network, data, probes, book, schedule
        self.tumor = tumor
        kinds = [is_slice for is_slice in (True, False) if data.tumors_of(is_slice)]
        self._only = kinds[0] if len(kinds) == 1 else None

    @property
    def sample_count(self) -> int:
        """See :attr:`~.learning.LearningLoop.sample_count`."""
        return self.plan.steps * self.plan.batch

    def order(self, steps: int) -> Sequence[Sequence[int]]:
        """The numbers of samples that nobody drew before."""
        first = self.at.steps - self.at.step
        batch = self.plan.batch
        return [range((first + step) * batch, (first + step + 1) * batch) for step in range(steps)]

    def learn_from(self, indices: Sequence[int]) -> list[float]:
        """See :meth:`~.learning.LearningLoop.learn_from`."""
        mine = self.world.share(indices)
        done = self.world.agree(self._fraction(self.plan.steps))
        warm_up = not self.tumor and done < self.plan.warm_up
        loss = 0.0
        if mine:
            groups: dict[tuple[int, ...], list[tuple[TumorSample, np.random.Generator]]] = {}
            for number in mine:
                source = np.random.default_rng((self.plan.seed, number))
                sample = self.data.draw(source, self._is_slice(number))
                groups.setdefault(sample.target.shape, []).append((sample, source))
            batches = [
                batch_of([sample for sample, _ in group], self.book, self.network, [source for _, source in group])
                for group in groups.values()
            ]
            with torch.random.fork_rng():  # for the noise of the router
                torch.manual_seed(hash((self.plan.seed, self.at.steps, self.world.rank)) & 0x7FFFFFFF)
                loss = learn(self.network, batches, warm_up, done)
        self.world.mean_gradients([value for _, value in trainable_parameters(self.network)], len(mine))
        return self.world.gather([loss] if mine else [])

    def _is_slice(self, number: int) -> bool:
        return number % self.plan.batch < self.plan.slices if self._only is None else self._only

    def measured(self, cancel: CancelToken) -> tuple[HeldOutTumors, dict[str, Tensor]]:
        """The network, rounded as its file holds it."""
        candidate = copy.deepcopy(self.network).eval()
        round_to_half(candidate)
        scores = measure(candidate, self.world.share(self.probes), self.book, cancel)
        tensors = delta_state(candidate, self.tumor) if self.tumor else candidate.state_dict()
        return summarize(self.world.gather(scores)), tensors

    def describe(self, curve: Sequence[TumorEpoch]) -> tuple[str, dict[str, float]]:
        """See :meth:`~.learning.LearningLoop.describe`."""
        held_out = curve[-1].held_out
        words = ", ".join(f"{name} {dice:.2f}" for name, dice in held_out.dice.items())
        return f"score {held_out.score:.3f}: {words}", {"score": held_out.score, **held_out.dice}
