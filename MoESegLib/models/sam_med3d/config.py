"""The sizes of a SAM-Med3D network, and reading them off a state dict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from ...core.errors import WeightsError

_POSITIONS = "image_encoder.pos_embed"
_PATCHES = "image_encoder.patch_embed.proj.weight"
_TABLE = "image_encoder.blocks.{}.attn.rel_pos_d"
_NECK = "image_encoder.neck.0.weight"
_POINT = "prompt_encoder.point_embeddings.{}.weight"
_DECODER_MLP = "mask_decoder.transformer.layers.0.mlp.lin1.weight"


@dataclass(frozen=True)
class SamMed3DConfig:
    """Sizes; the defaults are the released ``vit_b_ori`` (upstream ``segment_anything/build_sam3D.py``).

    Attributes:
        image_size: side of the cubic input, voxels.
        patch_size: side of the cubic patch that makes a token.
        width: channels of the image encoder.
        depth: blocks of the image encoder.
        heads: attention heads of the image encoder.
        global_blocks: indices of the blocks that attend to the whole grid; the others attend inside windows.
        window_size: side of the windows, tokens; a window that sticks out of the grid is padded.
        prompt_width: channels of the embedding, the prompts and the mask decoder; a multiple of 48.
        decoder_mlp: hidden width of the mask decoder's two-way transformer.
        point_embeddings: 2 (negative, positive) or 4 (and two box corners, as in the branch ``CVPR25_3DFM``).
    """

    image_size: int = 128
    patch_size: int = 16
    width: int = 768
    depth: int = 12
    heads: int = 12
    global_blocks: tuple[int, ...] = (2, 5, 8, 11)
    window_size: int = 14
    prompt_width: int = 384
    decoder_mlp: int = 2048
    point_embeddings: int = 2

    def __post_init__(self) -> None:
        object.__setattr__(self, "global_blocks", tuple(self.global_blocks))
        if self.patch_size < 1 or self.image_size % self.patch_size:
            raise ValueError(
                f"The image size must be a multiple of the patch size, not {self.image_size} with {self.patch_size}."
            )
        if self.heads < 1 or self.width % self.heads:
            raise ValueError(f"The width must be a multiple of the heads, not {self.width} with {self.heads}.")
        if self.prompt_width % 48:
            # Three parts of position encoding, eight heads at half width, mask features of an eighth.
            raise ValueError(f"The prompt width must be a multiple of 48, not {self.prompt_width}.")
        if self.point_embeddings not in (2, 4):
            raise ValueError(f"There are 2 or 4 point embeddings, not {self.point_embeddings}.")
        if not all(0 <= index < self.depth for index in self.global_blocks):
            raise ValueError(f"The global blocks must lie in 0 to {self.depth - 1}, not {self.global_blocks}.")
        if self.window_size < 1:
            raise ValueError(f"The window size must be at least 1, not {self.window_size}.")

    @property
    def grid(self) -> int:
        """Side of the image embedding."""
        return self.image_size // self.patch_size

    @property
    def mask_size(self) -> int:
        """Side of the mask logits, and of the mask prompt."""
        return 4 * self.grid


def config_of(state: Mapping[str, Tensor]) -> SamMed3DConfig:
    """The sizes of the network that a state dict belongs to, so that a file of weights needs no other description.

    Load it strictly afterwards: this reads a few shapes and checks nothing else. A block whose window is the grid is
    called global; where all are, the window size is that of the grid.

    Raises:
        WeightsError: not the weights of a SAM-Med3D network.
    """
    try:
        patch_size, width = state[_PATCHES].shape[-1], state[_PATCHES].shape[0]
        _, grid, _, _, _ = state[_POSITIONS].shape
        depth = next(index for index in range(len(state) + 1) if _TABLE.format(index) not in state)
        lengths = [state[_TABLE.format(index)].shape[0] for index in range(depth)]
        windows = [(length + 1) // 2 for length in lengths if length != 2 * grid - 1]
        return SamMed3DConfig(
            image_size=grid * patch_size,
            patch_size=patch_size,
            width=width,
            depth=depth,
            heads=width // state[_TABLE.format(0)].shape[1],
            global_blocks=tuple(index for index, length in enumerate(lengths) if length == 2 * grid - 1),
            window_size=windows[0] if windows else grid,
            prompt_width=state[_NECK].shape[0],
            decoder_mlp=state[_DECODER_MLP].shape[0],
            point_embeddings=4 if _POINT.format(2) in state else 2,
        )
    except (KeyError, IndexError, ZeroDivisionError, ValueError) as error:
        raise WeightsError(
            f"These are not the weights of a SAM-Med3D network ({error}). Choose a file such as sam_med3d_turbo.pth."
        ) from error
