"""SegMoTE (CVPR 2026, arXiv 2602.19213): as released on IMIS-Net, and our asymmetric form on any SAM-width backbone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from ...core.errors import UnknownModelError

if TYPE_CHECKING:
    from torch import nn

    from .asymmetric import AsymmetricSegMoTE

UNTRAINED_PACK = "untrained"


def build_segmote(form: Literal["released", "asymmetric"] = "released", **options: Any) -> nn.Module:
    """SegMoTE with random weights, in eval mode.

    Args:
        form: "released" is the public model (width 768, 512 pixels); "asymmetric" is :func:`build_segmote_lite`.

    Raises:
        UnknownModelError: no such form.
    """
    if form == "asymmetric":
        return build_segmote_lite(**options)
    if form != "released":
        raise UnknownModelError(f'SegMoTE comes in the forms "released" and "asymmetric", not {form!r}.')
    from .released import build_segmote_released

    return build_segmote_released(**options)


def build_segmote_lite(backbone: str = "lite_medsam", num_experts: int = 4) -> AsymmetricSegMoTE:
    """Asymmetric SegMoTE with one untrained pack on a backbone with random weights, in eval mode.

    Args:
        backbone: "lite_medsam", "sam_vit_b", "sam_vit_l" or "sam_vit_h".

    Raises:
        UnknownModelError: no such backbone.
    """
    from ..lite_medsam import build_lite_medsam
    from ..sam.build import build_sam
    from .asymmetric import AsymmetricSegMoTE

    model = AsymmetricSegMoTE(build_lite_medsam() if backbone == "lite_medsam" else build_sam(backbone))
    model.add_pack(UNTRAINED_PACK, num_experts=num_experts)
    return model.eval()
