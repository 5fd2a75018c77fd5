"""TinyViT, the image encoder of LiteMedSAM (Wu et al. 2022, arXiv 2207.10666; MedSAM branch LiteMedSAM).

Four stages over an image of S x S pixels (S = 256): convolutions at full and half resolution, then windowed attention
at a quarter; the last two stages keep the quarter resolution, so that the embedding has S / 4 rows.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..sam.common import Checkpoint, in_windows, neck


class ConvNorm(nn.Sequential):
    """A convolution without bias (``c``) and its batch normalization (``bn``), which stays in eval mode.

    Training an expert puts the whole model in training mode; one encoded slice would then overwrite the published
    statistics of the frozen encoder.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        super().__init__(OrderedDict(c=convolution, bn=nn.BatchNorm2d(outputs)))
        self.eval()

    def train(self, mode: bool = True) -> ConvNorm:
        """Remain in eval mode."""
        return super().train(False)


class PatchEmbed(nn.Module):
    """Two pointwise convolutions; LiteMedSAM keeps the full resolution here."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.seq = nn.Sequential(ConvNorm(inputs, width // 2), nn.GELU(), ConvNorm(width // 2, width))

    def forward(self, x: Tensor) -> Tensor:
        return self.seq(x)


class MBConv(nn.Module):
    """Inverted bottleneck with a depthwise 3 x 3 convolution and a residual, over ``[B, C, H, W]``."""

    def __init__(self, width: int, expand: int) -> None:
        super().__init__()
        hidden = width * expand
        self.conv1 = ConvNorm(width, hidden)
        self.conv2 = ConvNorm(hidden, hidden, kernel=3, groups=hidden)
        self.conv3 = ConvNorm(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(x + self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x))))))


class PatchMerging(nn.Module):
    """Changes the width, and halves the resolution when ``stride`` is 2, over ``[B, C, H, W]``."""

    def __init__(self, width: int, out_width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(width, out_width)
        self.conv2 = ConvNorm(out_width, out_width, kernel=3, stride=stride, groups=out_width)
        self.conv3 = ConvNorm(out_width, out_width)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x)))))


class WindowAttention(nn.Module):
    """Self-attention inside square windows with a learned bias per absolute offset, over ``[W, N, C]``."""

    attention_bias_idxs: Tensor

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        rows, columns = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
        positions = torch.stack([rows.flatten(), columns.flatten()], dim=1)
        offsets = (positions[:, None] - positions).abs()
        # Offsets are numbered in the order of their first use, which is row by row from the first position.
        self.register_buffer("attention_bias_idxs", offsets[..., 0] * window + offsets[..., 1], persistent=False)
        self.attention_biases = nn.Parameter(torch.zeros(heads, window * window))

    def forward(self, x: Tensor) -> Tensor:
        windows, tokens, width = x.shape
        # Each head's query, key and value lie together in the published weights.
        qkv = self.qkv(self.norm(x)).view(windows, tokens, self.heads, 3, width // self.heads)
        q, k, v = qkv.permute(3, 0, 2, 1, 4).unbind(0)
        bias = self.attention_biases[:, self.attention_bias_idxs]
        merged = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.proj(merged.transpose(1, 2).reshape(windows, tokens, width))


class MLP(nn.Module):
    """Normalized two-layer perceptron over the last dimension."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(self.norm(x))))


class TinyViTBlock(nn.Module):
    """Windowed attention, a depthwise convolution across the windows, and an MLP, over ``[B, C, H, W]``."""

    def __init__(self, width: int, heads: int, window: int, mlp_ratio: int) -> None:
        super().__init__()
        self.window = window
        self.attn = WindowAttention(width, heads, window)
        self.mlp = MLP(width, mlp_ratio * width)
        self.local_conv = ConvNorm(width, width, kernel=3, groups=width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + in_windows(x.permute(0, 2, 3, 1), self.window, self.attend).permute(0, 3, 1, 2)
        x = self.local_conv(x)
        return x + self.mlp(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def attend(self, windows: Tensor) -> Tensor:
        """Attention of windows ``[N, side, side, C]``."""
        return self.attn(windows.flatten(1, 2)).view_as(windows)


class Stage(nn.Module):
    """Blocks of one resolution and the step to the next width."""

    def __init__(self, blocks: Sequence[nn.Module], downsample: PatchMerging | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample

    def steps(self) -> list[nn.Module]:
        """The blocks and the step to the next width, in order."""
        return [*self.blocks, *([] if self.downsample is None else [self.downsample])]


class TinyViT(nn.Module):
    """The image encoder, ``[B, 3, S, S]`` to ``[B, 256, S/4, S/4]``.

    The defaults are LiteMedSAM's; the state-dict keys are those of ``lite_medsam.pth`` without ``image_encoder.``.
    """

    def __init__(
        self,
        widths: Sequence[int] = (64, 128, 160, 320),
        depths: Sequence[int] = (2, 2, 6, 2),
        heads: Sequence[int] = (2, 4, 5, 10),
        windows: Sequence[int] = (7, 7, 14, 7),
        out_width: int = 256,
        mlp_ratio: int = 4,
        expand: int = 4,
    ) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(3, widths[0])
        self.layers = nn.ModuleList()
        for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            if stage == 0:
                blocks: list[nn.Module] = [MBConv(width, expand) for _ in range(depth)]
            else:
                blocks = [TinyViTBlock(width, heads[stage], windows[stage], mlp_ratio) for _ in range(depth)]
            is_last = stage == len(widths) - 1
            # Only the first two steps halve the resolution; the third keeps it for a sharper embedding.
            merge = None if is_last else PatchMerging(width, widths[stage + 1], stride=2 if stage < 2 else 1)
            self.layers.append(Stage(blocks, merge))
        self.neck = neck(widths[-1], out_width)

    def forward(self, x: Tensor) -> Tensor:
        """Images ``[B, 3, S, S]`` to embeddings ``[B, 256, S/4, S/4]``."""
        return self.encode(x)[0]

    def encode(self, x: Tensor, checkpoint: Checkpoint | None = None) -> tuple[Tensor, Tensor]:
        """The embedding ``[B, 256, S/4, S/4]`` and the early feature ``[B, 160, S/4, S/4]``.

        The early feature is the output of the second stage, the first map with the resolution of the embedding; it is
        what light HQ-SAM feeds to its extra tokens.

        Args:
            checkpoint: called between blocks (every 50 to 300 ms on two cores), so that the work can be abandoned.
        """
        x = self.patch_embed(x)
        early = x
        for number, stage in enumerate(self.layers):
            for step in cast(Stage, stage).steps():
                if checkpoint is not None:
                    checkpoint()
                x = step(x)
            if number == 1:
                early = x
        return self.neck(x), early


def fuse_batch_norm(model: nn.Module) -> nn.Module:
    """Fold every batch normalization into its convolution, in place; inference only, the keys change.

    The result differs from the unfused model by rounding only.
    """
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, ConvNorm):
                setattr(module, name, nn.utils.fuse_conv_bn_eval(child.c.eval(), child.bn.eval()))  # type: ignore[arg-type]
    return model
