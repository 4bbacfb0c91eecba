"""Who is let in, by requests as browsers, strangers' pages and strangers send them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from hdm_studio.guard import Guard, Message, Receive, Send
from hdm_studio.security import BODY_LIMIT, Door

PLACE = "http://127.0.0.1:8765"
DOOR = Door("127.0.0.1", 8765, token="the-token", ticket="the-ticket")
COOKIE = {"cookie": f"{DOOR.cookie}={DOOR.ticket}"}
PATIENT = "Doe^Jane.dcm"
CHANGE = {**COOKIE, "origin": PLACE, "content-type": "application/json"}


async def echo(scope: Message, receive: Receive, send: Send) -> None:
    """Reads all that comes, and says that it was reached."""
    more = True
    while more:
        more = (await receive()).get("more_body", False)
    if scope["path"] == "/bug":
        try:
            raise ValueError(PATIENT)
        except ValueError as error:
            raise RuntimeError(PATIENT) from error
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"reached"})


def ask(
    method: str,
    path: str,
    headers: dict[str, str] | None = None,
    *,
    content: bytes | AsyncIterator[bytes] | None = None,
    door: Door = DOOR,
    private: bool = True,
    place: str = PLACE,
) -> httpx.Response:
    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app=Guard(echo, door, lambda: private))  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url=place) as client:
            return await client.request(method, path, headers=headers, content=content)

    return asyncio.run(send())


def error(response: httpx.Response) -> dict[str, Any]:
    found: dict[str, Any] = response.json()["error"]
    assert set(found) == {"type", "what", "where", "remedy"}
    return found


@pytest.mark.parametrize("name", ["127.0.0.1:8765", "localhost:8765", "[::1]:8765", "localhost:9000", "LOCALHOST"])
def test_names_of_this_machine_are_taken(name: str) -> None:
    assert ask("GET", "/api/state", {**COOKIE, "host": name}).text == "reached"


@pytest.mark.parametrize(
    "name", ["evil.example", "evil.example:8765", "localhost.evil.example", "192.168.0.1", "", "["]
)
def test_another_name_is_refused_as_it_may_point_here_to_steal(name: str) -> None:
    response = ask("GET", "/api/state", {**COOKIE, "host": name})
    assert response.status_code == 403
    assert "host" in error(response)["what"]


def test_listening_elsewhere_it_is_called_by_address_or_as_the_user_said() -> None:
    door = Door("0.0.0.0", 8765)
    cookie = {"cookie": f"{door.cookie}={door.ticket}"}
    assert ask("GET", "/api/state", {**cookie, "host": "192.168.0.1:8765"}, door=door).status_code == 200
    assert ask("GET", "/api/state", {**cookie, "host": "evil.example"}, door=door).status_code == 403


@pytest.mark.parametrize(
    "cookie",
    [None, "", f"{DOOR.cookie}=x", f"{DOOR.cookie}={DOOR.token}", f"other={DOOR.ticket}", "a;;=\x01", "=" * 99],
)
def test_without_the_cookie_nothing_is_shown(cookie: str | None) -> None:
    headers = {} if cookie is None else {"cookie": cookie}
    for path in ("/api/state", "/output/report.html", "/index.js", "/nothing"):
        response = ask("GET", path, headers)
        assert response.status_code == 401
        assert error(response)["remedy"]
    assert "open the address" in ask("GET", "/", headers).text  # a person sees text, not JSON


def test_the_entrance_is_open_to_who_brings_a_token_and_nothing_else_is() -> None:
    assert ask("GET", f"/?token={DOOR.token}").text == "reached"  # which looks at the token
    assert ask("GET", f"/api/state?token={DOOR.token}").status_code == 401
    assert ask("POST", f"/?token={DOOR.token}").status_code == 403
    assert DOOR.opens_with(DOOR.token)
    assert not DOOR.opens_with("")
    assert not DOOR.opens_with(DOOR.ticket)
    assert not DOOR.opens_with("\u00e9")


def test_token_and_cookie_are_long_differ_and_are_not_shown() -> None:
    one, other = Door("127.0.0.1", 8765), Door("127.0.0.1", 8765)
    assert len({one.token, one.ticket, other.token, other.ticket}) == 4
    assert min(len(one.token), len(one.ticket)) >= 43  # 32 random bytes
    assert one.token not in repr(one)
    assert one.ticket not in repr(one)


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": ""},
        {"origin": "file://127.0.0.1:8765"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_another_page_is_refused_even_with_the_cookie(method: str, headers: dict[str, str]) -> None:
    response = ask(method, "/api/run", {**CHANGE, **headers})
    assert response.status_code == 403
    assert "another page" in error(response)["what"]


def test_a_link_on_another_page_may_lead_to_the_entrance_only() -> None:
    assert ask("GET", "/", {**COOKIE, "sec-fetch-site": "cross-site"}).text == "reached"


def test_a_change_says_where_it_comes_from_and_is_json() -> None:
    assert ask("POST", "/api/run", CHANGE).text == "reached"
    assert ask("POST", "/api/run", {**CHANGE, "content-type": "application/json; charset=utf-8"}).text == "reached"
    without = {name: value for name, value in CHANGE.items() if name != "origin"}
    assert ask("POST", "/api/run", without).status_code == 403
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        assert ask("POST", "/api/run", {**CHANGE, "content-type": kind}).status_code == 415


def test_too_much_is_refused_whether_it_is_announced_or_not() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(BODY_LIMIT // 65536 + 1):
            yield b" " * 65536

    assert ask("POST", "/api/run", CHANGE, content=b" " * BODY_LIMIT).text == "reached"
    assert ask("POST", "/api/run", CHANGE, content=b" " * (BODY_LIMIT + 1)).status_code == 413
    assert ask("POST", "/api/run", CHANGE, content=pieces()).status_code == 413


def test_every_answer_tells_the_browser_to_be_careful() -> None:
    for response in (ask("GET", "/api/state", COOKIE), ask("GET", "/api/state"), ask("GET", "/bug", COOKIE)):
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["referrer-policy"] == "no-referrer"
        policy = response.headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy


def test_a_bug_is_told_by_number_and_its_place_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    response = ask("GET", "/bug", COOKIE, private=False)
    assert response.status_code == 500
    assert "Jane" not in response.text
    printed = capsys.readouterr().err
    assert error(response)["where"].removeprefix("error ") in printed
    assert "Doe^Jane" in printed
    assert "RuntimeError" in printed


def test_of_private_archives_a_bug_is_printed_without_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    ask("GET", "/bug", COOKIE, private=True)
    printed = capsys.readouterr().err
    assert "Jane" not in printed
    assert "RuntimeError" in printed
    assert "test_guard.py" in printed


def test_the_address_that_is_printed_can_be_opened() -> None:
    assert DOOR.address == f"http://127.0.0.1:8765/?token={DOOR.token}"
    assert Door("::1", 80).address.startswith("http://[::1]:80/")
    assert Door("0.0.0.0", 80).address.startswith("http://127.0.0.1:80/")
    assert json.dumps(DOOR.set_cookie).count("HttpOnly; SameSite=Strict") == 1
