"""A mask decoder that is not the base's own, asked click after click as :mod:`.rounds3d` asks a whole network."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from ..engines.sam_med3d import SamMed3DModel
from .gate3d import dice_of, mask_loss
from .rounds3d import Asked3D, Batch3D, Sources, corrected, first_question
from .step import in_half


def prompt_inputs(model: SamMed3DModel, image: Tensor, asked: Asked3D) -> dict[str, Tensor]:
    """What a mask decoder takes; the encoders get no gradient.

    Args:
        image: ``[B, C, G, G, G]``.
    """
    with torch.no_grad():
        points, labels, masks = (part.to(model.device) for part in (asked.points, asked.labels, asked.masks))
        sparse, dense = model.network.prompt_encoder(points=(points, labels), boxes=None, masks=masks)
        position = model.network.prompt_encoder.get_dense_pe()
    return {
        "image_embeddings": image,
        "image_pe": position,
        "sparse_prompt_embeddings": sparse,
        "dense_prompt_embeddings": dense,
    }


def rounds(
    model: SamMed3DModel,
    decoder: nn.Module,
    image: Tensor,
    batch: Batch3D,
    clicks: int,
    sources: Sources | None = None,
) -> Iterator[tuple[Asked3D, Tensor]]:
    """What is asked after every click, and the logits ``[B, g, g, g]`` that a decoder answers.

    An answer may be differentiated before the next one is taken.

    Args:
        image: ``[B, C, G, G, G]`` of the batch.
        sources: as in :func:`~.rounds3d.corrected`.
    """
    asked = first_question(batch)
    for number in range(clicks):
        with in_half(model.device):
            logits = decoder(**prompt_inputs(model, image, asked), multimask_output=False)[0][:, 0]
        yield asked, logits.float()
        if number + 1 < clicks:
            asked = corrected(asked, logits.detach().float().cpu(), batch, sources)


def learn(
    model: SamMed3DModel, decoder: nn.Module, image: Tensor, batch: Batch3D, clicks: int, sources: Sources
) -> float:
    """Add the gradients of a batch, click after click, to a decoder; returns the loss, averaged over the clicks.

    Dice and cross-entropy after every click, as SAM-Med3D was trained (upstream ``train.py`` adds eleven of them up).
    """
    wanted, total = batch.shares.to(model.device).flatten(1), 0.0
    for _, logits in rounds(model, decoder, image, batch, clicks, sources):
        loss = mask_loss(logits.flatten(1), wanted) / clicks
        loss.backward()
        total += float(loss.detach())
    return total


@torch.no_grad()
def dice_by_click(model: SamMed3DModel, decoder: nn.Module, image: Tensor, batch: Batch3D, clicks: int) -> np.ndarray:
    """Dice ``[B, clicks]`` of a careful user, who clicks the deepest voxel of the largest error."""
    masks = batch.masks.to(model.device)
    found = [dice_of(logits, masks).cpu().numpy() for _, logits in rounds(model, decoder, image, batch, clicks)]
    return np.stack(found, axis=1)
