"""SAM-Med3D as a volume model: one encoder pass a crop, one decoder pass a click."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.cancel import CancelToken
from .cache import content_key
from .protocol import Embedding, ExpertLogits
from .protocol3d import Crop, CropPrompt

if TYPE_CHECKING:
    import torch

    from ..models.sam_med3d import SamMed3D

SPACING = 1.5
"""Millimeters between the voxels that every published SAM-Med3D was trained on."""


class SamMed3DModel:
    """Understands points and masks, in 3D.

    The prediction of the IoU that comes with the masks was never trained (upstream ``train.py`` has no loss for it), so
    no quality is told.

    Args:
        name: as in ``moeseg models list``.
        network: with its weights, in eval mode; moved to the device.
        weights_id: hash of the weights, for cache keys.
        device: half precision for the encoder on a GPU, float32 on the CPU.
        exact: float32 everywhere.
        notes: what the user should know with every answer.
    """

    native = frozenset({"point", "mask"})
    spacing = SPACING

    @property
    def experts(self) -> tuple[str, ...]:
        """Nobody but itself."""
        return ()

    def __init__(
        self,
        name: str,
        network: SamMed3D,
        weights_id: str,
        device: torch.device,
        *,
        exact: bool = False,
        notes: tuple[str, ...] = (),
    ) -> None:
        import torch

        half = device.type == "cuda" and not exact
        self.name = name
        self.notes = notes
        self.device = device
        self.dtype = torch.float16 if half else torch.float32
        self.network = network.to(device)
        self.network.image_encoder.to(self.dtype)
        self.crop_size = network.config.image_size
        self.mask_grid = network.config.mask_size
        self.encoder_id = content_key("sam-med3d", weights_id, device.type, str(self.dtype))
        self.decoder_id = content_key("sam-med3d", weights_id, device.type)
        with torch.inference_mode():
            self.position = network.prompt_encoder.get_dense_pe()

    def encode(self, crop: Crop, cancel: CancelToken) -> Embedding:
        """See :meth:`MoESegLib.engines.protocol3d.VolumeModel.encode`; ``image`` is ``[1, C, G, G, G]``, float32."""
        import torch

        with torch.inference_mode():
            pixels = torch.from_numpy(crop.pixels)[None, None].to(self.device, self.dtype)
            return {"image": self.network.image_encoder.encode(pixels, checkpoint=cancel.check).float()}

    def decode(self, embedding: Embedding, prompt: CropPrompt) -> tuple[ExpertLogits, ...]:
        """See :meth:`MoESegLib.engines.protocol3d.VolumeModel.decode`."""
        import torch

        with torch.inference_mode():
            logits, _ = self.network.mask_decoder(**self.decoder_inputs(embedding, prompt), multimask_output=False)
        return (ExpertLogits("base", as_array(logits)),)

    def decoder_inputs(self, embedding: Embedding, prompt: CropPrompt) -> dict[str, Any]:
        """What the mask decoder takes; a first prompt goes with a mask of zeros, as the network was trained."""
        import torch

        points = None
        if len(prompt.points):
            coordinates = torch.from_numpy(prompt.points)[None].to(self.device)
            points = coordinates, torch.from_numpy(prompt.labels)[None].to(self.device)
        known = np.zeros((self.mask_grid,) * 3, np.float32) if prompt.logits is None else prompt.logits
        masks = torch.from_numpy(known)[None, None].to(self.device)
        sparse, dense = self.network.prompt_encoder(points=points, boxes=None, masks=masks)
        return {
            "image_embeddings": embedding["image"].to(self.device, torch.float32),
            "image_pe": self.position,
            "sparse_prompt_embeddings": sparse,
            "dense_prompt_embeddings": dense,
        }


def as_array(logits: torch.Tensor) -> NDArray[np.float32]:
    """The first mask of ``[1, M, g, g, g]`` as ``[g, g, g]``."""
    return logits[0, 0].float().cpu().numpy().copy()  # a view would keep all M alive
