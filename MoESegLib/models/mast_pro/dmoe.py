"""D-MoE: generic experts that always answer, and specific ones that a router chooses by image and task.

Published (MAST-Pro, arXiv 2503.14355): both kinds of experts, a task-dependent router that balances them, and
cross-attention between prompts and image. The form, the numbers and the equations are ours. Routing is per patch and
task, not per voxel: it can be explained, and costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..segmote import mote
from .config import GROUP, MastProConfig
from .prompts import Own
from .unet import Conv3


@dataclass(frozen=True, eq=False)
class Routing:
    """How the patches of a batch were routed in one D-MoE block.

    Attributes:
        experts: names of the E specific experts; those of added tumors come last, and weigh 0 for all other tumors.
        weights: of every specific expert ``[B, E]``, a softmax over those allowed; 0 where it did not answer.
        chosen: indices of those that answered ``[B, k]``, the likeliest first.
        balance: share of the specific experts against the generic ones ``[B]``, 0 to 1.
        scores: logits of the shared specific experts ``[B, specific]``, before the noise; for a warm-up of the router.
        gates: the same routing as :func:`~..segmote.mote.balance_loss` wants it, ``[n, 1, specific]``: shared experts,
            and patches of tumors that were not added.
    """

    experts: tuple[str, ...]
    weights: Tensor
    chosen: Tensor
    balance: Tensor
    scores: Tensor
    gates: mote.Routing


class Adapter(nn.Module):
    """An expert: a bottleneck with a depthwise convolution, ``[B, C, d, h, w]`` to an update that is 0 at first."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        inner = max(1, channels // reduction)
        self.squeeze = nn.Conv3d(channels, inner, 1)
        self.depthwise = Conv3(inner, inner, groups=inner)
        self.expand = nn.Conv3d(inner, channels, 1)
        nn.init.zeros_(self.expand.weight)
        nn.init.zeros_(self.expand.bias)  # pyright: ignore[reportArgumentType] - it has one

    def forward(self, x: Tensor) -> Tensor:
        return self.expand(F.gelu(self.depthwise(self.squeeze(x))))


class Router(nn.Module):
    """From the task vector to a weight for every specific expert, and the balance with the generic ones.

    The task vector is the mean of the feature map, the mean text token, the mean organ token and the vector of the
    tumor. Each is normalized on its own: together the largest would set the scale of all.

    The weights are those of a softmax over all experts, of which the top k are kept and *not* normalized again: with
    k = 1 the weight would be the constant 1, and the router would learn nothing.

    An added tumor has a row of its own, and an expert which always serves it, as one of the k: an expert that is never
    chosen would never learn. For all other tumors nothing is computed from that row, so that they keep their routing to
    the last bit.
    """

    def __init__(self, widths: Sequence[int], hidden: int, experts: int, top_k: int) -> None:
        super().__init__()
        self.top_k = top_k
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in widths)
        self.hidden = nn.Linear(sum(widths), hidden)
        self.score = nn.Linear(hidden, experts)
        self.noise = nn.Linear(hidden, experts)
        self.balance = nn.Linear(sum(widths), 1)
        for layer in (self.noise, self.balance):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.own = nn.ModuleDict()

    def add(self, name: str) -> nn.Module:
        """The row of a new tumor; at first its expert is as likely as the likeliest one."""
        row = nn.Linear(self.hidden.out_features, 1)
        nn.init.zeros_(row.weight)
        nn.init.zeros_(row.bias)
        self.own[name] = row.to(self.hidden.weight)
        return row

    def forward(self, parts: Sequence[Tensor], own: Own) -> Routing:
        """Route.

        Args:
            parts: of the task vector, ``[B, width]`` each.
        """
        task = torch.cat([norm(part) for norm, part in zip(self.norms, parts, strict=True)], dim=-1)
        hidden = F.gelu(self.hidden(task))
        scores = self.score(hidden)
        scale = torch.zeros_like(scores)
        noisy = scores
        if self.training:
            scale = F.softplus(self.noise(hidden)) + mote.NOISE_FLOOR
            noisy = scores + scale * torch.randn_like(scores)
        chosen = noisy.topk(self.top_k, dim=-1).indices
        weights = _kept(noisy.softmax(dim=-1), chosen)
        gates = mote.Routing(*(_shared_only(value, own)[:, None] for value in (scores, noisy, scale, weights)))
        shared = weights.shape[1]
        weights = F.pad(weights, (0, len(self.own)))
        for name, rows in own.items():
            column = shared + list(self.own).index(name)
            likeliest = noisy[rows].amax(dim=-1, keepdim=True).detach()
            logits = torch.cat([noisy[rows], likeliest + self.own[name](hidden[rows])], dim=-1)
            others = logits[:, :-1].topk(self.top_k - 1, dim=-1).indices
            its_chosen = torch.cat([torch.full_like(rows, shared)[:, None], others], dim=-1)
            its_weights = _kept(logits.softmax(dim=-1), its_chosen)
            places = torch.tensor([*range(shared), column], device=rows.device)
            widened = torch.zeros_like(weights[rows]).index_copy(1, places, its_weights)
            weights = weights.index_copy(0, rows, widened)
            chosen = chosen.index_copy(0, rows, torch.where(its_chosen == shared, column, its_chosen))
        names = (*(str(number) for number in range(shared)), *self.own)
        balance = self.balance(task).sigmoid()[:, 0]
        return Routing(names, weights, chosen, balance, scores, gates)


