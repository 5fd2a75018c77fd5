"""A server inside the test, and a client that behaves like its page."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import FormData
from aiohttp.test_utils import TestClient, TestServer
from fakes import blob_volume
from web_tools import FakeModels

from MoESegLib.web.desk import Desk
from MoESegLib.web.door import Door
from MoESegLib.web.files import Folders, UploadRoom
from MoESegLib.web.server import Server

Visit = Callable[["Site"], Awaitable[None]]


class Site:
    """A server that runs inside the test, and a client that behaves like its page."""

    def __init__(self, server: Server, client: TestClient, uploads: UploadRoom) -> None:
        self.server = server
        self.client = client
        self.uploads = uploads
        self.own = {"Origin": f"http://127.0.0.1:{client.port}"}

    async def upload(self, name: str, data: bytes, **query: str):
        form = FormData()
        form.add_field("file", data, filename=name, content_type="application/octet-stream")
        return await self.client.post("/upload", data=form, headers=self.own, params=query)


def visit(act: Visit, allowed: tuple[Path, ...] = (), host: str = "127.0.0.1", image: bool = True) -> None:
    """Run a server for the time of one coroutine."""

    async def run() -> None:
        desk = Desk(FakeModels())
        if image:
            desk.show(blob_volume())
        with UploadRoom() as uploads:
            server = Server(desk, Door.of(host), Folders(allowed), uploads)
            async with TestClient(TestServer(server.application(), host="127.0.0.1")) as client:
                await act(Site(server, client, uploads))

    asyncio.run(run())


async def hello(site: Site, tab: str, **more):
    socket = await site.client.ws_connect("/socket", headers=site.own)
    await socket.send_json({"do": "hello", "tab": tab, **more})
    return socket


async def next_of(socket, kind: str) -> dict:
    while True:
        data = await socket.receive_json(timeout=10)
        if data["type"] == kind:
            return data
