"""Azurite, the server that Azure's own makers test against, on loopback.

with azure_server(command) as server, monkeypatch.context() as patch:
    server.enter(patch)               # account, key and endpoint for obstore
    server.make_container("out")
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import formatdate

import pytest

from tests.s3_server import free_port, server_process

ACCOUNT = "devstoreaccount1"
_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="  # Azurite's, public
_VERSION = "2021-12-02"


@dataclass(frozen=True)
class AzureServer:
    """A running server.

    Attributes:
        place: its ``host:port``.
    """

    place: str

    def environment(self) -> dict[str, str]:
        """Environment variables by which obstore finds the server."""
        return {
            "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
            "AZURE_STORAGE_ACCOUNT_KEY": _KEY,
            "AZURE_STORAGE_ENDPOINT": f"http://{self.place}/{ACCOUNT}",
        }

    def enter(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Set the environment of this process."""
        for name, value in self.environment().items():
            monkeypatch.setenv(name, value)

    def make_container(self, name: str) -> None:
        """Make a container, as often as one likes."""
        status = self._ask("PUT", f"/{name}", {"restype": "container"})
        assert status in (201, 409), status

    def _ask(self, method: str, path: str, query: Mapping[str, str]) -> int:
        """Past obstore, which makes no containers: signed as "Authorize with Shared Key" of Azure's manual says."""
        headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": _VERSION}
        named = "".join(f"{name}:{value}\n" for name, value in sorted(headers.items()))
        asked = "".join(f"\n{name}:{value}" for name, value in sorted(query.items()))
        # The account twice: once as the owner, once because this server has it in its paths.
        text = f"{method}\n{11 * chr(10)}{named}/{ACCOUNT}/{ACCOUNT}{path}{asked}"
        sign = base64.b64encode(hmac.digest(base64.b64decode(_KEY), text.encode(), hashlib.sha256)).decode()
        connection = http.client.HTTPConnection(self.place, timeout=30)
        try:
            target = f"/{ACCOUNT}{path}?" + "&".join(f"{name}={value}" for name, value in query.items())
            connection.request(method, target, b"", {**headers, "Authorization": f"SharedKey {ACCOUNT}:{sign}"})
            return connection.getresponse().status
        finally:
            connection.close()


@contextmanager
def azure_server(command: Sequence[str]) -> Iterator[AzureServer]:
    """Run a server that keeps everything in memory.

    Args:
        command: starts ``azurite-blob``.
    """
    host, port = "127.0.0.1", free_port("127.0.0.1")
    options = ["--inMemoryPersistence", "--silent", "--disableTelemetry", "--skipApiVersionCheck"]
    with server_process([*command, "--blobHost", host, "--blobPort", str(port), *options]):
        server = AzureServer(f"{host}:{port}")
        deadline = time.monotonic() + 60
        while True:
            try:
                server.make_container("first")
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        yield server
