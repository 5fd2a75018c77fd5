"""MAST-Pro over a region larger than a patch: overlapping windows, and what its router did in them."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..core.cancel import CancelToken, ProgressCallback
from ..core.errors import ResourceError
from ..core.organs import organ_ids
from ..models.mast_pro import MastPro, MastProConfig, Routing

FAR = -20.0
"""Logit of what was not looked at."""
_GPU_BATCH = 4


@dataclass(frozen=True, eq=False)
class Question:
    """What is asked of every window.

    Attributes:
        text: sentence embeddings ``[4, 384]``.
        tumor: number of the tumor type, -1 for one that the network was not taught.
        organs_known: whether any organs were given.
        nearest: windows in which the distance channel is nowhere as large as this are not looked at; None looks at all.
    """

    text: NDArray[np.float32]
    tumor: int
    organs_known: bool
    nearest: float | None = None


@dataclass(frozen=True)
class Route:
    """Which experts served at one level of the network.

    Attributes:
        experts: names and weights (0 to 1) of those that answered most, the strongest first.
        balance: share of the specific experts against the generic ones, 0 to 1.
    """

    experts: tuple[tuple[str, float], ...]
    balance: float


@dataclass(eq=False)
class Tally:
    """Collects the routing of all windows; those with lesions count alone once there are any."""

    _sums: dict[bool, list[NDArray[np.float64]]] = field(default_factory=dict)
    _counts: dict[bool, int] = field(default_factory=lambda: {False: 0, True: 0})
    _names: list[tuple[str, ...]] = field(default_factory=list)

    def add(self, routing: Sequence[Routing], found: Sequence[bool]) -> None:
        """The routing of a batch of windows, and whether a lesion was found in each."""
        self._names = [level.experts for level in routing]
        for row, has_lesion in enumerate(found):
            values = [
                np.append(level.weights[row].float().cpu().numpy(), float(level.balance[row])).astype(np.float64)
                for level in routing
            ]
            before = self._sums.get(has_lesion)
            summed = values if before is None else [a + b for a, b in zip(before, values, strict=True)]
            self._sums[has_lesion] = summed
            self._counts[has_lesion] += 1

    def routes(self, most: int = 2) -> tuple[Route, ...]:
        """One a level, the deepest last; empty for a network without experts."""
        with_lesions = self._counts[True] > 0
        if with_lesions not in self._sums:
            return ()
        found = []
        for names, sums in zip(self._names, self._sums[with_lesions], strict=True):
            *weights, balance = (sums / self._counts[with_lesions]).tolist()
            ranked = sorted(zip(names, weights, strict=True), key=lambda pair: -pair[1])
            found.append(Route(tuple(pair for pair in ranked[:most] if pair[1] > 0), balance))
        return tuple(found)


def import_monai() -> Callable[..., Any]:
    """MONAI's sliding window; importing it takes seconds, so do it when a model is loaded.

    Raises:
        ResourceError: MONAI is not installed.
    """
    try:
        from monai.inferers.utils import sliding_window_inference
    except ImportError as error:
        raise ResourceError(
            f"MAST-Pro searches volumes with MONAI, which cannot be imported ({error}). Install it: pip install monai"
        ) from error
    return sliding_window_inference


def window_count(shape: Sequence[int], window: Sequence[int], overlap: float) -> int:
    """Windows that cover a region, as MONAI places them."""
    total = 1
    for size, width in zip(shape, window, strict=True):
        step = max(1, int(width * (1 - overlap)))
        total *= 1 + max(0, int(np.ceil((size - width) / step)))
    return total


def windows_at_once(config: MastProConfig, window: Sequence[int]) -> int:
    """Windows that a CPU answers together: slices, as many as have the voxels of a patch of volumes.

    A slice alone has too little to do for several threads, which wait for each other: 20 slices of 128 x 128 voxels
    took 0.74 s one by one and 0.44 s so, on two cores; beside a program that kept one of them busy, 1.4 and 0.75 s.
    """
    return max(1, math.prod(config.patch) // math.prod(window))


def slide(
    network: MastPro,
    inputs: NDArray[np.float32],
    question: Question,
    window: tuple[int, int, int],
    overlap: float,
    cancel: CancelToken,
    progress: ProgressCallback | None,
) -> tuple[NDArray[np.float32], Tally]:
    """Logits of a region, joined with Gaussian weights, and the routing.

    Half precision on a GPU, float32 on the CPU.

    Args:
        inputs: ``[5, D, H, W]``, at least as large as a window: image (2), organ mask and distance (2), organ labels.
        window: ``(D, H, W)``.
        overlap: share of a window that its neighbor sees too, 0 to below 1.
        progress: called before every window, from 0 to 1.

    Returns:
        float32 ``[D, H, W]``, :data:`FAR` where nothing was looked at.

    Raises:
        Cancelled: within a layer of the network.
        ResourceError: MONAI is not installed.
    """
    sliding_window_inference = import_monai()
    device = next(network.parameters()).device
    runner = _Runner(network, question, window_count(inputs.shape[1:], window, overlap), cancel, progress)
    with torch.inference_mode(), _checked(network, cancel.check):
        logits = sliding_window_inference(
            torch.from_numpy(inputs)[None],
            window,
            _GPU_BATCH if device.type == "cuda" else windows_at_once(network.config, window),
            runner,
            overlap=overlap,
            mode="gaussian",
            sw_device=device,
            device=torch.device("cpu"),
        )
    return logits[0, 0].numpy(), runner.tally


class _Runner:
    """Answers windows ``[B, 5, D, H, W]`` with logits ``[B, 1, D, H, W]``."""

    def __init__(
        self,
        network: MastPro,
        question: Question,
        windows: int,
        cancel: CancelToken,
        progress: ProgressCallback | None,
    ) -> None:
        self.network, self.question, self.windows = network, question, windows
        self.cancel, self.progress = cancel, progress
        self.tally = Tally()
        self._done = 0
        known = {name: number for number, name in enumerate(organ_ids(), start=1)}
        device = next(network.parameters()).device
        # -1 is no label: an organ that this version does not know is nowhere.
        numbers = [known.get(name, -1) for name in network.config.organs]
        self._numbers = torch.tensor(numbers, device=device).view(1, -1, 1, 1, 1)
        self._text = torch.tensor(question.text, device=device)[None]

    def __call__(self, windows: Tensor) -> Tensor:
        self.cancel.check()
        if self.progress is not None:
            self.progress(self._done / self.windows, f"window {self._done + 1} of {self.windows}")
        self._done += len(windows)
        logits = torch.full_like(windows[:, :1], FAR)
        nearest = self.question.nearest
        near = windows[:, 3].flatten(1).amax(dim=1) >= (-np.inf if nearest is None else nearest)
        if near.any():
            logits[near] = self._answer(windows[near])
        return logits

    def _answer(self, windows: Tensor) -> Tensor:
        batch, labels = len(windows), windows[:, 4:]
        # Where no organ is in a window there are zeros, as in training, and no distance to what lies outside of it.
        labeled = labels.flatten(1).any(dim=1)[:, None, None, None, None]
        with torch.autocast(windows.device.type, torch.float16, enabled=windows.device.type == "cuda"):
            output = self.network(
                windows[:, :2],
                self._text.expand(batch, -1, -1),
                windows[:, 2:4] * labeled if self.question.organs_known else None,
                labels == self._numbers if self.question.organs_known else None,
                torch.full((batch,), self.question.tumor, device=windows.device),
            )
        logits = output.logits.float()
        self.tally.add(output.routing, (logits > 0).flatten(1).any(dim=1).tolist())
        return logits


@contextlib.contextmanager
def _checked(network: nn.Module, check: Callable[[], None]) -> Iterator[None]:
    """Call ``check`` before every convolution: a window takes seconds on a slow CPU, a layer 0.1 s."""
    layers = (module for module in network.modules() if isinstance(module, nn.Conv3d))
    handles = [layer.register_forward_pre_hook(lambda *_: check()) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
