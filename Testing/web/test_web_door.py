"""Who may come in."""

from __future__ import annotations

import pytest

from MoESegLib.web.door import Door, is_loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "[::1]", "127.3.2.1"])
def test_no_token_is_needed_where_only_this_computer_can_come(host: str) -> None:
    assert is_loopback(host)
    assert Door.of(host).token == ""
    assert Door.of(host).accepts(None)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "workstation", "127.0.0.1.example.org"])
def test_every_other_host_gets_a_token_of_its_own(host: str) -> None:
    door, other = Door.of(host), Door.of(host)
    assert len(door.token) >= 40
    assert door.token != other.token
    assert door.accepts(door.token)
    assert not any(door.accepts(wrong) for wrong in (None, "", "wrong", door.token[:-1], other.token, "ü"))


def test_the_token_is_not_shown_where_a_door_is_printed() -> None:
    door = Door.of("0.0.0.0")
    assert door.token not in repr(door)


@pytest.mark.parametrize("header", ["127.0.0.1:8080", "localhost:8080", "[::1]:8080", "LOCALHOST"])
def test_requests_for_this_computer_are_known(header: str) -> None:
    assert Door("127.0.0.1").knows_host(header)


@pytest.mark.parametrize("header", [None, "", "evil.example:8080", "127.0.0.1.evil.example", "[fe80::1]:8080"])
def test_a_page_whose_name_was_made_to_point_here_is_turned_away(header: str | None) -> None:
    assert not Door("127.0.0.1").knows_host(header)


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "http://127.0.0.1:81", "null", "", "http://127.0.0.1:80.evil.example"]
)
def test_only_its_own_page_may_change_something(origin: str) -> None:
    door = Door("127.0.0.1")
    assert door.same_origin({"Origin": "http://127.0.0.1:80", "Host": "127.0.0.1:80"})
    assert not door.same_origin({"Origin": origin, "Host": "127.0.0.1:80"})
    assert not door.same_origin({"Host": "127.0.0.1:80"})
    assert not door.same_origin({"Origin": "http://"})
