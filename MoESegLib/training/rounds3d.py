"""Simulated clicks on a batch of 3D crops, as SAM-Med3D is asked: a first click with a mask prompt of zeros, then
clicks into the largest error, each with all clicks before and the logits they gave (upstream ``train.py``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ..engines.convert import MASK_LOGIT
from ..models.sam_med3d import SamMed3D
from .clicks3d import error_click
from .crops3d import Target3D
from .gate3d import dice_of, mask_loss, target_loss
from .step import in_half

MOST_CORRECTIONS = 4
"""Clicks after the first one."""
FIRST_ALONE = 0.4
"""How often the first click is the only one; likewise after every further click."""
MASK_ALONE, CONTINUED = 0.1, 0.1
"""How often a batch is asked with a mask but no click (upstream does it in one of eight rounds), and how often its
first question is to go on with a mask that somebody drew in one part of the crop, as in crops beyond the first one."""
POSITIVE = 0.2
"""Weight of the cross-entropy over the target alone."""
PADDING = -1
"""Label of a click that is none: there is no error left."""

Sources = Sequence[np.random.Generator]


@dataclass(frozen=True, eq=False)
class Batch3D:
    """Crops with what is asked of them: each of N crops for one target, or for equally many one after the other.

    Attributes:
        pixels: ``[N, 1, S, S, S]``.
        shares: how much of every cell of the mask the target covers, ``[B, g, g, g]``; B is a multiple of N.
        masks: the targets ``[B, S, S, S]``.
        clicks: first clicks ``[B, 1, 3]`` in array order.
    """

    pixels: Tensor
    shares: Tensor
    masks: Tensor
    clicks: Tensor

    @classmethod
    def of(cls, targets: Sequence[Target3D], cells: int, each: int = 1) -> Batch3D:
        """The batch for a network whose masks have ``cells`` per side.

        Args:
            each: so many targets that follow each other lie in the same crop.
        """
        pixels = torch.from_numpy(np.stack([target.pixels for target in targets[::each]]).astype(np.float32))[:, None]
        masks = torch.from_numpy(np.stack([target.mask for target in targets]).astype(np.float32))
        shares = F.interpolate(masks[:, None], size=(cells, cells, cells), mode="area")[:, 0]
        return cls(pixels, shares, masks, torch.tensor([target.click for target in targets]).float()[:, None])


@dataclass(frozen=True, eq=False)
class Asked3D:
    """One question to the network: clicks ``[B, N, 3]`` with labels ``[B, N]``, and mask logits ``[B, 1, g, g, g]``."""

    points: Tensor
    labels: Tensor
    masks: Tensor


def answer(network: SamMed3D, image: Tensor, asked: Asked3D) -> Tensor:
    """Logits ``[B, g, g, g]`` in full precision, for embeddings ``[B, C, G, G, G]``."""
    points = (asked.points, asked.labels) if asked.points.shape[1] else None
    sparse, dense = network.prompt_encoder(points=points, boxes=None, masks=asked.masks)
    position = network.prompt_encoder.get_dense_pe()
    logits, _ = network.mask_decoder(image, position, sparse, dense, multimask_output=False)
    return logits[:, 0].float()


def train_rounds(network: SamMed3D, batch: Batch3D, sources: Sources) -> float:
    """Add the gradients of one batch to the whole network; returns the loss, averaged over the questions.

    A crop is encoded once, forward and backward; the graph of each question is freed before the next one.
    """
    with in_half(batch.pixels.device):
        image = network.image_encoder(batch.pixels)
    leaf = image.detach().requires_grad_()
    each = len(batch.clicks) // len(image)
    corrections = min(MOST_CORRECTIONS, int(sources[0].geometric(FIRST_ALONE)) - 1)
    alone = int(sources[0].integers(1, corrections + 1)) if corrections and sources[0].random() < MASK_ALONE else -1
    asked = continued(batch, sources) if sources[0].random() < CONTINUED else first_question(batch)
    total = 0.0
    for number in range(1 + corrections):
        with in_half(batch.pixels.device):
            logits = answer(network, leaf.repeat_interleave(each, dim=0), asked)
        loss = question_loss(logits, batch.shares) / (1 + corrections)
        loss.backward()
        total += float(loss.detach())
        if number < corrections:
            asked = corrected(asked, logits.detach(), batch, sources)
            if number + 1 == alone:
                asked = replace(asked, points=asked.points[:, :0], labels=asked.labels[:, :0])
    image.backward(leaf.grad)
    return total


def question_loss(logits: Tensor, shares: Tensor) -> Tensor:
    """Soft Dice and cross-entropy over all cells, plus the cross-entropy over the cells of the target alone.

    A target is often a thousandth of a crop. Without the last term four crops were not learned in 160 steps:
    cross-entropy empties the mask first, and then soft Dice has no gradient left. With it, 80 steps gave Dice 0.9.
    """
    logits, shares = logits.flatten(1), shares.flatten(1)
    return mask_loss(logits, shares) + POSITIVE * target_loss(logits, shares)


def first_question(batch: Batch3D) -> Asked3D:
    """The first click, with a mask of zeros."""
    return Asked3D(batch.clicks, torch.ones(batch.clicks.shape[:2]), torch.zeros_like(batch.shares)[:, None])


def corrected(asked: Asked3D, logits: Tensor, batch: Batch3D, sources: Sources | None) -> Asked3D:
    """The same clicks and one more into the largest error, with the logits ``[B, g, g, g]`` they gave.

    Args:
        sources: of one crop each; None clicks the deepest voxel of the error.
    """
    masks, targets = (logits > 0).cpu().numpy(), (batch.shares >= 0.5).cpu().numpy()
    scale = batch.masks.shape[-1] // logits.shape[-1]
    points, labels = np.zeros((len(masks), 1, 3), np.float32), np.full((len(masks), 1), PADDING, np.float32)
    for row, (mask, target) in enumerate(zip(masks, targets, strict=True)):
        found = error_click(mask, target, None if sources is None else sources[row])
        if found is not None:
            points[row, 0] = np.multiply(found[0], scale) + scale // 2
            labels[row, 0] = found[1]
    return Asked3D(
        torch.cat([asked.points, torch.from_numpy(points)], dim=1),
        torch.cat([asked.labels, torch.from_numpy(labels)], dim=1),
        logits[:, None],
    )


def continued(batch: Batch3D, sources: Sources) -> Asked3D:
    """The target as a mask prompt on one side of a random plane, nothing known beyond, and the click where it is known.

    So the engine asks for a crop beyond the first one (:mod:`MoESegLib.engines.walk3d`).
    """
    cells, scale = batch.shares.shape[-1], batch.masks.shape[-1] // batch.shares.shape[-1]
    masks, labels = torch.zeros_like(batch.shares), torch.full(batch.clicks.shape[:2], float(PADDING))
    for row, source in enumerate(sources):
        axis, edge, before = int(source.integers(3)), int(source.integers(cells // 4, 3 * cells // 4)), source.random()
        known = slice(0, edge) if before < 0.5 else slice(edge, cells)
        part = masks[row].movedim(axis, 0)[known]
        part += (2 * batch.shares[row].movedim(axis, 0)[known] - 1) * MASK_LOGIT
        place = int(batch.clicks[row, 0, axis]) // scale
        if (place < edge) == (before < 0.5):
            labels[row, 0] = 1
    return Asked3D(batch.clicks, labels, masks[:, None])


@torch.inference_mode()
def clicked_dice(network: SamMed3D, batch: Batch3D, clicks: int) -> NDArray[np.float64]:
    """Dice in the crops after 1, 2, ... clicks of a user who clicks the deepest voxel of the largest error,
    ``[B, clicks]``."""
    with in_half(batch.pixels.device):
        image = network.image_encoder(batch.pixels)
        asked, found = first_question(batch), []
        for number in range(clicks):
            logits = answer(network, image, asked)
            found.append(dice_of(logits, batch.masks).numpy())
            if number + 1 < clicks:
                asked = corrected(asked, logits, batch, None)
    return np.stack(found, axis=1).astype(np.float64)
