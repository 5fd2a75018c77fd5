"""One training step: a box, a click and sometimes a correction for every sample of a batch, and their gradients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ..models.segmote.asymmetric import AskedTensors, AsymmetricSegMoTE, ExpertPack, PackOutput, trace_decoder
from ..models.segmote.mote import Routing
from .batches import Batch
from .losses import LossWeights, pack_loss
from .prompts import Clicks, error_clicks, first_clicks, generator, jittered_boxes, rough_logits

TEXT_ALONE, TEXT_BESIDE = 0.25, 0.2
"""How often a phrase is asked alone, and how often it comes beside a click."""
MOST_CORRECTIONS = 3
"""Clicks that correct an answer, one after the other."""
MASK_PRIOR = 0.3
"""How often a sample without prompt comes with a rough mask (SegMoTE's random mask prior)."""


@dataclass(frozen=True, eq=False)
class Asked:
    """Prompts of a batch."""

    clicks: Clicks | None = None
    boxes: Tensor | None = None
    masks: Tensor | None = None
    text: Tensor | None = None
    automatic: bool = False

    def tensors(self, device: torch.device) -> AskedTensors:
        """As the networks take them."""
        points = None
        if self.clicks is not None:
            points = torch.from_numpy(self.clicks.points).to(device), torch.from_numpy(self.clicks.labels).to(device)
        return AskedTensors(points, self.boxes, self.masks, self.text, self.automatic)


def pack_answer(
    network: AsymmetricSegMoTE, pack: ExpertPack, image: Tensor, features: Tensor, position: Tensor, asked: Asked
) -> PackOutput:
    """The pack's answer to one prompt on each image, as ``AsymmetricSegMoTE.forward`` gives it, in full precision.

    The base's own pass is left out where the pack sees other tokens than the base.

    Args:
        image: ``[B, C, G, G]``; features: ``pack.image_features`` of the images ``[B, C/8, 4G, 4G]``.
    """
    given = asked.tensors(image.device)
    with in_half(image.device):
        with torch.no_grad():
            sparse, dense = network.prompt_encoder(points=given.points, boxes=given.boxes, masks=given.masks)
        labels = None if given.points is None else given.points[1]
        tokens = pack.own_tokens(sparse, labels, given.text, image if given.automatic else None)
        trace = trace_decoder(network.mask_decoder, image, position, tokens, dense)
        output = pack(network.mask_decoder, trace, features, given.text)
    whole = {name: getattr(output, name).float() for name in ("logits", "quality", "confidence", "gate")}
    routings = [Routing(*(getattr(entry, part.name).float() for part in fields(entry))) for entry in output.routings]
    return PackOutput(**whole, chosen=output.chosen, routings=routings)


def in_half(device: torch.device) -> torch.autocast:
    """Networks in bfloat16 where the processor computes it faster; parameters and losses stay in full precision.

    With AVX-512 bfloat16 a step took 1.0 s of one core instead of 1.4.
    """
    faster = device.type == "cuda" or torch.ops.mkldnn._is_mkldnn_bf16_supported() and _multiplies_bfloat16()
    return torch.autocast(device.type, torch.bfloat16, enabled=faster)


@lru_cache(maxsize=1)
def _multiplies_bfloat16() -> bool:
    """Whether the processor has instructions for bfloat16, rather than converting it (slower than float32)."""
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()  # since PyTorch 2.9
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def train_step(
    network: AsymmetricSegMoTE, pack: ExpertPack, batch: Batch, weights: LossWeights, seed: int, epoch: int
) -> float:
    """Add the gradients of a batch to the pack's parameters; returns the loss, averaged over the prompts.

    Every image is asked for by a box and by a click, sometimes by a phrase; in half of the batches one of them is then
    corrected by one to three clicks, each into the largest error that is left, together with the logits it corrects, as
    the engine gives them. What the prompts of an image share, 44 % of the time of a single prompt on one CPU core, is
    computed once, forward and backward; each prompt's graph is freed before the next, which bounds the memory.
    """
    sources = [generator(seed, epoch, index) for index in batch.indices]
    with in_half(batch.image.device):
        features = pack.image_features(batch.image, batch.early)
    shared = features.detach().requires_grad_()
    position = network.prompt_encoder.get_dense_pe()
    losses: list[float] = []

    def ask(asked: Asked) -> PackOutput:
        output = pack_answer(network, pack, batch.image, shared, position, asked)
        loss = pack_loss(output, batch.target, batch.valid, weights)
        loss.backward()
        losses.append(float(loss.detach()))
        return output

    rounds = _without_prompt(batch, sources) if batch.automatic else _prompted(batch, pack, sources)
    # The whole batch takes the same turn, since a tensor holds the same number of clicks for each image.
    corrected = int(sources[0].integers(2 * len(rounds)))
    for number, first in enumerate(rounds):
        asked, output = first, ask(first)
        if number == corrected:
            for _ in range(1 + int(sources[0].integers(MOST_CORRECTIONS))):
                asked = _correction(asked, output, batch, sources)
                output = ask(asked)
    features.backward(shared.grad)
    for parameter in pack.parameters():
        if parameter.grad is not None:
            parameter.grad /= len(losses)
    return sum(losses) / len(losses)


def _prompted(batch: Batch, pack: ExpertPack, sources: Sequence[np.random.Generator]) -> list[Asked]:
    """A box, a click, and sometimes a phrase."""
    boxes = torch.from_numpy(jittered_boxes(batch.targets, sources)).to(batch.image.device)
    text = None if pack.text_prompt is None else batch.text
    alone, beside = sources[0].random(2) < (TEXT_ALONE, TEXT_BESIDE)
    clicks = Asked(clicks=first_clicks(batch.targets, sources), text=text if beside else None)
    rounds = [Asked(boxes=boxes), clicks]
    if text is not None and alone:
        rounds.append(Asked(text=text))
    return rounds


def _without_prompt(batch: Batch, sources: Sequence[np.random.Generator]) -> list[Asked]:
    """The image alone; sometimes with a rough mask (SegMoTE, Figure 3)."""
    masks = None
    if sources[0].random() < MASK_PRIOR:
        masks = torch.from_numpy(rough_logits(batch.targets, sources)).to(batch.image.device)
    return [Asked(automatic=True, masks=masks)]


def _correction(asked: Asked, output: PackOutput, batch: Batch, sources: Sequence[np.random.Generator]) -> Asked:
    """The same prompts, a click into the largest error of the chosen mask, and the logits of that mask."""
    rows = torch.arange(len(batch.indices), device=output.logits.device)
    logits = output.logits.detach()[rows, output.chosen][:, None]
    masks = ((logits > 0) & (batch.valid > 0))[:, 0].cpu().numpy()
    click = error_clicks(masks, batch.targets, sources)
    clicks = click if asked.clicks is None else asked.clicks.followed_by(click)
    return Asked(clicks, asked.boxes, logits, asked.text)
