"""SAM and MedSAM with a ViT encoder as slice models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..core.cancel import CancelToken
from .cache import content_key
from .protocol import Embedding, ExpertLogits, ModelPrompt, PreparedImage
from .resize import fit_longest_side
from .sam_decoder import SamDecoder

if TYPE_CHECKING:
    from ..models.sam.build import Sam
    from .encoders import SliceEncoder

PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)


class SamModel:
    """SAM ViT-B, L or H (segment-anything ``predictor.py``): points, boxes and masks, refined click by click.

    Args:
        name: as in ``moeseg models list``.
        native: kinds of prompts these weights were trained on (MedSAM: boxes only).
    """

    def __init__(
        self, name: str, network: Sam, encoder: SliceEncoder, weights_id: str, native: frozenset[str], side: int = 1024
    ) -> None:
        self.name = name
        self.decoder = SamDecoder(network)
        self.encoder = encoder
        self.native = native
        self.refines = "point" in native
        self.side = side
        self.mask_grid = side // 4
        self.notes: tuple[str, ...] = ()
        self.encoder_id = content_key(name, weights_id, encoder.runtime)
        self.decoder_id = content_key(name, weights_id)

    def prepare(self, image: NDArray[np.uint8], spacing: tuple[float, float]) -> PreparedImage:
        """See :meth:`MoESegLib.engines.protocol.SliceModel.prepare`: antialiased bilinear, ImageNet statistics."""
        from PIL import Image

        color = image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)
        shape = (color.shape[0], color.shape[1])
        resized, scale = fit_longest_side(shape, spacing, self.side)
        small = np.asarray(Image.fromarray(color).resize((resized[1], resized[0]), Image.Resampling.BILINEAR))
        pixels = np.zeros((3, self.side, self.side), np.float32)
        normalized = (small.astype(np.float32) - np.array(PIXEL_MEAN, np.float32)) / np.array(PIXEL_STD, np.float32)
        pixels[:, : resized[0], : resized[1]] = normalized.transpose(2, 0, 1)
        return PreparedImage(pixels, scale, resized, shape, content_key(small.tobytes(), repr(resized)))

    def encode(self, prepared: PreparedImage, cancel: CancelToken) -> Embedding:
        """See :meth:`MoESegLib.engines.protocol.SliceModel.encode`."""
        return {"image": self.encoder.encode(prepared.pixels, cancel)["image"]}

    def check_phrase(self, phrase: str) -> None:
        """See :meth:`MoESegLib.engines.protocol.SliceModel.check_phrase`."""

    def decode(self, embedding: Embedding, prompt: ModelPrompt) -> tuple[ExpertLogits, ...]:
        """See :meth:`MoESegLib.engines.protocol.SliceModel.decode`."""
        logits, quality = self.decoder.decode(embedding, prompt)
        return (ExpertLogits("base", logits, quality),)
