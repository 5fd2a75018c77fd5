"""SegMoTE as released, as a slice model; the user brings the weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..core.cancel import CancelToken
from .cache import content_key
from .protocol import Embedding, ExpertLogits, ModelPrompt, PreparedImage
from .sam import PIXEL_MEAN, PIXEL_STD

if TYPE_CHECKING:
    from torch import Tensor

    from ..models.segmote.released import SegMoTEReleased
    from ..models.text.tokenizer import ClipTokenizer
    from .encoders import SliceEncoder


class SegMoTEModel:
    """Points, boxes, masks and text on IMIS-Net with released SegMoTE experts.

    Args:
        network: with the released weights, in eval mode.
        tokenizer_folder: holds ``vocab.json`` and ``merges.txt`` of ``openai/clip-vit-base-patch32``, for text prompts.
    """

    name = "segmote"
    native = frozenset({"point", "box", "mask", "text"})
    refines = True

    def __init__(
        self, network: SegMoTEReleased, encoder: SliceEncoder, weights_id: str, tokenizer_folder: Path
    ) -> None:
        self.network = network
        self.encoder = encoder
        self.tokenizer_folder = tokenizer_folder
        self.notes: tuple[str, ...] = ()
        self.side = network.image_size
        self.mask_grid = self.side // 4
        self.encoder_id = content_key(self.name, weights_id, encoder.runtime)
        self.decoder_id = content_key(self.name, weights_id)
        self._tokenizer: ClipTokenizer | None = None

    def prepare(self, image: NDArray[np.uint8], spacing: tuple[float, float]) -> PreparedImage:
        """Nearest-neighbor to S x S whatever the aspect, ImageNet statistics (SegMoTE ``data_utils.py``)."""
        rows, columns = image.shape[:2]
        by_row = (np.arange(self.side) * (rows / self.side)).astype(int)
        by_column = (np.arange(self.side) * (columns / self.side)).astype(int)
        small = image[by_row][:, by_column]
        color = small if small.ndim == 3 else np.repeat(small[..., None], 3, axis=2)
        normalized = (color - np.array(PIXEL_MEAN, np.float32)) / np.array(PIXEL_STD, np.float32)
        pixels = np.ascontiguousarray(normalized.transpose(2, 0, 1), dtype=np.float32)
        scale = (self.side / columns, self.side / rows)
        return PreparedImage(pixels, scale, (self.side, self.side), (rows, columns), content_key(small.tobytes()))

    def encode(self, prepared: PreparedImage, cancel: CancelToken) -> Embedding:
        """See :meth:`MoESegLib.engines.protocol.SliceModel.encode`."""
        return self.encoder.encode(prepared.pixels, cancel)

    def check_phrase(self, phrase: str) -> None:
        """See :meth:`MoESegLib.engines.protocol.SliceModel.check_phrase`."""

    def decode(self, embedding: Embedding, prompt: ModelPrompt) -> tuple[ExpertLogits, ...]:
        """See :meth:`MoESegLib.engines.protocol.SliceModel.decode`; the routed expert first, then the others."""
        import torch

        with torch.inference_mode():
            image, early = embedding["image"].float(), embedding["early"].float().permute(0, 2, 3, 1)
            outputs, _, chosen = self.network.forward_decoder(image, self._prompt(prompt), early, test_mode=True)
        masks, weights = outputs["expert_masks"][0], outputs["gates"][0].amax(-1)
        quality = float(outputs["iou_pred"][0, 0].clamp(0, 1))
        first = int(chosen[0]) if chosen is not None else 0
        answers = [
            ExpertLogits(f"segmote/{token}", masks[token].cpu().numpy(), quality, float(weights[token]))
            for token in range(len(masks))
        ]
        answers.sort(key=lambda answer: (answer.expert != prompt.expert, answer.expert != f"segmote/{first}"))
        return tuple(answers)

    def _prompt(self, prompt: ModelPrompt) -> dict[str, Tensor]:
        import torch

        given: dict[str, Tensor] = {}
        if len(prompt.points):
            given["point_coords"] = torch.from_numpy(prompt.points)[None]
            given["point_labels"] = torch.from_numpy(prompt.labels)[None]
        if prompt.box is not None:
            given["bboxes"] = torch.tensor([[prompt.box]], dtype=torch.float32)
        if prompt.logits is not None:
            given["mask_inputs"] = torch.from_numpy(prompt.logits)[None, None]
        if prompt.text is not None:
            given["text_inputs"] = self._text(prompt.text)
        return given

    def _text(self, phrase: str) -> Tensor:
        """The projected text vector ``[1, 768]`` of a class name or phrase."""
        import torch

        from ..models.segmote.released import TEXT_PATTERN
        from ..models.text.tokenizer import ClipTokenizer

        if self._tokenizer is None:
            self._tokenizer = ClipTokenizer.read(self.tokenizer_folder)
        words = phrase.lower().replace("_", " ").replace("-", " ")
        tokens = self._tokenizer(TEXT_PATTERN.format(words))
        return self.network.text_forward(torch.tensor([tokens]))
