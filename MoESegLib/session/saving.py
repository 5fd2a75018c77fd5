"""A session as files: segments, and a log of its prompts that can be replayed."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..core.errors import PromptError
from ..core.prompts import prompt_from_dict
from ..core.segmentation_file import SegmentRecord, write_segmentation
from ..core.volume import Volume
from ..engines.protocol import Engine

if TYPE_CHECKING:
    from .session import Session

LOG_FORMAT = "moeseg-session-1"
_log = logging.getLogger(__name__)


def write_session(session: Session, path: Path) -> Path:
    """Write the masks with their provenance in the segment tags.

    Raises:
        OutputError: unknown file type, no permission or no space.
    """
    records = []
    for segment in session.segments:
        result = session.latest(segment)
        tags = {
            "MoESeg.Engine": session.engine.name,
            "MoESeg.Expert": result.expert,
            "MoESeg.Version": __version__,
            "MoESeg.Prompts": json.dumps([_short(prompt.to_dict()) for prompt in session.prompts(segment)]),
        }
        if result.confidence is not None:
            tags["MoESeg.Confidence"] = f"{result.confidence:.3f}"
        records.append(SegmentRecord(segment, segment, result.prediction.patch, tags=tags))
    for warning in write_segmentation(path, session.volume, records):
        _log.warning(warning)
    return path


def _short(data: dict[str, Any]) -> dict[str, Any]:
    """Prompts as provenance: a mask is named, not repeated."""
    return {key: value for key, value in data.items() if key not in ("mask", "id") and value is not None}


def session_log(session: Session) -> dict[str, Any]:
    """The session as plain data."""
    return {
        "format": LOG_FORMAT,
        "version": __version__,
        "image": {"name": session.volume.name, "content_id": session.volume.content_id},
        "engine": session.engine.name,
        "extent": session.extent,
        "experts": {s: e for s in session.segments if (e := session.expert_of(s)) is not None},
        "locked": [segment for segment in session.segments if session.is_locked(segment)],
        "prompts": [prompt.to_dict() for prompt in session.prompts()],
    }


def replay(log: Mapping[str, Any], volume: Volume, engine: Engine, **options: Any) -> Session:
    """A session with the prompts of a log, predicting.

    Args:
        options: passed to :class:`~MoESegLib.session.session.Session`.

    Raises:
        PromptError: the log is of another format or its prompts are damaged or refused.
    """
    from .session import Session

    if log.get("format") != LOG_FORMAT:
        raise PromptError(
            f"This is not a prompt log of MoESeg (format {log.get('format')!r}; {LOG_FORMAT!r} expected)."
        )
    session = Session(volume, engine, extent=log.get("extent", "slice"), **options)
    for segment, expert in log.get("experts", {}).items():  # first, so that nothing is predicted twice
        session.choose_expert(segment, expert)
    for data in log.get("prompts", []):
        session.add(prompt_from_dict(data))
    for segment in log.get("locked", []):
        session.lock(segment)
    return session
