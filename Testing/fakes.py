"""Stand-ins for tests that are about something else: a slice model without weights, a volume with one bright ball."""

from __future__ import annotations

import numpy as np

from MoESegLib.core.cancel import CancelToken
from MoESegLib.core.errors import PromptError
from MoESegLib.core.volume import Volume
from MoESegLib.engines.cache import content_key
from MoESegLib.engines.protocol import Embedding, ExpertLogits, ModelPrompt, PreparedImage
from MoESegLib.engines.resize import fit_longest_side, resize_area

SIDE = 64


class ThresholdModel:
    """A slice model without weights: bright pixels in the box, or connected to the clicks, are the target.

    An automatic prompt or a phrase alone stands for everything bright. It keeps its calls, can be told to wait, and
    refines like SAM when ``refines`` is set.
    """

    name = "threshold"
    notes: tuple[str, ...] = ()
    mask_grid = SIDE

    def __init__(self, native: frozenset[str] = frozenset({"box"}), refines: bool = False, experts: int = 1) -> None:
        self.native = native
        self.refines = refines
        self.experts = experts
        self.encoder_id = self.decoder_id = content_key("threshold", repr((sorted(native), refines, experts)))
        self.encoded = 0
        self.decoded = 0
        self.before_decode = lambda: None
        self.before_encode = lambda cancel: None
        self.seen: list[ModelPrompt] = []

    def prepare(self, image, spacing) -> PreparedImage:
        resized, scale = fit_longest_side(image.shape[:2], spacing, SIDE)
        gray = image.mean(axis=2).astype(np.uint8) if image.ndim == 3 else image
        small = resize_area(gray, resized)
        pixels = np.zeros((3, SIDE, SIDE), np.float32)
        pixels[:, : resized[0], : resized[1]] = small / 255.0
        return PreparedImage(pixels, scale, resized, image.shape[:2], content_key(small.tobytes(), repr(resized)))

    def encode(self, prepared: PreparedImage, cancel: CancelToken) -> Embedding:
        import torch

        self.before_encode(cancel)
        cancel.check()
        self.encoded += 1
        return {"image": torch.from_numpy(prepared.pixels[:1])[None]}

    def check_phrase(self, phrase: str) -> None:
        if phrase == "unknown":
            raise PromptError("Nobody knows what is unknown. Click on the target.")

    def decode(self, embedding: Embedding, prompt: ModelPrompt) -> tuple[ExpertLogits, ...]:
        self.before_decode()
        self.decoded += 1
        self.seen.append(prompt)
        image = embedding["image"][0, 0].float().numpy()
        inside = np.zeros((SIDE, SIDE), bool)
        if prompt.box is not None:
            x0, y0, x1, y1 = (int(value) for value in prompt.box)
            inside[y0 : y1 + 1, x0 : x1 + 1] = True
        if prompt.automatic or (prompt.text is not None and prompt.box is None and not (prompt.labels == 1).any()):
            inside[:] = True
        rows, columns = np.ogrid[:SIDE, :SIDE]
        for (x, y), label in zip(prompt.points, prompt.labels, strict=True):
            near = (rows - y) ** 2 + (columns - x) ** 2 <= 9
            inside = inside | near if label else inside & ~near
        logits = np.where(inside & (image > 0.5), 4.0, -4.0).astype(np.float32)
        if prompt.logits is not None:
            outside = np.zeros_like(inside)
            for (x, y), label in zip(prompt.points, prompt.labels, strict=True):
                outside |= ((rows - y) ** 2 + (columns - x) ** 2 <= 9) & (label == 0)
            logits = np.where(outside, logits, np.maximum(logits, 0.5 * prompt.logits))
        answers = [ExpertLogits(f"expert{n}", logits - n, 0.9 - 0.1 * n, 1 / self.experts) for n in range(self.experts)]
        if prompt.expert is not None:
            answers.sort(key=lambda answer: answer.expert != prompt.expert)
        return tuple(answers)


def blob_volume(shape: tuple[int, int, int] = (9, 40, 48), ijk_to_ras=None, radius: float = 9.0, center=None) -> Volume:
    """A bright ball ``[k, j, i]`` on a dark, slightly uneven background."""
    matrix = np.diag([-1.0, -1.0, 2.0, 1.0]) if ijk_to_ras is None else np.asarray(ijk_to_ras, float)
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)[::-1]
    middle = (np.array(shape) - 1) / 2 if center is None else np.asarray(center, float)
    grid = np.indices(shape).astype(float)
    distance = np.sqrt(sum(((grid[a] - middle[a]) * spacing[a]) ** 2 for a in range(3)))
    array = np.where(distance <= radius, 220, 30 + (grid[2] % 5)).astype(np.uint8)
    return Volume(array, matrix)
