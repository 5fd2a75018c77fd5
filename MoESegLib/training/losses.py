"""What an expert is taught by.

Dice and binary cross-entropy are our own ten lines, equal to MONAI's ``DiceCELoss`` without padding (the test compares
them): padding must not count, every token needs its own value, an installation without MONAI must learn the same, and
importing ``monai.losses`` takes six seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..models.segmote.asymmetric import PackOutput
from ..models.segmote.mote import balance_loss

TEMPERATURE = 0.25
"""Difference in mask loss that counts as clearly better when the tokens compete."""


@dataclass(frozen=True)
class LossWeights:
    """Weights of the parts of :func:`pack_loss`."""

    dice: float = 1.0
    cross_entropy: float = 2.0
    quality: float = 0.2
    balance: float = 0.01


def dice_loss(logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """1 - soft Dice of every mask: logits ``[B, E, G, G]``, target and valid ``[B, 1, G, G]`` to ``[B, E]``."""
    inside = logits.sigmoid() * valid
    overlap = (inside * target).sum(dim=(-2, -1))
    total = inside.sum(dim=(-2, -1)) + target.sum(dim=(-2, -1))
    return 1 - (2 * overlap + 1) / (total + 1)


def cross_entropy(logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean binary cross-entropy over the valid pixels; shapes as in :func:`dice_loss`."""
    each = F.binary_cross_entropy_with_logits(logits, target.expand_as(logits), reduction="none")
    return (each * valid).sum(dim=(-2, -1)) / valid.sum(dim=(-2, -1))


def overlap_of(logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Intersection over union of the masks (logits above 0) with the target ``[B, E]``; not differentiable."""
    inside, wanted = (logits > 0) & (valid > 0), target > 0
    union = (inside | wanted).sum(dim=(-2, -1))
    return (inside & wanted).sum(dim=(-2, -1)) / union.clamp_min(1)


def pack_loss(output: PackOutput, target: Tensor, valid: Tensor, weights: LossWeights) -> Tensor:
    """The loss of a batch, one number.

    The tokens compete as in Jacobs et al. 1991 ("Adaptive mixtures of local experts", Eq. 1.3): the negative log of
    the sum over tokens of (gate's probability of the token) x exp(-its mask loss). So the gate learns which token is
    best for a prompt, and each token learns from the prompts it is best at. In addition every token predicts its own
    IoU, and the mixture layers share their load (SegMoTE, Eq. 8).

    Args:
        target, valid: ``[B, 1, G, G]`` of 0 and 1; padding is not valid.
    """
    mask = weights.dice * dice_loss(output.logits, target, valid)
    mask = mask + weights.cross_entropy * cross_entropy(output.logits, target, valid)
    choice = output.confidence.log_softmax(dim=-1)
    competing = -TEMPERATURE * torch.logsumexp(choice - mask / TEMPERATURE, dim=-1).mean()
    quality = F.mse_loss(output.quality, overlap_of(output.logits, target, valid))
    return competing + weights.quality * quality + weights.balance * balance_loss(output.routings)
