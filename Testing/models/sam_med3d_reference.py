"""What the parity test of SAM-Med3D and ``benchmarks/compare_sam_med3d_upstream.py`` have in common.

Every tensor comes from a generator seeded with the name of its key, so only outputs are stored.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from segmote_reference import fill, numbers, one_thread
from torch import Tensor, nn

from MoESegLib.models.sam_med3d import SamMed3DConfig

__all__ = ["CONFIGS", "REFERENCE", "answers", "cases", "embedding", "fill_all", "one_thread", "thinned", "volume"]

REFERENCE = Path(__file__).parent / "data" / "sam_med3d_reference.npz"
STRIDE = 4

_SMALL = {"patch_size": 8, "width": 48, "heads": 3, "depth": 3, "prompt_width": 48}
CONFIGS = {
    # As released: one window that is larger than the grid, so that most of it is padding.
    "one_window": SamMed3DConfig(image_size=32, window_size=6, global_blocks=(1,), **_SMALL),  # type: ignore[arg-type]
    # Eight windows, padded on no, one, two and three axes.
    "many_windows": SamMed3DConfig(image_size=40, window_size=3, global_blocks=(2,), **_SMALL),  # type: ignore[arg-type]
}


def fill_all(model: nn.Module, position_scale: float = 4.0) -> None:
    """Weights by key; larger position tables than trained ones have, so that no term of them can hide."""
    with torch.no_grad():
        fill(model, "")
        for key, tensor in model.state_dict().items():
            if "rel_pos" in key:
                tensor.mul_(position_scale)


def volume(config: SamMed3DConfig) -> Tensor:
    """A normalized volume ``[1, 1, S, S, S]`` of noise."""
    return numbers("volume", (1, 1, *(config.image_size,) * 3))


def cases(config: SamMed3DConfig) -> dict[str, dict[str, Any]]:
    """Arguments of the prompt encoder for every kind of prompt that the public model takes."""
    side = config.image_size
    points = torch.tensor([[[0.3, 0.7, 0.1], [0.52, 0.11, 0.9], [0.0, 0.99, 0.4], [0.6, 0.6, 0.2]]]) * side
    labels = torch.tensor([[1, 0, 1, 0]])
    mask = 4 * numbers("mask", (1, 1, *(config.mask_size,) * 3))
    none: dict[str, Any] = {"points": None, "boxes": None, "masks": None}
    return {
        "one_point": none | {"points": (points[:, :1], labels[:, :1]), "masks": torch.zeros_like(mask)},
        "several_points": none | {"points": (points, labels), "masks": torch.zeros_like(mask)},
        "points_without_a_mask": none | {"points": (points, labels)},
        "points_and_mask": none | {"points": (points, labels), "masks": mask},
        "mask": none | {"masks": mask},
        "two_prompts": none | {"points": (points.reshape(2, 2, 3), labels.reshape(2, 2))},
    }


def embedding(model: Any, config: SamMed3DConfig) -> Tensor:
    """The image embedding of :func:`volume`."""
    return model.image_encoder(volume(config))


def answers(model: Any, image: Tensor, prompt: dict[str, Any]) -> dict[str, Tensor]:
    """Logits of all four masks and their predicted IoU, single mask first."""
    sparse, dense = model.prompt_encoder(**prompt)
    logits, quality = [], []
    for multimask in (False, True):
        masks, scores = model.mask_decoder(
            image_embeddings=image,
            image_pe=model.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=multimask,
        )
        logits.append(masks)
        quality.append(scores)
    return {"logits": torch.cat(logits, dim=1), "iou": torch.cat(quality, dim=1)}


def thinned(outputs: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """The part of the outputs that is stored: every fourth voxel of a mask on each axis."""
    return {
        name: (value[..., 1::STRIDE, 1::STRIDE, 1::STRIDE] if name == "logits" else value).detach().numpy()
        for name, value in outputs.items()
    }
