"""Lesions from the page: the table, its file, pieces, every click a lesion, and looking for a tumor type."""

from __future__ import annotations

import asyncio
import csv
import io
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes3d import CENTER
from tumor_tools import inside, ramp_volume
from web_tools import need

need("aiohttp", "slicer")

from aiohttp.test_utils import TestClient, TestServer  # noqa: E402
from toy_models import ToyModels  # noqa: E402

from MoESegLib.core.results import MaskPatch  # noqa: E402
from MoESegLib.core.segmentation_file import SegmentRecord, write_segmentation  # noqa: E402
from MoESegLib.web import commands  # noqa: E402
from MoESegLib.web.desk import Desk  # noqa: E402
from MoESegLib.web.door import Door  # noqa: E402
from MoESegLib.web.files import Folders, UploadRoom  # noqa: E402
from MoESegLib.web.server import Server  # noqa: E402
from MoESegLib.web.snapshot import describe_prompt  # noqa: E402

LARGE, SMALL = CENTER + (0, -14, 0), CENTER + (0, 14, 0)
VOLUME = ramp_volume((24, 44, 40), np.diag([-1.5, -1.5, 2.0, 1.0]), ((LARGE, 9.0), (SMALL, 6.0)))


class Page:
    """The lesion section, without a browser."""

    def __init__(self, server: Server, client: TestClient) -> None:
        self.server, self.client = server, client
        self.own = {"Origin": f"http://127.0.0.1:{client.port}"}

    @property
    def case(self):
        return self.server.desk.ready()

    async def table(self) -> dict[str, Any]:
        return await (await self.client.get("/lesions")).json()

    async def names(self) -> list[str]:
        return [row["name"] for row in (await self.table())["rows"]]

    async def form(self, phrase: str) -> dict[str, Any]:
        return await (await self.client.get("/lesions/search", params={"phrase": phrase})).json()

    async def do(self, action: str, status: int = 200, **data: Any) -> str:
        response = await self.client.post("/lesions", json={"do": action, **data}, headers=self.own)
        assert response.status == status, await response.text()
        return (await response.json())["message"]

    async def find(self, phrase: str = "liver tumor", **more: Any) -> None:
        await self.do("find", phrase=phrase, **more)
        await self.settle()

    async def settle(self) -> None:
        deadline = time.monotonic() + 30
        await asyncio.sleep(0.1)
        while self.case.workbench.is_busy:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)

    async def click(self, ras: np.ndarray) -> None:
        """With the point tool in the axial view."""
        volume, view = self.case.volume, self.case.views["axial"]
        ijk = volume.ras_to_ijk(ras)
        message = {"do": "prompt", "kind": "point", "plane": "axial", "index": round(float(ijk[view.axis]))}
        commands.run(self.server.desk, {**message, "xy": [view.to_pixels(ijk).tolist()], "positive": True})
        await self.settle()


def visit(act: Callable[[Page], Awaitable[None]], *allowed: Path, missing: str = "") -> None:
    async def run() -> None:
        desk = Desk(ToyModels(missing))
        desk.show(VOLUME)
        with UploadRoom() as uploads:
            server = Server(desk, Door.of("127.0.0.1"), Folders(allowed), uploads)
            async with TestClient(TestServer(server.application(), host="127.0.0.1")) as client:
                page = Page(server, client)
                await page.settle()
                await act(page)

    asyncio.run(run())


@pytest.fixture(autouse=True)
def own_home(home: Path) -> None:
    """No lesson of this computer's user is looked at."""


def test_a_phrase_and_organs_of_a_file_give_a_table_of_lesions(tmp_path: Path) -> None:
    liver = SegmentRecord("liver", "liver", MaskPatch.of(inside(VOLUME, CENTER, 30.0)))
    write_segmentation(tmp_path / "organs.seg.nrrd", VOLUME, [liver])

    async def act(page: Page) -> None:
        form = await page.form("HCC")
        assert form["why"] == "" and form["needs"]["missing"] == ["liver"] and not form["isChecked"]
        assert "organs.seg.nrrd: liver." in await page.do("organs", path=str(tmp_path / "organs.seg.nrrd"))
        form = await page.form("HCC")
        assert form["needs"]["there"] == [["liver", 1]] and form["anatomies"][0]["organs"] == ["liver"]
        await page.find("HCC", anatomy=form["anatomy"])
        table = await page.table()
        assert [row["name"] for row in table["rows"]] == ["liver tumor 1", "liver tumor 2"]
        large, small = table["rows"]
        assert large["milliliters"] == pytest.approx(4 / 3 * np.pi * 0.9**3, rel=0.1)
        assert large["long"] == pytest.approx(18, abs=2) and small["long"] == pytest.approx(12, abs=2)
        assert 90 < small["certainty"] <= 100
        assert small["ijk"] == pytest.approx(np.rint(VOLUME.ras_to_ijk(SMALL)), abs=1)
        assert page.case.workbench.parameters.model == "mast-pro"
        prompts = page.case.workbench.ready().prompts(large["segment"])
        assert [prompt.kind for prompt in prompts] == ["text", "mask"]
        assert [describe_prompt(page.case, prompt)["organ"] for prompt in prompts] == ["", "liver"]
        commands.run(page.server.desk, {"do": "undo"})
        await page.settle()
        assert await page.names() == []

    visit(act, tmp_path)


