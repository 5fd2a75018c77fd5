"""Uploads, downloads and kept works over HTTP: what is refused, and what is left on the disk."""

from __future__ import annotations

import asyncio
import io
import json
import zipfile
from pathlib import Path

import pytest
from fakes import blob_volume
from web_tools import FakeModels, need, settle

need("aiohttp", "slicer")

from aiohttp import FormData  # noqa: E402
from aiohttp.test_utils import TestClient, TestServer  # noqa: E402

from MoESegLib.core.volume import Volume  # noqa: E402
from MoESegLib.resources import resource_path  # noqa: E402
from MoESegLib.web import archives, commands  # noqa: E402
from MoESegLib.web.desk import Desk  # noqa: E402
from MoESegLib.web.door import Door  # noqa: E402
from MoESegLib.web.files import Folders, UploadRoom  # noqa: E402
from MoESegLib.web.keep import Works  # noqa: E402
from MoESegLib.web.keeper import Keeper  # noqa: E402
from MoESegLib.web.server import Server  # noqa: E402

DICOM = bytes(128) + b"DICM"


class Site:
    """A server with an opened image, and its page."""

    def __init__(self, server: Server, client: TestClient, uploads: UploadRoom, works: Works) -> None:
        self.server, self.client, self.uploads, self.works = server, client, uploads, works
        self.own = {"Origin": f"http://127.0.0.1:{client.port}"}

    async def upload(self, name: str, data: bytes, query: str = ""):
        form = FormData()
        form.add_field("file", data, filename=name, content_type="application/octet-stream")
        return await self.client.post(f"/upload{query}", data=form, headers=self.own)

    async def post(self, path: str, **data):
        return await self.client.post(path, json=data, headers=self.own)


def visit(act, home: Path) -> None:
    """Run a server for the time of one coroutine."""

    async def run() -> None:
        desk, works = Desk(FakeModels()), Works(home)
        keeper = Keeper(desk, works)
        image = home.parent / "ball.nrrd"
        blob_volume().write(image)
        keeper.begin(desk.show(Volume.read(image), image))
        settle(desk)
        with UploadRoom() as uploads:
            server = Server(desk, Door.of("127.0.0.1"), Folders(), uploads, keeper=keeper)
            async with TestClient(TestServer(server.application(), host="127.0.0.1")) as client:
                await act(Site(server, client, uploads, works))

    asyncio.run(run())


def zipped(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def demo_zip() -> bytes:
    return zipped(**{f"ct/{file.name}": file.read_bytes() for file in resource_path("Demo", "ct").iterdir()})


def draw(desk: Desk) -> None:
    commands.run(desk, {"do": "prompt", "kind": "point", "plane": "axial", "index": 4, "xy": [[24, 20]]})
    settle(desk)


def test_a_zipped_series_is_opened_and_its_files_lie_with_the_kept_work_alone(tmp_path: Path) -> None:
    async def act(site: Site) -> None:
        answer = await site.upload("my_ct.zip", demo_zip())
        assert answer.status == 200
        case = site.server.desk.ready()
        assert (case.volume.name, case.volume.modality, case.volume.size) == ("my_ct", "CT", (512, 512, 20))
        assert list(site.uploads.path.iterdir()) == []
        assert case.source is not None and case.source.is_relative_to(site.works.home)
        assert sorted(file.suffix for file in case.source.iterdir()) == [".dcm"] * 20

    visit(act, tmp_path / "work")
    assert list((tmp_path / "work").iterdir()) == []  # nothing was drawn


@pytest.mark.parametrize(
    "data",
    [
        zipped(**{"../a.dcm": DICOM}),
        zipped(**{"a.txt": b"text"}),
        b"no zip",
        demo_zip()[:100_000],
        zipped(**{"a.dcm": DICOM}),
    ],
    ids=["traversal", "no DICOM", "no zip", "cut off", "no image"],
)
def test_zips_that_are_refused_leave_nothing_and_the_work_as_it_was(data: bytes, tmp_path: Path) -> None:
    async def act(site: Site) -> None:
        before = site.server.desk.case
        assert (await site.upload("ct.zip", data)).status == 400
        assert site.server.desk.case is before
        assert list(site.uploads.path.iterdir()) == [] and not site.works.home.exists()

    visit(act, tmp_path / "work")


def test_an_uploaded_bomb_is_stopped_and_removed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(archives, "MAX_UNPACKED_BYTES", 1_000_000)

    async def act(site: Site) -> None:
        answer = await site.upload("ct.zip", zipped(**{f"{n}.dcm": DICOM + bytes(500_000) for n in range(20)}))
        assert answer.status == 400 and "larger than" in (await answer.json())["message"]
        assert list(site.uploads.path.iterdir()) == []

    visit(act, tmp_path / "work")


def test_a_segmentation_that_was_cut_off_is_refused_and_the_server_lives(tmp_path: Path) -> None:
    async def act(site: Site) -> None:
        draw(site.server.desk)
        whole = await (await site.client.get("/download/seg.nrrd")).read()
        header = whole.index(b"\n\n") + 2
        for length in (header, header + 20, len(whole) - 30, len(whole) - 5):
            assert (await site.upload("ball.seg.nrrd", whole[:length], "?segmentation=1")).status == 400
        assert len(site.server.desk.ready().log.lines) > 1
        assert (await site.upload("ball.seg.nrrd", whole, "?segmentation=1")).status == 200

    visit(act, tmp_path / "work")


def test_every_format_is_downloaded_and_what_is_not_possible_is_said(tmp_path: Path) -> None:
    async def act(site: Site) -> None:
        draw(site.server.desk)
        for name, head in (("seg.nrrd", b"NRRD"), ("nii.gz", b"\x1f\x8b"), ("mrb", b"PK"), ("jsonl", b'{"time"')):
            answer = await site.client.get(f"/download/{name}")
            assert answer.status == 200 and (await answer.read()).startswith(head)
            assert answer.headers["Content-Disposition"].startswith('attachment; filename="ball.')
        for name in ("dcm", "sh", "..%2f..%2fetc%2fpasswd"):
            assert (await site.client.get(f"/download/{name}")).status in (400, 404)
        assert list(site.uploads.path.iterdir()) == []

    visit(act, tmp_path / "work")


def test_kept_works_are_listed_opened_and_removed_by_the_own_page_only(tmp_path: Path) -> None:
    async def act(site: Site) -> None:
        desk = site.server.desk
        draw(desk)
        assert await (await site.client.get("/works")).json() == []  # the open one is not listed
        assert (await site.upload("ct.zip", demo_zip())).status == 200
        [work] = await (await site.client.get("/works")).json()
        for path in ("/works/resume", "/works/remove"):
            for origin in ({"Origin": "http://evil.example"}, {}):
                answer = await site.client.post(path, data=json.dumps(work), headers=origin)
                assert answer.status == 403
            for name in ("../work", "", None, 3):
                assert (await site.post(path, work=name)).status == 400
        assert (await site.post("/works/resume", work=work["work"])).status == 200
        assert desk.ready().volume.size == (48, 40, 9) and len(desk.ready().log.lines) > 2
        assert (await site.post("/works/remove", work=work["work"])).status == 400  # it is open
        assert (await site.upload("ct.zip", demo_zip())).status == 200
        assert (await site.post("/works/remove", work=work["work"])).status == 200
        assert await (await site.client.get("/works")).json() == []

    visit(act, tmp_path / "work")
