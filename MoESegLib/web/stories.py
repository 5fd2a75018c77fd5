"""The scripted stories of the demo: what is said, and the messages that the page would send for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ..core.geometry import Plane
from ..core.volume import Volume
from .desk import Case

Message = Mapping[str, Any]
_PLANE: Plane = "axial"
_SLICE = -784.5
"""Of the demo's CT, superior in millimeters: the one that its ``demo.json`` speaks of."""
_LEAST_SECONDS, _SECONDS_PER_LETTER = 2.5, 0.045
"""A caption is shown this long before anything happens: about 20 letters a second, an unhurried reader's pace."""


@dataclass(frozen=True)
class Pointer:
    """A hand that the page shows at work.

    Attributes:
        plane, index: view and slice.
        path: displayed pixels (x, y), from where the button is pressed to where it is released.
        tool: the page's tool.
    """

    plane: Plane
    index: int
    path: tuple[tuple[float, float], ...]
    tool: str


class Work(Protocol):
    """Something that takes longer than a prediction, such as a lesson."""

    @property
    def done(self) -> bool:
        """Whether it ended."""
        ...

    @property
    def text(self) -> str:
        """How far it is, or what came of it."""
        ...

    def close(self) -> None:
        """Stop it and forget it."""
        ...


@dataclass(frozen=True)
class Step:
    """One caption, and what is done after it was read.

    Attributes:
        messages: commands as the page sends them, see :data:`~MoESegLib.web.commands.COMMANDS`.
        target: ID of the page's element that is lit up.
        pointer: the hand, None for a step without one.
        read: seconds to look at the answer.
        act: what no command does; the work that it began, if any, belongs to the rest of the story.
    """

    caption: str
    messages: tuple[Message, ...] = ()
    target: str = ""
    pointer: Pointer | None = None
    read: float = 3.0
    act: Callable[[Case], Work | None] | None = None

    @property
    def wait(self) -> float:
        """Seconds between the caption and what is done."""
        return max(_LEAST_SECONDS, _SECONDS_PER_LETTER * len(self.caption))


@dataclass(frozen=True)
class Story:
    """Steps that begin with an empty segmentation of the demo's CT.

    Attributes:
        name: its identity.
        title: on its button.
        model: which the steps need.
        index: axial slice that is shown.
        note: what the user must know before believing what is seen; "" for nothing.
        image: makes the image it is told on; None for the demo's CT as it is.
    """

    name: str
    title: str
    model: str
    index: int
    steps: tuple[Step, ...]
    note: str = ""
    image: Callable[[], Volume] | None = None


def stories_of(volume: Volume) -> tuple[Story, ...]:
    """The stories that are told on the demo's CT by clicks and phrases."""
    hand = _Hand(volume)
    return _organ(hand), _phrase(hand)


class _Hand:
    """Draws on one axial slice of the demo's CT."""

    def __init__(self, volume: Volume) -> None:
        self._volume = volume
        axis = volume.axis_of(_PLANE)
        self._view = volume.view(axis)
        self.index = round(float(volume.ras_to_ijk((0.0, 150.0, _SLICE))[axis]))

    def draw(self, caption: str, tool: str, points: Sequence[tuple[float, float]], *before: Message) -> Step:
        """A step that draws with a tool of the page.

        Args:
            points: right and anterior, in millimeters.
            before: what is asked for before.
        """
        ijk = self._volume.ras_to_ijk([(*point, _SLICE) for point in points])
        path = tuple((float(x), float(y)) for x, y in self._view.to_pixels(ijk).round(1))
        kind = "box" if tool == "box" else "point"
        prompt = {"do": "prompt", "kind": kind, "positive": tool != "negative", "plane": _PLANE, "index": self.index}
        return Step(caption, (*before, {**prompt, "xy": path}), f"tool-{tool}", Pointer(_PLANE, self.index, path, tool))


def _segment(name: str) -> Message:
    return {"do": "add_segment", "name": name}


def _changes(on: bool) -> Message:
    return {"do": "overlays", "changes": on, "confidence": False}


def _organ(hand: _Hand) -> Story:
    """Dice of the segments against the labels that come with the CT: liver 0.97; spleen 0.86, then 0.97; aorta 0.93."""
    steps = (
        hand.draw(
            "Name a segment “liver” and click inside the liver once.", "positive", [(102, 84)], _segment("liver")
        ),
        Step("It is right: accept and lock it. No later prompt changes it any more.", ({"do": "accept"},), "accept"),
        hand.draw(
            "The next organ, this time with a box around the spleen. It was drawn carelessly …",
            "box",
            [(42.5, 203), (-161.5, 2)],
            _segment("spleen"),
        ),
        hand.draw("… and holds too much. Click outside, on what does not belong to it.", "negative", [(-29.8, 60.6)]),
        Step("“What changed” shows in pink what that click took away.", (_changes(True),), "changes", read=4.0),
        hand.draw(
            "A third organ: one click in the aorta.", "positive", [(-7.3, 146.5)], _changes(False), _segment("aorta")
        ),
    )
    return Story("organ", "An organ by click", "segmote-lite", hand.index, steps)


def _phrase(hand: _Hand) -> Story:
    """Dice of the liver: 0.76 from the phrase alone, 0.91 with the click."""
    steps = (
        Step(
            "Type “liver”. The phrase names the segment, and an expert answers it.",
            ({"do": "text", "text": "liver"},),
            "phrase",
        ),
        hand.draw("A phrase alone is a rough start. Click where a part is missing.", "positive", [(22, 193.4)]),
        Step("“What changed” shows in blue what the click added.", (_changes(True),), "changes", read=4.0),
        Step("Accept and lock it.", (_changes(False), {"do": "accept"}), "accept"),
    )
    note = "Rough for most organs: on abdominal CT a phrase alone reached a mean Dice of 0.19."
    return Story("phrase", "An organ by phrase", "segmote-lite", hand.index, steps, note)