def test_the_table_is_downloaded_as_a_file() -> None:
    async def act(page: Page) -> None:
        await page.find()
        response = await page.client.get("/lesions.csv")
        assert "lesions.csv" in response.headers["Content-Disposition"]
        rows = list(csv.DictReader(io.StringIO(await response.text())))
        assert [row["name"] for row in rows] == ["liver tumor 1", "liver tumor 2"]
        assert float(rows[0]["volume (mL)"]) > float(rows[1]["volume (mL)"]) > 0

    visit(act)


def test_a_found_lesion_is_removed_separated_and_refined_with_clicks() -> None:
    async def act(page: Page) -> None:
        await page.find()
        first, second = (await page.table())["rows"]
        await page.do("refine", segment=second["segment"], name=second["name"])
        await page.settle()
        assert page.case.workbench.parameters.model == "sam-med3d"
        selected = page.case.workbench.parameters.segment
        assert selected != second["segment"] and await page.names() == ["liver tumor 1", "liver tumor 2"]
        await page.click(SMALL)
        kinds = [prompt.kind for prompt in page.case.workbench.ready().prompts(selected)]
        assert kinds == ["mask", "point"] and page.case.milliliters(selected) > 0
        await page.do("remove", segment=first["segment"], name="liver tumor 1")
        assert await page.names() == ["liver tumor 2"]
        assert "gone" in await page.do("remove", 400, segment=first["segment"], name="liver tumor 1")

    visit(act)


def test_all_found_lesions_get_segments_of_their_own_at_once() -> None:
    async def act(page: Page) -> None:
        await page.find()
        await page.do("separate")
        assert len({row["segment"] for row in (await page.table())["rows"]}) == 2
        assert not any(row["isPart"] for row in (await page.table())["rows"])

    visit(act)


def test_the_pieces_of_a_segment_that_was_clicked_are_lesions_when_the_user_says_so() -> None:
    async def act(page: Page) -> None:
        commands.run(page.server.desk, {"do": "extent", "value": "slice"})
        await page.settle()
        await page.click(LARGE)
        await page.click(SMALL)
        (row,) = (await page.table())["rows"]
        await page.do("pieces", segment=row["segment"], on=True)
        table = await page.table()
        assert len(table["rows"]) == 2 and table["pieces"] == {row["segment"]: True}
        assert all(part["isPart"] for part in table["rows"])
        await page.do("pieces", segment=row["segment"], on=False)
        assert len((await page.table())["rows"]) == 1
        assert "no segment" in await page.do("pieces", 400, segment="none", on=True)

    visit(act)


def test_every_click_is_a_new_lesion_while_that_is_ticked() -> None:
    async def act(page: Page) -> None:
        await page.do("every_click", on=True)
        await page.click(LARGE)
        await page.click(SMALL)
        assert await page.names() == ["Lesion 1", "Lesion 2"]
        await page.do("every_click", on=False)
        await page.click(SMALL + (1, 1, 0))
        assert await page.names() == ["Lesion 1", "Lesion 2"]
        second = (await page.table())["rows"][1]["segment"]
        assert len(page.case.workbench.ready().prompts(second)) == 2

    visit(act)


def test_a_model_that_is_missing_is_explained_and_nothing_changes() -> None:
    async def act(page: Page) -> None:
        model = page.case.workbench.parameters.model
        assert "is missing from this installation" in (await page.form("liver tumor"))["why"]
        assert "is missing from this installation" in await page.do("find", 400, phrase="liver tumor")
        assert page.case.workbench.parameters.model == model

    visit(act, missing="mast-pro")


def test_a_phrase_that_is_no_tumor_is_refused_with_what_to_type_instead(tmp_path: Path) -> None:
    async def act(page: Page) -> None:
        assert "liver tumor" in (await page.form("liver"))["needs"]["problem"]
        assert "Say what to look for" in await page.do("find", 400, phrase=" ")
        await page.find("pebble")
        assert (await page.form("pebble"))["isChecked"] and page.case.workbench.search.refusal
        assert await page.names() == []
        for path in (tmp_path, Path("/etc/passwd")):
            assert "allowed folders" in await page.do("organs", 400, path=str(path))

    visit(act)


def test_a_refiner_that_is_missing_is_named_in_the_table() -> None:
    async def act(page: Page) -> None:
        await page.find()
        assert "segmote" in (await page.table())["refiner"].lower()

    visit(act, missing="sam-med3d")
