"""The real server of the studio on a real port, in a thread, and browsers without a screen that talk to it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from hdm_studio.security import Door
from hdm_studio.server import listen, make_server
from hdm_studio.studio import Studio, open_studio


@dataclass(frozen=True)
class Running:
    """A studio that answers."""

    studio: Studio
    door: Door

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.door.port}"

    @contextmanager
    def browser(self) -> Iterator[httpx.Client]:
        """A client that was let in, and sends what a page sends."""
        headers = {"origin": self.base, "sec-fetch-site": "same-origin", "content-type": "application/json"}
        with httpx.Client(base_url=self.base, headers=headers, timeout=60) as client:
            assert client.get("/", params={"token": self.door.token}).status_code == 303
            yield client


@contextmanager
def running_studio(file: Path) -> Iterator[Running]:
    """A studio on a pipeline file while the block runs."""
    with open_studio(file) as studio, listen("127.0.0.1", 0) as sock:
        door = Door("127.0.0.1", sock.getsockname()[1])
        server = make_server(studio, door)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
        thread.start()
        try:
            yield Running(studio, door)
        finally:
            studio.closing.set()
            server.should_exit = True
            thread.join()


def answer(response: httpx.Response) -> dict[str, Any]:
    """What was answered, which must be good news."""
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def refusal(response: httpx.Response, status: int) -> dict[str, str]:
    """The error that was answered, which must be whole."""
    assert response.status_code == status, response.text
    found: dict[str, str] = response.json()["error"]
    assert set(found) == {"type", "what", "where", "remedy"}
    assert found["what"]
    return found
