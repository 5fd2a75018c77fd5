"""The sizes of a MAST-Pro network, and which of its parts it has."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...core.errors import WeightsError

GROUP = 8
"""Channels that are normalized together, at least."""


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
    channels: tuple[int, ...] = (16, 32, 64, 128, 192)
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
        if any(width % self.heads for width in self.mixture_channels):
            raise ValueError(f"Channels {self.mixture_channels} must be multiples of the {self.heads} heads.")
        if self.generic < 1 or not 1 <= self.top_k <= self.specific:
            raise ValueError(
                f"There must be a generic expert and at least top_k specific ones, not {self.generic} and "
                f"{self.specific} with top_k = {self.top_k}."
            )
        for what in (self.tumors, self.organs):
            if len(set(what)) != len(what):
                raise ValueError(f"An id is given twice: {', '.join(what)}.")

    @property
    def mixture_channels(self) -> tuple[int, ...]:
        """Channels of the levels with a D-MoE block, the deepest last."""
        return self.channels[len(self.channels) - self.mixtures :]

    def to_plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        return dataclasses.asdict(self)

    @classmethod
    def from_plain(cls, data: object) -> MastProConfig:
        """The inverse of :meth:`to_plain`.

        Raises:
            WeightsError: a field is missing, unknown, of another type, or does not fit the others.
        """
        fields = {field.name: getattr(COMPACT, field.name) for field in dataclasses.fields(cls)}
        if not isinstance(data, Mapping) or set(data) != set(fields):
            found = set(data) if isinstance(data, Mapping) else set()
            raise WeightsError(
                "These are not the sizes of a MAST-Pro network of this version: "
                f"{', '.join(sorted(found ^ set(fields))) or 'no fields'} missing or unknown. Get a file made by it."
            )
        wrong = [name for name, like in fields.items() if not _is_like(_as_tuples(data[name]), like)]
        if wrong:
            raise WeightsError(f"The sizes of the network are damaged: {wrong[0]} is {data[wrong[0]]!r}. Get it again.")
        try:
            return cls(**data)
        except (ValueError, ZeroDivisionError) as error:
            raise WeightsError(f"The sizes of the network do not fit together: {error} Get the file again.") from error


def _as_tuples(value: Any) -> Any:
    return tuple(_as_tuples(item) for item in value) if isinstance(value, list | tuple) else value


def _is_like(value: Any, like: Any) -> bool:
    """Whether a value has the type of another, inside tuples too; those of texts may be empty."""
    if isinstance(like, tuple):
        return isinstance(value, tuple) and all(_is_like(item, like[0] if like else "") for item in value)
    return type(value) is type(like) or (isinstance(like, float) and type(value) is int)


COMPACT = MastProConfig()
"""The network that comes with MoESeg, without its tumors and organs."""
