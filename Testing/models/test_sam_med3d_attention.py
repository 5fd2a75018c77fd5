"""Attention in padded windows against the plain computation with every padded token, values and gradients."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest
import sam_med3d_reference as reference
import torch
import torch.nn.functional as F
from torch import Tensor

from MoESegLib.models.sam_med3d.attention import WindowAttention3D

HEADS = 2
WIDTH = 8


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    with reference.one_thread():
        yield


def attention(size: int) -> WindowAttention3D:
    layer = WindowAttention3D(WIDTH, HEADS, size).double()
    with torch.no_grad():
        reference.fill_all(layer, position_scale=10.0)
        layer.qkv.bias.mul_(5)
    return layer


def tokens(grid: tuple[int, int, int]) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, *grid, WIDTH, dtype=torch.float64, generator=generator)


def plainly(layer: WindowAttention3D, x: Tensor) -> Tensor:
    """The formula of the released model over windows that are really padded."""
    size, sides = layer.size, x.shape[1:4]
    padding = [amount for side in reversed(sides) for amount in (0, -side % size)]
    padded = F.pad(x, (0, 0, *padding))
    result = torch.zeros_like(padded)
    for corner in product(*(range(0, side, size) for side in padded.shape[1:4])):
        window = (slice(None), *(slice(start, start + size) for start in corner))
        result[window] = plain_window(layer, padded[window])
    return result[:, : sides[0], : sides[1], : sides[2]]


def plain_window(layer: WindowAttention3D, x: Tensor) -> Tensor:
    size, channels = layer.size, WIDTH // HEADS
    q, k, v = layer.qkv(x).reshape(*x.shape[:4], 3, HEADS, channels).unbind(4)
    logits = torch.einsum("bdhwnc,bxyznc->bndhwxyz", q, k) / channels**0.5
    steps = torch.arange(size)
    by_distance = steps[:, None] - steps + size - 1
    by_depth = torch.einsum("bdhwnc,dzc->bndhwz", q, layer.rel_pos_d[by_distance])
    by_row = torch.einsum("bdhxnc,hzc->bndhxz", q, layer.rel_pos_h[by_distance])
    by_column = torch.einsum("bdhync,yzc->bndhyz", q, layer.rel_pos_w[by_distance])
    terms = by_depth[..., None, None, :] + by_row[..., None, :, None, :] + by_column[..., None, None, :, :]
    weights = (logits + terms).flatten(5).softmax(-1)
    merged = torch.einsum("bndhwk,bknc->bdhwnc", weights, v.flatten(1, 3))
    return layer.proj(merged.flatten(4))


GRIDS = {
    "the whole grid": (3, (3, 3, 3)),
    "one padded window": (3, (2, 2, 2)),
    "windows of every shape": (2, (3, 3, 3)),
    "padding in depth": (3, (1, 3, 3)),
    "padding in rows": (3, (3, 2, 3)),
    "padding in columns": (3, (3, 3, 1)),
    "padding in depth and columns": (3, (2, 3, 1)),
}


@pytest.mark.parametrize("case", GRIDS)
def test_values_and_gradients_equal_the_plain_computation(case: str) -> None:
    size, grid = GRIDS[case]
    layer, x = attention(size), tokens(grid)
    target = torch.randn(x.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(1))
    results, gradients = [], []
    for compute in (layer, lambda given: plainly(layer, given)):
        layer.zero_grad()
        given = x.clone().requires_grad_()
        result = compute(given)
        (result * target).sum().backward()
        results.append(result.detach())
        gradients.append([given.grad, *(parameter.grad for parameter in layer.parameters())])
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=1e-6)
    for mine, plain in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, plain, rtol=0, atol=1e-5)


def test_the_padding_takes_part_in_the_softmax() -> None:
    layer, x = attention(3), tokens((2, 2, 2))
    unpadded = WindowAttention3D(WIDTH, HEADS, 2).double()
    state = {key: value[1:-1] if "rel_pos" in key else value for key, value in layer.state_dict().items()}
    unpadded.load_state_dict(state)
    with torch.no_grad():
        assert float((layer(x) - unpadded(x)).abs().max()) > 0.1


def test_large_grids_attend_in_steps_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = attention(4), tokens((3, 4, 4))
    with torch.no_grad():
        at_once = layer(x)
        monkeypatch.setattr("MoESegLib.models.sam_med3d.attention.QUERIES_AT_ONCE", 16)
        torch.testing.assert_close(layer(x), at_once, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_near_and_finite_with_large_position_terms(dtype: torch.dtype) -> None:
    layer, x = attention(6), tokens((3, 3, 3))
    with torch.no_grad():
        exact = layer(x)
        for table in (layer.rel_pos_d, layer.rel_pos_h, layer.rel_pos_w):
            table.copy_(table.to(dtype))
        rough = layer.to(dtype)(x.to(dtype)).double()
    assert bool(rough.isfinite().all())
    assert float((rough - exact).abs().max() / exact.abs().max()) < (0.01 if dtype == torch.float16 else 0.1)
