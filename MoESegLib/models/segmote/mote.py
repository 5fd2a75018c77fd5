"""MoTE: a mixture of experts over the expert tokens of a mask decoder (SegMoTE, arXiv 2602.19213, Eq. 1, 2, 4, 8)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GateKind = Literal["full", "released"]
NOISE_FLOOR = 0.01


@dataclass(frozen=True, eq=False)
class Routing:
    """How the tokens of one layer were routed.

    Attributes:
        logits: clean gate logits ``[B, T, E]``.
        noisy: the logits that were routed by; equal to ``logits`` in eval mode.
        noise_scale: standard deviation of the noise ``[B, T, E]``; zeros in eval mode.
        gates: weight of every expert ``[B, T, E]``; zero outside the top k.
    """

    logits: Tensor
    noisy: Tensor
    noise_scale: Tensor
    gates: Tensor


class TokenMixture(nn.Module):
    """Routes every token to its best low-rank experts: ``[B, T, D]`` to an update ``[B, T, D]``.

    The activation is ours: in the public code an expert is a chain of linear layers, which equals a single affine map.

    Args:
        width: D.
        num_experts: E.
        rank: inner width of an expert.
        top_k: experts kept for each token.
        gate: "full" takes the softmax over all E logits and keeps the top k of it. "released" takes it over the kept
            logits only, as in the public code; with k = 1 that is the constant 1, so the gate gets no gradient at all
            (the test shows both).
    """

    def __init__(
        self, width: int, num_experts: int = 4, rank: int = 64, top_k: int = 1, gate: GateKind = "full"
    ) -> None:
        super().__init__()
        self.top_k = top_k
        self.gate: GateKind = gate
        # Zero gates at the start: no expert is preferred, and the noise alone explores.
        self.w_gate = nn.Parameter(torch.zeros(width, num_experts))
        self.w_noise = nn.Parameter(torch.zeros(width, num_experts))
        self.experts = nn.ModuleList(nn.Linear(width, rank) for _ in range(num_experts))
        self.project = nn.Linear(rank, width)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Routing]:
        routing = self.route(x)
        outputs = torch.stack([F.gelu(expert(x)) for expert in self.experts], dim=2)
        mixed = (routing.gates.unsqueeze(-1) * outputs).sum(dim=2)
        return self.project(mixed), routing

    def route(self, x: Tensor) -> Routing:
        """Gate logits and weights of tokens ``[B, T, D]``; noisy in training mode only (Eq. 2)."""
        logits = x @ self.w_gate
        scale = torch.zeros_like(logits)
        noisy = logits
        if self.training:
            scale = F.softplus(x @ self.w_noise) + NOISE_FLOOR
            noisy = logits + scale * torch.randn_like(logits)
        kept, indices = noisy.topk(self.top_k, dim=-1)
        weights = noisy.softmax(-1).gather(-1, indices) if self.gate == "full" else kept.softmax(-1)
        return Routing(logits, noisy, scale, torch.zeros_like(logits).scatter(-1, indices, weights))


def cv_squared(x: Tensor) -> Tensor:
    """Squared coefficient of variation of all values, unbiased variance; 0 for a uniform load (Eq. 8)."""
    if x.numel() < 2:
        return x.sum() * 0
    return x.float().var() / (x.float().mean() ** 2 + 1e-10)


def smooth_load(routing: Routing, top_k: int) -> Tensor:
    """Expected number of tokens of every expert ``[E]``, differentiable in gate and noise.

    The probability that an expert stays in the top k under fresh noise (Shazeer et al. 2017, arXiv 1701.06538, appendix
    A); the plain count has no gradient.
    """
    threshold = routing.noisy.topk(min(top_k + 1, routing.noisy.shape[-1]), dim=-1).values
    is_in = routing.gates > 0
    # An expert in the top k must beat the (k+1)-th value, any other one the k-th.
    rival = torch.where(is_in, threshold[..., -1:], threshold[..., top_k - 1 : top_k])
    normal = torch.distributions.Normal(0.0, 1.0)
    return normal.cdf((routing.logits - rival) / routing.noise_scale.clamp_min(NOISE_FLOOR)).sum(dim=(0, 1))


def balance_loss(routings: Sequence[Routing], top_k: int = 1) -> Tensor:
    """CV squared of importance plus CV squared of load, averaged over the layers (Eq. 8; every layer counts)."""
    losses = [
        cv_squared(routing.gates.sum(dim=(0, 1))) + cv_squared(smooth_load(routing, top_k)) for routing in routings
    ]
    return torch.stack(losses).mean()
