"""Teaching an expert from the page: what it chose, what runs in the background, and what was reached."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from aiohttp import web

from ..core.errors import MoESegError
from ..experts.card import ExpertCard
from ..experts.store import InstalledPack, list_packs
from ..training.desk import TeachingDesk
from ..training.lesson import BASE, GENERAL_EXPERT, Lesson, name_problem
from .commands import unknown
from .desk import Desk
from .files import Folders
from .finished_cases import FinishedCases, found_in, structures_of, too_little
from .transfers import attachment, data_of

_ANSWERS_WITH = "segmote-lite"
"""The model that uses taught experts."""
_MINUTES = 1.0, 240.0


@dataclass(frozen=True)
class Wishes:
    """What the dialog says.

    Attributes:
        left_out: keys of sources that are not ticked.
        not_taught: structures that are not ticked.
    """

    name: str = ""
    minutes: float = 8.0
    start_from: str = GENERAL_EXPERT
    automatic: bool = False
    left_out: frozenset[str] = field(default_factory=frozenset)
    not_taught: frozenset[str] = field(default_factory=frozenset)


class Teaching:
    """Routes under ``/teach``; belongs to the main thread, as the desk of the panel that it drives.

    Args:
        desk: the work.
        folders: what may be learned from by path.
        push: tells the page that the work changed.
        teacher: by default the one that the panel in Slicer has, on the same files.
    """

    def __init__(
        self,
        desk: Desk,
        folders: Folders,
        push: Callable[[], Awaitable[None]],
        teacher: TeachingDesk | None = None,
    ) -> None:
        self._desk = desk
        self._folders = folders
        self._push = push
        self._teacher = teacher if teacher is not None else TeachingDesk()
        self._finished = FinishedCases(desk, folders, self._teacher)
        self._wishes = Wishes()
        self._result: ExpertCard | None = None
        self._problem = ""
        self._changes = 0
        self._restore()

    def routes(self) -> list[web.RouteDef]:
        """For the application."""
        return [
            web.get("/teach", self._state),
            web.post("/teach", self._act),
            web.get("/teach/expert", self._expert),
        ]

    def _restore(self) -> None:
        """What waits from before: an interrupted run, or an expert to be kept or discarded."""
        self._look_at_result()
        lesson = self._teacher.lesson
        if lesson is None:
            return
        self._wishes = Wishes(lesson.name, lesson.minutes, lesson.start_from, lesson.automatic)
        if lesson.folder:
            try:
                self._finished.look_into(self._finished.check_folder(lesson.folder))
            except MoESegError as error:
                self._problem = str(error)

    # The page ----------------------------------------------------------------------------------------------------

    async def _state(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self.state())

    async def _act(self, request: web.Request) -> web.StreamResponse:
        """Do one thing and answer with the state."""
        data = await data_of(request)
        action = data.get("do")
        if action == "folder":
            folder = await asyncio.to_thread(self._finished.check_folder, str(data.get("path", "")))
            self._finished.look_into(folder)
        else:
            self.act(str(action), data)
        self._changes += 1
        await self._push()
        return web.json_response(self.state())

    async def _expert(self, request: web.Request) -> web.StreamResponse:
        """The taught expert as a file."""
        if self._result is None:
            raise MoESegError("No expert waits. Teach one first.")
        name = self._result.name
        body = await asyncio.to_thread(self._teacher.result_file.read_bytes)
        return attachment(name, ".safetensors", body)

    def act(self, action: str, data: Mapping[str, Any]) -> None:
        """Do what the page asks.

        Raises:
            MoESegError: it cannot be done; the text says why.
        """
        acts: dict[str, Callable[[], None]] = {
            "set": lambda: self._set(data),
            "remember": self._finished.remember,
            "forget": lambda: self._finished.forget(str(data.get("key"))),
            "start": self._start,
            "cancel": self._teacher.cancel,
            "keep": self._keep,
            "discard": self._discard,
        }
        if action not in acts:
            raise unknown(action)
        acts[action]()

    # Doing -------------------------------------------------------------------------------------------------------

    def _set(self, data: Mapping[str, Any]) -> None:
        try:
            low, high = _MINUTES
            minutes = float(data["minutes"])
            if not math.isfinite(minutes):
                raise ValueError(f"{minutes} minutes")
            self._wishes = Wishes(
                str(data["name"]).strip()[:80],
                min(max(minutes, low), high),
                str(data["startFrom"])[:80],
                bool(data["automatic"]),
                frozenset(str(key) for key in data["leftOut"]),
                frozenset(str(name) for name in data["notTaught"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise MoESegError(f"The page sent damaged settings ({error}). Reload it.") from error

    def _start(self) -> None:
        reason = self._why_not(list_packs())
        if reason:
            raise MoESegError(reason)
        self._problem, lesson = "", self._lesson()
        self._teacher.start(lesson, self._finished.cases(self._wishes.left_out, lesson.classes))

    def _lesson(self) -> Lesson:
        classes, wishes = self._classes(), self._wishes
        in_folder = self._finished.folder is not None and "folder" not in wishes.left_out
        return Lesson(
            name=wishes.name,
            classes=classes,
            minutes=wishes.minutes,
            start_from=self._start_from(list_packs()),
            automatic=wishes.automatic and len(classes) == 1,
            folder=str(self._finished.folder) if in_folder else "",
        )

    def _keep(self) -> None:
        """Install the expert, and choose the model that uses it."""
        self._teacher.keep()
        self._desk.model = _ANSWERS_WITH
        if self._desk.case is not None:
            bench = self._desk.case.workbench
            bench.select(model=_ANSWERS_WITH)
            bench.cancel()
            bench.drop_engine()  # it is loaded anew, with the expert; prompts and segments stay
        self._wishes = replace(self._wishes, name="")
        self._look_at_result()

    def _discard(self) -> None:
        self._teacher.discard_result()
        self._look_at_result()

    def pump(self) -> list[str]:
        """Call it from the clock; returns messages for the user."""
        if self._finished.pump():
            self._changes += 1
        message = self._teacher.poll()
        if message is None:
            return []
        self._changes += 1
        self._problem = message
        self._look_at_result()
        if self._result is not None:
            return [f"{self._result.name} has learned. Look at what it reached, and keep or discard it."]
        return [message] if message else []

    def close(self) -> None:
        """Interrupt what runs; it can go on another time."""
        self._teacher.close()

    def _look_at_result(self) -> None:
        try:
            self._result = self._teacher.result()
        except MoESegError as error:
            self._result, self._problem = None, str(error)

    # Showing -----------------------------------------------------------------------------------------------------

    def progress(self) -> dict[str, Any]:
        """What changes while something runs; cheap enough for the clock."""
        teacher = self._teacher
        fraction, text = teacher.looking or teacher.progress
        notes = teacher.notes
        return {
            "changes": self._changes,
            "running": teacher.is_running,
            "looking": teacher.looking is not None,
            "fraction": round(fraction, 3),
            "text": text,
            "secondsLeft": round(teacher.seconds_left),
            "name": notes.lesson.name if notes is not None else "",
            "curve": [[point.epoch, point.box, point.click, point.automatic] for point in notes.curve] if notes else [],
            "base": [notes.base.box, notes.base.click] if notes is not None and notes.base is not None else None,
            "waits": self._result is not None,
        }

    def state(self) -> dict[str, Any]:
        """Everything that the dialog shows."""
        packs, sources, wishes = list_packs(), self._finished.sources(), self._wishes
        usable = [pack for pack in packs if not pack.problem and pack.card is not None]
        return {
            **self.progress(),
            "sources": [
                {
                    "key": source.key,
                    "kind": source.kind,
                    "text": source.text,
                    "structures": sorted({name for entry in source.found for name in entry.classes}),
                    "on": source.key not in wishes.left_out,
                    "remembered": self._finished.is_remembered(source.key),
                }
                for source in sources
            ],
            "structures": [
                {**row, "on": row["name"] not in wishes.not_taught}
                for row in structures_of(found_in(sources, wishes.left_out))
            ],
            "starts": [{"name": pack.name, "title": pack.card.title if pack.card else ""} for pack in usable],
            "settings": {"name": wishes.name, "minutes": wishes.minutes, "automatic": wishes.automatic},
            "startFrom": self._start_from(packs),
            "why": self._why_not(packs),
            "interrupted": self._teacher.is_interrupted and self._result is None,
            "problem": self._problem or self._finished.problem,
            "folders": bool(self._folders.roots),
            "result": _measured(self._result),
        }

    def _start_from(self, packs: list[InstalledPack]) -> str:
        """The expert to start from, "" where it is not there."""
        usable = {pack.name for pack in packs if not pack.problem}
        return self._wishes.start_from if self._wishes.start_from in usable else ""

    def _classes(self) -> tuple[str, ...]:
        found = found_in(self._finished.sources(), self._wishes.left_out)
        names = (str(row["name"]) for row in structures_of(found))
        return tuple(name for name in names if name not in self._wishes.not_taught)

    def _why_not(self, packs: list[InstalledPack]) -> str:
        """Why nothing can be taught now, "" when it can."""
        if self._teacher.is_running:
            return "An expert is being taught. Wait, or cancel it."
        if self._result is not None:
            return f"Keep or discard {self._result.name} first."
        if self._desk.models.state(BASE) != "installed":
            title = self._desk.models.card(BASE).title
            return f"{title} is not on this computer, and experts are taught for it. Choose it under Model and get it."
        if self._teacher.looking is not None:
            return "Wait until the folder is read."
        little = too_little(found_in(self._finished.sources(), self._wishes.left_out), self._classes())
        return little or name_problem(self._wishes.name, [pack.name for pack in packs])


def _measured(card: ExpertCard | None) -> dict[str, Any] | None:
    """What was reached on patients that were not learned from."""
    if card is None:
        return None
    return {
        "name": card.name,
        "patients": max((entry.cases for entry in card.measured), default=0),
        "rows": [{"prompt": entry.prompt, "dice": entry.dice, "before": entry.base_dice} for entry in card.measured],
    }
