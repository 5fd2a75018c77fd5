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
from ..disk import check_space

TIMEOUT_SECONDS = 30.0
"""Without a byte for this long a server counts as stalled."""
ATTEMPTS = 4
FIRST_PAUSE_SECONDS = 1.0
_CHUNK = 1 << 18
_TEMPORARY = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers that may be another one later."""


def download(url: str, target: Path, card: ModelCard, progress: ProgressCallback, cancel: CancelToken) -> None:
    """Download to ``target``, going on where an interrupted download of the same remote file ended.

    Raises:
        WeightsError: not found, offline, stalled, cut short every time, no space, or a file of another size.
        Cancelled: ``cancel`` was set; what is there can be resumed.
    """
    pause = FIRST_PAUSE_SECONDS
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _continue(url, target, card, progress, cancel)
            return
        except urllib.error.HTTPError as error:
            problem, cause = f"the server answers {error.code} {error.reason}", error
            error.close()
            if error.code == 416:  # what is here already is longer than the remote file: start again
                forget(target)
            elif error.code not in _TEMPORARY:
                raise _failed(card, url, problem) from error
        except (urllib.error.URLError, ConnectionError, http.client.HTTPException) as error:
            problem, cause = str(getattr(error, "reason", error)) or type(error).__name__, error
        if attempt == ATTEMPTS:
            raise _failed(card, url, problem) from cause
        _sleep(pause, cancel)
        pause *= 2


def _continue(url: str, target: Path, card: ModelCard, progress: ProgressCallback, cancel: CancelToken) -> None:
    """One connection: append to what is there if the server confirms that it is the same file, else start anew."""
    start, tag = _resumable(target)
    if start and start == card.size_bytes:
        return  # all of it is here; only the check is missing
    request = urllib.request.Request(url, headers={"User-Agent": f"MoESeg/{__version__}"})
    if start:
        request.add_header("Range", f"bytes={start}-")
        request.add_header("If-Range", tag)
    with _open(request) as response:
        resumed = response.status == 206
        if resumed and not _goes_on(response, start, tag):
            forget(target)
            raise http.client.HTTPException("the server goes on with something else than was asked for")
        start = start if resumed else 0
        total = _total(response, start, card, url)
        if not resumed:
            forget(target)  # nothing of an older file is left that the new tag could be taken for
            check_space(target.parent, total or 0)
            tag_path(target).write_text(json.dumps({"tag": _tag(response)}), encoding="utf-8")
        done = start
        with target.open("ab") as stream:
            while (total is None or done <= total) and (chunk := _read(response)):
                cancel.check()
                if total is None:  # nobody said how much is to come
                    check_space(target.parent, len(chunk))
                stream.write(chunk)
                done += len(chunk)
                progress(min(1.0, done / total) if total else 0.0, f"{card.name}: {done / 1e6:.0f} MB")
    if total is not None and done > total:
        forget(target)
        raise _failed(card, url, f"the server sends more than the {total} bytes of the file")
    if total is not None and done < total:
        raise http.client.HTTPException(f"the connection ended after {done} of {total} bytes")


def _goes_on(response: http.client.HTTPResponse, start: int, tag: str) -> bool:
    """Whether the rest of the same file comes: some servers answer a range without looking at If-Range."""
    place = response.headers.get("Content-Range", "")
    return place.startswith(f"bytes {start}-") and _tag(response) in (None, tag)


def _open(request: urllib.request.Request) -> http.client.HTTPResponse:
    try:
        return urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.URLError:
        raise
    except OSError as error:  # the answer timed out, or TLS failed: urllib only wraps the errors of connecting
        raise ConnectionError(str(error)) from error


def _read(response: http.client.HTTPResponse) -> bytes:
    """What has arrived, so that a slow connection can be cancelled; any error is the network's, not the disk's."""
    try:
        return response.read1(_CHUNK)
    except OSError as error:
        raise ConnectionError(str(error)) from error


def _total(response: http.client.HTTPResponse, start: int, card: ModelCard, url: str) -> int | None:
    """Size of the whole file: what the card says and the server does not contradict."""
    if response.length is None:
        return card.size_bytes
    total = start + response.length
    if card.size_bytes is not None and total != card.size_bytes:
        reason = f"the server offers {total} bytes, {card.size_bytes} expected (a login page, or another version?)"
        raise _failed(card, url, reason)
    return total


def _tag(response: http.client.HTTPResponse) -> str | None:
    return response.headers.get("ETag") or response.headers.get("Last-Modified")


def _resumable(target: Path) -> tuple[int, str]:
    """Bytes that can be kept and the tag that proves what they are of."""
    if not target.exists() or not tag_path(target).exists():
        return 0, ""
    try:
        saved: dict[str, Any] = json.loads(tag_path(target).read_text(encoding="utf-8"))
    except ValueError:
        return 0, ""
    # A weak ETag does not promise equal bytes, so it cannot be resumed from.
    tag = saved.get("tag") or ""
    return (target.stat().st_size, tag) if tag and not tag.startswith("W/") else (0, "")


def forget(target: Path) -> None:
    """Delete a partial download and what is known of it."""
    target.unlink(missing_ok=True)
    tag_path(target).unlink(missing_ok=True)


def tag_path(target: Path) -> Path:
    """Where it is kept which remote file a partial download is of."""
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
