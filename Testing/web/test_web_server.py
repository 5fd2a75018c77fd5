"""The server attacked: wrong hosts and origins, no token, paths outside, oversized and mislabeled uploads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fakes import blob_volume
from web_tools import need

need("aiohttp", "slicer")

from aiohttp import WSServerHandshakeError  # noqa: E402
from web_site import Site, hello, next_of, visit  # noqa: E402

from MoESegLib.web import transfers  # noqa: E402
from MoESegLib.web.door import COOKIE  # noqa: E402
from MoESegLib.web.server import STATIC  # noqa: E402


def test_the_page_and_its_files_are_served_and_may_load_nothing_from_elsewhere() -> None:
    async def act(site: Site) -> None:
        page = await site.client.get("/")
        assert page.status == 200 and "MoESeg" in await page.text()
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
        assert page.headers["Cache-Control"] == "no-store"
        for name in ("/static/main.js", "/static/app.css", "/icons/MoESeg.svg"):
            assert (await site.client.get(name)).status == 200
        for name in ("/static/..%2fserver.py", "/static/nothing.js", "/icons/..%2F..%2Fpyproject.toml"):
            assert (await site.client.get(name)).status == 404

    visit(act)


def test_no_script_or_style_names_another_computer() -> None:
    for file in STATIC.iterdir():
        text = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text and "https://" not in text, file.name


def test_requests_under_another_name_are_refused() -> None:
    async def act(site: Site) -> None:
        for path in ("/", "/files", "/download/seg.nrrd"):
            assert (await site.client.get(path, headers={"Host": "evil.example"})).status == 403

    visit(act)


@pytest.mark.parametrize("origin", ["http://evil.example", "null", None])
def test_another_page_can_neither_open_the_socket_nor_post(origin: str | None, tmp_path: Path) -> None:
    blob_volume().write(tmp_path / "ball.nrrd")

    async def act(site: Site) -> None:
        headers = {} if origin is None else {"Origin": origin}
        with pytest.raises(WSServerHandshakeError, match="403"):
            await site.client.ws_connect("/socket", headers=headers)
        before = site.server.desk.case
        for path in ("/open", "/upload", "/save"):
            answer = await site.client.post(path, json={"path": str(tmp_path / "ball.nrrd")}, headers=headers)
            assert answer.status == 403
        assert site.server.desk.case is before

    visit(act, (tmp_path,))


def test_on_another_host_nothing_is_given_out_without_the_token() -> None:
    async def act(site: Site) -> None:
        token = site.server.door.token
        number = site.server.desk.ready().number
        paths = ("/", "/static/main.js", "/files", f"/slice/{number}/axial/3", "/download/seg.nrrd", "/?token=wrong")
        for path in paths:
            assert (await site.client.get(path)).status == 401
        with pytest.raises(WSServerHandshakeError, match="401"):
            await site.client.ws_connect("/socket", headers=site.own)
        assert (await site.client.get(f"/files?token={token}")).status == 401  # only the page itself takes it
        entry = await site.client.get(f"/?token={token}", allow_redirects=False)
        assert entry.status == 302 and entry.headers["Location"] == "/"
        cookie = entry.cookies[COOKIE]
        assert cookie.value == token and cookie["httponly"] and cookie["samesite"] == "Strict"
        assert token not in await (await site.client.get("/", cookies={COOKIE: token})).text()
        assert (await site.client.get(f"/slice/{number}/axial/3", cookies={COOKIE: token})).status == 200

    visit(act, host="0.0.0.0")


def test_slices_and_layers_of_the_open_image_only_are_given() -> None:
    async def act(site: Site) -> None:
        number = site.server.desk.ready().number
        answer = await site.client.get(f"/slice/{number}/axial/3")
        assert len(await answer.read()) == 2 * 40 * 48
        for path in (f"{number}/axial/9", f"{number}/axial/-1", f"{number}/up/1", f"{number}/axial/x", "old/axial/1"):
            assert (await site.client.get(f"/slice/{path}")).status == 400
            assert (await site.client.get(f"/layers/{path}")).status == 400

    visit(act)


def test_paths_outside_the_allowed_folders_are_not_opened_listed_or_written(tmp_path: Path) -> None:
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    blob_volume().write(tmp_path / "secret.nrrd")
    blob_volume().write(allowed / "ball.nrrd")

    async def act(site: Site) -> None:
        before = site.server.desk.case
        for path in (tmp_path / "secret.nrrd", f"{allowed}/../secret.nrrd", "/etc/passwd"):
            answer = await site.client.post("/open", json={"path": str(path)}, headers=site.own)
            assert answer.status == 400 and "allowed" in (await answer.json())["message"]
        assert (await site.client.get("/files", params={"folder": str(tmp_path)})).status == 400
        for folder, name in ((tmp_path, "out.seg.nrrd"), (allowed, "../out.seg.nrrd")):
            answer = await site.client.post("/save", json={"folder": str(folder), "name": name}, headers=site.own)
            assert answer.status == 400
        assert not (tmp_path / "out.seg.nrrd").exists()
        assert site.server.desk.case is before
        answer = await site.client.post("/open", json={"path": str(allowed / "ball.nrrd")}, headers=site.own)
        assert answer.status == 200 and site.server.desk.case is not before

    visit(act, (allowed,))


POSTS = ("/open", "/save", "/teach", "/lesions", "/works/resume", "/works/remove")
NONSENSE = (
    b"",
    b"{",
    b"[]",
    b'{"path": 3}',
    b"\xff\xfe",
    b'{"do": ["a"], "work": {"a": 1}, "path": [1]}',
    b"[" * 90_000,
)


@pytest.mark.parametrize("path", POSTS)
def test_posted_nonsense_is_refused_with_a_message(path: str, tmp_path: Path) -> None:
    async def act(site: Site) -> None:
        for body in NONSENSE:
            answer = await site.client.post(path, data=body, headers=site.own)
            assert answer.status == 400 and (await answer.json())["message"], body[:40]

    visit(act, (tmp_path,))


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data", "multipart/form-data; boundary=x"])
def test_a_damaged_form_is_refused_and_leaves_nothing(kind: str) -> None:
    async def act(site: Site) -> None:
        answer = await site.client.post("/upload", data=b"no form", headers={**site.own, "Content-Type": kind})
        assert answer.status == 400 and (await answer.json())["message"]
        assert list(site.uploads.path.iterdir()) == []

    visit(act)


def test_no_route_is_without_the_checks_of_token_name_and_origin() -> None:
    async def act(site: Site) -> None:
        routes = [(route.method, route.resource.canonical) for route in site.client.app.router.routes()]
        assert {path for _, path in routes} >= {*POSTS, "/teach/expert", "/lesions.csv", "/works", "/download/{format}"}
        for method, path in routes:
            if method == "HEAD":
                continue
            token = {COOKIE: site.server.door.token}
            assert (await site.client.request(method, path, headers=site.own)).status == 401, path
            if method == "POST":
                assert (await site.client.request(method, path, cookies=token)).status == 403, path

    visit(act, host="0.0.0.0")

    async def rebound(site: Site) -> None:
        for route in site.client.app.router.routes():
            headers = {"Host": "evil.example", "Origin": "http://evil.example"}
            answer = await site.client.request(route.method, route.resource.canonical, headers=headers)
            assert answer.status == 403, route.resource.canonical

    visit(rebound)


def test_a_file_is_replaced_only_when_the_user_says_so(tmp_path: Path) -> None:
    (tmp_path / "out.nii.gz").write_bytes(b"old")

    async def act(site: Site) -> None:
        data = {"folder": str(tmp_path), "name": "out.nii.gz"}
        answer = await site.client.post("/save", json=data, headers=site.own)
        assert answer.status == 409 and (tmp_path / "out.nii.gz").read_bytes() == b"old"
        answer = await site.client.post("/save", json={**data, "overwrite": True}, headers=site.own)
        assert answer.status == 200 and (tmp_path / "out.nii.gz").read_bytes() != b"old"

    visit(act, (tmp_path,))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("evil.sh", b"#!/bin/sh"),
        ("ct.nrrd", b"#!/bin/sh"),
        ("ct.nii.gz", b"<html>"),
        ("ct.png", b"GIF89a"),
        ("ct", b""),
    ],
)
def test_mislabeled_uploads_are_refused_and_removed(name: str, data: bytes) -> None:
    async def act(site: Site) -> None:
        before = site.server.desk.case
        answer = await site.upload(name, data)
        assert answer.status == 400
        assert site.server.desk.case is before
        assert list(site.uploads.path.iterdir()) == []

    visit(act)


def test_an_oversized_upload_is_stopped_on_the_way_and_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfers, "MAX_UPLOAD_BYTES", 100_000)

    async def act(site: Site) -> None:
        answer = await site.upload("ct.nrrd", b"NRRD0004\n" + bytes(3_000_000))
        assert answer.status == 400 and "larger than" in (await answer.json())["message"]
        assert list(site.uploads.path.iterdir()) == []

    visit(act)


def test_an_uploaded_image_is_opened_and_its_file_removed(tmp_path: Path) -> None:
    blob_volume((5, 20, 30)).write(tmp_path / "ball.nii.gz")

    async def act(site: Site) -> None:
        answer = await site.upload("../../ball.nii.gz", (tmp_path / "ball.nii.gz").read_bytes())
        assert answer.status == 200
        assert site.server.desk.ready().volume.size == (30, 20, 5)
        assert list(site.uploads.path.iterdir()) == []

    visit(act, image=False)


def test_one_page_works_and_a_second_may_take_over() -> None:
    async def act(site: Site) -> None:
        first = await hello(site, "one")
        assert (await next_of(first, "state"))["case"]
        second = await hello(site, "two")
        assert (await second.receive_json())["type"] == "elsewhere"
        await second.send_json({"do": "add_segment", "name": "from the page that does not work"})
        await second.send_json({"do": "hello", "tab": "two", "takeOver": True})
        assert (await next_of(second, "state"))["segments"] == []
        await next_of(first, "taken")
        assert (await first.receive(timeout=10)).data is not None and first.closed
        await second.close()
        again = await hello(site, "three")
        assert (await next_of(again, "case"))["views"]["axial"]["count"] == 9

    visit(act)


def test_a_page_that_is_loaded_again_gets_its_work_back() -> None:
    async def act(site: Site) -> None:
        page = await hello(site, "one")
        await next_of(page, "state")
        await page.send_json({"do": "add_segment", "name": "liver"})
        assert [segment["name"] for segment in (await next_of(page, "state"))["segments"]] == ["liver"]
        again = await hello(site, "one")
        state = await next_of(again, "state")
        assert [segment["name"] for segment in state["segments"]] == ["liver"]

    visit(act)


def test_nonsense_on_the_socket_is_survived() -> None:
    async def act(site: Site) -> None:
        page = await hello(site, "one")
        for text in ("", "{", "[]", "1", '"x"', "{}", "[" * 90_000, json.dumps({"do": {"a": 1}}), '{"do": "prompt"}'):
            await page.send_str(text)
        for number in ("1e999", "NaN", "-1", "[]", '"x"', "null"):
            await page.send_str(f'{{"do": "look", "plane": "axial", "index": {number}}}')
            point = '"do": "prompt", "kind": "point", "plane": "axial"'
            await page.send_str(f'{{{point}, "index": 3, "xy": [[{number}, 5]]}}')
            await page.send_str(f'{{{point}, "index": {number}, "xy": [[20, 5]]}}')
        for command in ("select_segment", "show_segment", "remove_segment", "rename_segment", "remove_prompt"):
            for wrong in (None, 3, ["a"], {"a": 1}):
                await page.send_json({"do": command, "id": wrong, "name": wrong, "on": True})
        await page.send_json({"do": "add_segment", "name": "liver"})
        faults = []
        while (data := await page.receive_json(timeout=10)).get("segments", []) == []:
            faults += [data["text"]] if data["type"] == "message" and "fault" in data["text"] else []
        assert data["segments"][0]["name"] == "liver" and faults == []

    visit(act)


def test_a_surface_is_given_of_the_open_image_only() -> None:
    async def act(site: Site) -> None:
        page = await hello(site, "one")
        await page.send_json({"do": "add_segment", "name": "liver"})
        while not (state := await next_of(page, "state"))["segments"]:
            pass
        segment = state["segments"][0]["id"]
        assert (await site.client.get(f"/surface/{state['case']}/{segment}")).status == 200
        for path in (f"old/{segment}", f"{state['case']}/nothing"):
            answer = await site.client.get(f"/surface/{path}")
            assert answer.status == 400 and (await answer.json())["message"], path

    visit(act)
