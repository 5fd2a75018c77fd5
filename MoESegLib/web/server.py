"""The server: pages and pictures over HTTP, commands and the state of the work over one WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web

from ..core.errors import MoESegError, PromptError
from ..core.structures import suggest
from ..mrml.segmentations import segment_of
from ..mrml.surfaces import surface_of
from ..resources import resource_path
from ..training.desk import TeachingDesk
from . import commands
from .desk import Desk
from .door import COOKIE, HEADERS, Door
from .files import Folders, UploadRoom
from .guests import Guests
from .keeper import Keeper
from .lesions import Lesions
from .pictures import layer_bytes
from .snapshot import alternative_picture, describe_case, describe_models, segments, snapshot
from .stage import Stage
from .teaching import Teaching
from .transfers import Transfers

STATIC = Path(__file__).parent / "static"
_BUSY_SECONDS, _IDLE_SECONDS, _FAULT_SECONDS = 0.004, 0.03, 1.0
"""Between two looks at the worker: while a prediction runs, an answer waits 2 ms on average."""
_MESSAGE_BYTES = 1 << 20
_log = logging.getLogger(__name__)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """Routes of one desk; everything runs on the event loop's thread, which is the one that touches MRML.

    Args:
        desk: the work.
        door: who may come in.
        folders: what may be opened by path.
        uploads: where uploads are put.
        teacher: teaches experts in the background; by default on the files that the panel in Slicer uses too.
        keeper: keeps the work for the case of a crash; by default nothing is kept.
    """

    def __init__(
        self,
        desk: Desk,
        door: Door,
        folders: Folders,
        uploads: UploadRoom,
        teacher: TeachingDesk | None = None,
        keeper: Keeper | None = None,
    ) -> None:
        self.desk = desk
        self.door = door
        self.guests = Guests()
        self.keeper = keeper if keeper is not None else Keeper(desk)
        self.transfers = Transfers(desk, folders, uploads, self.push, self.keeper)
        self.teaching = Teaching(desk, folders, self.push, teacher)
        self.lesions = Lesions(desk, folders, self.push)
        self.stage: Stage | None = None
        self._told_case = ""
        self._told_stage: Any = None
        self._told_models: bool | None = None
        self._told_teaching: Any = None
        self._shown: Any = None
        self._is_new = False
        self._faults: dict[str, str] = {}

    def application(self) -> web.Application:
        """The aiohttp application."""
        application = web.Application(middlewares=[self._guard], client_max_size=_MESSAGE_BYTES)
        application.add_routes(
            [
                web.get("/", self._page),
                web.get("/static/{name}", self._static),
                web.get("/icons/{name}", self._icon),
                web.get("/socket", self._socket),
                web.get("/slice/{case}/{plane}/{index}", self._slice),
                web.get("/layers/{case}/{plane}/{index}", self._layers),
                web.get("/surface/{case}/{segment}", self._surface),
                web.get("/alternative", self._alternative),
                web.get("/names", self._names),
                *self.transfers.routes(),
                *self.teaching.routes(),
                *self.lesions.routes(),
            ]
        )
        application.cleanup_ctx.append(self._pumping)
        application.on_shutdown.append(self._goodbye)
        return application

    # Who may come in ---------------------------------------------------------------------------------------------

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await self._checked(request, handler)
        if not response.prepared:
            for name, value in HEADERS.items():
                response.headers.setdefault(name, value)
        return response

    async def _checked(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if not self.door.knows_host(request.headers.get("Host")):
            return _refusal(403, "This address is not the one that MoESeg was started with.")
        changes = request.method not in ("GET", "HEAD") or request.path == "/socket"
        if changes and not self.door.same_origin(request.headers):
            return _refusal(403, "Only MoESeg's own page may do this.")
        if not self.door.accepts(request.cookies.get(COOKIE)):
            if request.path == "/" and "token" in request.query and self.door.accepts(request.query["token"]):
                answer = web.Response(status=302, headers={"Location": "/"})
                answer.set_cookie(COOKIE, self.door.token, httponly=True, samesite="Strict", path="/")
                return answer
            return _refusal(401, "Open MoESeg with the whole address that was printed, token included.")
        try:
            return await handler(request)
        except MoESegError as error:
            return web.json_response({"message": str(error)}, status=400)
        except (web.HTTPException, ConnectionError):
            raise
        except Exception as error:  # noqa: BLE001 - the page says so instead of doing nothing
            return web.json_response({"message": _report(error)}, status=500)

    # Pages and pictures ------------------------------------------------------------------------------------------

    async def _page(self, request: web.Request) -> web.StreamResponse:
        return web.FileResponse(STATIC / "index.html")

    async def _static(self, request: web.Request) -> web.StreamResponse:
        return _file_of(STATIC, request.match_info["name"])

    async def _icon(self, request: web.Request) -> web.StreamResponse:
        return _file_of(resource_path("Icons"), request.match_info["name"])

    async def _slice(self, request: web.Request) -> web.StreamResponse:
        plane, index = self._place(request)
        return web.Response(body=self.desk.ready().slice(plane, index), content_type="application/octet-stream")

    async def _layers(self, request: web.Request) -> web.StreamResponse:
        plane, index = self._place(request)
        case = self.desk.ready()
        return web.Response(
            body=layer_bytes(case.layers(plane, index), case.revision), content_type="application/octet-stream"
        )

    def _place(self, request: web.Request) -> tuple[Any, int]:
        """View and slice of a request, checked."""
        case, plane = self.desk.ready(), commands.plane_of(request.match_info)
        index, number = request.match_info["index"], request.match_info["case"]
        count = case.views[plane].count
        if number != case.number or not index.isascii() or not index.isdigit() or int(index) >= count:
            raise PromptError("That slice is not part of the image that is open now.")
        return plane, int(index)

    async def _surface(self, request: web.Request) -> web.StreamResponse:
        case = self.desk.ready()
        if request.match_info["case"] != case.number:
            raise PromptError("That segment is not of the image that is open now.")
        segment_id = request.match_info["segment"]
        segment_of(case.segmentation, segment_id)
        patch = case.patch(segment_id)
        surface = await asyncio.to_thread(surface_of, patch, case.volume.ijk_to_ras)
        head = len(surface.points).to_bytes(4, "little")
        body = head + surface.points.astype("<f4").tobytes() + surface.triangles.astype("<u4").tobytes()
        return web.Response(body=body, content_type="application/octet-stream")

    async def _alternative(self, request: web.Request) -> web.StreamResponse:
        wanted = request.query.get("segment", ""), request.query.get("expert", "")
        picture = alternative_picture(self.desk.ready(), *wanted)
        return web.Response(body=picture, content_type="image/png") if picture else _refusal(404, "No such expert.")

    async def _names(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(suggest(request.query.get("start", "")[:80]))

    # The socket --------------------------------------------------------------------------------------------------

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(max_msg_size=_MESSAGE_BYTES, heartbeat=20)
        await socket.prepare(request)
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    await self._attempt("message", self._take(socket, message.data))
        finally:
            self.guests.leave(socket)
        return socket

    async def _take(self, socket: web.WebSocketResponse, text: str) -> None:
        """One message of a page."""
        try:
            message = json.loads(text)
        except (json.JSONDecodeError, RecursionError):
            return
        if not isinstance(message, dict):
            return
        if message.get("do") == "hello":
            name = str(message.get("tab", ""))[:64]
            if not await self.guests.enter(socket, name, bool(message.get("takeOver"))):
                with contextlib.suppress(ConnectionError):
                    await socket.send_str(json.dumps({"type": "elsewhere"}))
                return
            self._told_stage = None
            self._faults.clear()  # a page that comes later is told, too
            self._told_case, self._told_models, self._told_teaching = "", None, None
            await self.push()
            return
        if not self.guests.is_working(socket):
            return
        try:
            if message.get("do") == "stage" and self.stage is not None:
                self.stage.take(message)
            else:
                commands.run(self.desk, message)
        except MoESegError as error:
            await self.say(str(error))
        if message.get("do") != "look":
            await self.push()

    async def say(self, text: str) -> None:
        """Show a message in the page's status line; segments are named there, not given by their IDs."""
        case = self.desk.case
        for segment in segments(case) if case is not None else ():
            text = text.replace(segment["id"], segment["name"])
        await self.guests.send({"type": "message", "text": text})

    async def push(self) -> None:
        """Send the state of the work, and the image's description when another one was opened."""
        case = self.desk.case
        if case is not None and case.number != self._told_case:
            self._told_case = case.number
            await self.guests.send({"type": "case", **describe_case(case)})
        loading = self.desk.models.progress is not None
        if self._told_models != loading:  # something is being got or loaded, or was
            self._told_models = loading
            await self.guests.send({"type": "models", "models": describe_models(self.desk.models)})
        keeper = self.keeper
        kept = {"kept": keeper.kept, "keeping": keeper.is_behind(), "keepProblem": keeper.problem}
        # Of this very state. Compared with that of the clock's last look, a model that was loaded before its next one
        # changed nothing, and the page said "Loading" for ever.
        state, self._shown = {**snapshot(self.desk), **kept}, self._signs()
        await self.guests.send({"type": "state", **state})

    # The clock ---------------------------------------------------------------------------------------------------

    async def _pumping(self, application: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(self._pump())
        yield
        task.cancel()
        with contextlib.ExitStack() as ending:  # the last one first: the work is kept, whatever the others do
            ending.callback(self.desk.close)
            ending.callback(self.teaching.close)
            if self.stage is not None:
                ending.callback(self.stage.close)
            ending.callback(self.keeper.close)

    async def _goodbye(self, application: web.Application) -> None:
        """Before the server waits for open connections: the page's would never end by itself."""
        await self.guests.close()

    async def _pump(self) -> None:
        """Take what the worker finished, and tell the page when anything it shows has changed."""
        steps = (self._take_answers, self._keep, self._go_on, self._tell_of_experts, self._tell_of_changes, self._play)
        while True:
            went_well = [await self._attempt(step.__name__, step()) for step in steps]
            busy = self.desk.case is not None and self.desk.case.workbench.is_busy
            pause = _BUSY_SECONDS if busy else _IDLE_SECONDS
            await asyncio.sleep(pause if all(went_well) else _FAULT_SECONDS)

    async def _attempt(self, name: str, step: Awaitable[None]) -> bool:
        """Do a step. A fault in it is told once, and stops neither the clock nor the other steps."""
        try:
            await step
        except Exception as error:  # noqa: BLE001 - else the task ends, and the page waits for it without a word
            if self._faults.get(name) != repr(error):
                self._faults[name] = repr(error)
                await self.say(_report(error))
            return False
        self._faults.pop(name, None)
        return True

    async def _take_answers(self) -> None:
        update = self.desk.pump()
        self._is_new = self._is_new or bool(update.answers) or update.prompts_changed
        for text in update.messages:
            await self.say(text)

    async def _keep(self) -> None:
        self.keeper.look()

    async def _go_on(self) -> None:
        """What waited for a model, and what was taught."""
        for text in (*self.lesions.pump(), *self.teaching.pump()):
            await self.say(text)
        if self.lesions.take_started():
            self.desk.ready().changed()
            await self.push()
            await self.guests.send({"type": "take", "tool": "positive"})

    async def _tell_of_changes(self) -> None:
        if self._is_new or self._signs() != self._shown:
            await self.push()
            self._is_new = False

    async def _tell_of_experts(self) -> None:
        """What is being taught, when it went on."""
        progress = self.teaching.progress()
        if progress != self._told_teaching:
            self._told_teaching = progress
            await self.guests.send({"type": "teach", **progress})

    async def _play(self) -> None:
        """The demo's stories go on while somebody looks."""
        if self.stage is None or not self.guests.is_somebody_there:
            return
        for text in self.stage.tick():
            await self.say(text)
        if self.stage.stamp != self._told_stage:
            self._told_stage = self.stage.stamp
            await self.push()
            await self.guests.send({"type": "stage", **self.stage.describe()})

    def _signs(self) -> tuple:
        """What may change without an answer: loading, progress, undo."""
        case = self.desk.case
        kept = self.keeper.kept, self.keeper.behind, self.keeper.problem
        if case is None:
            return (self.desk.models.progress, *kept)
        bench = case.workbench
        progress = bench.progress
        rounded = None if progress is None else (round(progress[0], 2), progress[1])
        steps = (bench.session.can_undo, bench.session.can_redo) if bench.session is not None else ()
        return case.number, bench.why_not(), rounded, bench.is_busy, steps, kept


def _file_of(folder: Path, name: str) -> web.StreamResponse:
    """A file that lies directly in a folder of this installation."""
    known = {path.name: path for path in folder.iterdir() if path.is_file()}
    return web.FileResponse(known[name]) if name in known else _refusal(404, "There is no such page.")


def _report(error: Exception) -> str:
    """Write a fault of the program itself down in the terminal; returns what the page says of it."""
    _log.error("A fault in MoESeg", exc_info=error)
    return f"A fault in MoESeg ({error!r}). Save what you have; the terminal says more."


def _refusal(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=text)
