"""One process or several: what ``torchrun`` started, or this process alone."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn

Value = TypeVar("Value")


def use_own_gpu() -> None:
    """Make the GPU that ``torchrun`` gave this process its default; before a network is loaded."""
    if torch.cuda.is_available() and "LOCAL_RANK" in os.environ:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))


@dataclass(frozen=True)
class World:
    """This process among those that train together.

    Gradients are summed by hand rather than by ``DistributedDataParallel``, whose hooks expect one backward pass for
    each forward pass; a step has several (:func:`~.step.train_step`).
    """

    rank: int
    size: int
    device: torch.device

    @classmethod
    def join(cls, device: torch.device) -> World:
        """The processes that ``torchrun`` started, whose networks are on ``device``: a GPU each, or all on the CPU."""
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size == 1:
            return cls(0, 1, device)
        if not dist.is_initialized():
            kind = "nccl" if device.type == "cuda" else "gloo"
            dist.init_process_group(kind, timeout=datetime.timedelta(hours=12))  # others encode for long
        return cls(dist.get_rank(), size, device)

    def leave(self) -> None:
        """Part from the other processes."""
        if self.size > 1:
            dist.destroy_process_group()

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    def share(self, items: Sequence[Value]) -> Sequence[Value]:
        """This process's part of the items."""
        return items[self.rank :: self.size]

    def mean_gradients(self, parameters: Iterable[nn.Parameter], weight: float) -> None:
        """Replace gradients by their mean over all processes, each weighted by its number of samples."""
        if self.size == 1:
            return
        used = list(parameters)
        parts = [torch.zeros_like(p) if p.grad is None else p.grad * weight for p in used]
        flat = torch.cat([*(part.flatten() for part in parts), torch.tensor([weight], device=self.device)])
        dist.all_reduce(flat)
        flat = flat[:-1] / flat[-1]
        for parameter, part in zip(used, flat.split([p.numel() for p in used]), strict=True):
            parameter.grad = part.view_as(parameter).clone()

    def wait(self) -> None:
        """Go on when all processes are here."""
        if self.size > 1:
            dist.barrier()

    def gather(self, items: Sequence[Value]) -> list[Value]:
        """The items of all processes, in every process."""
        if self.size == 1:
            return list(items)
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, list(items))
        return [item for part in found for item in part]

    def agree(self, value: Value) -> Value:
        """The first process's value, in every process."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]
