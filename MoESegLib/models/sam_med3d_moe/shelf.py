"""Specialists on their shelf: read when they are first asked, and the ones used last are kept in memory."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...core.errors import UnknownModelError, WeightsError

BUDGET = 160_000_000
"""Bytes of specialists kept in memory: five of SAM-Med3D in float32, ten in half precision."""


@dataclass(frozen=True)
class Specialist:
    """A mask decoder that was taught one task.

    Attributes:
        load: its tensors, keyed as in the general mask decoder; called when they are needed, and again after they had
            to leave the memory.
    """

    name: str
    load: Callable[[], Mapping[str, Tensor]]


class Shelf:
    """Any number of specialists by name, few of them in memory.

    Args:
        general: the general mask decoder; specialists have its form, data type and device.
        budget: bytes kept in memory. The specialist that was asked last stays even if it alone is larger.
    """

    def __init__(self, general: nn.Module, specialists: Iterable[Specialist] = (), budget: int = BUDGET) -> None:
        self.budget = budget
        self._general = general
        self._specialists = {specialist.name: specialist for specialist in specialists}
        self._in_memory: OrderedDict[str, nn.Module] = OrderedDict()

    def __contains__(self, name: object) -> bool:
        return name in self._specialists

    def __iter__(self) -> Iterator[str]:
        return iter(self._specialists)

    def __len__(self) -> int:
        return len(self._specialists)

    @property
    def in_memory(self) -> tuple[str, ...]:
        """Names of those in memory, the one used last at the end."""
        return tuple(self._in_memory)

    @property
    def bytes_in_memory(self) -> int:
        return sum(_bytes_of(decoder) for decoder in self._in_memory.values())

    def put(self, specialist: Specialist) -> None:
        """Add a specialist, or replace the one of that name."""
        self._specialists[specialist.name] = specialist
        self._in_memory.pop(specialist.name, None)

    def remove(self, name: str) -> None:
        """Take a specialist off the shelf."""
        del self._specialists[name]
        self._in_memory.pop(name, None)

    def decoder(self, name: str) -> nn.Module:
        """A specialist in eval mode, with the data type and device that the general decoder has now.

        Raises:
            UnknownModelError: there is none of that name.
            WeightsError: its tensors are not those of such a decoder, or as its ``load``.
        """
        if name not in self._specialists:
            known = ", ".join(self._specialists) or "none"
            raise UnknownModelError(f"There is no specialist {name!r} here; known are {known}.")
        decoder = self._in_memory.pop(name, None)
        if decoder is None or _place_of(decoder) != _place_of(self._general):
            decoder = self._built(self._specialists[name])
        self._in_memory[name] = decoder
        while len(self._in_memory) > 1 and self.bytes_in_memory > self.budget:
            self._in_memory.popitem(last=False)
        return decoder

    def _built(self, specialist: Specialist) -> nn.Module:
        state = specialist.load()
        decoder = copy.deepcopy(self._general).requires_grad_(False).eval()
        try:
            decoder.load_state_dict(dict(state), strict=True)
        except RuntimeError as error:
            details = "; ".join(line.strip() for line in str(error).splitlines()[1:3])
            raise WeightsError(
                f"The specialist {specialist.name} does not fit this base: {details[:300]} It was made for a base of "
                "another form; use that base, or teach the specialist on this one."
            ) from error
        return decoder


def _bytes_of(decoder: nn.Module) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in decoder.state_dict().values())


def _place_of(decoder: nn.Module) -> tuple[torch.device, torch.dtype]:
    first = next(decoder.parameters())
    return first.device, first.dtype
