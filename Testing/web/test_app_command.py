"""``moeseg app`` as a command: what it says when it cannot start."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest
from web_tools import need

need("aiohttp", "slicer")

from MoESegLib.cli import app_command, main  # noqa: E402
from MoESegLib.web import launch  # noqa: E402


def test_without_the_extra_it_says_what_to_install(monkeypatch, capsys) -> None:
    monkeypatch.setattr(app_command, "_NEEDED", {"no_such_module_anywhere": "aiohttp"})
    assert main(["app", "--demo"]) == 2
    assert "pip install 'MoESegLib[web]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["{folder}/missing.nrrd"], "no image"),
        (["--allow", "{folder}/missing"], "no such folder"),
        (["--demo", "--model", "no-such-model"], "no-such-model"),
    ],
)
def test_what_cannot_be_opened_is_named(tmp_path: Path, capsys, words: list[str], reason: str) -> None:
    assert main(["app", "--no-browser", *(word.format(folder=tmp_path) for word in words)]) == 2
    assert reason in capsys.readouterr().err


def test_without_a_screen_no_browser_is_started_in_the_terminal(monkeypatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda address: not opened.append(address))
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    assert not launch._open_page("http://127.0.0.1:1/")
    assert opened == []
    monkeypatch.setenv("DISPLAY", ":0")
    assert launch._open_page("http://127.0.0.1:1/")
    assert opened == ["http://127.0.0.1:1/"]


def test_a_port_that_is_taken_is_named(capsys) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["app", "--no-browser", "--port", str(port)]) == 2
    assert f"port {port}" in capsys.readouterr().err
