"""Teaching a pack of experts: its steps and its held-out measurement. Only the pack's parameters change."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..core.cancel import CancelToken
from ..engines.slice_engine import SliceEngine
from ..models.segmote.asymmetric import AsymmetricSegMoTE, ExpertPack
from .batches import epoch_order, load_batch
from .embeddings import EmbeddingStore
from .engine import network_of
from .fused_norm import use_fused_norms
from .held_out import HeldOut, measure, summarize
from .learning import Epoch, LearningLoop
from .losses import LossWeights
from .progress import TeachProgress
from .samples import Probe, Sample
from .step import train_step
from .world import World


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


class Loop(LearningLoop[HeldOut]):
    """Teaches a pack of experts.

    Args:
        engine: a teaching engine with the pack attached.
        phrases: embedding of the name of each structure that has one.
        base: what the model without experts reached, for reports.
        identity, checkpoint, world, started: as in :class:`~.learning.LearningLoop`.
    """

    held_out_type = HeldOut

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
        super().__init__(pack, plan, plan.learning_rate, plan.weight_decay, identity, checkpoint, world, started)
        self.engine, self.pack, self.samples, self.probes, self.store = engine, pack, samples, probes, store
        self.phrases, self.base, self.plan = phrases, base, plan
        self.network: AsymmetricSegMoTE = network_of(engine)

    def run(self, progress: TeachProgress, cancel: CancelToken) -> list[Epoch[HeldOut]]:
        """Learn until the plan ends; the pack then holds the best epoch.

        Raises:
            Cancelled, OutputError: as :meth:`~.learning.LearningLoop.run`.
        """
        base = base_digest(self.network)
        use_fused_norms(self.pack)
        curve = super().run(progress, cancel)
        if base_digest(self.network) != base:
            raise RuntimeError("Training changed the base model; this must never happen. The pack was not kept.")
        self.pack.load_state_dict(self.best)
        use_fused_norms(self.pack.eval(), fused=False)
        return curve

    @property
    def sample_count(self) -> int:
        """See :attr:`~.learning.LearningLoop.sample_count`."""
        return len(self.samples)

    def order(self, steps: int) -> Sequence[Sequence[int]]:
        """See :meth:`~.learning.LearningLoop.order`."""
        return epoch_order(self.samples, self.plan.batch, steps, self.plan.seed, self.at.epoch)

    def learn_from(self, indices: Sequence[int]) -> list[float]:
        """See :meth:`~.learning.LearningLoop.learn_from`."""
        mine = self.world.share(indices)
        loss = 0.0
        if mine:
            batch = load_batch(self.samples, mine, self.store, self.world.device, self.phrases)
            # The gate's noise is the only thing drawn by PyTorch: its seed is the step, not what ran before.
            with torch.random.fork_rng():
                torch.manual_seed(hash((self.plan.seed, self.at.steps, self.world.rank)) & 0x7FFFFFFF)
                loss = train_step(self.network, self.pack, batch, self.plan.weights, self.plan.seed, self.at.epoch)
        self.world.mean_gradients(self.pack.parameters(), len(mine))
        return self.world.gather([loss] if mine else [])

    def measured(self, cancel: CancelToken) -> tuple[HeldOut, dict[str, Tensor]]:
        """The pack in half precision, as its file holds it: 2 MB less to download, and the numbers are the file's."""
        self.pack.eval()
        exact = {name: value.detach().clone() for name, value in self.pack.state_dict().items()}
        rounded = {name: value.half().float() for name, value in exact.items()}
        self.pack.load_state_dict(rounded)
        scores = measure(self.engine, self.world.share(self.probes), self.store, cancel)
        self.pack.load_state_dict(exact)
        return summarize(self.world.gather(scores)), rounded

    def describe(self, curve: Sequence[Epoch[HeldOut]]) -> tuple[str, dict[str, float]]:
        """See :meth:`~.learning.LearningLoop.describe`."""
        held_out = curve[-1].held_out
        metrics = {"box": held_out.box, "click": held_out.click}
        metrics |= {"base_box": self.base.box, "base_click": self.base.click}
        if held_out.automatic is not None:
            metrics["automatic"] = held_out.automatic
        return f"box {held_out.box:.3f}, one click {held_out.click:.3f}", metrics


def base_digest(network: nn.Module) -> str:
    """Hash of every parameter and buffer that is not a pack's."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in network.state_dict().items():
        if not name.startswith("packs."):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
