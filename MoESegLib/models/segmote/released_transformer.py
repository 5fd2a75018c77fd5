"""SegMoTE's two-way transformer: SAM's, with a mixture of experts in place of the MLP of the expert tokens.

Keys and behavior as in the public ``transformer.py``, which exists in two versions that differ in the gate only.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..sam.transformer import TwoWayAttentionBlock, TwoWayTransformer
from .mote import NOISE_FLOOR, Routing, balance_loss, cv_squared

ReleasedGate = Literal["released", "straight_through", "full"]
"""What weighs an expert in the top k.

- "released": softmax over the kept logits (public commit 77668f0). With k = 1 it is the constant 1, so that neither the
  gate nor the noise ever gets a gradient.
- "straight_through": 1, with the gradient of the softmax over all logits (public commit ba6e178); same inference.
- "full": that softmax itself, with a balance loss that has a gradient in every layer (ours).
"""

RANK = 64


class LowRankExpert(nn.Module):
    """The only layer of an expert, ``[B, T, D]`` to ``[B, T, rank]``; the way back is shared by all experts."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.lin1 = nn.Linear(width, RANK)

    def forward(self, x: Tensor) -> Tensor:
        return self.lin1(x)


class MoTEBlock(TwoWayAttentionBlock):
    """A two-way block whose expert tokens pass through routed low-rank experts.

    Args:
        first_expert: position of the first expert token.
        num_experts: E, the number of expert tokens and of routed experts.
        top_k: experts kept for each token.
        residual: add the mixture to what SAM's MLP makes of an expert token, instead of replacing it (ours).
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        width: int,
        num_heads: int,
        mlp_dim: int,
        skip_first_layer_pe: bool,
        first_expert: int,
        num_experts: int,
        top_k: int,
        gate: ReleasedGate,
        residual: bool,
    ) -> None:
        super().__init__(width, num_heads, mlp_dim, skip_first_layer_pe=skip_first_layer_pe)
        self.experts_at = slice(first_expert, first_expert + num_experts)
        self.num_experts = num_experts
        self.top_k = top_k
        self.gate: ReleasedGate = gate
        self.residual = residual
        self.w_gate_token = nn.Parameter(torch.zeros(width, num_experts))
        self.w_noise_token = nn.Parameter(torch.zeros(width, num_experts))
        self.experts_token = nn.ModuleList(LowRankExpert(width) for _ in range(num_experts))
        self.dte_token = nn.Linear(RANK, RANK)
        self.dteall_token = nn.Linear(RANK, RANK)
        self.proj_token = nn.Linear(RANK, width)
        # Unused, and part of every public checkpoint.
        self.dte = nn.Linear(RANK, RANK)
        self.dteall = nn.Linear(RANK, RANK)
        self.register_buffer("mean", torch.zeros(1))
        self.register_buffer("std", torch.ones(1))

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride] - the public signature
        self, queries: Tensor, keys: Tensor, query_pe: Tensor, key_pe: Tensor, test_mode: bool, inter: bool = False
    ) -> tuple[Tensor, Tensor, Routing | None]:
        """Update tokens ``[B, T, D]`` and image tokens ``[B, G*G, D]``.

        Args:
            test_mode: route without noise.
            inter: skip the MLP and the mixture.
        """
        queries = self.attend_to_tokens(queries, query_pe)
        keys_with_pe = keys + key_pe
        queries = self.norm2(queries + self.cross_attn_token_to_image(queries + query_pe, keys_with_pe, keys))
        routing = None
        if not inter:
            queries, routing = self.transform(queries, test_mode)
        update = self.cross_attn_image_to_token(keys_with_pe, queries + query_pe, queries)
        return queries, self.norm4(keys + update), routing

    def transform(self, queries: Tensor, test_mode: bool) -> tuple[Tensor, Routing]:
        """SAM's MLP for its tokens; as released the mixture replaces the expert tokens, without normalization."""
        start, stop = self.experts_at.start, self.experts_at.stop
        experts = queries[:, self.experts_at]
        others = torch.cat([queries[:, :start], queries[:, stop:]], dim=1)
        others = self.norm3(others + self.mlp(others))
        routing = self.route(experts, test_mode)
        mixed = self.mix(experts, routing.gates)
        if self.residual:
            mixed = self.norm3(experts + self.mlp(experts)) + mixed
        return torch.cat([others[:, :start], mixed, others[:, start:]], dim=1), routing

    def route(self, x: Tensor, test_mode: bool) -> Routing:
        """Gate logits and weights of expert tokens ``[B, T, D]`` (Eq. 1, 2)."""
        logits = x @ self.w_gate_token
        scale = torch.zeros_like(logits)
        noisy = logits
        if not test_mode:
            scale = F.softplus(x @ self.w_noise_token) + NOISE_FLOOR
            noisy = logits + torch.randn_like(logits) * scale
        # One more than is kept, as in the public code: with equal logits the choice depends on how many are asked for.
        kept, indices = noisy.topk(min(self.top_k + 1, self.num_experts), dim=-1)
        kept, indices = kept[..., : self.top_k], indices[..., : self.top_k]
        share = noisy.softmax(-1).gather(-1, indices)
        if self.gate == "full":
            weights = share
        elif self.gate == "straight_through":
            weights = 1 - share.detach() + share
        else:
            weights = kept.softmax(-1)
        return Routing(logits, noisy, scale, torch.zeros_like(logits).scatter(-1, indices, weights))

    def mix(self, x: Tensor, gates: Tensor) -> Tensor:
        """Expert tokens ``[B, T, D]`` through the experts weighted by ``gates`` ``[B, T, E]``."""
        outputs = torch.stack([expert(x) for expert in self.experts_token], dim=2)
        mixed = (gates.unsqueeze(-1) * outputs).sum(dim=2)
        mixed = torch.where(mixed == 0, sys.float_info.epsilon, mixed)
        return self.proj_token(self.dteall_token(self.dte_token(mixed)))


