"""Networks only. :func:`build_model` makes one by name, with random weights; the engines load the weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..core.errors import UnknownModelError

if TYPE_CHECKING:
    from torch import nn


def build_model(name: str, **options: Any) -> nn.Module:
    """A network in eval mode with random weights.

    Args:
        name: "lite_medsam", "sam_vit_b", "sam_vit_l", "sam_vit_h", "segmote" (as released, or form="asymmetric"),
            "segmote_lite" (asymmetric experts on LiteMedSAM), "sam_med3d" (as released, or smaller by its options),
            "sam_med3d_moe" (a gate and specialists beside it, or beside another network by its option ``backbone``) or
            "mast_pro" (lesions by text and organs; its options ``tumors`` and ``organs`` are ids).
        options: passed to the builder of that model.

    Returns:
        A module with ``.image_encoder``, ``.prompt_encoder`` and ``.mask_decoder``, whose state-dict keys and call
        signatures are those of the public code; "mast_pro", which has no public code, is one network.

    Raises:
        UnknownModelError: no network of that name.
    """
    builders = _builders()
    if name not in builders:
        raise UnknownModelError(f"There is no network {name!r}; known are {', '.join(builders)}.")
    return builders[name](**options)


def _builders() -> dict[str, Callable[..., nn.Module]]:
    from .lite_medsam import build_lite_medsam
    from .mast_pro import build_mast_pro
    from .sam.build import VIT_SIZES, build_sam
    from .sam_med3d import build_sam_med3d
    from .sam_med3d_moe import build_sam_med3d_moe
    from .segmote import build_segmote, build_segmote_lite

    sams = {size: lambda size=size, **options: build_sam(size, **options) for size in VIT_SIZES}
    segmotes = {"segmote": build_segmote, "segmote_lite": build_segmote_lite}
    volumes = {"sam_med3d": build_sam_med3d, "sam_med3d_moe": build_sam_med3d_moe}
    return {"lite_medsam": build_lite_medsam, **sams, **segmotes, **volumes, "mast_pro": build_mast_pro}
