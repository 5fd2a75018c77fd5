"""Plays the demo's stories: the clock, pause, next, the loop of a booth, and what the page shows of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from enum import Enum
from typing import Any

from ..core.errors import MoESegError, PromptError
from ..core.geometry import Plane
from ..core.volume import Volume
from . import commands
from .desk import Case, Desk
from .lesions import FINDER, why_no_finder
from .stories import Step, Story, Work

QUIET_SECONDS = 60.0
"""In the loop: the stories go on when a visitor has not touched anything for so long."""
_RETRY_SECONDS = 2.0
"""In the loop: between two looks whether a model has come that a story needs."""
_SETTLED = 2
"""Looks at an idle worker in a row: an answer can arrive between the desk's look at it and this one."""


class Phase(Enum):
    """Of a step: its caption is read, the model works, the answer is looked at, the story is over."""

    READING = "reading"
    WORKING = "working"
    LOOKING = "looking"
    OVER = "over"


class Stage:
    """Plays one story at a time on a desk; belongs to the main thread.

    Every story begins with an empty segmentation of the demo's image, so nothing is left of the one before.

    Args:
        desk: the work.
        volume: the demo's image.
        stories: what can be played.
        loop: play all of them, again and again.
        clock: seconds; a test may give its own.

    Attributes:
        loop: whether the next story follows by itself.
    """

    def __init__(
        self,
        desk: Desk,
        volume: Volume,
        stories: Sequence[Story],
        loop: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.loop = loop
        self._desk = desk
        self._volume = volume
        self._stories = {story.name: story for story in stories}
        maker = ThreadPoolExecutor(1, "images of stories")  # it takes seconds, so they are made before their turn comes
        self._images = {story.name: maker.submit(story.image) for story in stories if story.image is not None}
        maker.shutdown(wait=False)  # its thread ends with the last image
        self._clock = clock
        self._story: Story | None = None
        self._number = 0
        self._round = 0
        self._phase = Phase.OVER
        self._due = 0.0
        self._idle = 0
        self._work: Work | None = None
        self._playing = False
        self._single = False  # only to the end of this step
        self._quiet_until: float | None = clock() if loop else None

    # The page ----------------------------------------------------------------------------------------------------

    @property
    def stamp(self) -> tuple:
        """Differs after anything in :meth:`describe` did."""
        name = self._story.name if self._story is not None else ""
        runs = self._playing or self._single
        visited, loads = self._quiet_until is not None, self._desk.models.progress is not None
        return name, self._round, self._number, self._phase, runs, self.loop, visited, loads, self._told

    def describe(self) -> dict[str, Any]:
        """What the page shows of the stories."""
        story, step = self._story, self._step
        return {
            "stories": [
                {"name": one.name, "title": one.title, "note": one.note, "why": self.why_not(one)}
                for one in self._stories.values()
            ],
            "name": story.name if story is not None else "",
            "note": story.note if story is not None else "",
            "round": self._round,
            "number": self._number + 1,
            "count": len(story.steps) if story is not None else 0,
            "phase": self._phase.value,
            "playing": self._playing or self._single,
            "loop": self.loop,
            "visited": self._quiet_until is not None,
            "caption": step.caption if step is not None else "",
            "told": self._told,
            "target": step.target if step is not None else "",
            "show": {_plane_of(self._volume): story.index} if story is not None else {},
            "pointer": asdict(step.pointer) if step is not None and step.pointer is not None else None,
            "wait": step.wait if step is not None else 0.0,
        }

    def take(self, message: Mapping[str, Any]) -> None:
        """A button of the story bar, or "touch": a visitor did something elsewhere on the page.

        Raises:
            PromptError: there is no such button or story.
            MoESegError: the story cannot be played now; the text says why.
        """
        act = str(message.get("act"))
        acts: dict[str, Callable[[], None]] = {
            "play": lambda: self._play(self._named(str(message.get("name")))),
            "go": self._go_on,
            "pause": self._pause,
            "next": self._next,
            "reset": self._reset,
            "loop": self._turn_loop,
            "close": self.close,
            "touch": self._pause,
        }
        if act not in acts:
            raise commands.unknown(act)
        acts[act]()
        waits = self.loop and not self._playing
        self._quiet_until = self._clock() + QUIET_SECONDS if waits else None

    def why_not(self, story: Story) -> str:
        """Why a story cannot be played, "" when it can."""
        models = self._desk.models
        if story.model == FINDER:
            return why_no_finder(models)
        return "" if models.state(story.model) == "installed" else models.why_not(story.model)

    # The clock ---------------------------------------------------------------------------------------------------

    def tick(self) -> list[str]:
        """Call it often: does what is due; returns messages for the user."""
        now = self._clock()
        if self._quiet_until is not None and now >= self._quiet_until:
            self._quiet_until = None
            self._begin_next(self._story)
        if not (self._playing or self._single) or self._story is None:
            return []
        case, step = self._desk.ready(), self._story.steps[self._number]
        if self._phase is Phase.READING and now >= self._due and _is_ready(case):
            return self._perform(step)
        if self._phase is Phase.WORKING and self._is_settled(case):
            self._phase, self._due = Phase.LOOKING, now + step.read
            self._single = False
        elif self._phase is Phase.LOOKING and now >= self._due:
            self._follow()
        return []

    def _perform(self, step: Step) -> list[str]:
        """Do a step; one that cannot be done is told, and the story goes on."""
        self._phase, self._idle = Phase.WORKING, 0
        try:
            for message in step.messages:
                commands.run(self._desk, message)
            if step.act is not None:
                self._work = step.act(self._desk.ready())
        except MoESegError as error:
            return [str(error)]
        return []

    def _is_settled(self, case: Case) -> bool:
        works = self._work is not None and not self._work.done
        self._idle = 0 if works or case.workbench.is_busy else self._idle + 1
        return self._idle >= _SETTLED

    def _follow(self) -> None:
        """After the last look at an answer: the next step, the next story, or the end."""
        story = self._story
        if story is None or self._number + 1 < len(story.steps):
            self._enter(self._number + 1)
        elif self.loop:
            self._begin_next(story)
        else:
            self._phase, self._playing, self._single = Phase.OVER, False, False

    # Buttons -----------------------------------------------------------------------------------------------------

    def _named(self, name: str) -> Story:
        story = self._stories.get(name)
        if story is None:
            raise PromptError(f"There is no story {name!r}. Reload the page.")
        if why := self.why_not(story):
            raise MoESegError(why)
        return story

    def _play(self, story: Story) -> None:
        self._begin(story)
        self._playing = True

    def _go_on(self) -> None:
        if self._story is None:
            self._begin_next(None)
        elif self._phase is Phase.OVER:
            self._play(self._story)
        self._playing = self._story is not None

    def _pause(self) -> None:
        self._playing = self._single = False

    def _next(self) -> None:
        """Do this step now; when it is done, the next one."""
        if self._story is None or self._phase is Phase.OVER:
            self._go_on()
        elif self._phase is Phase.LOOKING:
            self._follow()
        self._due = self._clock()
        self._single = self._phase is not Phase.OVER

    def _reset(self) -> None:
        if self._story is not None:
            self._begin(self._story)

    def _turn_loop(self) -> None:
        self.loop = not self.loop
        if self.loop:
            self._go_on()

    def close(self) -> None:
        """End the story; the segments stay."""
        self._pause()
        self._end_work()
        self._story, self.loop, self._phase = None, False, Phase.OVER

    # Inside ------------------------------------------------------------------------------------------------------

    @property
    def _step(self) -> Step | None:
        return self._story.steps[self._number] if self._story is not None else None

    @property
    def _told(self) -> str:
        """How far a longer work is, or what came of it."""
        return self._work.text if self._work is not None else ""

    def _end_work(self) -> None:
        if self._work is not None:
            self._work.close()
        self._work = None

    def _begin_next(self, after: Story | None) -> None:
        """The story after one, of those that can be played; with none it is looked again soon."""
        stories = list(self._stories.values())
        first = stories.index(after) + 1 if after is not None else 0
        for story in [*stories[first:], *stories[:first]]:
            if not self.why_not(story):
                self._play(story)
                return
        self._quiet_until = self._clock() + _RETRY_SECONDS if self.loop else None

    def _begin(self, story: Story) -> None:
        """The first step of a story, on an empty segmentation."""
        desk = self._desk
        volume = self._image_of(story)
        if desk.case is None or desk.case.volume is not volume:
            desk.show(volume)
        case = desk.ready()
        self._end_work()
        case.start_over()
        case.workbench.parameters.lesions = False
        case.workbench.select(model=story.model, extent="slice")
        self._story = story
        self._round += 1
        self._enter(0)

    def _image_of(self, story: Story) -> Volume:
        return self._images[story.name].result() if story.name in self._images else self._volume

    def _enter(self, number: int) -> None:
        """Show a step's caption and slice."""
        self._number, self._phase = number, Phase.READING
        story, case = self._story, self._desk.ready()
        assert story is not None
        self._due = self._clock() + story.steps[number].wait
        plane = _plane_of(case.volume)
        case.look(plane, story.index)
        case.point_at(plane)


def _plane_of(volume: Volume) -> Plane:
    """The view that the stories are told in."""
    return volume.plane_of(volume.acquisition_axis)


def _is_ready(case: Case) -> bool:
    """Whether a prompt can be placed: the model is loaded and nothing runs."""
    return case.workbench.why_not() == "" and not case.workbench.is_busy
