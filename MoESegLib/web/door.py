"""Who may come in: host and origin checks, and the token that every other host than this computer needs."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

COOKIE = "moeseg_token"
_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Sent with every answer: the page may load nothing from elsewhere, and no image stays in the browser's cache."""


def is_loopback(host: str) -> bool:
    """Whether only programs on this computer can reach a host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def new_token() -> str:
    """A secret nobody can guess (32 bytes)."""
    return secrets.token_urlsafe(32)


@dataclass(frozen=True)
class Door:
    """The checks of one server.

    Attributes:
        host: the address it listens on.
        token: what a visitor must bring; "" on loopback, where other computers cannot come.
    """

    host: str = "127.0.0.1"
    token: str = field(default="", repr=False)

    @classmethod
    def of(cls, host: str) -> Door:
        """A door for a host, with a new token unless it is this computer's own."""
        return cls(host, "" if is_loopback(host) else new_token())

    def knows_host(self, header: str | None) -> bool:
        """Whether a request was meant for this server.

        Without it, a web page whose name is made to point at 127.0.0.1 (DNS rebinding) could read the images. Behind a
        token, the name under which this computer is reached is not known, and the token keeps such a page out.
        """
        if not header:
            return False
        return bool(self.token) or _name_of(header) in _LOCAL_NAMES | {self.host.strip("[]")}

    def same_origin(self, headers: Mapping[str, str]) -> bool:
        """Whether a request that changes something comes from the page that this server gave out."""
        origin, host = headers.get("Origin", ""), headers.get("Host", "")
        return bool(host) and origin in (f"http://{host}", f"https://{host}")

    def accepts(self, token: str | None) -> bool:
        """Whether a visitor brought the token; always true when there is none."""
        return not self.token or hmac.compare_digest((token or "").encode(), self.token.encode())


def _name_of(header: str) -> str:
    """The name in a Host header, without the port."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0].lower()
