"""LiteMedSAM as a slice model: the published preprocessing, one encoder pass a slice, one decoder pass a box."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..core.cancel import CancelToken
from ..models.lite_medsam import IMAGE_SIDE
from .cache import content_key
from .protocol import Embedding, ExpertLogits, ModelPrompt, PreparedImage
from .resize import fit_longest_side, resize_area
from .sam_decoder import SamDecoder

if TYPE_CHECKING:
    from ..models.sam.build import Sam
    from .encoders import SliceEncoder


class LiteMedSAM:
    """Understands boxes; everything else is converted by the engine, which says so.

    Preprocessing (MedSAM ``CVPR24_LiteMedSAM_infer.py``): longest side to 256 by area averaging, min-max to [0, 1] per
    slice after resizing, zero padding at the right and bottom.

    Args:
        network: with the published weights, in eval mode.
        encoder: runs the image encoder (PyTorch, or a faster runtime with equal answers).
        weights_id: hash of the weights, for cache keys.
    """

    name = "lite-medsam"
    native = frozenset({"box"})
    refines = False
    mask_grid = IMAGE_SIDE

    def __init__(self, network: Sam, encoder: SliceEncoder, weights_id: str) -> None:
        self.notes: tuple[str, ...] = ()
        self.decoder = SamDecoder(network)
        self.encoder = encoder
        # The same encoder serves every decoder and expert on these weights, so its embeddings are shared.
        self.encoder_id = content_key("lite-medsam", weights_id, encoder.runtime)
        self.decoder_id = content_key(self.name, weights_id)

    def prepare(self, image: NDArray[np.uint8], spacing: tuple[float, float]) -> PreparedImage:
        """See :meth:`MoESegLib.engines.protocol.SliceModel.prepare`."""
        shape = (image.shape[0], image.shape[1])
        resized, scale = fit_longest_side(shape, spacing, IMAGE_SIDE)
        small = resize_area(image, resized)
        low, high = int(small.min()), int(small.max())
        # Double precision as in the published pipeline, rounded once at the end.
        normalized = (small - float(low)) / max(high - low, 1e-8)
        pixels = np.zeros((3, IMAGE_SIDE, IMAGE_SIDE), np.float32)
        channels = normalized.transpose(2, 0, 1) if small.ndim == 3 else normalized
        pixels[:, : resized[0], : resized[1]] = channels
        key = content_key(small.tobytes(), repr((resized, small.ndim)))
        return PreparedImage(pixels, scale, resized, shape, key)

    def encode(self, prepared: PreparedImage, cancel: CancelToken) -> Embedding:
        """See :meth:`MoESegLib.engines.protocol.SliceModel.encode`."""
        return self.encoder.encode(prepared.pixels, cancel)

    def check_phrase(self, phrase: str) -> None:
        """See :meth:`MoESegLib.engines.protocol.SliceModel.check_phrase`."""

    def decode(self, embedding: Embedding, prompt: ModelPrompt) -> tuple[ExpertLogits, ...]:
        """See :meth:`MoESegLib.engines.protocol.SliceModel.decode`."""
        logits, quality = self.decoder.decode(embedding, prompt)
        return (ExpertLogits("base", logits, quality),)
