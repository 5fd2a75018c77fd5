"""Start the server, open the page, and clean up at the end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import webbrowser
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from ..core.errors import OutputError
from ..core.memory import give_back_freed_memory
from ..core.volume import Volume
from ..mrml.model_library import ModelLibrary
from ..training.desk import TeachingDesk
from ..weights.store import models_home
from .desk import Desk
from .door import Door
from .files import Folders, UploadRoom
from .keep import MOST_DAYS, Works
from .keeper import Keeper
from .server import Server
from .stage import Stage
from .stories import stories_of
from .story_lesion import lesion_story
from .story_lesson import lesson_story

_SHUTDOWN_SECONDS = 2.0


@dataclass(frozen=True)
class Options:
    """How the app is started.

    Attributes:
        image: opened at the start; None for an empty page.
        host, port: where it listens; port 0 takes a free one.
        browser: open the page in the user's browser.
        allow: folders whose files the page may open and write.
        model: to begin with; None for the panel's default.
        resume: go on with the work that was kept last, instead of opening an image.
        keep: keep the work on disk for the case of a crash.
        stories: the image is the demo's, and its stories can be played; a model that is missing is got at once.
        loop: play them unattended.
    """

    image: Path | None = None
    host: str = "127.0.0.1"
    port: int = 0
    browser: bool = True
    allow: Sequence[Path] = ()
    model: str | None = None
    resume: bool = False
    keep: bool = False
    stories: bool = False
    loop: bool = False


def serve(
    options: Options,
    say: Callable[[str], None] = print,
    models: ModelLibrary | None = None,
    teacher: TeachingDesk | None = None,
) -> None:
    """Run until Ctrl+C (or SIGTERM).

    Args:
        say: tells the user the address.
        models: other models than those of this installation, for tests.
        teacher: another one than the program's own, for tests.

    Raises:
        VolumeError: the image cannot be opened.
        FileRefusedError: a folder of ``allow`` does not exist.
        OutputError: the port is taken.
        MoESegError: there is no work to go on with.
    """
    give_back_freed_memory()
    volume = None if options.image is None else Volume.read(options.image)
    folders, door = Folders(options.allow), Door.of(options.host)
    desk = Desk(models, options.model)
    keeper = Keeper(desk, Works(models_home() / "work") if options.keep else None)
    if options.resume:
        say(keeper.resume(options.model))
    elif volume is not None and options.image is not None:
        keeper.begin(desk.show(volume, options.image.absolute()))
    with UploadRoom() as uploads, contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(Server(desk, door, folders, uploads, teacher, keeper), options, say))
    if keeper.left:
        say(f"What you did not save is kept for {MOST_DAYS} days. Go on with: moeseg app --resume")


async def _serve(server: Server, options: Options, say: Callable[[str], None]) -> None:
    if options.stories:
        server.stage = _stage_for(server.desk, options)
    runner = web.AppRunner(server.application(), access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        address = await _listen(runner, server.door, options)
        say(f"MoESeg is ready: {address}")
        say("Research software, not a medical device. Ctrl+C ends it.")
        if options.browser and not await asyncio.to_thread(_open_page, address):
            say("There is no browser to open here. Open that address in one.")
        await _until_stopped()
    finally:
        await runner.cleanup()


def _stage_for(desk: Desk, options: Options) -> Stage:
    """The demo's stories; the model that most of them need is got, because whoever starts the demo was told so."""
    case = desk.ready()
    model = case.workbench.parameters.model
    if desk.models.state(model) == "missing" and desk.models.weights_card(model).provider["kind"] != "local":
        desk.models.get(model)
    organ, phrase = stories_of(case.volume)
    lesion, lesson = lesion_story(case.volume, organ.index), lesson_story(case.volume, organ.index)
    return Stage(desk, case.volume, (organ, phrase, lesion, lesson), options.loop)


def _open_page(address: str) -> bool:
    """Open the user's browser; False where there is none.

    Without a screen a text browser would be started in the terminal, where MoESeg prints its address.
    """
    screens = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    if sys.platform.startswith("linux") and not any(os.environ.get(name) for name in screens):
        return False
    return webbrowser.open(address)


async def _listen(runner: web.AppRunner, door: Door, options: Options) -> str:
    """Bind the port; returns the address to open."""
    site = web.TCPSite(runner, options.host, options.port)
    try:
        await site.start()
    except OSError as error:
        raise OutputError(
            f"Cannot listen on {options.host} port {options.port}: {error.strerror or error}. Choose another --port, "
            "or 0 for a free one."
        ) from error
    port = runner.addresses[0][1]
    host = socket.gethostname() if options.host in ("0.0.0.0", "::", "") else options.host
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}/" + (f"?token={door.token}" if door.token else "")


async def _until_stopped() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # on Windows Ctrl+C raises KeyboardInterrupt instead
            loop.add_signal_handler(number, stop.set)
    await stop.wait()
