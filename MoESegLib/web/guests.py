"""The pages that are connected: one works, the others are told that it does."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiohttp import web


class Guests:
    """One working page at a time, so that two tabs never mix their clicks.

    A second page is told that the work is open elsewhere and may take it over; the first one is then told so. A page
    that is loaded again gets its place back, because the browser keeps the name of a tab.
    """

    def __init__(self) -> None:
        self._socket: web.WebSocketResponse | None = None
        self._name = ""
        self._sending = asyncio.Lock()

    async def enter(self, socket: web.WebSocketResponse, name: str, take_over: bool) -> bool:
        """Let a page work; False when another one does and it did not ask to take over."""
        occupied = self._socket is not None and not self._socket.closed
        if occupied and self._name != name and not take_over:
            return False
        await self.send({"type": "taken"})  # also to a tab of the same name: duplicating a tab copies its name
        old, self._socket, self._name = self._socket, socket, name
        if old is not None and not old.closed:
            await old.close()
        return True

    def leave(self, socket: web.WebSocketResponse) -> None:
        """A page was closed."""
        if self._socket is socket:
            self._socket = None

    @property
    def is_somebody_there(self) -> bool:
        """Whether a page is connected."""
        return self._socket is not None and not self._socket.closed

    def is_working(self, socket: web.WebSocketResponse) -> bool:
        """Whether a page is the one that works."""
        return self._socket is socket

    async def send(self, data: dict[str, Any]) -> None:
        """Tell the working page something."""
        async with self._sending:
            if self._socket is not None and not self._socket.closed:
                try:
                    await self._socket.send_str(json.dumps(data))
                except (ConnectionError, RuntimeError):
                    self._socket = None

    async def close(self) -> None:
        """Say goodbye."""
        if self._socket is not None and not self._socket.closed:
            await self._socket.close()
