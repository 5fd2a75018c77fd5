"""One prediction of a 3D engine: a step per prompt, and crop after crop where the target goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..core.volume import Volume
from .canvas3d import Canvas, Lattice, as_triple, next_window
from .crop3d import centered
from .mask3d import mask_logits
from .prompts3d import Step
from .protocol import Context, ExpertLogits
from .protocol3d import CropPrompt, Triple

if TYPE_CHECKING:
    from .volume_engine import VolumeEngine

_FAR_OUTSIDE = "A click outside lies where nothing was segmented; it changed nothing."
_LARGE_MASK = (
    "The mask is larger than what the model sees at once: it was refined around its center and kept elsewhere."
)
_JOINED = "The target is larger than what the model sees at once: {} crops were joined."
_OPEN = "The target may go on beyond what was looked at ({}): click into the part that is missing."


class Walk:
    """Takes the prompts of one segment in their order.

    What it finds depends on the prompts alone: embeddings and decoder outputs come from the caches of the context, so
    taking all earlier steps again costs next to nothing.

    Attributes:
        lattice: where the cells of the answer lie; None before the first positive prompt.
        answers: of the crop that holds the latest prompt.
        notes: what the user should know.
    """

    def __init__(self, engine: VolumeEngine, volume: Volume, context: Context, steps: int) -> None:
        self.engine = engine
        self.volume = volume
        self.grid = engine.grid(volume)
        self.context = context
        self.lattice: Lattice | None = None
        self.answers: tuple[ExpertLogits, ...] = ()
        self.notes: list[str] = []
        self._expected = steps + engine.max_crops - 1
        self._looks = 0
        self._points = np.zeros((0, 3), np.int64)
        self._labels = np.zeros(0, np.int64)
        self._windows: list[Triple] = []  # first cells of the crops that were placed around prompts
        self._told = Canvas()  # what these say
        self._held: str | None = None

    def take(self, step: Step) -> None:
        """Answer one more prompt; a negative one that comes first waits for a positive one."""
        self._say(step.note)
        if self.lattice is None and step.positive:
            self.lattice = self._lattice(step)
        placed = None if self.lattice is None else self._place(self.lattice, step)
        self._points = np.concatenate([self._points, step.points])
        self._labels = np.concatenate([self._labels, np.full(len(step.points), int(step.positive), np.int64)])
        if self.lattice is None or placed is None:
            return
        window, before = placed
        if step.mask is not None:
            start, logits = self._painted(self.lattice, window, step, step.mask)
            self._told, before = self._told.paint(start, logits), before.paint(start, logits)
        self.answers = self._look(self.lattice, window, before)
        if self._held is None and self._labels.any():
            self._held = self.answers[0].expert
        self._told = self._told.write(window, self.answers, over=True)

    def finish(self) -> Canvas:
        """The answer to all prompts, further crops included."""
        if self.lattice is None:
            return Canvas()
        canvas, crops, goes_on = self._look_beyond(self.lattice)
        if crops > len(self._windows):
            self._say(_JOINED.format(crops))
        if goes_on and self.engine.max_crops > 1:
            self._say(_OPEN.format("one crop" if crops == 1 else f"{crops} crops"))
        return canvas

    def _lattice(self, step: Step) -> Lattice:
        model = self.engine.model
        origin = centered(step.low, step.high, model.crop_size)
        return Lattice(as_triple(origin), model.crop_size // model.mask_grid, model.mask_grid, self.grid.shape)

    def _place(self, lattice: Lattice, step: Step) -> tuple[Triple, Canvas] | None:
        """The crop for a step, and what is known before; None when the step changes nothing.

        It is the crop that holds the step already, or else a new one around it.
        """
        margin, middle = self.engine.margin, (step.low + step.high) / 2
        holding = [window for window in self._windows if lattice.contains(window, step.low, step.high, margin)]
        if holding:
            return min(holding, key=lambda w: float(np.abs(lattice.middle(w) - middle).max())), self._told
        before = self._look_beyond(lattice)[0] if self._windows else self._told
        if not step.positive and np.isnan(before.read(lattice.cell(step.low), (1, 1, 1))).all():
            self._say(_FAR_OUTSIDE)
            return None
        window = lattice.nearest(centered(step.low, step.high, lattice.size))
        if window not in self._windows:
            self._windows.append(window)
        return window, before

    def _painted(
        self, lattice: Lattice, window: Triple, step: Step, mask: NDArray[np.bool_]
    ) -> tuple[Triple, NDArray[np.float32]]:
        """A given mask as logits over the cells of its crop and all it covers, and the first of these cells."""
        low = np.minimum(window, lattice.cell(step.low))
        high = np.maximum(np.add(window, lattice.cells), np.add(lattice.cell(step.high), 1))
        start, shape = as_triple(low), as_triple(high - low)
        if max(shape) > lattice.cells:
            self._say(_LARGE_MASK)
        return start, mask_logits(self.volume, self.grid, lattice, start, shape, mask)

    def _look_beyond(self, lattice: Lattice) -> tuple[Canvas, int, bool]:
        """The answer with the crops beyond the faces that the mask touches, how many crops, and whether it goes on."""
        canvas, windows = self._told, list(self._windows)
        while (window := next_window(canvas, lattice, windows)) is not None:
            if len(windows) - len(self._windows) >= self.engine.max_crops - 1:
                return canvas, len(windows), True
            canvas = canvas.write(window, self._look(lattice, window, canvas), over=False)
            windows.append(window)
        return canvas, len(windows), False

    def _look(self, lattice: Lattice, window: Triple, before: Canvas) -> tuple[ExpertLogits, ...]:
        """The answer in one crop to all prompts inside it; what nobody answered before is undecided (0)."""
        self.context.cancel.check()
        self._looks += 1
        if self.context.progress is not None:
            self.context.progress(min(1.0, (self._looks - 1) / self._expected), f"crop {self._looks}")
        origin, size = lattice.origin(window), lattice.size
        inside = ((self._points >= origin) & (self._points < origin + size)).all(axis=1)
        known = before.read(window, (lattice.cells, lattice.cells, lattice.cells))
        prompt = CropPrompt(
            points=(self._points[inside] - origin).astype(np.float32),
            labels=self._labels[inside],
            logits=None if np.isnan(known).all() else np.nan_to_num(known),
            expert=self.context.expert,
            held=self._held,
        )
        answers, note = self.engine.answer(self.volume, self.grid, as_triple(origin), prompt, self.context)
        self._say(note)
        return answers

    def _say(self, note: str) -> None:
        if note and note not in self.notes:
            self.notes.append(note)
