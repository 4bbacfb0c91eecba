"""What stands before every route: the door, the limit of a request's size, headers of every answer, errors as JSON."""

from __future__ import annotations

import json
import secrets
import sys
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from html import escape
from typing import Any

from hdm_pipeline.errors import HdmError
from hdm_studio.errors import NotSignedInError, RequestError, TooLargeError, status_of
from hdm_studio.security import BODY_LIMIT, HEADERS, Door

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

TELL = "hdm_studio.tell"
"""Key of a request's scope: prints an unexpected error, and gives what the answer says of it."""

TOLD = "hdm_studio.told"
"""Key of a request's scope: its unexpected error was told."""

_ENTRANCE = "/"
"""The one path that is open to who brings the token, and to a link on another page."""


class Guard:
    """An ASGI application around another one.

    Args:
        app: what it guards.
        door: lets requests in.
        private: of unexpected errors the text is not printed, as it may hold a path that names a patient.
    """

    def __init__(self, app: App, door: Door, private: Callable[[], bool]) -> None:
        self._app, self._door, self._private = app, door, private

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise ValueError(f"no {scope['type']} here")
        answer = _Answer(send)
        scope[TELL] = self._unexpected
        try:
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            self._check(scope, headers)
            await self._app(scope, _limited(headers, receive), answer)
        except NotSignedInError as error:
            await (answer.page(error) if scope["path"] == _ENTRANCE else answer.error(error.status, error.as_dict()))
        except HdmError as error:
            await answer.error(status_of(error), error.as_dict())
        except Exception as error:  # noqa: BLE001 - a bug must not end the server; its place is printed
            if not answer.started:
                await answer.error(500, self._unexpected(error))
            elif not scope.get(TOLD):
                self._unexpected(error)  # what was begun can only break off

    def _check(self, scope: Message, headers: dict[str, str]) -> None:
        self._door.check_host(headers)
        entrance = scope["path"] == _ENTRANCE and scope["method"] == "GET"
        if not entrance:
            self._door.check_origin(scope["method"], headers)
        if not (entrance and b"token=" in scope["query_string"]):
            self._door.check_cookie(headers)

    def _unexpected(self, error: Exception) -> dict[str, str]:
        number = secrets.token_hex(4)
        text = _places(error) if self._private() else "".join(traceback.format_exception(error))
        print(f"studio: error {number}\n{text}", file=sys.stderr, flush=True)
        return {
            "type": "InternalError",
            "what": "something went wrong that should not",
            "where": f"error {number}",
            "remedy": "try again; the terminal of the studio shows where it happened, which is worth a report",
        }


class _Answer:
    """Sends an answer with the headers of every answer."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.started = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            given = {name.lower() for name, _ in message["headers"]}
            more = [(n.encode(), v.encode()) for n, v in HEADERS.items() if n.encode() not in given]
            message = {**message, "headers": [*message["headers"], *more]}
        await self._send(message)

    async def error(self, status: int, error: dict[str, str]) -> None:
        """Answer with an error, before anything else was answered."""
        await self._all(status, "application/json", json.dumps({"error": error}))

    async def page(self, error: NotSignedInError) -> None:
        """Tell a person who opens the studio without being let in."""
        # The link: who follows the printed address from another page gets the cookie, but does not send it yet.
        link = f'<p><a href="{_ENTRANCE}">Try again</a></p>'
        text = f"<!doctype html><title>Studio</title><p>{escape(error.what)}: {escape(error.remedy)}.</p>{link}"
        await self._all(error.status, "text/html; charset=utf-8", text)

    async def _all(self, status: int, kind: str, text: str) -> None:
        body = text.encode()
        headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
        await self({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})


def _places(error: BaseException | None) -> str:
    """Where an error and those that led to it were raised, without their texts."""
    parts: list[str] = []
    while error is not None:
        parts.insert(0, "".join(traceback.format_tb(error.__traceback__)) + type(error).__name__)
        error = error.__cause__ or error.__context__
    return "\n\n".join(parts)


def _limited(headers: dict[str, str], receive: Receive) -> Receive:
    """What is received, up to the limit; a length that is announced is believed only if it is too large."""
    length = headers.get("content-length", "0")
    if not length.isascii() or not length.isdigit() or int(length) > BODY_LIMIT:
        raise _too_large()
    seen = 0

    async def receive_some() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > BODY_LIMIT:
            raise _too_large()
        return message

    return receive_some


def _too_large() -> RequestError:
    return TooLargeError(
        f"a request holds more than {BODY_LIMIT >> 20} MiB",
        remedy="draw in shorter strokes, or polygons of fewer points",
    )
