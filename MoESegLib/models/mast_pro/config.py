"""The sizes of a MAST-Pro network, and which of its parts it has."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

GROUP = 8
"""Channels that are normalized together, at least."""
_MOST = 64
"""Units of a level, experts of a block and levels: more can only come from a damaged file."""


@dataclass(frozen=True)
class MastProConfig:
    """Sizes; the defaults are the compact network, which learns and runs on a CPU.

    The paper (arXiv 2503.14355) publishes none of these numbers: all are ours.

    Attributes:
        tumors: ids of the tumor types that the base is taught, in the order of the argument ``tumor`` of the network.
        organs: ids of the organs, in the order of the argument ``organ_masks``.
        channels: of the feature maps, the finest first; every level has half the resolution of the one before.
        encoder_units, decoder_units: residual 3 x 3 x 3 convolutions of every level; the decoder has none at the
            deepest one.
        image_channels: of the image, one per intensity window.
        text_width: length of a sentence embedding.
        sentences: of a tumor record.
        token_width: T, of the text and organ tokens.
        heads: of the cross-attention.
        mixtures: how many of the deepest levels have a D-MoE block.
        generic, specific: experts of a block that are always on, and that the router chooses from.
        top_k: specific experts that answer a patch.
        reduction: an expert's inner width is its level's channels divided by this.
        router_width: hidden width of the router.
        experts, attention, text, anatomy: False takes a part out, to find out what it is worth: the mixture of experts;
            the cross-attention to the prompts with its feed-forward layer; the text (with the number of the tumor,
            which follows from it); the organs, dense and as tokens.
        spacing_mm: of the voxels that the network is taught on.
        patch: size ``(D, H, W)`` of a patch of a volume, voxels.
        slice_patch: size ``(H, W)`` of a patch of a single slice.
        windows: (center, width) in HU of the intensity windows of CT.

    Raises:
        ValueError: sizes that do not fit together.
    """

    tumors: tuple[str, ...] = ()
    organs: tuple[str, ...] = ()
    channels: tuple[int, ...] = (16, 32, 48, 64, 96)
    encoder_units: tuple[int, ...] = (1, 2, 2, 2, 2)
    decoder_units: tuple[int, ...] = (1, 2, 2, 2)
    image_channels: int = 2
    text_width: int = 384
    sentences: int = 4
    token_width: int = 128
    heads: int = 8
    mixtures: int = 2
    generic: int = 2
    specific: int = 6
    top_k: int = 2
    reduction: int = 4
    router_width: int = 64
    experts: bool = True
    attention: bool = True
    text: bool = True
    anatomy: bool = True
    spacing_mm: float = 2.0
    patch: tuple[int, int, int] = (64, 64, 64)
    slice_patch: tuple[int, int] = (192, 192)
    windows: tuple[tuple[float, float], ...] = ((40.0, 400.0), (-600.0, 1500.0))

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, _as_tuples(getattr(self, field.name)))
        levels = len(self.channels)
        if levels < 2 or len(self.encoder_units) != levels or len(self.decoder_units) != levels - 1:
            raise ValueError(
                f"{levels} levels of channels need as many encoder units and one less decoder units, not "
                f"{len(self.encoder_units)} and {len(self.decoder_units)}; two levels are the fewest."
            )
        if any(width < GROUP or width % GROUP for width in self.channels):
            raise ValueError(f"Channels must be multiples of {GROUP}, not {self.channels}.")
        if not 0 <= self.mixtures < levels:
            raise ValueError(f"At most {levels - 1} levels can have a mixture, not {self.mixtures}.")
        if self.heads < 1 or any(width % self.heads for width in self.mixture_channels):
            raise ValueError(f"Channels {self.mixture_channels} must be multiples of the {self.heads} heads.")
        if max(levels, *self.encoder_units, *self.decoder_units, self.generic, self.specific) > _MOST:
            raise ValueError(f"There are at most {_MOST} levels, units of a level, and experts of a kind.")
        if self.generic < 1 or not 1 <= self.top_k <= self.specific:
            raise ValueError(
                f"There must be a generic expert and at least top_k specific ones, not {self.generic} and "
                f"{self.specific} with top_k = {self.top_k}."
            )
        if len(self.patch) != 3 or len(self.slice_patch) != 2 or any(len(window) != 2 for window in self.windows):
            raise ValueError("A patch has three sides, that of a slice two, and a window a center and a width.")
        for what in (self.tumors, self.organs):
            if len(set(what)) != len(what):
                raise ValueError(f"An id is given twice: {', '.join(what)}.")

    @property
    def mixture_channels(self) -> tuple[int, ...]:
        """Channels of the levels with a D-MoE block, the deepest last."""
        return self.channels[len(self.channels) - self.mixtures :]


def _as_tuples(value: Any) -> Any:
    return tuple(_as_tuples(item) for item in value) if isinstance(value, list | tuple) else value


COMPACT = MastProConfig()
"""The compact network without its tumors and organs; a trained one has its own patch sizes in its file."""
