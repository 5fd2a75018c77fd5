"""The prompts of a segment, kept in its tags.

Tags travel with the segment: into the saved scene, into ``.seg.nrrd`` files, and, what matters most, into the states of
Slicer's undo stack. Going back a step therefore brings back voxels and prompts together, whoever asked for it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import slicer
from numpy.typing import NDArray

from .. import __version__
from ..core.errors import PromptError
from ..core.geometry import as_matrix
from ..core.prompts import Prompt, prompt_from_dict
from ..core.results import SegmentResult
from .segmentations import IN_PROGRESS, get_tag, segment_of, set_status, set_tags
from .volumes import world_from_local

_Reading = tuple[tuple[Prompt, ...], str | None]
_last_readings: dict[str, tuple[tuple[str, bytes], _Reading]] = {}
"""By segment, what was read last, and the tag and transform that it was read from."""


@dataclass(frozen=True)
class StoredPrompts:
    """What a segment's tags say.

    Attributes:
        prompts: in world RAS, in the order they were given.
        expert: the expert the user chose, None to let the gate choose.
        text: the tag itself; equal texts mean equal prompts.
    """

    prompts: tuple[Prompt, ...] = ()
    expert: str | None = None
    text: str = ""


def store_prompts(
    segment: slicer.vtkSegment, prompts: Sequence[Prompt], expert: str | None, world_from_local: NDArray[np.float64]
) -> str:
    """Write prompts into a segment's tags and return the text of the tag.

    They are stored in the RAS of the segmentation itself, as its voxels are, so that they stay with the anatomy when a
    parent transform changes.
    """
    text = ""
    if prompts:
        local = as_matrix(np.linalg.inv(world_from_local))
        data = {"expert": expert, "prompts": [prompt.transformed(local).to_dict() for prompt in prompts]}
        text = json.dumps(data, separators=(",", ":"))
    set_tags(segment, Prompts=text)
    return text


def stored_prompts(segment: slicer.vtkSegment, segment_id: str, world_from_local: NDArray[np.float64]) -> StoredPrompts:
    """Read prompts from a segment's tags; they get the segment's present ID.

    Raises:
        PromptError: the tag is damaged or of a newer version.
    """
    text = get_tag(segment, "MoESeg.Prompts")
    if not text:
        _last_readings.pop(segment_id, None)
        return StoredPrompts()
    try:
        prompts, expert = _read(text, segment_id, world_from_local)
    except (ValueError, KeyError, TypeError, AttributeError, PromptError) as error:
        raise PromptError(
            f"The prompts saved with the segment {segment.GetName()} cannot be read ({error}). Its voxels are "
            "untouched; place new prompts to go on."
        ) from error
    return StoredPrompts(prompts, expert, text)


def readable_prompts(segmentation: slicer.vtkMRMLSegmentationNode, segment_id: str) -> StoredPrompts:
    """As :func:`stored_prompts`, but nothing where the tags are damaged.

    Raises:
        PromptError: there is no such segment.
    """
    segment = segment_of(segmentation, segment_id)
    try:
        return stored_prompts(segment, segment_id, world_from_local(segmentation))
    except PromptError:
        return StoredPrompts()


def forget_readings() -> None:
    """Give back the memory of prompts that were read; what is asked for again is read again."""
    _last_readings.clear()


def _read(text: str, segment_id: str, world_from_local: NDArray[np.float64]) -> _Reading:
    """Prompts and expert of a tag, from memory if nothing changed.

    The panel asks whenever it is drawn anew, the log of the browser app for all segments at every click, and unpacking
    29 organs of a trunk takes 0.2 s. One reading a segment: a fixed number would forget the organs as soon as there are
    more segments than that, and keep those of earlier steps while there are fewer.
    """
    source = text, world_from_local.tobytes()
    known = _last_readings.get(segment_id)
    if known is None or known[0] != source:
        known = _last_readings[segment_id] = source, _parsed(text, segment_id, world_from_local)
    return known[1]


def _parsed(text: str, segment_id: str, world_from_local: NDArray[np.float64]) -> _Reading:
    data = json.loads(text)
    items = data["prompts"] if isinstance(data, dict) else data  # a list was written by the command line
    expert = data.get("expert") if isinstance(data, dict) else None
    prompts = (prompt_from_dict({**item, "segment": segment_id}).transformed(world_from_local) for item in items)
    return tuple(prompts), expert


def question_id(text: str, engine: str, extent: str) -> str:
    """Identifies what was asked: the stored prompts, the engine and whether a slice or the volume was meant."""
    return hashlib.blake2b(f"{text}|{engine}|{extent}".encode(), digest_size=12).hexdigest() if text else ""


def settle(segment: slicer.vtkSegment, asked: str, engine: str, extent: str, result: SegmentResult) -> None:
    """Note in a segment's tags that its voxels show the answer to a question, and where that answer came from.

    Without a question (no prompts are left) the tags are removed.
    """
    if not asked:
        set_tags(segment, Asked="", Settled="", Model="", Expert="", Confidence="", Extent="", Version="")
        return
    confidence = "" if result.confidence is None else f"{result.confidence:.3f}"
    set_tags(
        segment,
        Asked=asked,
        Settled=asked,
        Model=engine,
        Expert=result.expert,
        Confidence=confidence,
        Extent=extent,
        Version=__version__,
    )
    set_status(segment, IN_PROGRESS)
