"""Stage 1 of SAM-Med3D-MoE: a copy of the base's mask decoder learns a task. Encoders and base stay as they are."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from torch import Tensor, nn

from ..core.cancel import CancelToken
from ..engines.sam_med3d import SamMed3DModel
from ..experts.specialist_file import rounded
from .embeddings import EmbeddingStore
from .held_out import mean_over_patients
from .learning import Epoch, LearningLoop
from .specialist_samples import Sample3D, load_samples
from .specialist_step import dice_by_click, learn
from .world import World

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


Epoch3D = Epoch[HeldOut3D]


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


class SpecialistLoop(LearningLoop[HeldOut3D]):
    """Teaches a copy of the base's mask decoder.

    Args:
        model: the base.
        samples, held_out: to learn from, and to measure on after each epoch.
        identity, checkpoint, started: as in :class:`~.learning.LearningLoop`.
        until: share of the plan's minutes after which learning ends; the gate needs the rest.
    """

    held_out_type = HeldOut3D

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
        self.decoder = copy.deepcopy(cast(nn.Module, model.network.mask_decoder)).requires_grad_(True).train()
        rate = plan.rate or rate_for(model.network.config.prompt_width)
        alone = World(0, 1, model.device)
        super().__init__(self.decoder, plan, rate, plan.decay, identity, checkpoint, alone, started, until)
        self.model, self.samples, self.held_out, self.store, self.plan = model, samples, held_out, store, plan

    @property
    def sample_count(self) -> int:
        """See :attr:`~.learning.LearningLoop.sample_count`."""
        return len(self.samples)

    def order(self, steps: int) -> Sequence[Sequence[int]]:
        """None comes twice before all have come once."""
        source = np.random.default_rng((self.plan.seed, self.at.epoch))
        drawn: list[int] = []
        while len(drawn) < steps * self.plan.batch:
            drawn += source.permutation(len(self.samples)).tolist()
        return [drawn[step * self.plan.batch : (step + 1) * self.plan.batch] for step in range(steps)]

    def learn_from(self, indices: Sequence[int]) -> list[float]:
        """See :meth:`~.learning.LearningLoop.learn_from`."""
        sources = [np.random.default_rng((self.plan.seed, self.at.steps, place)) for place in range(len(indices))]
        clicks = int(sources[0].integers(1, self.plan.clicks + 1))
        image, batch = load_samples(self.model, self.store, [self.samples[index] for index in indices])
        return [learn(self.model, self.decoder, image, batch, clicks, sources)]

    def measured(self, cancel: CancelToken) -> tuple[HeldOut3D, dict[str, Tensor]]:
        """The decoder, rounded as its file holds it."""
        candidate = copy.deepcopy(self.decoder).eval()
        candidate.load_state_dict(rounded(self.decoder.state_dict()))
        return measure3d(self.model, candidate, self.held_out, self.store, cancel), candidate.state_dict()

    def describe(self, curve: Sequence[Epoch3D]) -> tuple[str, dict[str, float]]:
        """See :meth:`~.learning.LearningLoop.describe`."""
        first, last = curve[0].held_out, curve[-1].held_out
        metrics = {"click": last.click, "clicks": last.clicks}
        metrics |= {"base_click": first.click, "base_clicks": first.clicks}
        return f"one click {last.click:.3f}, {MEASURED_CLICKS} clicks {last.clicks:.3f}", metrics
