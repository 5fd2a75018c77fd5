"""Teaching an expert from the page: what may be learned from, refusals, and a real run on a tiny model."""

from __future__ import annotations

import asyncio
import dataclasses
import shutil
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from fakes import blob_volume
from teach_tools import CENTERS, finished_folder, nothing_shipped
from web_tools import FakeModels, need

need("aiohttp", "slicer")

from aiohttp.test_utils import TestClient, TestServer  # noqa: E402
from desk_tools import tiny_desk  # noqa: E402

from MoESegLib.experts.store import list_packs  # noqa: E402
from MoESegLib.web import commands  # noqa: E402
from MoESegLib.web.desk import Desk  # noqa: E402
from MoESegLib.web.door import Door  # noqa: E402
from MoESegLib.web.files import Folders, UploadRoom  # noqa: E402
from MoESegLib.web.server import Server  # noqa: E402

SECONDS = 60.0


class Page:
    """The dialog, without a browser."""

    def __init__(self, server: Server, client: TestClient) -> None:
        self.server, self.client = server, client
        self.own = {"Origin": f"http://127.0.0.1:{client.port}"}

    async def state(self) -> dict[str, Any]:
        return await (await self.client.get("/teach")).json()

    async def do(self, action: str, status: int = 200, **data: Any) -> dict[str, Any]:
        response = await self.client.post("/teach", json={"do": action, **data}, headers=self.own)
        assert response.status == status, await response.text()
        return await response.json()

    async def choose(self, name: str = "ball-mine", **more: Any) -> dict[str, Any]:
        wishes = {"minutes": 1, "startFrom": "", "automatic": False, "leftOut": [], "notTaught": []}
        return await self.do("set", **{**wishes, "name": name, **more})

    async def until(self, done: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        deadline = time.monotonic() + SECONDS
        while not done(state := await self.state()):
            assert time.monotonic() < deadline, state
            await asyncio.sleep(0.02)
        return state

    async def accept_ball(self, patient: str) -> None:
        """Open the image of a patient, box the ball and accept it."""
        desk, center = self.server.desk, CENTERS[patient]
        case = desk.show(dataclasses.replace(blob_volume(center=center), name=patient))
        await self.settle()
        commands.run(desk, {"do": "add_segment", "name": "ball"})
        corners = [[center[2] - 10, center[1] - 10], [center[2] + 10, center[1] + 10]]
        commands.run(desk, {"do": "prompt", "kind": "box", "plane": "axial", "index": 4, "xy": corners})
        await self.settle()
        assert case.milliliters(case.workbench.parameters.segment) > 0
        commands.run(desk, {"do": "accept"})

    async def settle(self) -> None:
        await asyncio.sleep(0.05)
        while self.server.desk.ready().workbench.is_busy:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)


