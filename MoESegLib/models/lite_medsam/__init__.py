"""LiteMedSAM: MedSAM distilled into a TinyViT (Ma et al. 2024; Apache-2.0 weights).

Source of every shape: MedSAM, branch LiteMedSAM, ``train_one_gpu.py`` and ``CVPR24_LiteMedSAM_infer.py``.
"""

from __future__ import annotations

from ..sam.build import Sam, mask_decoder, prompt_encoder
from .tiny_vit import TinyViT

IMAGE_SIDE = 256
EARLY_CHANNELS = 160


def build_lite_medsam() -> Sam:
    """The network with random weights, in eval mode; 435 tensors, keys as in ``lite_medsam.pth``."""
    model = Sam(TinyViT(), prompt_encoder(256, 64, IMAGE_SIDE), mask_decoder(256))
    model.early_channels = EARLY_CHANNELS
    return model.eval()
