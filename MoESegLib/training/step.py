"""One training step: a box, a click and sometimes a correction for every sample of a batch, and their gradients."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..models.segmote.asymmetric import AsymmetricSegMoTE, ExpertPack, PackOutput, trace_decoder
from .batches import Batch
from .losses import LossWeights, pack_loss
from .prompts import Clicks, error_clicks, first_clicks, generator, jittered_boxes


@dataclass(frozen=True, eq=False)
class Asked:
    """Prompts of a batch as tensors, as the prompt encoder takes them."""

    clicks: Clicks | None = None
    boxes: Tensor | None = None
    masks: Tensor | None = None

    def points(self, device: torch.device) -> tuple[Tensor, Tensor] | None:
        if self.clicks is None:
            return None
        return torch.from_numpy(self.clicks.points).to(device), torch.from_numpy(self.clicks.labels).to(device)


def pack_answer(
    network: AsymmetricSegMoTE, pack: ExpertPack, image: Tensor, features: Tensor, position: Tensor, asked: Asked
) -> PackOutput:
    """The pack's answer to one prompt on each image, as ``AsymmetricSegMoTE.forward`` gives it.

    The base's own pass is left out where clicks are asked: the pack sees them through its offsets, in another pass.

    Args:
        image: ``[B, C, G, G]``; features: ``pack.image_features`` of the images ``[B, C/8, 4G, 4G]``.
    """
    points = asked.points(image.device)
    with torch.no_grad():
        sparse, dense = network.prompt_encoder(points=points, boxes=asked.boxes, masks=asked.masks)
    if points is not None:
        sparse = pack.offset_points(sparse, points[1])
    trace = trace_decoder(network.mask_decoder, image, position, sparse, dense)
    return pack(network.mask_decoder, trace, features)


def train_step(
    network: AsymmetricSegMoTE, pack: ExpertPack, batch: Batch, weights: LossWeights, seed: int, epoch: int
) -> float:
    """Add the gradients of a batch to the pack's parameters; returns the loss, averaged over the prompts.

    Every image is asked for by a box and by a click; in half of the batches one of the two is then corrected by a click
    into the largest error, together with the logits it corrects, as the engine gives them. What the prompts of an image
    share, 44 % of the time of a single prompt on one CPU core, is computed once, forward and backward; each prompt's
    graph is freed before the next, which bounds the memory.
    """
    sources = [generator(seed, epoch, index) for index in batch.indices]
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

    boxes = torch.from_numpy(jittered_boxes(batch.targets, sources)).to(batch.image.device)
    rounds = (Asked(boxes=boxes), Asked(clicks=first_clicks(batch.targets, sources)))
    # The whole batch takes the same turn, since a tensor holds the same number of clicks for each image.
    corrected = int(sources[0].integers(4))
    for number, asked in enumerate(rounds):
        output = ask(asked)
        if number == corrected:
            ask(_correction(asked, output, batch, sources))
    features.backward(shared.grad)
    for parameter in pack.parameters():
        if parameter.grad is not None:
            parameter.grad /= len(losses)
    return sum(losses) / len(losses)


def _correction(asked: Asked, output: PackOutput, batch: Batch, sources: list) -> Asked:
    """The same prompts, a click into the largest error of the chosen mask, and the logits of that mask."""
    rows = torch.arange(len(batch.indices), device=output.logits.device)
    logits = output.logits.detach()[rows, output.chosen][:, None]
    masks = ((logits > 0) & (batch.valid > 0))[:, 0].cpu().numpy()
    click = error_clicks(masks, batch.targets, sources)
    clicks = click if asked.clicks is None else asked.clicks.followed_by(click)
    return Asked(clicks, asked.boxes, logits)
