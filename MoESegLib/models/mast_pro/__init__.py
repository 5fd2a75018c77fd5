"""MAST-Pro (our implementation of the published idea): text and organs say which lesion is segmented.

Published are the idea and the numbers (arXiv 2503.14355, MICCAI 2025), not the network; docs/mast-pro-network.md says
which parts are whose.
"""

from __future__ import annotations

from .adapt import Adaptation, adapt_to, apply_delta, delta_state, trainable_parameters
from .build import build_mast_pro
from .checkpoint import base_sha256, read_base, read_delta, read_meta, round_to_half, write_base, write_delta
from .config import COMPACT, MastProConfig
from .dmoe import Routing
from .network import MastPro, MastProOutput

__all__ = [
    "COMPACT",
    "Adaptation",
    "MastPro",
    "MastProConfig",
    "MastProOutput",
    "Routing",
    "adapt_to",
    "apply_delta",
    "base_sha256",
    "build_mast_pro",
    "delta_state",
    "read_base",
    "read_delta",
    "read_meta",
    "round_to_half",
    "trainable_parameters",
    "write_base",
    "write_delta",
]
