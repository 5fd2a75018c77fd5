"""A file from an address: resumable, with timeouts and retries, through the proxies of the environment."""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from ... import __version__
from ...core.cancel import CancelToken, ProgressCallback
from ...core.errors import WeightsError
from ..cards import ModelCard

TIMEOUT_SECONDS = 30.0
"""Without a byte for this long a server counts as stalled."""
ATTEMPTS = 4
FIRST_PAUSE_SECONDS = 1.0
_CHUNK = 1 << 18


def download(url: str, target: Path, card: ModelCard, progress: ProgressCallback, cancel: CancelToken) -> None:
    """Download to ``target``, going on where an interrupted download of the same remote file ended.

    Raises:
        WeightsError: refused, not found, offline, stalled, or cut short every time.
        Cancelled: ``cancel`` was set; what is there can be resumed.
    """
    pause = FIRST_PAUSE_SECONDS
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _continue(url, target, card, progress, cancel)
        except urllib.error.HTTPError as error:
            if error.code == 416:  # what is there already is longer than the remote file: start again
                _forget(target)
            elif error.code < 500 or attempt == ATTEMPTS:
                raise _failed(card, url, f"the server answers {error.code} {error.reason}") from error
        except (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException) as error:
            if attempt == ATTEMPTS:
                raise _failed(card, url, str(getattr(error, "reason", error)) or type(error).__name__) from error
        else:
            return
        _sleep(pause, cancel)
        pause *= 2


def _continue(url: str, target: Path, card: ModelCard, progress: ProgressCallback, cancel: CancelToken) -> None:
    """One connection: append to what is there if the server confirms that it is the same file, else start anew."""
    start, tag = _resumable(target)
    request = urllib.request.Request(url, headers={"User-Agent": f"MoESeg/{__version__}"})
    if start:
        request.add_header("Range", f"bytes={start}-")
        request.add_header("If-Range", tag)
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
        resumed = response.status == 206
        start = start if resumed else 0
        length = response.headers.get("Content-Length")
        total = start + int(length) if length is not None else card.size_bytes
        new_tag = response.headers.get("ETag") or response.headers.get("Last-Modified")
        _tag_path(target).write_text(json.dumps({"url": url, "tag": new_tag}), encoding="utf-8")
        with target.open("ab" if resumed else "wb") as stream:
            done = start
            while chunk := response.read(_CHUNK):
                cancel.check()
                stream.write(chunk)
                done += len(chunk)
                progress(done / total if total else 0.0, f"{card.name}: {done / 1e6:.0f} MB")
    if length is not None and total is not None and done < total:
        raise http.client.IncompleteRead(b"", total - done)
    _tag_path(target).unlink(missing_ok=True)


def _resumable(target: Path) -> tuple[int, str]:
    """Bytes that can be kept and the tag that proves what they are of."""
    if not target.exists() or not _tag_path(target).exists():
        return 0, ""
    try:
        saved: dict[str, Any] = json.loads(_tag_path(target).read_text(encoding="utf-8"))
    except ValueError:
        return 0, ""
    # A weak ETag does not promise equal bytes, so it cannot be resumed from.
    tag = saved.get("tag") or ""
    return (target.stat().st_size, tag) if tag and not tag.startswith("W/") else (0, "")


def _forget(target: Path) -> None:
    target.unlink(missing_ok=True)
    _tag_path(target).unlink(missing_ok=True)


def _tag_path(target: Path) -> Path:
    return target.with_name(f"{target.name}.tag")


def _sleep(seconds: float, cancel: CancelToken) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        cancel.check()
        time.sleep(min(0.05, seconds))


def _failed(card: ModelCard, url: str, reason: str) -> WeightsError:
    return WeightsError(
        f"The weights of {card.name} could not be downloaded: {reason}. Check the connection and run the command "
        f"again, it goes on where it stopped. Or fetch {url} on another machine and run: "
        f"moeseg models import FILE --name {card.name}"
    )
