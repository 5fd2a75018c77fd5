"""MiniLM as a sentence encoder (Wang et al. 2020; sentence-transformers/all-MiniLM-L6-v2), with the public keys.

A BERT of 6 layers; the embedding of a sentence is the mean of its token vectors, of length 1. Keys are those of
``BertModel`` in transformers, but for the pooler and the position numbers, which the embedding does not use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .wordpiece import VOCABULARY_SIZE, WordPieceTokenizer

WIDTH = 384
"""Length of an embedding."""
LONGEST_SENTENCE = 256
"""Tokens, as the model was tuned with; the rest of a longer sentence is not read."""
UNUSED_KEYS = ("embeddings.position_ids", "pooler.dense.weight", "pooler.dense.bias")
_EPSILON = 1e-12


class Embeddings(nn.Module):
    """Token ids ``[B, T]`` to normalized vectors with position ``[B, T, C]``."""

    def __init__(self, vocabulary: int, positions: int, width: int) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(vocabulary, width)
        self.position_embeddings = nn.Embedding(positions, width)
        self.token_type_embeddings = nn.Embedding(2, width)
        self.LayerNorm = nn.LayerNorm(width, eps=_EPSILON)

    def forward(self, ids: Tensor) -> Tensor:
        places = self.position_embeddings.weight[: ids.shape[1]]
        return self.LayerNorm(self.word_embeddings(ids) + places + self.token_type_embeddings.weight[0])


class Projections(nn.Module):
    """Queries, keys and values, and attention with them: ``[B, T, C]`` to ``[B, T, C]``."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.num_heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)

    def forward(self, x: Tensor, allowed: Tensor) -> Tensor:
        q, k, v = (
            project(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for project in (self.query, self.key, self.value)
        )
        return F.scaled_dot_product_attention(q, k, v, attn_mask=allowed).transpose(1, 2).flatten(2)


class AddAndNorm(nn.Module):
    """A linear layer of ``x``, added to ``skip`` ``[B, T, C]`` and normalized."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(channels, width)
        self.LayerNorm = nn.LayerNorm(width, eps=_EPSILON)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.LayerNorm(self.dense(x) + skip)


class Layer(nn.Module):
    """A post-norm transformer layer over ``[B, T, C]``."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.attention = nn.ModuleDict({"self": Projections(width, heads), "output": AddAndNorm(width, width)})
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, hidden)})
        self.output = AddAndNorm(hidden, width)

    def forward(self, x: Tensor, allowed: Tensor) -> Tensor:
        x = self.attention["output"](self.attention["self"](x, allowed), x)
        return self.output(F.gelu(self.intermediate["dense"](x)), x)


class MiniLM(nn.Module):
    """The encoder; the defaults are all-MiniLM-L6-v2 (22,565,376 parameters without the unused pooler)."""

    def __init__(
        self,
        vocabulary: int = VOCABULARY_SIZE,
        positions: int = 512,
        width: int = WIDTH,
        heads: int = 12,
        hidden: int = 1536,
        depth: int = 6,
    ) -> None:
        super().__init__()
        self.embeddings = Embeddings(vocabulary, positions, width)
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(Layer(width, heads, hidden) for _ in range(depth))})

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Read sentences.

        Args:
            ids: token ids ``[B, T]``, padded on the right.
            mask: 1 for tokens, 0 for padding ``[B, T]``.

        Returns:
            Embeddings ``[B, 384]`` of length 1.
        """
        allowed = mask.bool()[:, None, None, :]
        x = self.embeddings(ids)
        for layer in cast("nn.ModuleList", self.encoder["layer"]):
            x = layer(x, allowed)
        weight = mask[:, :, None].to(x.dtype)
        return F.normalize((x * weight).sum(1) / weight.sum(1), dim=-1)


def keys_used(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a published file that the encoder has."""
    return {key: value for key, value in state.items() if key not in UNUSED_KEYS}


@torch.inference_mode()
def embed_sentences(network: MiniLM, tokenizer: WordPieceTokenizer, sentences: Sequence[str]) -> Tensor:
    """Embeddings ``[N, 384]`` of sentences, each read alone, so that an answer does not depend on its neighbors."""
    device = network.embeddings.word_embeddings.weight.device
    rows = []
    for sentence in sentences:
        ids = torch.tensor([tokenizer(sentence, LONGEST_SENTENCE)], device=device)
        rows.append(network(ids, torch.ones_like(ids)))
    return torch.cat(rows) if rows else torch.zeros(0, WIDTH)
