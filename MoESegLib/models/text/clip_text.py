"""The text tower of CLIP ViT-B/32 (Radford et al. 2021), with the public state-dict keys and no tokenizer.

Keys are those of ``CLIPTextModel`` in transformers 4: everything lies under ``text_model.``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...core.errors import PromptError

END_OF_TEXT = 49407
"""Token that ends a sentence; the tokenizer also pads with it."""


@dataclass(frozen=True, eq=False)
class TextOutput:
    """What the tower says of a batch of sentences.

    Attributes:
        last_hidden_state: one vector per token ``[B, T, C]``, normalized.
        pooler_output: the vector of the first end-of-text token ``[B, C]``.
    """

    last_hidden_state: Tensor
    pooler_output: Tensor


class TextEmbeddings(nn.Module):
    """Token ids ``[B, T]`` to vectors with position ``[B, T, C]``."""

    def __init__(self, vocabulary: int, positions: int, width: int) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(vocabulary, width)
        self.position_embedding = nn.Embedding(positions, width)

    def forward(self, input_ids: Tensor) -> Tensor:
        length, limit = input_ids.shape[1], self.position_embedding.num_embeddings
        if length > limit:
            raise PromptError(f"The text prompt has {length} tokens; at most {limit} are understood. Shorten it.")
        return self.token_embedding(input_ids) + self.position_embedding.weight[:length]


class TextAttention(nn.Module):
    """Multi-head self-attention of ``[B, T, C]`` where ``allowed`` is true."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.num_heads = heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, allowed: Tensor) -> Tensor:
        q, k, v = (
            project(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
        return self.out_proj(attended.transpose(1, 2).flatten(2))


class TextMLP(nn.Module):
    """Two linear layers with CLIP's sigmoid approximation of GELU between."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc1(x)
        return self.fc2(x * torch.sigmoid(1.702 * x))


class TextLayer(nn.Module):
    """A pre-norm transformer layer over ``[B, T, C]``."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(width)
        self.self_attn = TextAttention(width, heads)
        self.layer_norm2 = nn.LayerNorm(width)
        self.mlp = TextMLP(width, hidden)

    def forward(self, x: Tensor, allowed: Tensor) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x), allowed)
        return x + self.mlp(self.layer_norm2(x))


class TextLayers(nn.Module):
    """The stack of layers, under the name that the public keys give it."""

    def __init__(self, width: int, heads: int, hidden: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TextLayer(width, heads, hidden) for _ in range(depth))

    def forward(self, x: Tensor, allowed: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x, allowed)
        return x


class TextTransformer(nn.Module):
    """Embeddings, layers and the last normalization."""

    def __init__(self, vocabulary: int, positions: int, width: int, heads: int, hidden: int, depth: int) -> None:
        super().__init__()
        self.embeddings = TextEmbeddings(vocabulary, positions, width)
        self.encoder = TextLayers(width, heads, hidden, depth)
        self.final_layer_norm = nn.LayerNorm(width)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None) -> TextOutput:
        length = input_ids.shape[1]
        allowed = torch.ones(length, length, dtype=torch.bool, device=input_ids.device).tril()
        if attention_mask is not None:
            allowed = allowed & attention_mask.bool()[:, None, None, :]
        hidden = self.final_layer_norm(self.encoder(self.embeddings(input_ids), allowed))
        # The first end-of-text token; the tokenizer pads with the same id, so the last one would be padding.
        end = (input_ids == END_OF_TEXT).int().argmax(dim=-1)
        return TextOutput(hidden, hidden[torch.arange(len(hidden), device=hidden.device), end])


class CLIPTextModel(nn.Module):
    """CLIP's text tower; the defaults are ViT-B/32 (63,165,952 parameters, 196 tensors).

    Args:
        vocabulary: known tokens.
        positions: longest sentence in tokens.
        width: C.
    """

    def __init__(
        self,
        vocabulary: int = 49408,
        positions: int = 77,
        width: int = 512,
        heads: int = 8,
        hidden: int = 2048,
        depth: int = 12,
    ) -> None:
        super().__init__()
        self.text_model = TextTransformer(vocabulary, positions, width, heads, hidden, depth)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> TextOutput:
        """Read sentences.

        Args:
            input_ids: CLIP token ids ``[B, T]``, padded on the right.
            attention_mask: 1 for tokens, 0 for padding ``[B, T]``; does not change the pooled vector.

        Raises:
            PromptError: more tokens than positions.
        """
        return self.text_model(input_ids, attention_mask)
