"""What a session can call (an engine) and what a 2D engine is built from (a slice model)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ..core.cancel import CancelToken, ProgressCallback
from ..core.prompts import Prompt
from ..core.results import Prediction
from ..core.volume import Volume
from .cache import EngineCache

if TYPE_CHECKING:
    import torch

Extent3D = Literal["slice", "volume"]


@dataclass(frozen=True)
class Context:
    """What a prediction may use besides the volume and the prompts.

    Nothing in here changes the answer except ``extent`` and ``expert``: the caches only make it come sooner.

    Attributes:
        extent: "slice" answers on the slices that hold prompts, "volume" propagates through the neighbors.
        expert: answer with this expert instead of the one the gate would choose.
        cache: embeddings and decoder outputs of earlier predictions.
        cancel: checked between steps; :class:`~MoESegLib.core.errors.Cancelled` leaves the cache usable.
        progress: told the finished fraction, from the worker thread.
    """

    extent: Extent3D = "slice"
    expert: str | None = None
    cache: EngineCache = field(default_factory=EngineCache)
    cancel: CancelToken = field(default_factory=CancelToken)
    progress: ProgressCallback | None = None


class Engine(Protocol):
    """A backbone plus its experts. An answer depends on the arguments alone, never on earlier calls.

    Attributes:
        name: as in ``moeseg models list``.
        understands: kinds of prompts (``Prompt.kind``) it takes, converted ones included.
    """

    name: str
    understands: frozenset[str]

    def check(self, volume: Volume, prompts: Sequence[Prompt], extent: Extent3D) -> None:
        """Refuse, quickly and before anything changes, what :meth:`predict` could not answer.

        Raises:
            PromptError: with the reason and what to do instead.
        """
        ...

    def predict(self, volume: Volume, prompts: Sequence[Prompt], context: Context) -> Prediction:
        """The mask of one segment for all of its prompts, in the order they were given.

        Raises:
            PromptError: the prompts ask for something the model cannot do on this image.
            Cancelled: ``context.cancel`` was set.
            ResourceError: out of memory.
        """
        ...

    def prefetch(self, volume: Volume, axis: int, index: int, context: Context) -> None:
        """Prepare slice ``index`` along IJK ``axis`` so that the first click on it only runs the decoder."""
        ...

    def is_prefetched(self, volume: Volume, axis: int, index: int, context: Context) -> bool:
        """Whether :meth:`prefetch` would have nothing to do."""
        ...


Embedding = Mapping[str, "torch.Tensor"]
"""What the decoder needs of one image, by name; ``image`` is the SAM image embedding ``[1, C, G, G]``."""


@dataclass(frozen=True, eq=False)
class PreparedImage:
    """A slice ready for an encoder.

    Attributes:
        pixels: float32 ``[3, S, S]``, normalized and padded at the right and bottom.
        scale: model pixels per displayed pixel along (x, y).
        resized: rows and columns of the model image that hold the slice, the rest is padding.
        original: rows and columns of the displayed slice.
        key: hash of everything that determines ``pixels``.
    """

    pixels: NDArray[np.float32]
    scale: tuple[float, float]
    resized: tuple[int, int]
    original: tuple[int, int]
    key: str


@dataclass(frozen=True, eq=False)
class ModelPrompt:
    """The prompts of one object on one slice, in model-image pixels (x, y).

    Attributes:
        points: float32 ``[N, 2]``.
        labels: int64 ``[N]``: 1 inside, 0 outside.
        box: x0, y0, x1, y1, or None.
        logits: previous or given low-resolution logits float32 ``[g, g]``, or None.
        text: phrase, or None.
        automatic: answer without points, box and logits, by what the expert was taught (SegMoTE's progressive prompt
            tokens). Prompts that correct this answer come in later calls, with its logits.
        expert: name of the expert that must answer, or of a pack, whose own gate then chooses; None for the gate.
        box_alone: finds the box that stands for points and logits, for a part of the model that understands boxes only;
            None when there is no such box.
    """

    points: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 2), np.float32))
    labels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    box: tuple[float, float, float, float] | None = None
    logits: NDArray[np.float32] | None = None
    text: str | None = None
    automatic: bool = False
    expert: str | None = None
    box_alone: Callable[[], tuple[float, float, float, float] | None] | None = None

    @property
    def key(self) -> bytes:
        """Everything that determines the answer to an image, as bytes to hash; :attr:`box_alone` follows from it."""
        rest = repr((self.box, self.text, self.automatic, self.expert)).encode()
        parts = [self.points.tobytes(), self.labels.tobytes(), rest]
        return b"|".join([*parts, b"" if self.logits is None else self.logits.tobytes()])


@dataclass(frozen=True, eq=False)
class ExpertLogits:
    """One expert's answer on one slice.

    Attributes:
        logits: float32 ``[g, g]`` over the padded model image; above 0 is inside.
        quality: predicted IoU in [0, 1], or None.
        gate_weight: the gate's weight in [0, 1], or None.
        notes: what the user should know when this answer counts, for example which known structure a phrase is nearest
            to, and its similarity.
    """

    expert: str
    logits: NDArray[np.float32]
    quality: float | None = None
    gate_weight: float | None = None
    notes: tuple[str, ...] = ()

    def is_of(self, name: str) -> bool:
        """Whether the expert has this name, or is one of the pack of this name ("liver/2" is of "liver")."""
        return name in (self.expert, self.expert.split("/")[0])


class SliceModel(Protocol):
    """A promptable model of single 2D images, wrapped by :class:`~MoESegLib.engines.slice_engine.SliceEngine`.

    Attributes:
        name: as in ``moeseg models list``.
        encoder_id: identifies the encoder's weights and arithmetic in cache keys.
        decoder_id: identifies the decoder's weights and experts in cache keys.
        native: kinds of prompts the network itself was trained to understand.
        refines: whether it takes its own previous logits together with new prompts.
        mask_grid: side of the low-resolution logits it takes and gives.
        notes: what the user should know with every answer.
    """

    name: str
    encoder_id: str
    decoder_id: str
    native: frozenset[str]
    refines: bool
    mask_grid: int
    notes: tuple[str, ...]

    def prepare(self, image: NDArray[np.uint8], spacing: tuple[float, float]) -> PreparedImage:
        """Resize, pad and normalize a displayed slice ``[row, column]`` or ``[row, column, 3]``.

        Args:
            spacing: millimeters between rows and between columns.
        """
        ...

    def encode(self, prepared: PreparedImage, cancel: CancelToken) -> Embedding:
        """Run the image encoder; polls ``cancel`` between blocks."""
        ...

    def check_phrase(self, phrase: str) -> None:
        """Refuse a phrase that it could not answer alone; asked only of models that take phrases.

        Raises:
            PromptError: with what it knows instead.
        """
        ...

    def decode(self, embedding: Embedding, prompt: ModelPrompt) -> tuple[ExpertLogits, ...]:
        """Run the mask decoder; the first answer is the chosen one, the others are alternatives."""
        ...
