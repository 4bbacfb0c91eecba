"""Who may ask what: the token, the cookie, the host and the page that a request comes from, and what a page may load.

The studio listens on this machine, where every web page that the user opens in a browser can send requests, too. So a
request needs a cookie that only the printed address gives, must name a host that this server is (else a foreign name
that points here, "DNS rebinding", would do), and one that changes something must come from the studio's own page.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from hdm_studio.errors import ContentTypeError, ForbiddenError, NotSignedInError

BODY_LIMIT = 2 << 20
"""Bytes of a request; a stroke of 50,000 points is smaller."""

_SAFE = ("GET", "HEAD")
_OWN_SITE = ("same-origin", "none")
"""`none`: the user typed or clicked the address, no page did."""

PAGE_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""What the studio's page may load: nothing but its own files; no inline script, no other host."""

REPORT_POLICY = (
    "sandbox allow-same-origin allow-popups allow-downloads; default-src 'none'; img-src 'self' data:; "
    "style-src 'self' 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""What a file of the output directory may do in the browser: show text and pictures; it runs no script. With its own
origin, without which the pictures beside it would not get the cookie."""

HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "x-frame-options": "DENY",
    "content-security-policy": PAGE_POLICY,
}
"""On every answer that does not say otherwise."""


@dataclass(frozen=True)
class Door:
    """Lets requests in.

    Attributes:
        host: address that the server listens on.
        port: its port.
        token: stands in the printed address.
        ticket: value of the cookie.
    """

    host: str
    port: int
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    ticket: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)

    @property
    def cookie(self) -> str:
        """Name of the cookie: browsers keep cookies by host, and two studios on one host differ in their ports."""
        return f"hdm_studio_{self.port}"

    @property
    def set_cookie(self) -> str:
        """Header that gives the cookie, until the browser is closed."""
        return f"{self.cookie}={self.ticket}; Path=/; HttpOnly; SameSite=Strict"

    @property
    def address(self) -> str:
        """What is printed."""
        anywhere = self.host in ("0.0.0.0", "::", "")
        host = "127.0.0.1" if anywhere else f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/?token={self.token}"

    def opens_with(self, token: str) -> bool:
        """Whether it is the token; takes the same time for every wrong one."""
        return hmac.compare_digest(token.encode(), self.token.encode())

    def check_host(self, headers: Mapping[str, str]) -> None:
        """Refuse a request to a name that is not this server's.

        Any port may be named, as in a tunnel (`ssh -L`) the browser's port is another one. Names of other hosts cannot
        point here unnoticed: a server that listens elsewhere takes its own name and literal addresses only.

        Raises:
            ForbiddenError: it is another name, or none.
        """
        name = _host_name(headers.get("host", ""))
        if name not in ("localhost", "127.0.0.1", "::1", self.host.lower()) and not (
            not is_loopback(self.host) and _is_address(name)
        ):
            raise ForbiddenError(
                "the request names a host that this server is not",
                remedy="open the address that the studio printed, with that name and no other",
            )

    def check_cookie(self, headers: Mapping[str, str]) -> None:
        """Refuse a request without the cookie.

        Raises:
            NotSignedInError: it is missing or wrong.
        """
        try:
            found = SimpleCookie(headers.get("cookie", "")).get(self.cookie)
        except CookieError:
            found = None
        if found is None or not hmac.compare_digest(found.value.encode(), self.ticket.encode()):
            raise NotSignedInError(
                "this browser has not been let in", remedy="open the address that the studio printed in the terminal"
            )

    def check_origin(self, method: str, headers: Mapping[str, str]) -> None:
        """Refuse what another page asks for, and a change that does not say which page asks for it.

        Raises:
            ForbiddenError: it comes from elsewhere.
            ContentTypeError: it would change something, and is not JSON.
        """
        foreign = headers.get("sec-fetch-site", "none") not in _OWN_SITE
        origin = headers.get("origin")
        if method not in _SAFE:
            foreign = foreign or origin is None
        if origin is not None:
            own = urlsplit(origin)
            foreign = foreign or own.scheme not in ("http", "https") or own.netloc.lower() != headers["host"].lower()
        if foreign:
            raise ForbiddenError(
                "the request comes from another page than the studio's", remedy="use the studio's own page"
            )
        if method not in _SAFE and headers.get("content-type", "").split(";")[0].strip() != "application/json":
            raise ContentTypeError(
                "a change must be sent as JSON", remedy="send the header Content-Type: application/json"
            )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _host_name(host: str) -> str:
    """The name of a Host header, lower case and without its port; empty if it is none."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""