@pytest.fixture
def visit(home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Runs a server with the tiny teacher for the time of one coroutine."""
    nothing_shipped(monkeypatch)

    def start(act: Callable[[Page], Awaitable[None]], *allowed: Path, **teacher: Any) -> None:
        async def run() -> None:
            with UploadRoom() as uploads:
                server = Server(
                    Desk(FakeModels()), Door.of("127.0.0.1"), Folders(allowed), uploads, tiny_desk(**teacher)
                )
                async with TestClient(TestServer(server.application(), host="127.0.0.1")) as client:
                    await act(Page(server, client))

        asyncio.run(run())

    return start


@pytest.fixture
def installed(home: Path, lite_medsam_path: Path) -> None:
    """The base whose name a taught expert carries is on this computer."""
    (home / "models").mkdir(parents=True)
    shutil.copytree(lite_medsam_path.parent, home / "models" / "lite-medsam")


def own_packs() -> list[str]:
    return [pack.name for pack in list_packs() if not pack.shipped]


def test_too_little_is_refused_with_the_reason_and_nothing_starts(visit) -> None:
    async def act(page: Page) -> None:
        assert "at least two patients" in (await page.choose())["why"]
        await page.accept_ball("Ann")
        state = await page.choose()
        assert [source["text"] for source in state["sources"]] == ["Ann / Ann segmentation"]
        assert "All is of one patient (Ann)" in state["why"]
        refusal = await page.do("start", 400)
        assert "All is of one patient" in refusal["message"]
        assert not (await page.state())["running"]

    visit(act)


def test_what_was_accepted_is_remembered_when_the_next_image_is_opened(visit) -> None:
    async def act(page: Page) -> None:
        await page.accept_ball("Ann")
        await page.do("remember")
        await page.accept_ball("Ben")
        state = await page.choose()
        kinds = [(source["text"].split(" ")[0], source["kind"]) for source in state["sources"]]
        assert kinds == [("Ben", "open"), ("Ann", "remembered")]
        assert state["structures"] == [{"name": "ball", "images": 2, "patients": 2, "on": True}]
        assert state["why"] == ""
        assert "Choose a structure" in (await page.choose(notTaught=["ball"]))["why"]
        assert "lower-case" in (await page.choose("My Ball"))["why"]
        key = state["sources"][1]["key"]
        assert "one patient" in (await page.choose(leftOut=[key]))["why"]
        assert len((await page.do("forget", key=key))["sources"]) == 1

    visit(act)


def test_nothing_accepted_cannot_be_remembered(visit) -> None:
    async def act(page: Page) -> None:
        page.server.desk.show(blob_volume())
        assert "Nothing is accepted" in (await page.do("remember", 400))["message"]

    visit(act)


@pytest.mark.weights
def test_a_folder_is_learned_while_the_user_goes_on_clicking_and_the_expert_is_kept(
    installed, visit, tmp_path: Path
) -> None:
    folder = finished_folder(tmp_path / "done", *CENTERS)

    async def act(page: Page) -> None:
        page.server.desk.show(blob_volume())
        await page.settle()
        await page.do("folder", path=str(folder))
        state = await page.until(lambda state: not state["looking"])
        assert state["sources"][0]["text"] == "Folder done: 3 images of 3 patients"
        assert (await page.choose())["why"] == ""
        assert (await page.do("start"))["running"]
        message = {"do": "prompt", "kind": "point", "plane": "axial", "index": 4, "xy": [[24, 20]], "positive": True}
        commands.run(page.server.desk, message)
        await page.settle()
        case = page.server.desk.ready()
        assert case.milliliters(case.workbench.parameters.segment) > 0
        state = await page.until(lambda state: not state["running"])
        assert state["problem"] == ""
        assert state["result"]["name"] == "ball-mine" and state["result"]["patients"] == 1
        rows = {row["prompt"]: row for row in state["result"]["rows"]}
        assert set(rows) == {"box", "click"} and all(row["before"] is not None for row in rows.values())
        assert state["curve"] and "Keep or discard ball-mine first" in state["why"] and own_packs() == []
        saved = await (await page.client.get("/teach/expert")).read()
        assert saved[8:9] == b"{"
        await page.do("keep")
        assert own_packs() == ["ball-mine"] and case.workbench.parameters.model == "segmote-lite"
        assert (await page.state())["result"] is None

    visit(act, tmp_path, epochs=2, seconds_a_step=0.05)


@pytest.mark.weights
def test_a_cancelled_run_goes_on_and_a_discarded_expert_is_gone(installed, visit, tmp_path: Path) -> None:
    folder = finished_folder(tmp_path / "done", "Ann", "Ben")

    async def act(page: Page) -> None:
        await page.do("folder", path=str(folder))
        await page.until(lambda state: not state["looking"])
        await page.choose()
        await page.do("start")
        await page.until(lambda state: bool(state["curve"]))
        await page.do("cancel")
        state = await page.until(lambda state: not state["running"])
        assert state["interrupted"] and state["result"] is None
        await page.do("start")
        assert (await page.until(lambda state: not state["running"]))["result"] is not None
        state = await page.do("discard")
        assert state["result"] is None and state["why"] == "" and own_packs() == []

    visit(act, tmp_path, epochs=4, seconds_a_step=0.1)


def test_folders_that_are_not_allowed_or_lead_out_are_refused(visit, tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", finished_folder(tmp_path / "outside", "Ann", "Ben")
    linked = finished_folder(inside / "linked", "Ann")
    (linked / "Ben.nrrd").symlink_to(outside / "Ben.nrrd")
    (linked / "Ben.seg.nrrd").symlink_to(outside / "Ben.seg.nrrd")
    (inside / "manifest").mkdir()
    (inside / "manifest" / "manifest.json").write_text(
        '{"sets": {"a": {"labels": {"1": "ball"}}}, "cases": [{"set": "a", "split": "train", "case": "1", "group": "1",'
        f' "image": "{outside}/Ann.nrrd", "label": "{outside}/Ann.seg.nrrd"}}]}}'
    )
    (inside / "empty").mkdir()

    async def act(page: Page) -> None:
        for path in (outside, linked, inside / "manifest", inside / ".." / "outside"):
            assert "allowed folders" in (await page.do("folder", 400, path=str(path)))["message"]
        assert "holds no labels" in (await page.do("folder", 400, path=str(inside / "empty")))["message"]
        assert (await page.state())["sources"] == []

    visit(act, inside)


@pytest.mark.parametrize("data", [{"do": "set"}, {"do": "nonsense"}, {"do": "set", "minutes": "long"}, {}])
def test_damaged_requests_are_refused(visit, data: dict) -> None:
    async def act(page: Page) -> None:
        response = await page.client.post("/teach", json=data, headers=page.own)
        assert response.status == 400
        assert (await page.client.get("/teach/expert")).status == 400

    visit(act)
