"""The prompt log of ``moeseg segment --log``: everything that ``moeseg replay`` needs to give the same voxels."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import PromptError

if TYPE_CHECKING:
    from ..engines.slice_engine import SliceEngine
    from ..engines.volume_engine import VolumeEngine
    from ..session import Session

_FIELDS: dict[str, type | tuple[type, ...]] = {
    "engine": str,
    "image": dict,
    "path": str,
    "extent": str,
    "prompts": list,
    "experts": dict,
    "locked": list,
    "frame": (int, type(None)),
    "series": (str, type(None)),
    "runtime": str,
    "window": (list, type(None)),
}


def log_of(session: Session, engine: SliceEngine | VolumeEngine, args: argparse.Namespace) -> dict[str, Any]:
    """The session with the options that change voxels: which image, which frame, which window, which arithmetic."""
    from ..engines.slice_engine import SliceEngine

    return {
        **session.log(),
        "path": str(args.image.absolute()),
        "frame": args.frame,
        "series": args.series,
        "runtime": args.runtime,
        "window": list(engine.window) if isinstance(engine, SliceEngine) and engine.window is not None else None,
        "arithmetic": arithmetic_of(engine),
    }


def arithmetic_of(engine: SliceEngine | VolumeEngine) -> list[str]:
    """Identifies weights and runtime: engines of equal arithmetic give equal voxels."""
    return [engine.model.encoder_id, engine.model.decoder_id]


def read_log(path: Path) -> dict[str, Any]:
    """Read and check a prompt log; its prompts are checked when they are added to a session.

    Raises:
        PromptError: the file is missing or damaged, or holds no prompts.
    """
    try:
        log = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PromptError(f"The prompt log {path} cannot be read: {error}.") from error
    if not isinstance(log, dict) or "engine" not in log or "prompts" not in log:
        raise PromptError(f"{path} is not a prompt log of MoESeg. Make one with moeseg segment --log.")
    for name, kind in _FIELDS.items():
        if name in log and not isinstance(log[name], kind):
            raise PromptError(f"The prompt log {path} is damaged: {name} is {log[name]!r}. Make it again.")
    if not all(isinstance(expert, str) for expert in log.get("experts", {}).values()):
        raise PromptError(f"The prompt log {path} is damaged: experts is {log['experts']!r}. Make it again.")
    if log.get("extent", "slice") not in ("slice", "volume"):
        raise PromptError(f'The prompt log {path} is damaged: extent is {log["extent"]!r}, not "slice" or "volume".')
    if not all(isinstance(prompt, dict) and isinstance(prompt.get("kind"), str) for prompt in log["prompts"]):
        raise PromptError(f"The prompt log {path} is damaged: a prompt has no kind. Make it again.")
    if not log["prompts"]:
        raise PromptError(f"The prompt log {path} holds no prompts, so there is nothing to replay.")
    return log
