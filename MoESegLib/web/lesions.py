"""Lesions from the page: their table, what can be done with them, and looking for those of a tumor type."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from ..core.anatomy_files import read_anatomy
from ..core.errors import MoESegError, PromptError
from ..mrml.anatomy_sources import segmentations_with_organs
from ..mrml.lesion_list import FINDER, Lesion
from ..mrml.model_library import ModelLibrary
from ..mrml.organ_task import organ_segmentation
from ..mrml.segmentations import segment_ids
from .commands import unknown
from .desk import Case, Desk
from .files import Folders, check_content
from .transfers import attachment, data_of


class Lesions:
    """Routes under ``/lesions``; what they do is the workbench's.

    Args:
        desk: the work.
        folders: where organs may be opened by path.
        push: tells the page that the work changed.
    """

    def __init__(self, desk: Desk, folders: Folders, push: Callable[[], Awaitable[None]]) -> None:
        self._desk = desk
        self._folders = folders
        self._push = push
        self._waiting: tuple[str, str] | None = None  # number of the case, and what to look for when the model is here

    def routes(self) -> list[web.RouteDef]:
        """For the application."""
        return [
            web.get("/lesions", self._table),
            web.post("/lesions", self._act),
            web.get("/lesions.csv", self._csv),
            web.get("/lesions/search", self._search),
        ]

    # The page ----------------------------------------------------------------------------------------------------

    async def _table(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(lesion_table(self._desk.ready()))

    async def _csv(self, request: web.Request) -> web.StreamResponse:
        case = self._desk.ready()
        return attachment(case.volume.name, "-lesions.csv", case.workbench.lesion_csv().encode())

    async def _search(self, request: web.Request) -> web.StreamResponse:
        phrase = request.query.get("phrase", "")[:200]
        return web.json_response(search_form(self._desk.ready(), phrase, request.query.get("anatomy")))

    async def _act(self, request: web.Request) -> web.StreamResponse:
        data = await data_of(request)
        case = self._desk.ready()
        if data.get("do") == "organs":
            message = await self._open_organs(case, str(data.get("path", "")))
        else:
            message = self.act(case, str(data.get("do")), data)
        case.changed()
        await self._push()
        return web.json_response({"message": message})

    def act(self, case: Case, action: str, data: Mapping[str, Any]) -> str:
        """Do what the page asks; returns what there is to say.

        Raises:
            MoESegError: it cannot be done; the text says why.
        """
        bench = case.workbench
        acts: dict[str, Callable[[], str | None]] = {
            "find": lambda: self._find(case, data),
            "refine": lambda: bench.lesions.refine(known_lesion(case, data), bench.lesions.refiner()),
            "remove": lambda: bench.lesions.remove(known_lesion(case, data)),
            "separate": lambda: bench.lesions.separate(
                [one for one in bench.lesions.lesions() if one.part is not None]
            ),
            "pieces": lambda: bench.lesions.list_parts(str(data.get("segment")), bool(data.get("on"))),
            "every_click": lambda: setattr(bench.parameters, "lesions", bool(data.get("on"))),
        }
        if action not in acts:
            raise unknown(action)
        return acts[action]() or ""

    # Looking for lesions -----------------------------------------------------------------------------------------

    def _find(self, case: Case, data: Mapping[str, Any]) -> str:
        """Choose model and organs; the search begins when the model is loaded."""
        bench, phrase = case.workbench, str(data.get("phrase", "")).strip()[:200]
        reason = why_no_finder(bench.models)
        if not phrase:
            reason = "Say what to look for, for example: liver tumor."
        elif bench.is_busy:
            reason = "Something else runs. Wait for it, or cancel it."
        if reason:
            raise PromptError(reason)
        wanted = str(data.get("anatomy", ""))
        nodes = {node.GetID(): node for node, _ in segmentations_with_organs(bench.scene)}
        bench.parameters.anatomy = nodes.get(wanted)
        bench.parameters.phrase = phrase
        bench.select(model=FINDER, extent="slice" if data.get("slice") else "volume")
        self._waiting = case.number, phrase
        return " ".join(self._begin())

    def pump(self) -> list[str]:
        """Begin what waited for the model; returns messages for the user."""
        try:
            return self._begin()
        except MoESegError as error:
            return [str(error)]

    def _begin(self) -> list[str]:
        case = self._desk.case
        if self._waiting is None or case is None or self._waiting[0] != case.number:
            self._waiting = None
            return []
        bench = case.workbench
        if bench.parameters.model != FINDER:  # the user chose another one meanwhile
            self._waiting = None
            return []
        if bench.session is None and bench.models.progress is not None:
            return []
        phrase, self._waiting = self._waiting[1], None
        return list(bench.search.find(phrase))

    def take_started(self) -> bool:
        """Whether a lesion can be corrected with clicks from now on, since the last call."""
        return self._desk.case is not None and self._desk.case.workbench.lesions.take_started()

    async def _open_organs(self, case: Case, text: str) -> str:
        """A segmentation of organs, on whatever grid, into the scene; it guides the next search."""
        path = self._folders.find_image(text)
        task = "total_mr" if case.volume.modality == "MR" else "total"
        if path.is_file():
            await asyncio.to_thread(check_content, path)
        organs = await asyncio.to_thread(read_anatomy, path, None, task)
        if case is not self._desk.case:
            raise MoESegError("Another image was opened meanwhile. Open the organs again.")
        node = organ_segmentation(case.workbench.scene, path.name, organs)
        case.workbench.parameters.anatomy = node
        return f"{path.name}: {', '.join(sorted({organ.structure for organ in organs}))}."


def lesion_table(case: Case) -> dict[str, Any]:
    """The rows, and what can be done with them."""
    bench = case.workbench
    rows, refiner = bench.lesions.lesions(), bench.lesions.refiner()
    card = bench.models.card(refiner)
    missing = "" if bench.models.state(refiner) == "installed" else f"{card.title} is not on this computer. Get it."
    return {
        "rows": [_row(case, lesion) for lesion in rows],
        "pieces": {key: bench.lesions.lists_parts(key) for key in segment_ids(case.segmentation)},
        "found": [key for key in segment_ids(case.segmentation) if bench.lesions.is_found(key)],
        "isFinder": bench.search.is_chosen,
        "refiner": card.title,
        "missing": missing,
        "everyClick": bench.parameters.lesions,
    }


def _row(case: Case, lesion: Lesion) -> dict[str, Any]:
    measures = lesion.measures
    center = measures.center_ras
    return {
        "segment": lesion.segment,
        "name": lesion.name,
        "isPart": lesion.part is not None,
        "milliliters": measures.volume_ml,
        "long": measures.longest_axial_diameter_mm,
        "short": measures.perpendicular_diameter_mm,
        "certainty": lesion.certainty,
        "ijk": None if center is None else [round(float(value)) for value in case.volume.ras_to_ijk(center)],
    }


def known_lesion(case: Case, data: Mapping[str, Any]) -> Lesion:
    """The row that the page means.

    Raises:
        PromptError: it is gone.
    """
    wanted = data.get("segment"), data.get("name")
    found = [lesion for lesion in case.workbench.lesions.lesions() if (lesion.segment, lesion.name) == wanted]
    if not found:
        raise PromptError("That lesion is gone; it may have been undone. Select one in the table.")
    return found[0]


def why_no_finder(models: ModelLibrary) -> str:
    """Why lesions cannot be looked for on this computer, "" when they can; in plain words."""
    state, title = models.state(FINDER), models.card(FINDER).title
    if state == "installed":
        return ""
    if state == "broken":
        return f"The file of {title} is damaged. Install MoESeg again."
    if models.weights_card(FINDER).provider["kind"] == "shipped":
        return (
            "The trained model that finds lesions (MAST-Pro) is missing from this installation. Install MoESeg again, "
            "or find them yourself: tick 'Every click is a new lesion', click into each, and they are numbered and "
            "measured in the table."
        )
    return f"{title} is not on this computer. Choose it under Model and get it."


def search_form(case: Case, phrase: str, anatomy: str | None) -> dict[str, Any]:
    """What can be looked for, with which organs, and what is missing.

    Args:
        anatomy: ID of the segmentation with organs, "" for none, None for the one that was chosen before.
    """
    bench = case.workbench
    places = segmentations_with_organs(bench.scene)
    nodes = {node.GetID(): node for node, _ in places}
    if anatomy is not None:
        bench.parameters.anatomy = nodes.get(anatomy)
    chosen = bench.parameters.anatomy
    is_open = bench.search.is_chosen and bench.session is not None
    needs = None
    if phrase.strip():
        needs = dataclasses.asdict(bench.search.needs(phrase) if is_open else bench.search.outlook(phrase))
    return {
        "why": why_no_finder(bench.models),
        "title": bench.models.card(FINDER).title,
        "notes": bench.models.card(FINDER).notes,
        "phrase": bench.parameters.phrase,
        "phrases": list(bench.search.phrases()),
        "anatomies": [
            {
                "id": node.GetID(),
                "text": "Segments of this work" if node is case.segmentation else node.GetName(),
                "organs": list(names),
            }
            for node, names in places
        ],
        "anatomy": chosen.GetID() if chosen is not None and chosen.GetID() in nodes else "",
        "needs": needs,
        "isChecked": is_open,
    }