class MoTETransformer(TwoWayTransformer):
    """A stack of :class:`MoTEBlock` and a last attention from the tokens to the image."""

    def __init__(
        self,
        depth: int,
        embedding_dim: int,
        num_heads: int,
        mlp_dim: int,
        first_expert: int = 9,
        num_experts: int = 4,
        top_k: int = 1,
        gate: ReleasedGate = "released",
        residual: bool = False,
    ) -> None:
        super().__init__(0, embedding_dim, num_heads, mlp_dim)
        self.depth = depth
        self.top_k = top_k
        self.gate: ReleasedGate = gate
        self.residual = residual
        self.num_experts = num_experts
        self.layers.extend(
            MoTEBlock(embedding_dim, num_heads, mlp_dim, index == 0, first_expert, num_experts, top_k, gate, residual)
            for index in range(depth)
        )

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride] - the public signature
        self, image_embedding: Tensor, image_pe: Tensor, point_embedding: Tensor, inter: bool, test_mode: bool
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """Image embedding and its position encoding ``[B, D, G, G]``, tokens ``[B, T, D]``.

        Returns:
            Updated tokens ``[B, T, D]``, image tokens ``[B, G*G, D]``, the balance loss and the position of the expert
            token that answers ``[B]``; the last two are None if ``inter``.
        """
        queries, keys, routings = self.run(image_embedding, image_pe, point_embedding, inter, test_mode)
        if not routings:
            return queries, keys, None, None
        return queries, keys, self.balance(routings, test_mode), answering_token(routings[-1])

    def run(
        self, image_embedding: Tensor, image_pe: Tensor, point_embedding: Tensor, inter: bool, test_mode: bool
    ) -> tuple[Tensor, Tensor, list[Routing]]:
        """As :meth:`forward`, with the routing of every layer (none if ``inter``)."""
        keys = image_embedding.flatten(2).transpose(1, 2)
        key_pe = image_pe.flatten(2).transpose(1, 2)
        queries, routings = point_embedding, []
        for layer in self.layers:
            queries, keys, routing = cast(MoTEBlock, layer)(queries, keys, point_embedding, key_pe, test_mode, inter)
            routings.extend([] if routing is None else [routing])
        update = self.final_attn_token_to_image(queries + point_embedding, keys + key_pe, keys)
        return self.norm_final_attn(queries + update), keys, routings

    def balance(self, routings: Sequence[Routing], test_mode: bool) -> Tensor:
        """The balance loss (Eq. 8) of the gate in use."""
        if self.gate == "full":
            return balance_loss(routings, self.top_k)
        return released_balance_loss(routings[-1], self.top_k, test_mode)


def answering_token(routing: Routing) -> Tensor:
    """The expert token with the largest logit, ``[B]`` (Eq. 4)."""
    return routing.noisy.amax(-1).argmax(-1)


def released_balance_loss(routing: Routing, top_k: int, test_mode: bool) -> Tensor:
    """The public code's loss: importance summed over the batch only, load by gates in training, by count in tests."""
    gates = routing.gates
    counted = test_mode or top_k >= gates.shape[-1]
    load = (gates > 0).sum(dim=(0, 1)) if counted else gates.sum(dim=(0, 1))
    return cv_squared(gates.sum(dim=0)) + cv_squared(load)
