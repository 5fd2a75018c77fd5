"""SAM-Med3D put together from its parts."""

from __future__ import annotations

from typing import Any

from torch import nn

from .config import SamMed3DConfig
from .image_encoder import ImageEncoder3D
from .mask_decoder import MaskDecoder3D
from .prompt_encoder import PromptEncoder3D


class SamMed3D(nn.Module):
    """An image encoder, a prompt encoder and a mask decoder; the engines call the parts.

    Attributes:
        config: the sizes.
    """

    def __init__(self, config: SamMed3DConfig) -> None:
        super().__init__()
        self.config = config
        self.image_encoder = ImageEncoder3D(config)
        self.prompt_encoder = PromptEncoder3D(config)
        self.mask_decoder = MaskDecoder3D(config.prompt_width, config.decoder_mlp)


def build_sam_med3d(config: SamMed3DConfig | None = None, **options: Any) -> SamMed3D:
    """SAM-Med3D with random weights, in eval mode; 324 tensors with the default sizes, keys as upstream.

    Args:
        config: the sizes, for example :func:`~.config.config_of` a state dict.
        options: instead of it, fields of :class:`~.config.SamMed3DConfig` that differ from the released model.

    Raises:
        ValueError: sizes that do not fit together.
    """
    return SamMed3D(SamMed3DConfig(**options) if config is None else config).eval()
