"""SAM-Med3D (Wang et al. 2023, arXiv 2310.15161): a fully 3D SAM, written anew with the public state-dict keys."""

from __future__ import annotations

from .build import SamMed3D, build_sam_med3d
from .config import SamMed3DConfig, config_of

__all__ = ["SamMed3D", "SamMed3DConfig", "build_sam_med3d", "config_of"]
