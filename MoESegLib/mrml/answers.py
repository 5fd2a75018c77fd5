"""What a scene session tells the panel."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..core.results import MaskPatch, SegmentResult


@dataclass(frozen=True)
class Answer:
    """The answer for one segment and what it changed there.

    Attributes:
        segment: its ID.
        result: expert, confidence, alternatives, notes and mask.
        added, removed: voxels given to the segment and taken from it; locked segments kept theirs.
        volume_ml: milliliters of the answer.
        before: the mask of the model that the segment showed before.
    """

    segment: str
    result: SegmentResult
    added: int = 0
    removed: int = 0
    volume_ml: float = 0.0
    before: MaskPatch = field(default_factory=MaskPatch)


@dataclass
class Update:
    """What happened since the last look.

    Attributes:
        answers: the newest of each segment.
        messages: for the status line; never a reason to stop the user.
        prompts_changed: the list of prompts must be shown anew.
    """

    answers: dict[str, Answer] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    prompts_changed: bool = False
