"""SegMoTE's mask decoder as released: expert tokens, fused features and prompt pooling (arXiv 2602.19213).

Keys, signature and behavior as in the public ``mask_decoder.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from ..sam.common import MLP, LayerNorm2d, upscaling_branch
from ..sam.mask_decoder import MaskDecoder
from .mote import Routing
from .prompt_pool import PromptPool
from .released_transformer import MoTEBlock, MoTETransformer, answering_token

SEMANTIC_WIDTH = 512


@dataclass(frozen=True, eq=False)
class DecoderAnswer:
    """A pass of :class:`ReleasedMaskDecoder`.

    Attributes:
        masks: logits of every expert token ``[B, E, 4G, 4G]``.
        quality: predicted IoU of SAM's mask tokens ``[B, 4]``.
        semantic: semantic vectors ``[B, 4, 512]``.
        routings: of every layer; empty in the mode without experts.
    """

    masks: Tensor
    quality: Tensor
    semantic: Tensor
    routings: list[Routing]


class ReleasedMaskDecoder(MaskDecoder):
    """SAM's mask decoder with semantic and expert tokens.

    Args:
        transformer_dim: width C.
        early_channels: width of the early feature.
    """

    transformer: MoTETransformer

    def __init__(self, transformer_dim: int, transformer: MoTETransformer, early_channels: int = 768) -> None:
        super().__init__(transformer_dim=transformer_dim, transformer=transformer)
        width, quarter, eighth = transformer_dim, transformer_dim // 4, transformer_dim // 8
        self.num_expert_tokens = transformer.num_experts
        self.first_expert = 1 + 2 * self.num_mask_tokens
        self.semantic_tokens = nn.Embedding(self.num_mask_tokens, width)
        self.expert_tokens = nn.Embedding(self.num_expert_tokens, width)
        self.compress_vit_feat = upscaling_branch(early_channels, width, eighth)
        self.expert_embedding_encoder = upscaling_branch(width, quarter, eighth)
        self.expert_feature_fusion = nn.Sequential(
            nn.Conv2d(eighth, quarter, 3, padding=1),
            LayerNorm2d(quarter),
            nn.GELU(),
            nn.Conv2d(quarter, eighth, 3, padding=1),
        )
        self.expert_output_mlps = nn.ModuleList(MLP(width, width, eighth, 3) for _ in range(self.num_expert_tokens))
        self.text_output = nn.Linear(width, eighth)
        self.semantic_prediction_head = MLP(width, 256, SEMANTIC_WIDTH, 3)
        self.img_prompt_pool = PromptPool(width)
        # Unused, and part of every public checkpoint.
        self.text_token = nn.Embedding(1, width)
        self.boxApoint_token = nn.Embedding(1, width)
        self.expert_mlp = MLP(width, width, eighth, 3)

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride] - the public signature
        self,
        image_embeddings: Tensor,
        image_pe: Tensor,
        sparse_prompt_embeddings: Tensor,
        dense_prompt_embeddings: Tensor,
        text_prompt_embeddings: Tensor | None,
        multimask_output: bool,
        interm_embeddings: Tensor,
        inter: bool,
        if_prompt: bool | None,
        test_mode: bool,
    ) -> tuple[dict[str, Tensor], Tensor | None, Tensor | None]:
        """Predict masks for a batch of prompts on one image (or one image per prompt).

        Args:
            image_embeddings: ``[1 or B, C, G, G]``.
            image_pe: ``[1, C, G, G]``.
            sparse_prompt_embeddings: ``[B, T, C]``.
            dense_prompt_embeddings: ``[B, C, G, G]``.
            text_prompt_embeddings: projected sentences ``[B, C]``; they add a text mask to every expert's.
            multimask_output: return slots 1-3 of candidates, quality and semantic vectors instead of slot 0.
            interm_embeddings: the early feature ``[1 or B, G, G, C']``.
            inter: without MLP and experts; the answer is then the candidate with the best predicted IoU.
            if_prompt: pool the prompt tokens from the image (PPT) in place of the sparse ones.
            test_mode: route without noise.

        Returns:
            The outputs, the balance loss, and the position of the expert token that answers ``[B]`` (both None if
            ``inter``). Outputs: ``low_res_masks`` ``[B, 4G, 4G]``, ``candidate_masks`` ``[B, M, 4G, 4G]``, ``iou_pred``
            ``[B, M]`` and ``semantic_pred`` ``[B, M, 512]`` as in the public code; ``expert_masks``
            ``[B, E, 4G, 4G]`` and, unless ``inter``, the last layer's ``gate_logits`` and ``gates`` ``[B, E, E]`` (by
            token, by expert) beside them.
        """
        answer = self.predict_masks(
            image_embeddings,
            image_pe,
            self.img_prompt_pool(image_embeddings) if if_prompt else sparse_prompt_embeddings,
            dense_prompt_embeddings,
            text_prompt_embeddings,
            interm_embeddings,
            inter,
            test_mode,
        )
        slots = slice(1, None) if multimask_output else slice(0, 1)
        outputs = {
            "candidate_masks": answer.masks[:, slots],
            "iou_pred": answer.quality[:, slots],
            "semantic_pred": answer.semantic[:, slots],
            "expert_masks": answer.masks,
        }
        each = torch.arange(len(answer.masks), device=answer.masks.device)
        if not answer.routings:
            best = outputs["iou_pred"].argmax(dim=1)
            return {**outputs, "low_res_masks": outputs["candidate_masks"][each, best]}, None, None
        last = answer.routings[-1]
        chosen = answering_token(last)
        outputs |= {"low_res_masks": answer.masks[each, chosen], "gate_logits": last.logits, "gates": last.gates}
        return outputs, self.transformer.balance(answer.routings, test_mode), chosen

    def output_tokens(self, batch: int) -> Tensor:
        """The learned tokens ``[B, 9 + E, C]``: quality, masks, semantics, experts."""
        tokens = (self.iou_token, self.mask_tokens, self.semantic_tokens, self.expert_tokens)
        return torch.cat([token.weight for token in tokens]).expand(batch, -1, -1)

    def expert_features(self, image_embeddings: Tensor, interm_embeddings: Tensor) -> Tensor:
        """What the experts' features take from the image alone, ``[1 or B, C/8, 4G, 4G]``."""
        early = interm_embeddings.permute(0, 3, 1, 2)
        return self.expert_embedding_encoder(image_embeddings) + self.compress_vit_feat(early)

    def predict_masks(  # pyright: ignore[reportIncompatibleMethodOverride] - more inputs than SAM's
        self,
        image_embeddings: Tensor,
        image_pe: Tensor,
        sparse: Tensor,
        dense: Tensor,
        text: Tensor | None,
        interm_embeddings: Tensor,
        inter: bool,
        test_mode: bool,
    ) -> DecoderAnswer:
        """The masks of all expert tokens, before one is chosen; arguments as for :meth:`forward`."""
        batch = max(len(sparse), len(image_embeddings), len(dense))
        tokens = torch.cat([self.output_tokens(batch), sparse.expand(batch, -1, -1)], dim=1)
        image = (image_embeddings + dense).expand(batch, -1, -1, -1)
        position = image_pe.expand(batch, -1, -1, -1)
        hidden, image_tokens, routings = self.transformer.run(image, position, tokens, inter, test_mode)
        upscaled = self.upscale(image_tokens, image.shape[-2:])
        features = self.expert_feature_fusion(upscaled) + self.expert_features(image_embeddings, interm_embeddings)
        if self.transformer.residual:
            features = features + upscaled
        hyper = torch.stack(
            [mlp(hidden[:, self.first_expert + index]) for index, mlp in enumerate(self.expert_output_mlps)], dim=1
        )
        if text is not None:
            # The text mask is added to every expert's, so its weights can be added before the product.
            hyper = hyper + self.text_output(text).unsqueeze(1)
        masks = (hyper @ features.flatten(2)).unflatten(-1, features.shape[-2:])
        semantic = self.semantic_prediction_head(hidden[:, 1 + self.num_mask_tokens : self.first_expert])
        return DecoderAnswer(masks, self.iou_prediction_head(hidden[:, 0]), semantic, routings)

    @torch.no_grad()
    def start_from_base(self) -> None:
        """Give every expert the mask of mask token 0, in a decoder with ``residual``; training starts there.

        Expert tokens and hypernetworks become copies, and the last layer of every new branch becomes zero. The mask is
        that of the same pass: with experts attached, SAM's own tokens read them too, so that it is close to the base
        model's and not equal. (The asymmetric form does not have this.)
        """
        self.expert_tokens.weight.copy_(self.mask_tokens.weight[:1].expand(self.num_expert_tokens, -1))
        for mlp in self.expert_output_mlps:
            mlp.load_state_dict(self.output_hypernetworks_mlps[0].state_dict())
        branches = (self.compress_vit_feat, self.expert_embedding_encoder, self.expert_feature_fusion)
        projections = (cast(MoTEBlock, layer).proj_token for layer in self.transformer.layers)
        for layer in (*(branch[-1] for branch in branches), *projections):
            nn.init.zeros_(cast(Tensor, layer.weight))
            nn.init.zeros_(cast(Tensor, layer.bias))
