"""SegMoTE's mechanism on any SAM-width backbone, attached so that the base model cannot change (our form).

In SegMoTE the expert tokens join the decoder's tokens, so every other token reads them and the base mask changes as
soon as experts are present. Here expert tokens read and are not read: the base decoder runs by itself, call for call as
without experts, and its intermediate states are what the experts attend to. The base mask is therefore the same to the
last bit with any number of experts, and no expert changes another one's answer.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..sam.build import Sam
from ..sam.common import LayerNorm2d, upscaling_branch
from ..sam.mask_decoder import MaskDecoder
from ..sam.transformer import TwoWayAttentionBlock
from .mote import GateKind, Routing, TokenMixture
from .prompt_pool import PromptPool
from .scope import Scope

MASK_TOKEN = 1
"""Position of the token of the single mask (0 is the quality token)."""


@dataclass(frozen=True, eq=False)
class DecoderTrace:
    """A base decoder pass with the states that experts read.

    Attributes:
        tokens: the tokens before the first layer, also their position encoding, ``[B, T, C]``.
        layers: tokens ``[B, T, C]`` and image tokens ``[B, G*G, C]`` before each layer.
        image_tokens: image tokens after the last layer ``[B, G*G, C]``.
        position: position encoding of the image tokens ``[B, G*G, C]``.
        upscaled: mask features ``[B, C/8, 4G, 4G]``.
        logits: of the single mask ``[B, 1, 4G, 4G]``.
        quality: predicted IoU of the single mask ``[B, 1]``.
    """

    tokens: Tensor
    layers: list[tuple[Tensor, Tensor]]
    image_tokens: Tensor
    position: Tensor
    upscaled: Tensor
    logits: Tensor
    quality: Tensor


def trace_decoder(decoder: MaskDecoder, image: Tensor, image_pe: Tensor, sparse: Tensor, dense: Tensor) -> DecoderTrace:
    """Run a mask decoder operation for operation as its ``forward`` does, and keep what experts read.

    Args:
        image: ``[1 or B, C, G, G]``; image_pe: ``[1, C, G, G]``; sparse: ``[B, T, C]``; dense: ``[B, C, G, G]``.
    """
    batch = sparse.shape[0]
    tokens = torch.cat([decoder.output_tokens(batch), sparse], dim=1)
    image = image.expand(batch, -1, -1, -1) + dense
    keys = image.flatten(2).transpose(1, 2)
    position = image_pe.expand(batch, -1, -1, -1).flatten(2).transpose(1, 2)
    transformer = decoder.transformer
    queries, layers = tokens, []
    for layer in transformer.layers:
        layers.append((queries, keys))
        queries, keys = layer(queries, keys, tokens, position)
    update = transformer.final_attn_token_to_image(queries + tokens, keys + position, keys)
    hidden = transformer.norm_final_attn(queries + update)
    upscaled = decoder.upscale(keys, image.shape[-2:])
    hyper = torch.stack([mlp(hidden[:, 1 + i]) for i, mlp in enumerate(decoder.output_hypernetworks_mlps)], dim=1)
    masks = (hyper @ upscaled.flatten(2)).unflatten(-1, upscaled.shape[-2:])
    quality = decoder.iou_prediction_head(hidden[:, 0])
    return DecoderTrace(tokens, layers, keys, position, upscaled, masks[:, :1], quality[:, :1])


@dataclass(frozen=True, eq=False)
class PackOutput:
    """The answers of one pack of experts.

    Attributes:
        logits: one mask per expert token ``[B, E, 4G, 4G]``.
        quality: predicted IoU ``[B, E]``.
        confidence: the gate's largest logit of each token ``[B, E]`` (Eq. 4).
        gate: the gate's largest weight of each token ``[B, E]``.
        chosen: the token that answers ``[B]``.
        routings: of every layer, for the balance loss.
    """

    logits: Tensor
    quality: Tensor
    confidence: Tensor
    gate: Tensor
    chosen: Tensor
    routings: list[Routing] = field(default_factory=list)


class ExpertPack(nn.Module):
    """Expert tokens, their mixture layers, hypernetworks and mask features: everything that is trained.

    Identity start: tokens and hypernetworks are copies of the base's single mask, and the last layer of every new
    branch is zero, so that an untrained expert gives the base mask.

    Args:
        decoder: the frozen decoder; read at construction, never stored.
        early_channels: width of the encoder's early feature.
        num_experts: expert tokens, and low-rank experts in every mixture.
        text_width: width of the phrase embeddings it is taught with; 0 if it takes no phrases.
        queries: prompt tokens that it pools from the image when there is no prompt (PPT); 0 if it needs one.
        scope_width: length of the features by which it knows what it was taught (:class:`~.scope.Scope`); 0 without.
    """

    def __init__(
        self,
        decoder: MaskDecoder,
        early_channels: int,
        num_experts: int = 4,
        rank: int = 64,
        gate: GateKind = "full",
        text_width: int = 0,
        queries: int = 0,
        scope_width: int = 0,
    ) -> None:
        super().__init__()
        width = decoder.transformer_dim
        quarter, eighth = width // 4, width // 8
        self.num_experts = num_experts
        self.expert_tokens = nn.Parameter(decoder.mask_tokens.weight[:1].detach().repeat(num_experts, 1))
        # Added to what negative (row 0) and positive (row 1) clicks look like to these experts.
        self.point_offsets = nn.Parameter(torch.zeros(2, width))
        depth = len(decoder.transformer.layers)
        self.mixtures = nn.ModuleList(TokenMixture(width, num_experts, rank, gate=gate) for _ in range(depth))
        self.expert_output_mlps = nn.ModuleList(
            copy.deepcopy(decoder.output_hypernetworks_mlps[0]) for _ in range(num_experts)
        )
        self.compress_vit_feat = upscaling_branch(early_channels, width, eighth)
        self.expert_embedding_encoder = upscaling_branch(width, quarter, eighth)
        self.expert_feature_fusion = nn.Sequential(
            nn.Conv2d(eighth, quarter, 3, padding=1),
            LayerNorm2d(quarter),
            nn.GELU(),
            nn.Conv2d(quarter, eighth, 3, padding=1),
        )
        self.quality_head = nn.Linear(width, 1)
        last_layers = [
            branch[-1] for branch in (self.compress_vit_feat, self.expert_embedding_encoder, self.expert_feature_fusion)
        ]
        for layer in (*last_layers, self.quality_head):
            nn.init.zeros_(cast(Tensor, layer.weight))
            nn.init.zeros_(cast(Tensor, layer.bias))
        self.text_prompt = nn.Linear(text_width, width) if text_width else None
        self.text_mask = nn.Linear(text_width, eighth) if text_width else None
        if self.text_mask is not None:
            nn.init.zeros_(self.text_mask.weight)
            nn.init.zeros_(self.text_mask.bias)
        self.prompt_pool = PromptPool(width, queries) if queries else None
        self.scope = Scope(scope_width, scope_width - width) if scope_width else None
        self.requires_grad_(True)  # copies of a frozen decoder's parameters are frozen too

    def image_features(self, image: Tensor, early: Tensor) -> Tensor:
        """The part of the mask features that no prompt changes, ``[1, C/8, 4G, 4G]``.

        Args:
            image: image embedding ``[1, C, G, G]``; early: early feature ``[1, C', G, G]``.
        """
        return self.expert_embedding_encoder(image) + self.compress_vit_feat(early)

    def forward(
        self, decoder: MaskDecoder, trace: DecoderTrace, image_features: Tensor, text: Tensor | None = None
    ) -> PackOutput:
        """Answer from a base pass and :meth:`image_features`.

        Args:
            text: phrase embeddings ``[B, W]``; their map is added to the mask of every expert, as in SegMoTE.
        """
        hidden, routings = self.read(decoder, trace)
        features = trace.upscaled + self.expert_feature_fusion(trace.upscaled) + image_features
        hyper = torch.stack([mlp(hidden[:, e]) for e, mlp in enumerate(self.expert_output_mlps)], dim=1)
        if text is not None and self.text_mask is not None:
            hyper = hyper + self.text_mask(text)[:, None]
        logits = (hyper @ features.flatten(2)).unflatten(-1, features.shape[-2:])
        quality = trace.quality + self.quality_head(hidden).squeeze(-1)
        confidence = routings[-1].logits.amax(-1)
        gate = routings[-1].logits.softmax(-1).amax(-1)
        return PackOutput(logits, quality, confidence, gate, confidence.argmax(-1), routings)

    def own_tokens(self, sparse: Tensor, labels: Tensor | None, text: Tensor | None, pooled: Tensor | None) -> Tensor:
        """Prompt tokens ``[B, T, C]`` as this pack sees them; ``sparse`` itself where it sees what the base sees.

        Args:
            sparse: the base's tokens.
            labels: of the points, which are the first N tokens, ``[B, N]``; padding (-1) stays as it is.
            text: phrase embeddings ``[B, W]``, one more token.
            pooled: the image embedding ``[B, C, G, G]`` when there is no prompt: then the tokens pooled from it stand
                for all others, and a phrase acts through its map alone, as in SegMoTE.
        """
        if pooled is not None and self.prompt_pool is not None:
            return self.prompt_pool(pooled)
        tokens = sparse
        # Offsets start at zero, so while a gradient is wanted they must take part although they change nothing.
        if labels is not None and (torch.is_grad_enabled() or bool(self.point_offsets.any())):
            offset = torch.zeros_like(sparse)
            chosen = self.point_offsets[labels.long().clamp_min(0)]
            offset[:, : labels.shape[1]] = torch.where((labels >= 0).unsqueeze(-1), chosen, 0.0)
            tokens = sparse + offset
        if text is not None and self.text_prompt is not None:
            tokens = torch.cat([tokens, self.text_prompt(text)[:, None]], dim=1)
        return tokens

    def read(self, decoder: MaskDecoder, trace: DecoderTrace) -> tuple[Tensor, list[Routing]]:
        """Run the expert tokens through the frozen layers; returns them ``[B, E, C]`` with their routing."""
        position = self.expert_tokens.expand(trace.tokens.shape[0], -1, -1)
        x, routings = position, []
        for layer, mixture, (tokens, keys) in zip(decoder.transformer.layers, self.mixtures, trace.layers, strict=True):
            block = cast(TwoWayAttentionBlock, layer)
            x = _read_tokens(block, x, position, tokens, trace.tokens)
            cross = block.cross_attn_token_to_image(x + position, keys + trace.position, keys)
            x = block.norm2(x + cross)
            update, routing = mixture(x)
            x = block.norm3(x + block.mlp(x)) + update
            routings.append(routing)
        transformer, keys = decoder.transformer, trace.image_tokens
        final = transformer.final_attn_token_to_image(x + position, keys + trace.position, keys)
        return transformer.norm_final_attn(x + final), routings


def _read_tokens(
    block: TwoWayAttentionBlock, x: Tensor, position: Tensor, tokens: Tensor, token_position: Tensor
) -> Tensor:
    """Self-attention step of expert tokens ``[B, E, C]`` over the base tokens ``[B, T, C]``.

    Every expert stands in for the base's mask token, from which it was copied: it reads all other base tokens and
    itself, and no other expert. An untrained one therefore sees exactly what the mask token sees.
    """
    attention, first = block.self_attn, block.skip_first_layer_pe
    x_in, t_in = (x, tokens) if first else (x + position, tokens + token_position)
    q = attention.split_heads(attention.q_proj(x_in))
    k = attention.split_heads(attention.k_proj(t_in))
    v = attention.split_heads(attention.v_proj(tokens))
    own_k = attention.split_heads(attention.k_proj(x_in))
    own_v = attention.split_heads(attention.v_proj(x))
    logits = q @ k.transpose(-2, -1)
    own = (q * own_k).sum(-1, keepdim=True)
    logits = torch.cat([logits[..., :MASK_TOKEN], own, logits[..., MASK_TOKEN + 1 :]], dim=-1)
    weights = (logits * q.shape[-1] ** -0.5).softmax(-1)
    own_share = weights[..., MASK_TOKEN : MASK_TOKEN + 1]
    others = torch.cat([weights[..., :MASK_TOKEN], weights[..., MASK_TOKEN + 1 :]], dim=-1)
    rest = torch.cat([v[..., :MASK_TOKEN, :], v[..., MASK_TOKEN + 1 :, :]], dim=-2)
    attended = others @ rest + own_share * own_v
    update = attention.out_proj(attended.transpose(1, 2).flatten(2))
    return block.norm1(update if first else x + update)


@dataclass(frozen=True, eq=False)
class AskedTensors:
    """Prompts on a batch of images, as the networks take them.

    Attributes:
        points: coordinates ``[B, N, 2]`` (x, y) and labels ``[B, N]``.
        boxes: ``[B, 4]``.
        masks: logits ``[B, 1, 4G, 4G]``.
        text: phrase embeddings ``[B, W]``.
        automatic: without a prompt; the pack pools one from the image.
    """

    points: tuple[Tensor, Tensor] | None = None
    boxes: Tensor | None = None
    masks: Tensor | None = None
    text: Tensor | None = None
    automatic: bool = False


@dataclass(frozen=True, eq=False)
class SegMoTEOutput:
    """The base's answer ``[B, 1, 4G, 4G]`` with its quality ``[B, 1]``, and every pack's."""

    base_logits: Tensor
    base_quality: Tensor
    packs: Mapping[str, PackOutput]


class AsymmetricSegMoTE(nn.Module):
    """A frozen SAM-style model and packs of experts that read it.

    State-dict keys: the base's own, and ``packs.<name>.*`` for every pack.

    Args:
        base: the backbone; its parameters are frozen.
    """

    def __init__(self, base: Sam) -> None:
        super().__init__()
        self.image_encoder = base.image_encoder
        self.prompt_encoder = base.prompt_encoder
        self.mask_decoder = base.mask_decoder
        self.early_channels = base.early_channels
        self.packs = nn.ModuleDict()
        for parameter in base.parameters():
            parameter.requires_grad_(False)

    def add_pack(self, name: str, **sizes: Any) -> ExpertPack:
        """Attach an untrained pack, which answers as the base does, on the base's device.

        Args:
            sizes: as for :class:`ExpertPack`: ``num_experts``, ``rank``, ``gate``, ``text_width``, ``queries``,
                ``scope_width``.

        Raises:
            ValueError: a pack of that name is attached; it would be lost.
        """
        if name in self.packs:
            raise ValueError(f"A pack {name!r} is already attached; remove it first or choose another name.")
        pack = ExpertPack(self.mask_decoder, self.early_channels, **sizes).train(self.training)
        self.packs[name] = pack.to(self.mask_decoder.iou_token.weight.device)
        return pack

    def image_features(self, image: Tensor, early: Tensor) -> dict[str, Tensor]:
        """What the prompts on one image share, by pack.

        It is 35 to 40 % of the time of a prompt with one pack on LiteMedSAM (two cores), so compute it once an image.
        """
        return {name: cast(ExpertPack, pack).image_features(image, early) for name, pack in self.packs.items()}

    def forward(
        self,
        image: Tensor,
        early: Tensor,
        points: tuple[Tensor, Tensor] | None = None,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
        text: Tensor | None = None,
        automatic: bool = False,
        position: Tensor | None = None,
        features: Mapping[str, Tensor] | None = None,
        only: Collection[str] | None = None,
    ) -> SegMoTEOutput:
        """Decode prompts on one image.

        Args:
            image: image embedding ``[1, C, G, G]``.
            early: early feature ``[1, C', G, G]``.
            points, boxes, masks: as for the prompt encoder.
            text: phrase embeddings ``[B, W]``, for packs that take phrases.
            automatic: packs that can pool their prompt from the image.
            position: ``prompt_encoder.get_dense_pe()``, if it is at hand.
            features: :meth:`image_features` of this image, if they are at hand.
            only: names of the packs that answer, by default all.
        """
        asked = AskedTensors(points, boxes, masks, text, automatic)
        sparse, dense = self.prompt_encoder(points=points, boxes=boxes, masks=masks)
        position = self.prompt_encoder.get_dense_pe() if position is None else position
        features = self.image_features(image, early) if features is None else features
        base = trace_decoder(self.mask_decoder, image, position, sparse, dense)
        names = list(self.packs) if only is None else only
        answers = self._answers(names, image, position, sparse, dense, asked, features, base)
        return SegMoTEOutput(base.logits, base.quality, answers)

    def answer_alone(
        self,
        only: Collection[str],
        image: Tensor,
        position: Tensor,
        features: Mapping[str, Tensor],
        asked: AskedTensors,
    ) -> dict[str, PackOutput]:
        """The same answers of the packs ``only``, without the base's: a pass less where tokens differ anyway."""
        sparse, dense = self.prompt_encoder(points=asked.points, boxes=asked.boxes, masks=asked.masks)
        return self._answers(only, image, position, sparse, dense, asked, features, None)

    def _answers(
        self,
        names: Collection[str],
        image: Tensor,
        position: Tensor,
        sparse: Tensor,
        dense: Tensor,
        asked: AskedTensors,
        features: Mapping[str, Tensor],
        base: DecoderTrace | None,
    ) -> dict[str, PackOutput]:
        outputs = {}
        labels = None if asked.points is None else asked.points[1]
        for name in names:
            pack = cast(ExpertPack, self.packs[name])
            tokens = pack.own_tokens(sparse, labels, asked.text, image if asked.automatic else None)
            if tokens is sparse:
                trace = base = base or trace_decoder(self.mask_decoder, image, position, sparse, dense)
            else:  # a pass of its own: changing the base's tokens would change the base's mask
                trace = trace_decoder(self.mask_decoder, image, position, tokens, dense)
            outputs[name] = pack(self.mask_decoder, trace, features[name], asked.text)
        return outputs
