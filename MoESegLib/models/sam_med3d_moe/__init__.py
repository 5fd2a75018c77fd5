"""SAM-Med3D-MoE (MICCAI 2024, arXiv 2407.04938): a gate and specialists beside a base that stays as it is.

No code or weights of the authors are public. What the abstract and the figures say is followed; what they leave open is
ours and says so where it stands (docs/sam-med3d-moe.md has the list).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from torch import nn

    from .mixture import SamMed3DMoE
    from .shelf import Specialist


def build_sam_med3d_moe(
    experts: Sequence[str | Specialist] = (),
    backbone: str = "sam_med3d",
    tau: float = 0.5,
    fusion: str = "weighted",
    **options: Any,
) -> SamMed3DMoE:
    """A base with random weights, specialists and a gate that was not taught, in eval mode.

    Args:
        experts: specialists; one that is only a name begins as a copy of the general decoder, as teaching does.
        backbone: name for :func:`MoESegLib.build_model`, also of a model of slices.
        options: passed to the builder of the backbone.

    Raises:
        UnknownModelError: no such backbone.
        PromptError, WeightsError: as :class:`.mixture.SamMed3DMoE` and :class:`.gate.Gate`.
    """
    from .. import build_model
    from .mixture import SamMed3DMoE
    from .shelf import Specialist

    base = build_model(backbone, **options)
    start = cast("nn.Module", copy.deepcopy(base.mask_decoder)).state_dict() if experts else {}
    specialists = [Specialist(expert, lambda: start) if isinstance(expert, str) else expert for expert in experts]
    return SamMed3DMoE(base, specialists, tau=tau, fusion=fusion)
