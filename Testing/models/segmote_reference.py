"""What the parity test of released SegMoTE and ``benchmarks/compare_segmote_upstream.py`` have in common.

Nothing large is stored: every tensor comes from a generator seeded with the CRC-32 of its name, so that any
implementation with the public keys can be filled with the same numbers.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

REFERENCE = Path(__file__).parent / "data" / "segmote_released_reference.npz"
SIDE = 256
GRID = SIDE // 16
WIDTH = 768
ENCODER_DEPTH = 3
STRIDE = 8
"""Every 8th row and column of a map, and every 8th semantic value, is stored."""


@contextmanager
def one_thread() -> Iterator[None]:
    """Run on one thread: on two shared cores the tests took 11 s so, and 45 s on two threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def numbers(key: str, shape: tuple[int, ...]) -> Tensor:
    """Standard normal float32 numbers that depend on the key alone."""
    return torch.from_numpy(np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape, dtype=np.float32))


def weight(key: str, shape: tuple[int, ...]) -> Tensor:
    """A weight that keeps activations of order one: tokens and gates of order one, biases small, norms near one."""
    values = numbers(key, shape)
    if len(shape) == 1:
        return 1 + 0.1 * values if key.endswith("weight") else 0.1 * values
    if shape[0] <= 4:
        return values / shape[0] ** 0.5
    return values / max(shape[0], int(np.prod(shape[1:]))) ** 0.5


def fill(module: nn.Module, prefix: str) -> None:
    """Give every tensor of a module the weight of its full key, except the constants of the noise distribution."""
    state = module.state_dict()
    for key, tensor in state.items():
        if not key.endswith((".mean", ".std")):
            tensor.copy_(weight(prefix + key, tuple(tensor.shape)))


@dataclass(frozen=True)
class Case:
    """One decoder call: prompts in pixels of ``SIDE`` x ``SIDE``, and the decoder's flags."""

    prompt: dict[str, Any]
    inter: bool = False
    if_prompt: bool | None = None


def cases() -> dict[str, Case]:
    """Every kind of prompt the public model takes."""
    box = torch.tensor([[[40.0, 60.0, 170.0, 200.0]]])
    boxes = torch.cat([box, torch.tensor([[[10.0, 20.0, 90.0, 240.0]]])])
    points = torch.tensor([[[100.0, 120.0], [30.0, 210.0]]])
    labels = torch.tensor([[1, 0]])
    text = numbers("text", (1, WIDTH))
    mask = 4 * numbers("mask", (1, 1, 4 * GRID, 4 * GRID))
    return {
        "box": Case({"bboxes": box}),
        "two_boxes": Case({"bboxes": boxes}),
        "points": Case({"point_coords": points, "point_labels": labels}),
        "text": Case({"text_inputs": text}),
        "text_and_box": Case({"text_inputs": text, "bboxes": box}),
        "mask_and_points": Case({"mask_inputs": mask, "point_coords": points, "point_labels": labels}),
        "pooled": Case({}, if_prompt=True),
        "pooled_with_mask_and_text": Case({"mask_inputs": mask, "text_inputs": text}, if_prompt=True),
        "box_without_experts": Case({"bboxes": box}, inter=True),
    }


def answer(prompt_encoder: nn.Module, decoder: nn.Module, case: Case) -> dict[str, Tensor]:
    """Outputs of a prompt encoder and a mask decoder with the public signatures, routing without noise."""
    prompt = case.prompt
    points = (prompt["point_coords"], prompt["point_labels"]) if "point_coords" in prompt else None
    text = prompt.get("text_inputs")
    sparse, dense = prompt_encoder(
        points=points, boxes=prompt.get("bboxes"), masks=prompt.get("mask_inputs"), text=text
    )
    pe: Callable[[], Tensor] = prompt_encoder.get_dense_pe  # type: ignore[assignment]
    outputs, loss, chosen = decoder(
        image_embeddings=numbers("image", (1, WIDTH, GRID, GRID)).expand(len(sparse), -1, -1, -1),
        image_pe=pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        text_prompt_embeddings=text,
        multimask_output=True,
        interm_embeddings=numbers("early", (1, GRID, GRID, WIDTH)).expand(len(sparse), -1, -1, -1),
        inter=case.inter,
        if_prompt=case.if_prompt,
        test_mode=True,
    )
    kept = {name: outputs[name] for name in ("candidate_masks", "iou_pred", "semantic_pred")}
    if chosen is not None:
        # Without experts the public decoder has no mask of its own choice, so there is nothing to compare.
        kept |= {name: outputs[name] for name in ("low_res_masks", "gate_logits")} | {"chosen": chosen, "loss": loss}
    return kept


def thinned(outputs: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """The part of the outputs that is stored."""
    kept = {}
    for name, tensor in outputs.items():
        if name.endswith("masks"):
            tensor = tensor[..., STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]
        elif name == "semantic_pred":
            tensor = tensor[..., ::STRIDE]
        kept[name] = tensor.detach().numpy()
    return kept


def encoded(encoder: nn.Module) -> dict[str, np.ndarray]:
    """Thinned embedding and early feature of an image encoder with the public signature."""
    embedding, features = encoder(numbers("pixels", (1, 3, SIDE, SIDE)))
    return {
        "embedding": embedding[:, ::STRIDE, ::STRIDE, ::STRIDE].detach().numpy(),
        "early": features[0][:, ::STRIDE, ::STRIDE, ::STRIDE].detach().numpy(),
    }
