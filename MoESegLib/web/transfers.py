"""Opening and saving: files below the allowed folders, uploads and downloads."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aiohttp import BodyPartReader, web

from ..core.volume import Volume
from .desk import Desk
from .files import (
    MAX_FILES,
    MAX_UPLOAD_BYTES,
    FileRefusedError,
    Folders,
    UploadRoom,
    check_before_reading,
    check_content,
    check_name,
    plain_name,
)

_FORMATS = {"seg.nrrd": ".seg.nrrd", "nii.gz": ".nii.gz"}
_CHUNK = 1 << 20


class Transfers:
    """Routes under ``/files``, ``/open``, ``/upload``, ``/save`` and ``/download``.

    Args:
        desk: the work.
        folders: what may be opened and written by path.
        uploads: where uploads and downloads are made.
        push: tells the page that the work changed.
    """

    def __init__(self, desk: Desk, folders: Folders, uploads: UploadRoom, push: Callable[[], Awaitable[None]]) -> None:
        self.desk = desk
        self.folders = folders
        self.uploads = uploads
        self._push = push

    def routes(self) -> list[web.RouteDef]:
        """For the application."""
        return [
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
        await self._show(path, as_segmentation=bool(data.get("segmentation")))
        return web.json_response({"message": f"Opened {path.name}."})

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        folder = self.uploads.new_folder()
        try:
            files = await self._receive(request, folder)
            for file in files:
                await asyncio.to_thread(check_content, file)
            target = files[0] if len(files) == 1 else folder
            if len(files) > 1 and any(file.suffix not in (".dcm", "") for file in files):
                raise FileRefusedError("Upload one image, or all files of one DICOM series.")
            await self._show(target, as_segmentation="segmentation" in request.query)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return web.json_response({"message": f"Opened {files[0].name}."})

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
            path = folder / check_name(part.filename)
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

    async def _show(self, path: Path, as_segmentation: bool) -> None:
        if as_segmentation:
            self.desk.ready().open_segmentation(path)
        else:
            self.desk.show(await asyncio.to_thread(Volume.read, path))
        await self._push()

    async def _save(self, request: web.Request) -> web.StreamResponse:
        data = await data_of(request)
        path = self.folders.find_new(str(data.get("folder", "")), str(data.get("name", "")))
        if path.exists() and not data.get("overwrite"):
            return web.json_response({"message": f"{path.name} exists already.", "exists": True}, status=409)
        warnings = self.desk.ready().save(path)
        return web.json_response({"message": " ".join([f"Saved {path}.", *warnings])})

    async def _download(self, request: web.Request) -> web.StreamResponse:
        case = self.desk.ready()
        ending = _FORMATS.get(request.match_info["format"])
        if ending is None:
            raise FileRefusedError("Download .seg.nrrd or .nii.gz.")
        folder = self.uploads.new_folder()
        try:
            path = folder / f"segmentation{ending}"
            case.save(path)
            body = path.read_bytes()
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        name = f"{plain_name(case.volume.name) or 'image'}{ending}"
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return web.Response(body=body, content_type="application/octet-stream", headers=headers)


async def data_of(request: web.Request) -> dict[str, Any]:
    """What the page posted.

    Raises:
        FileRefusedError: no JSON object.
    """
    try:
        data = await request.json()
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise FileRefusedError("The page sent a damaged request. Reload it.") from error
    if not isinstance(data, dict):
        raise FileRefusedError("The page sent a damaged request. Reload it.")
    return data
