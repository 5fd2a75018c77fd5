"""MoESeg: interactive medical image segmentation with mixtures of experts.

The public names are imported on first use, so ``import MoESegLib`` costs milliseconds and needs neither torch nor
SimpleITK::

    from MoESegLib import BoxPrompt, Session, Volume, load_engine

    volume = Volume.read("ct.nrrd")
    session = Session(volume, load_engine("lite-medsam"), extent="slice")
    session.add(BoxPrompt(corner_a=(10, 20, -30), corner_b=(60, 70, -30), segment="liver"))
    session.write("liver.seg.nrrd")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .core.threads import let_waiting_threads_sleep

if TYPE_CHECKING:
    from .core.prompts import (
        AutomaticPrompt,
        BoxPrompt,
        MaskPrompt,
        PointPrompt,
        PolygonPrompt,
        Prompt,
        ScribblePrompt,
        TextPrompt,
    )
    from .core.volume import Volume
    from .engines import load_engine
    from .models import build_model
    from .session import Session

__version__ = "0.1.0.dev0"

_HOME = {
    "Volume": "core.volume",
    "Prompt": "core.prompts",
    "PointPrompt": "core.prompts",
    "BoxPrompt": "core.prompts",
    "ScribblePrompt": "core.prompts",
    "PolygonPrompt": "core.prompts",
    "TextPrompt": "core.prompts",
    "MaskPrompt": "core.prompts",
    "AutomaticPrompt": "core.prompts",
    "Session": "session",
    "load_engine": "engines",
    "build_model": "models",
}

__all__ = [
    "AutomaticPrompt",
    "BoxPrompt",
    "MaskPrompt",
    "PointPrompt",
    "PolygonPrompt",
    "Prompt",
    "ScribblePrompt",
    "Session",
    "TextPrompt",
    "Volume",
    "build_model",
    "load_engine",
]


let_waiting_threads_sleep()  # torch reads it when it is imported


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
