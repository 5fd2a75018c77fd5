"""SAM-Med3D-MoE: a promptable base, a gate, and specialists that are asked only where the gate is sure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor, nn

from .fusion import Fusion, check_fusion, fuse
from .gate import Gate, gate_features
from .selector import DEFAULT_TAU, Choice, check_tau, select
from .shelf import BUDGET, Shelf, Specialist


@dataclass(frozen=True, eq=False)
class GatedAnswer:
    """The answer to one prompt.

    Attributes:
        logits: of the mask, low resolution ``[1, M, *4G]``; the mask prompt of the next click. Without a specialist it
            is the very tensor of the general decoder.
        quality: ``[1, M]``, fused like the masks. The head that predicts it was never trained in SAM-Med3D, so nothing
            may be chosen by it there.
        general, special: logits of the two decoders; ``special`` is None where no specialist was asked.
        choice: who was asked and why.
    """

    logits: Tensor
    quality: Tensor
    general: Tensor
    special: Tensor | None
    choice: Choice

    @property
    def overlap(self) -> float | None:
        """Dice of the general and the special mask at low resolution; None without a specialist."""
        if self.special is None:
            return None
        general, special = self.general > 0, self.special > 0
        total = int(general.sum() + special.sum())
        return 1.0 if total == 0 else 2 * int((general & special).sum()) / total


class SamMed3DMoE(nn.Module):
    """The parts of a base, with a gate and a shelf of specialists beside them (arXiv 2407.04938).

    The base may be SAM-Med3D or any SAM, also of slices: it needs an image encoder, a prompt encoder and a mask decoder
    with the public call signatures. Its tensors are shared, not copied, and never written to. The state dict is that of
    the base and ``gate.*``; specialists are files of their own.

    Args:
        base: with ``image_encoder``, ``prompt_encoder`` and ``mask_decoder``.
        specialists: mask decoders of the form of the base's.
        gate: that was taught; by default a new one, which never chooses a specialist.
        tau: the weight that a specialist must exceed.
        fusion: how the masks of the two decoders become one (:func:`.fusion.fuse`).
        budget: bytes of specialists kept in memory.

    Raises:
        PromptError: ``tau`` is not from 0 to 1, or the fusion is not known.
    """

    def __init__(
        self,
        base: nn.Module,
        specialists: Iterable[Specialist] = (),
        gate: Gate | None = None,
        tau: float = DEFAULT_TAU,
        fusion: str = "weighted",
        budget: int = BUDGET,
    ) -> None:
        super().__init__()
        self.image_encoder = cast(nn.Module, base.image_encoder)
        self.prompt_encoder = cast(nn.Module, base.prompt_encoder)
        self.mask_decoder = cast(nn.Module, base.mask_decoder)
        self.specialists = Shelf(self.mask_decoder, specialists, budget)
        self.gate = gate if gate is not None else Gate(self._padding.shape[1], self.specialists)
        self.tau = tau
        self.fusion: Fusion = check_fusion(fusion)
        self.eval()

    @property
    def tau(self) -> float:
        """The weight that a specialist must exceed, 0 to 1."""
        return self._tau

    @tau.setter
    def tau(self, value: float) -> None:
        self._tau = check_tau(value)

    @property
    def _padding(self) -> Tensor:
        return cast(nn.Embedding, self.prompt_encoder.not_a_point_embed).weight

    def forward(
        self,
        *,
        image_embeddings: Tensor,
        image_pe: Tensor,
        sparse_prompt_embeddings: Tensor,
        dense_prompt_embeddings: Tensor,
        multimask_output: bool = False,
        kept: str | None = None,
        asked: str | None = None,
    ) -> GatedAnswer:
        """Answer one prompt; the arguments are those of the mask decoder.

        Args:
            image_embeddings, image_pe: ``[1, C, *G]``.
            sparse_prompt_embeddings: ``[1, T, C]``.
            dense_prompt_embeddings: ``[1, C, *G]``.
            kept: ``choice.answered_by`` of the answer to the first prompt of the target, who stays; None for that one.
            asked: the specialist that must answer, whatever the gate says; None to let the gate choose.

        Raises:
            UnknownModelError: there is no specialist of the name that is asked for.
            WeightsError: the specialist cannot be read, or does not fit.
        """
        prompt: dict[str, Any] = {
            "image_embeddings": image_embeddings,
            "image_pe": image_pe,
            "sparse_prompt_embeddings": sparse_prompt_embeddings,
            "dense_prompt_embeddings": dense_prompt_embeddings,
            "multimask_output": multimask_output,
        }
        general, quality = self.mask_decoder(**prompt)
        choice = self.choose(image_embeddings, image_pe, sparse_prompt_embeddings, kept, asked)
        if choice.expert is None:
            return GatedAnswer(general, quality, general, None, choice)
        special, special_quality = self.specialists.decoder(choice.expert)(**prompt)
        return GatedAnswer(
            logits=fuse(general, special, choice.weight, self.fusion),
            quality=fuse(quality, special_quality, choice.weight, self.fusion),
            general=general,
            special=special,
            choice=choice,
        )

    def choose(
        self,
        image_embeddings: Tensor,
        image_pe: Tensor,
        tokens: Tensor,
        kept: str | None = None,
        asked: str | None = None,
    ) -> Choice:
        """Who would be asked; arguments as in :meth:`forward`. No decoder runs."""
        reading = self.gate.read(self.features(image_embeddings, image_pe, tokens), self.specialists)
        if asked is not None:
            return Choice(asked, reading.weights.get(asked, 0.0), self.tau, False, reading.weights)
        return select(reading, self.tau, kept)

    def features(self, image_embeddings: Tensor, image_pe: Tensor, tokens: Tensor) -> Tensor:
        """What the gate reads, ``[1, 3C]``; arguments as in :meth:`forward`."""
        return gate_features(image_embeddings, image_pe, tokens, self._padding)
