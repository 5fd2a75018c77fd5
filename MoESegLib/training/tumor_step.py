"""One training step of MAST-Pro: patches with their prompts as tensors, the loss, and the gradients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ..core.organs import organ_numbers
from ..core.tumors import TumorBook, TumorRecord
from ..engines.anatomy3d import dense_channels, organ_masks
from ..models.mast_pro import MastPro, MastProOutput, Routing
from ..models.segmote import mote
from .gate3d import mask_loss, target_loss
from .step import in_half
from .tumor_patches import TumorSample

BALANCE_WEIGHT, WARM_UP_WEIGHT, COARSE_WEIGHT = 0.01, 0.1, 0.5
"""Weights of the balance of the experts, of the router's warm-up, and of the mask at half resolution."""
LESION_WEIGHT = 0.2
"""Weight of the cross-entropy over the lesion alone at the beginning of a run; at its end it is 0."""
LIKELIEST_WEIGHT = 0.3
"""Weight of what looks most like a lesion where there is none."""
TEXT_DROPPED, ANATOMY_DROPPED = 0.1, 0.2
"""How often a sample comes without its text and number, and without its organs: both must be able to be missing."""
FAMILIES: tuple[tuple[str, ...], ...] = (
    ("multiple_sclerosis_lesion", "intracranial_hemorrhage", "brain_tumor"),
    ("breast_tumor", "soft_tissue_sarcoma", "thyroid_nodule", "bone_metastasis"),
    ("lung_tumor", "lymph_node_metastasis"),
    ("liver_tumor", "hepatic_vessel_tumor", "spleen_lesion"),
    ("pancreatic_tumor", "gastric_tumor", "colon_tumor"),
    ("kidney_tumor", "adrenal_tumor", "bladder_tumor", "prostate_tumor"),
)
"""Tumors that the router sends to one expert at first; afterwards it does as it likes."""


@dataclass(frozen=True, eq=False)
class TumorBatch:
    """Patches of one shape with what is asked, as the network takes them.

    Attributes:
        image: ``[B, 2, D, H, W]``.
        text: ``[B, 4, 384]``, zeros where it is withheld.
        anatomy: ``[B, 2, D, H, W]``, zeros where no organ is known.
        organs: bool ``[B, C, D, H, W]``.
        tumor: ``[B]``, -1 where it is withheld.
        target: ``[B, 1, D, H, W]``.
    """

    image: Tensor
    text: Tensor
    anatomy: Tensor
    organs: Tensor
    tumor: Tensor
    target: Tensor

    def ask(self, network: MastPro) -> MastProOutput:
        """The network's answer."""
        with in_half(self.image.device):
            return network(self.image, self.text, self.anatomy, self.organs, self.tumor)


def batch_of(
    samples: Sequence[TumorSample],
    book: TumorBook,
    network: MastPro,
    sources: Sequence[np.random.Generator] | None = None,
    *,
    text: bool = True,
    anatomy: bool = True,
) -> TumorBatch:
    """Samples of one shape on the network's device.

    Args:
        sources: of one sample each, to withhold prompts by chance; None withholds none.
        text, anatomy: False withholds it from all samples.
    """
    records = {record.id: record for record in book.records}
    drops = (
        [(False, False)] * len(samples)
        if sources is None
        else [_dropped(*pair) for pair in zip(samples, sources, strict=True)]
    )
    sentences, organs, numbers = [], [], []
    for sample, (no_text, no_anatomy) in zip(samples, drops, strict=True):
        says = text and not (no_text and sample.tumor not in network.added)  # without its number nothing is trained
        embedding = book.embedding_of(sample.tumor)
        sentences.append(embedding if says else np.zeros_like(embedding))
        numbers.append(sample.tumor if says and sample.tumor in network.tumors else None)
        organs.append(sample.organs if anatomy and not no_anatomy else np.zeros_like(sample.organs))
    dense = [
        anatomy_channels(labels, records[sample.tumor], sample.spacing)
        for labels, sample in zip(organs, samples, strict=True)
    ]
    device = network.prompt.text.null.device
    arrays = (
        [sample.image for sample in samples], sentences, dense, [organ_masks(labels) for labels in organs],
    )  # fmt: skip
    image, words, channels, masks = (torch.from_numpy(np.stack(part)).to(device) for part in arrays)
    target = torch.from_numpy(np.stack([sample.target for sample in samples])).to(device)
    return TumorBatch(image, words, channels, masks, network.tumor_numbers(numbers), target)


