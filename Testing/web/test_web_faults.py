"""The page is never left without a word: quick loads, and faults of the program in whatever it does."""

from __future__ import annotations

import asyncio

import pytest
from web_tools import need

need("aiohttp", "slicer")

from web_site import Site, hello, next_of, visit  # noqa: E402

from MoESegLib.engines.protocol import Engine  # noqa: E402
from MoESegLib.web import commands  # noqa: E402
from MoESegLib.web import server as server_module  # noqa: E402


def test_a_model_that_loads_faster_than_the_clock_ticks_is_not_shown_as_loading_for_ever() -> None:
    async def act(site: Site) -> None:
        page = await hello(site, "one")
        while (await next_of(page, "state"))["why"]:
            pass
        await asyncio.sleep(0.1)
        for name in ("segmote-lite", "lite-medsam") * 5:
            await page.send_json({"do": "model", "name": name})
            while (state := await next_of(page, "state"))["why"] or state["model"] != name:
                pass

    visit(act)


def test_a_fault_while_a_model_is_loaded_is_told_and_it_is_not_loaded_again_and_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def act(site: Site) -> None:
        tried: list[str] = []

        def broken(name: str) -> Engine:
            tried.append(name)
            raise KeyError("a gear")

        monkeypatch.setattr(server_module, "_FAULT_SECONDS", 0.01)
        page = await hello(site, "one")
        while (await next_of(page, "state"))["why"]:
            pass
        monkeypatch.setattr(site.server.desk.models, "_load", broken)
        name = next(
            name
            for name in ("segmote-lite", "lite-medsam")
            if name != site.server.desk.ready().workbench.parameters.model
        )
        await page.send_json({"do": "model", "name": name})
        assert "a gear" in (await next_of(page, "message"))["text"]
        while "cannot be loaded" not in (await next_of(page, "state"))["why"]:
            pass
        await asyncio.sleep(0.2)
        assert tried == [name]

    visit(act)


def test_a_fault_of_the_program_is_told_once_and_stops_neither_answers_nor_commands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def act(site: Site) -> None:
        def broken() -> None:
            raise RuntimeError("the disk is on fire")

        monkeypatch.setattr(server_module, "_FAULT_SECONDS", 0.01)
        page = await hello(site, "one")
        while (await next_of(page, "state"))["why"]:
            pass
        monkeypatch.setattr(site.server.keeper, "look", broken)
        assert "the disk is on fire" in (await next_of(page, "message"))["text"]
        point = {"kind": "point", "plane": "axial", "index": 4, "xy": [[24, 20]]}
        await page.send_json({"do": "prompt", **point})
        told = []
        while not (data := await page.receive_json(timeout=10)).get("answer"):
            told += [data["text"]] if data["type"] == "message" else []
        assert told == [] and data["segments"][0]["milliliters"] > 0

    visit(act)


def test_a_fault_in_a_command_or_a_request_is_told_and_the_page_stays_connected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def act(site: Site) -> None:
        def broken(*_: object) -> None:
            raise RuntimeError("a screw is loose")

        page = await hello(site, "one")
        await next_of(page, "state")
        monkeypatch.setitem(commands.COMMANDS, "run", broken)
        await page.send_json({"do": "run"})
        assert "a screw is loose" in (await next_of(page, "message"))["text"]
        await page.send_json({"do": "add_segment", "name": "liver"})
        while not (await next_of(page, "state"))["segments"]:
            pass
        monkeypatch.setattr(site.server.lesions, "act", broken)
        answer = await site.client.post("/lesions", json={"do": "separate"}, headers=site.own)
        assert answer.status == 500 and "a screw is loose" in (await answer.json())["message"]
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]

    visit(act)


def test_a_fault_at_the_end_does_not_keep_the_work_from_being_kept_and_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[str] = []

    async def act(site: Site) -> None:
        def broken() -> None:
            ended.append("teaching")
            raise RuntimeError("stuck")

        keep, server = site.server.keeper.close, site.server
        monkeypatch.setattr(
            server.keeper, "close", lambda: (keep(), ended.append(f"kept, open: {bool(server.desk.case)}"))
        )
        monkeypatch.setattr(server.teaching, "close", broken)
        close = server.desk.close
        monkeypatch.setattr(server.desk, "close", lambda: (close(), ended.append("desk")))

    with pytest.raises(RuntimeError, match="stuck"):
        visit(act)
    assert ended == ["kept, open: True", "teaching", "desk"]