class PromptAttention(nn.Module):
    """Every cell of the feature map attends to the tokens of text and organs; then a feed-forward layer."""

    def __init__(self, channels: int, token_width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(channels)
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(token_width, channels)
        self.value = nn.Linear(token_width, channels)
        self.out = nn.Linear(channels, channels)
        self.ffn = nn.Sequential(
            nn.LayerNorm(channels), nn.Linear(channels, 2 * channels), nn.GELU(), nn.Linear(2 * channels, channels)
        )

    def forward(self, features: Tensor, tokens: Tensor, counts: Tensor) -> Tensor:
        """Features ``[B, C, d, h, w]``, tokens ``[B, N, T]`` and which of them count ``[B, N]`` to features."""
        x = features.flatten(2).transpose(1, 2)
        q, k, v = (
            value.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for value in (self.query(self.norm(x)), self.key(tokens), self.value(tokens))
        )
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=counts[:, None, None])
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        x = x + self.ffn(x)
        return x.transpose(1, 2).unflatten(2, features.shape[2:])


class DMoE(nn.Module):
    """One block: ``Y = F + (1 - beta) mean_g G_g(F) + beta sum_k p_k S_k(F)``, then cross-attention to the prompts."""

    def __init__(self, config: MastProConfig, channels: int) -> None:
        super().__init__()
        self.channels, self.reduction = channels, config.reduction
        self.norm = nn.GroupNorm(channels // GROUP, channels) if config.experts else nn.Identity()
        self.generic = nn.ModuleList()
        self.specific = nn.ModuleDict()
        self.router = None
        self.xattn = PromptAttention(channels, config.token_width, config.heads) if config.attention else None
        if config.experts:
            self.generic.extend(Adapter(channels, config.reduction) for _ in range(config.generic))
            self.specific.update(
                {str(number): Adapter(channels, config.reduction) for number in range(config.specific)}
            )
            widths = (channels, *[config.token_width] * 3)
            self.router = Router(widths, config.router_width, config.specific, config.top_k)

    @property
    def own(self) -> nn.ModuleDict:
        """The experts by name; those of added tumors are among the specific ones."""
        return self.specific

    def add(self, name: str) -> nn.Module:
        """A specific expert for a new tumor, which begins as no change at all; the router gets its row by itself."""
        like = next(self.parameters())
        self.specific[name] = Adapter(self.channels, self.reduction).to(like)
        return self.specific[name]

    def forward(
        self, features: Tensor, text: Tensor, organs: tuple[Tensor, Tensor], tumor: Tensor, own: Own
    ) -> tuple[Tensor, Routing | None]:
        """One feature map.

        Args:
            features: ``[B, C, d, h, w]``.
            text: tokens ``[B, S, T]``.
            organs: tokens ``[B, N, T]`` and which of them count ``[B, N]``.
            tumor: vectors ``[B, T]``.

        Returns:
            Features of the same shape, and the routing; None without experts.
        """
        tokens, counts = organs
        routing = None
        if self.router is not None:
            mean_organ = (tokens * counts[..., None]).sum(dim=1) / counts.sum(dim=1, keepdim=True)
            routing = self.router((features.mean(dim=(2, 3, 4)), text.mean(dim=1), mean_organ, tumor), own)
            features = features + self._mixture(self.norm(features), routing)
        if self.xattn is not None:
            always = torch.ones(text.shape[:2], dtype=torch.bool, device=text.device)
            features = self.xattn(features, torch.cat([text, tokens], dim=1), torch.cat([always, counts], dim=1))
        return features, routing

    def _mixture(self, x: Tensor, routing: Routing) -> Tensor:
        """The update of all experts; a specific one only runs on the patches that chose it."""
        balance = routing.balance[:, None, None, None, None]
        generic = torch.stack([expert(x) for expert in self.generic]).mean(dim=0)
        special = torch.zeros_like(x)
        for number, expert in enumerate(self.specific.values()):
            rows = (routing.chosen == number).any(dim=1).nonzero()[:, 0]
            if len(rows):
                weight = routing.weights[rows, number][:, None, None, None, None]
                special = special.index_add(0, rows, (weight * expert(x[rows])).to(special.dtype))
        return (1 - balance) * generic + balance * special


def balance_loss(routings: Sequence[Routing], top_k: int) -> Tensor:
    """CV squared of importance and of smooth load of the shared experts, the mean over the blocks.

    Zero where there is nothing to balance: no experts, or only patches of added tumors.
    """
    gates = [routing.gates for routing in routings if len(routing.gates.gates)]
    if not gates:
        return torch.zeros((), device=routings[0].weights.device if routings else None)
    return mote.balance_loss(gates, top_k)


def _kept(weights: Tensor, chosen: Tensor) -> Tensor:
    return torch.zeros_like(weights).scatter(-1, chosen, weights.gather(-1, chosen))


def _shared_only(values: Tensor, own: Own) -> Tensor:
    """Rows of the tumors that were not added."""
    if not own:
        return values
    keep = torch.ones(len(values), dtype=torch.bool, device=values.device)
    keep[torch.cat(list(own.values()))] = False
    return values[keep]