def anatomy_channels(organs: NDArray[np.uint8], record: TumorRecord, spacing: Sequence[float]) -> NDArray[np.float32]:
    """The dense anatomy of (a patch of) a label map for one tumor, ``[2, D, H, W]``; zeros where nothing is labeled.

    As the engine makes them (:func:`~MoESegLib.engines.anatomy3d.anatomy_on_grid`), but for distances to what lies
    outside of the patch.
    """
    if not organs.any():
        return np.zeros((2, *organs.shape), np.float32)
    target = np.isin(organs, organ_numbers(record.organs))
    if target.any():
        target |= np.isin(organs, organ_numbers(organ.id for organ in record.look_alike_organs))
    return dense_channels(target, spacing)


def _dropped(sample: TumorSample, source: np.random.Generator) -> tuple[bool, bool]:
    """Whether text and anatomy are withheld. Without text nobody could know that another tumor is meant."""
    text, anatomy = source.random(2) < (TEXT_DROPPED, ANATOMY_DROPPED)
    return bool(text) and not sample.is_absent, bool(anatomy)


def lesion_loss(logits: Tensor, target: Tensor, lesion_weight: float = LESION_WEIGHT) -> Tensor:
    """Loss of one scale: ``[B, 1, D, H, W]`` each, the target at any finer resolution.

    Soft Dice and cross-entropy; where there is no lesion, the cross-entropy, and that of the hundredth of the voxels
    that look most like one: a false lesion is small beside all the rest.

    Args:
        lesion_weight: of the cross-entropy over the lesion alone, which keeps small lesions from being given up in the
            first steps. With 0.2 a lesion of a thousandth of a patch weighs two hundred times its size. It must fade:
            kept on, a run of 2200 steps marked something in every patch without a lesion.
    """
    if target.shape != logits.shape:
        target = F.adaptive_avg_pool3d(target, (logits.shape[2], logits.shape[3], logits.shape[4]))
    logits, target = logits.float().flatten(1), target.flatten(1)
    there = target.sum(dim=1) > 0
    loss = logits.new_zeros(())
    if there.any():
        shown, marked = logits[there], target[there]
        found = mask_loss(shown, marked)
        loss = loss + (found + lesion_weight * target_loss(shown, marked)) * there.sum()
    if not there.all():
        wrong = F.softplus(logits[~there])
        likeliest = wrong.topk(max(1, wrong.shape[1] // 100), dim=1).values
        loss = loss + (wrong.mean() + LIKELIEST_WEIGHT * likeliest.mean()) * (~there).sum()
    return loss / len(there)


def learn(network: MastPro, groups: Sequence[TumorBatch], warm_up: bool, done: float = 0.0) -> float:
    """Add the gradients of one step to the network; returns the loss.

    Args:
        groups: samples of one shape each; the balance of the experts is that of all of them together.
        warm_up: also teach the router which expert serves which family of tumors.
        done: share of the run that is over.
    """
    outputs = [group.ask(network) for group in groups]
    total = sum(len(group.image) for group in groups)
    loss = groups[0].image.new_zeros(())
    lesion_weight = LESION_WEIGHT * (1 - done)
    for group, output in zip(groups, outputs, strict=True):
        found = lesion_loss(output.logits, group.target, lesion_weight)
        found = found + COARSE_WEIGHT * lesion_loss(output.deep_logits, group.target, lesion_weight)
        if warm_up:
            found = found + WARM_UP_WEIGHT * family_loss(output.routing, group.tumor, network)
        loss = loss + found * len(group.image) / total
    loss = loss + BALANCE_WEIGHT * shared_balance([output.routing for output in outputs], network.config.top_k)
    loss.backward()
    return float(loss.detach())


def shared_balance(routings: Sequence[Sequence[Routing]], top_k: int) -> Tensor:
    """Balance of the experts over several batches as over one: CV squared of importance and load, mean of the blocks.

    A balance within batches of one would let every sample use all experts alike.

    Args:
        routings: one sequence a batch, with one routing a block.
    """
    joined = []
    for block in zip(*routings, strict=True):
        gates = [routing.gates for routing in block]
        parts = [
            torch.cat([getattr(gate, name).float() for gate in gates])
            for name in ("logits", "noisy", "noise_scale", "gates")
        ]
        if len(parts[0]) > 1:
            joined.append(mote.Routing(*parts))
    return mote.balance_loss(joined, top_k) if joined else torch.zeros(())


def family_loss(routings: Sequence[Routing], tumor: Tensor, network: MastPro) -> Tensor:
    """Cross-entropy of the router with the expert of the tumor's family, mean of the blocks; ``tumor`` is ``[B]``."""
    experts = network.config.specific
    homes = {name: place % experts for place, names in enumerate(FAMILIES) for name in names}
    wanted = torch.tensor([homes.get(network.tumors[number], -1) if number >= 0 else -1 for number in tumor.tolist()])
    known = (wanted >= 0).to(tumor.device)
    if not routings or not known.any():
        return torch.zeros((), device=tumor.device)
    chosen = wanted.to(tumor.device)[known]
    return torch.stack([F.cross_entropy(routing.scores[known].float(), chosen) for routing in routings]).mean()
