"""The gate of SAM-Med3D-MoE: from an image embedding and prompt tokens to a weight for every specialist.

Published: a small network that reads image and prompt embeddings, a softmax over the experts, and that it alone is
trained. Pooling, layers, widths, the class "general" and the two other ways to weigh are ours.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...core.errors import WeightsError
from .selector import GENERAL, GateReading, Weighing

FOCUS = 10.0
"""Attention logit of a click at its own place: what a token of SAM-Med3D has (|pe|^2 / sqrt(384) = 192 / 19.6). A token
times an embedding without its position, as first proposed, does not know where the click is."""
_LEAST_SPREAD = 0.05
_FARTHEST = 4.0
"""Deviations beyond are of images unlike any that the gate was taught on; they count as this far."""
_UNTAUGHT = -4.0
"""Log-odds against "general" of a specialist that was added to a taught gate: a weight of 0.02."""


def gate_features(image_embedding: Tensor, image_pe: Tensor, tokens: Tensor, padding: Tensor) -> Tensor:
    """What the gate reads: the mean image embedding, that at the clicks, and the mean prompt token, ``[1, 3C]``.

    Args:
        image_embedding: ``[1, C, *grid]`` of a slice or a volume.
        image_pe: its position encoding ``[1, C, *grid]``, as the mask decoder gets it.
        tokens: of the prompts, ``[1, T, C]``.
        padding: the token "not a point" ``[1, C]``, which is left out.
    """
    embedding = image_embedding.float().flatten(2)[0]
    real = tokens[0][(tokens[0] != padding.to(tokens.dtype)).any(dim=-1)].float()
    position = click_positions(image_pe.float()).flatten(2)[0]
    if len(real) == 0:
        nothing = torch.zeros_like(embedding[:, 0])
        return torch.cat([embedding.mean(dim=1), nothing, nothing])[None]
    attention = (FOCUS * (real @ position) / position.square().sum(dim=0)).softmax(dim=-1)
    return torch.cat([embedding.mean(dim=1), (attention @ embedding.T).mean(dim=0), real.mean(dim=0)])[None]


def click_positions(image_pe: Tensor) -> Tensor:
    """The position encoding of every cell as a click there has it, ``[1, C, *grid]``.

    In a slice both are the same. In SAM-Med3D the encoding of the grid has its first two axes swapped against that of
    the clicks, which its networks were trained with.
    """
    return image_pe.transpose(2, 3) if image_pe.ndim == 5 else image_pe


class Standard(nn.Module):
    """Features ``[B, F]`` as deviations from what the gate was taught on, in units of its spread there.

    The image embeddings of a base differ little from one image to the next about a large mean, so a layer
    normalization, as first proposed, leaves the gate mostly constants. On the toy of the tests, where unrelated targets
    may lose 0.2 points, no threshold was found with it in 12 runs of 12, and one in 8 of 8 with this.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))

    def fit(self, features: Tensor) -> None:
        """Take mean and spread of these features ``[N, F]``."""
        self.mean.copy_(features.mean(dim=0))
        self.scale.copy_(features.std(dim=0) + _LEAST_SPREAD)

    def forward(self, features: Tensor) -> Tensor:
        return ((features - self.mean) / self.scale).clamp(-_FARTHEST, _FARTHEST)


class Gate(nn.Module):
    """Features ``[B, 3C]`` to one logit for "general" and for every specialist.

    Every class has its own row (a linear layer to one number), so that adding or removing a specialist leaves the
    logits of the others as they are, to the last bit. A new gate prefers nobody, and thus answers "general".

    Args:
        width: C.
        experts: names of the specialists.
        hidden: inner width; about 0.3 million parameters with C = 384.
        weighing: "pairwise" weighs every specialist against "general" alone: p(e) / (p(e) + p(general)). So two
            specialists that both fit do not push each other below tau, and a further specialist changes no weight.
            "softmax" is over all classes, and "literal" over the specialists only as in the paper's abstract, for
            which two are the fewest. With one specialist the first two are the same.

    Raises:
        WeightsError: fewer than two specialists for "literal", or a name that is reserved or given twice.
    """

    def __init__(
        self,
        width: int,
        experts: Iterable[str] = (),
        hidden: int = 256,
        dropout: float = 0.1,
        weighing: Weighing = "pairwise",
    ) -> None:
        super().__init__()
        self.weighing: Weighing = weighing
        self.norm = Standard(3 * width)
        self.hidden = nn.Linear(3 * width, hidden)
        self.dropout = nn.Dropout(dropout)
        self.rows = nn.ModuleDict({GENERAL: nn.Linear(hidden, 1)})
        for name in experts:
            self.add(name)
        for parameter in self.rows.parameters():
            nn.init.zeros_(parameter)
        if weighing == "literal" and len(self.experts) < 2:
            raise WeightsError('A "literal" gate weighs specialists against each other: two are the fewest.')

    @property
    def experts(self) -> tuple[str, ...]:
        """Names of the specialists."""
        return tuple(self.rows)[1:]

    def add(self, name: str) -> None:
        """Add a specialist, which is not chosen until its row is trained.

        Raises:
            WeightsError: the name is taken or cannot be used.
        """
        if name in self.rows:
            raise WeightsError(f"The gate knows {name!r} already; give the specialist another name.")
        row = copy.deepcopy(cast(nn.Linear, self.rows[GENERAL]))
        with torch.no_grad():
            row.bias.add_(_UNTAUGHT)
        try:
            self.rows[name] = row
        except KeyError as error:
            raise WeightsError(f"A specialist cannot be called {name!r} ({error}); give it another name.") from error

    def forward(self, features: Tensor) -> Tensor:
        """Logits ``[B, 1 + E]`` of features ``[B, 3C]``, "general" first."""
        inner = self.dropout(F.gelu(self.hidden(self.norm(features.to(self.hidden.weight.dtype)))))
        return torch.cat([row(inner) for row in self.rows.values()], dim=-1)

    def weigh(self, logits: Tensor) -> Tensor:
        """Logits ``[B, 1 + E]`` to the weight of every specialist ``[B, E]``."""
        if self.weighing == "pairwise":
            return (logits[:, 1:] - logits[:, :1]).sigmoid()
        return logits.softmax(dim=-1)[:, 1:] if self.weighing == "softmax" else logits[:, 1:].softmax(dim=-1)

    def read(self, features: Tensor, known: Collection[str]) -> GateReading:
        """What the gate says to the features ``[1, 3C]`` of one prompt, about the specialists that are known."""
        logits = self(features)
        asked = [number for number, name in enumerate(self.experts) if name in known]
        weights = self.weigh(logits)[0].tolist()
        leads = self.weighing != "literal" and not any(logits[0, 1 + number] > logits[0, 0] for number in asked)
        return GateReading({self.experts[number]: weights[number] for number in asked}, leads)
