"""SAM models put together from their parts."""

from __future__ import annotations

from torch import nn

from ...core.errors import UnknownModelError
from .image_encoder import ImageEncoderViT
from .mask_decoder import MaskDecoder
from .prompt_encoder import PromptEncoder
from .transformer import TwoWayTransformer

VIT_SIZES: dict[str, tuple[int, int, int, tuple[int, ...]]] = {
    "sam_vit_b": (768, 12, 12, (2, 5, 8, 11)),
    "sam_vit_l": (1024, 24, 16, (5, 11, 17, 23)),
    "sam_vit_h": (1280, 32, 16, (7, 15, 23, 31)),
}
"""Width, depth, heads and the blocks with global attention (segment-anything ``build_sam.py``)."""


class Sam(nn.Module):
    """An image encoder, a prompt encoder and a mask decoder; the engines call the parts.

    Attributes:
        early_channels: width of the early feature that ``image_encoder.encode`` returns beside the embedding.
    """

    def __init__(self, image_encoder: nn.Module, prompt_encoder: PromptEncoder, mask_decoder: MaskDecoder) -> None:
        super().__init__()
        self.image_encoder = image_encoder
        self.prompt_encoder = prompt_encoder
        self.mask_decoder = mask_decoder
        self.early_channels = 0


def prompt_encoder(width: int, grid: int, side: int) -> PromptEncoder:
    """SAM's prompt encoder for a square image of ``side`` pixels and an embedding of ``grid`` x ``grid``."""
    return PromptEncoder(width, (grid, grid), (side, side), mask_in_chans=16)


def mask_decoder(width: int) -> MaskDecoder:
    """SAM's mask decoder for an embedding of that width."""
    transformer = TwoWayTransformer(depth=2, embedding_dim=width, num_heads=8, mlp_dim=2048)
    return MaskDecoder(transformer_dim=width, transformer=transformer)


def build_sam(name: str, image_size: int = 1024) -> Sam:
    """SAM with a ViT encoder and random weights, in eval mode; keys as in the public checkpoints.

    Args:
        name: a key of :data:`VIT_SIZES`.
        image_size: side of the padded model image.

    Raises:
        UnknownModelError: no SAM of that name.
    """
    if name not in VIT_SIZES:
        raise UnknownModelError(f"There is no SAM image encoder {name!r}; known are {', '.join(VIT_SIZES)}.")
    width, depth, heads, global_blocks = VIT_SIZES[name]
    encoder = ImageEncoderViT(image_size, width, depth, heads, global_blocks)
    model = Sam(encoder, prompt_encoder(256, image_size // 16, image_size), mask_decoder(256))
    model.early_channels = width
    return model.eval()
