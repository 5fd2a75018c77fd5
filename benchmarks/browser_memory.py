"""How much memory the browser app's server holds over hundreds of interactions.

``python benchmarks/browser_memory.py [--interactions 500] [--model lite-medsam] [--out FILE]`` starts
``moeseg app --demo`` and talks to it as its page does: clicks into several slices and segments, every fifth interaction
an undo, every tenth a redo, and after each one the masks of the three views and the surface that the page would draw.
Prints as JSON, every ``--every`` interactions: the memory of the process, and the part of it that was written by it
(not mapped from files), in megabytes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, ClientWebSocketResponse

SLICES = (8, 9, 10, 11, 12)
PLACES = ((140, 300), (332, 349), (262, 297))
"""Displayed pixels of liver, spleen and aorta in the middle slices of the demo; one segment each."""
_SPREAD = 40  # pixels, so that the masks of successive clicks differ


class Page:
    """What the page says and asks for."""

    def __init__(self, client: ClientSession, socket: ClientWebSocketResponse) -> None:
        self.client = client
        self.socket = socket
        self.state: dict[str, Any] = {}

    async def send(self, **message: Any) -> dict[str, Any]:
        """Do something and wait until nothing runs any more."""
        await self.socket.send_json(message)
        return await self.settled()

    async def settled(self) -> dict[str, Any]:
        """The next state in which nothing runs."""
        while True:
            data = await self.socket.receive_json(timeout=120)
            if data["type"] == "state":
                self.state = data
                if data["case"] is not None and not data["busy"] and not data["why"]:
                    return data

    async def draw(self, index: int) -> None:
        """Get what the page draws after a change: masks in three views, and the surface of the selected segment."""
        case = self.state["case"]
        for plane, number in (("axial", index), ("coronal", 300), ("sagittal", 250)):
            async with self.client.get(f"/layers/{case}/{plane}/{number}") as answer:
                await answer.read()
        async with self.client.get(f"/surface/{case}/{self.state['selected']}") as answer:
            await answer.read()


def memory(pid: int) -> dict[str, float]:
    """Megabytes of a process, and those that are not mapped from files."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    kilobytes = {name: int(value) for name, value in re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}
    return {"all": round(kilobytes["Rss"] / 1000), "own": round(kilobytes["Anonymous"] / 1000)}


async def interact(page: Page, number: int) -> None:
    """One interaction: mostly a click, sometimes undo or redo, as a user who tries things does."""
    index = SLICES[(number // 7) % len(SLICES)]
    if number % 5 == 4:
        await page.send(do="undo")
    elif number % 10 == 5 and page.state["canRedo"]:
        await page.send(do="redo")
    else:
        if number % 20 == 0:  # another segment every now and then; prompts of one segment stay as many as users place
            await page.send(do="add_segment", name=f"segment {number}")
        x, y = PLACES[number % len(PLACES)]
        place = [x + (7 * number) % _SPREAD - _SPREAD / 2, y + (11 * number) % _SPREAD - _SPREAD / 2]
        await page.send(do="prompt", kind="point", plane="axial", index=index, xy=[place], positive=number % 3 > 0)
    await page.draw(index)


async def measure(address: str, pid: int, interactions: int, every: int) -> dict[str, dict[str, float]]:
    """The curve."""
    curve = {}
    async with (
        ClientSession(address, headers={"Origin": address.rstrip("/")}) as client,
        client.ws_connect("/socket", max_msg_size=0) as socket,
    ):
        page = Page(client, socket)
        await socket.send_json({"do": "hello", "tab": "benchmark"})
        await page.settled()
        for number in range(interactions + 1):
            if number % every == 0:
                curve[str(number)] = memory(pid)
                print(number, curve[str(number)], file=sys.stderr, flush=True)
            if number < interactions:
                await interact(page, number)
    return curve


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--interactions", type=int, default=500)
    parser.add_argument("--every", type=int, default=100)
    parser.add_argument("--model", default="lite-medsam")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    command = [sys.executable, "-m", "MoESegLib", "app", "--demo", "--no-browser", "--model", args.model]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        address = next((line.split("is ready: ")[1].strip() for line in process.stderr if "is ready: " in line), None)
        if address is None:
            raise SystemExit("The server did not start.")
        curve = asyncio.run(measure(address, process.pid, args.interactions, args.every))
    finally:
        process.terminate()
        process.wait(20)
    text = json.dumps({"model": args.model, "cores": os.cpu_count(), "memory, MB": curve}, indent=1)
    print(text)
    if args.out is not None:
        args.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
