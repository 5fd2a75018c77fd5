"""Opening and saving: files below the allowed folders, uploads and downloads."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aiohttp import BodyPartReader, web

from ..core.image_io import file_suffix
from ..core.volume import Volume
from .archives import unpack_dicom
from .desk import Case, Desk
from .files import (
    MAX_FILES,
    MAX_UPLOAD_BYTES,
    FileRefusedError,
    Folders,
    UploadRoom,
    check_before_reading,
    check_contents,
    check_upload_name,
    plain_name,
)
from .keep import WorkFolder
from .keeper import Keeper, describe_work, read_image
from .saving import COMPLETE, FORMATS, save

_CHUNK = 1 << 20


class Transfers:
    """Routes under ``/files``, ``/open``, ``/upload``, ``/save``, ``/download`` and ``/works``.

    Args:
        desk: the work.
        folders: what may be opened and written by path.
        uploads: where uploads and downloads are made.
        push: tells the page that the work changed.
        keeper: keeps the work for the case of a crash.
    """

    def __init__(
        self, desk: Desk, folders: Folders, uploads: UploadRoom, push: Callable[[], Awaitable[None]], keeper: Keeper
    ) -> None:
        self.desk = desk
        self.keeper = keeper
        self.folders = folders
        self.uploads = uploads
        self._push = push

    def routes(self) -> list[web.RouteDef]:
        """For the application."""
        return [
            web.get("/works", self._works),
            web.post("/works/resume", self._resume),
            web.post("/works/remove", self._remove),
            web.get("/files", self._files),
            web.post("/open", self._open),
            web.post("/upload", self._upload),
            web.post("/save", self._save),
            web.get("/download/{format}", self._download),
        ]

    async def _files(self, request: web.Request) -> web.StreamResponse:
        entries = self.folders.listing(request.query.get("folder", ""))
        return web.json_response([asdict(entry) for entry in entries])

    async def _open(self, request: web.Request) -> web.StreamResponse:
        data = await data_of(request)
        path = self.folders.find_image(str(data.get("path", "")))
        await asyncio.to_thread(check_before_reading, path)
        if data.get("segmentation"):
            await self._show_segmentation(path)
        else:
            await self._show(await asyncio.to_thread(Volume.read, path), path)
        return web.json_response({"message": f"Opened {path.name}."})

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        folder = self.uploads.new_folder()
        try:
            room = folder / "DICOM"  # what a series of several files is called
            room.mkdir()
            try:
                files = await self._receive(request, room)
            except ValueError as error:
                raise FileRefusedError("The form with the files is damaged. Send it again.") from error
            name = files[0].name
            if len(files) == 1 and file_suffix(files[0]) == ".zip":
                files = await asyncio.to_thread(unpack_dicom, files[0], room / files[0].stem)
            await asyncio.to_thread(check_contents, files)
            target = files[0] if len(files) == 1 else files[0].parent
            if len(files) > 1 and any(file.suffix not in (".dcm", "") for file in files):
                raise FileRefusedError("Upload one image, or all files of one DICOM series.")
            if "segmentation" in request.query:
                await self._show_segmentation(target)
            else:
                volume = await asyncio.to_thread(Volume.read, target)
                kept = await asyncio.to_thread(
                    self.keeper.take_upload, target, target if target.is_dir() else target.parent
                )
                await self._show(volume, *kept)
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        return web.json_response({"message": f"Opened {name}."})

    async def _receive(self, request: web.Request, folder: Path) -> list[Path]:
        """Stream the parts of a form into a folder; stops at the limits."""
        if not request.content_type.startswith("multipart/"):
            raise FileRefusedError("Send a form with files.")
        files: list[Path] = []
        left = MAX_UPLOAD_BYTES
        async for part in await request.multipart():
            if not isinstance(part, BodyPartReader) or not part.filename:
                continue
            if len(files) == MAX_FILES:
                raise FileRefusedError(f"More than {MAX_FILES} files; upload one series.")
            path = folder / check_upload_name(part.filename)
            if path.exists():
                raise FileRefusedError(f"Two files are called {path.name}.")
            with path.open("xb") as stream:
                while chunk := await part.read_chunk(_CHUNK):
                    left -= len(chunk)
                    if left < 0:
                        raise FileRefusedError(
                            f"The upload is larger than {MAX_UPLOAD_BYTES >> 20} MB. Start MoESeg with --allow FOLDER "
                            "and open the file by its path."
                        )
                    stream.write(chunk)
            files.append(path)
        if not files:
            raise FileRefusedError("No file was sent.")
        return files

    async def _show(self, volume: Volume, source: Path | None, folder: WorkFolder | None = None) -> None:
        self.keeper.leave()
        self.keeper.begin(self.desk.show(volume, source), folder)
        await self._push()

    async def _show_segmentation(self, path: Path) -> None:
        self.desk.ready().open_segmentation(path)
        await self._push()

    async def _save(self, request: web.Request) -> web.StreamResponse:
        data = await data_of(request)
        path = self.folders.find_new(str(data.get("folder", "")), str(data.get("name", "")))
        if path.exists() and not data.get("overwrite"):
            return web.json_response({"message": f"{path.name} exists already.", "exists": True}, status=409)
        warnings = await self._write(self.desk.ready(), path)
        return web.json_response({"message": " ".join([f"Saved {path}.", *warnings])})

    async def _download(self, request: web.Request) -> web.StreamResponse:
        case = self.desk.ready()
        ending = FORMATS.get(request.match_info["format"])
        if ending is None:
            raise FileRefusedError(f"Download one of {', '.join(FORMATS)}.")
        folder = self.uploads.new_folder()
        try:
            path = folder / f"segmentation{ending}"
            warnings = await self._write(case, path)
            body = await asyncio.to_thread(path.read_bytes)
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        return attachment(case.volume.name, ending, body, {"X-Note": quote(" ".join(warnings))})

    async def _write(self, case: Case, path: Path) -> list[str]:
        before = self.keeper.mark()
        warnings = await save(case, path)
        if file_suffix(path) in COMPLETE:
            self.keeper.saved(before)
        return warnings

    async def _works(self, request: web.Request) -> web.StreamResponse:
        """Kept works, those without the one that is open."""
        found = await asyncio.to_thread(self.keeper.others)
        return web.json_response([describe_work(work) for work in found])

    async def _resume(self, request: web.Request) -> web.StreamResponse:
        folder, work = self.keeper.find(str((await data_of(request)).get("work", "")))
        with contextlib.ExitStack() as undo:
            undo.callback(folder.close)
            volume = await asyncio.to_thread(read_image, work)
            undo.pop_all()
        self.keeper.go_on(folder, work, volume)
        await self._push()
        return web.json_response({"message": f"Went on with {volume.name}."})

    async def _remove(self, request: web.Request) -> web.StreamResponse:
        folder, _ = self.keeper.find(str((await data_of(request)).get("work", "")))
        folder.close(remove=True)
        return web.json_response({"message": "Removed."})


def attachment(name: str, ending: str, body: bytes, more: Mapping[str, str] | None = None) -> web.Response:
    """A file for the browser to save, under a name of which only harmless characters are left."""
    file = f"{plain_name(name) or 'image'}{ending}"
    headers = {"Content-Disposition": f'attachment; filename="{file}"', **(more or {})}
    return web.Response(body=body, content_type="application/octet-stream", headers=headers)


async def data_of(request: web.Request) -> dict[str, Any]:
    """What the page posted.

    Raises:
        FileRefusedError: no JSON object.
    """
    try:
        data = await request.json()
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FileRefusedError("The page sent a damaged request. Reload it.") from error
    if not isinstance(data, dict):
        raise FileRefusedError("The page sent a damaged request. Reload it.")
    return data
