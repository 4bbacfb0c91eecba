"""A hook for a PACS that knows when a study is complete: `POST /complete?StudyInstanceUID=UID`, with a token.

It listens on 127.0.0.1 only, and says nothing but whether the study is known.
"""

from __future__ import annotations

import hmac
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from hdm_dicom.pacs.receiver_options import WHERE, ReceiverOptions
from hdm_pipeline.contracts import Inbox
from hdm_pipeline.errors import OutputError

_HOST = "127.0.0.1"
_MAX_BODY = 1 << 16
_MAX_UID = 64


class _Handler(BaseHTTPRequestHandler):
    """One request."""

    server: _Server
    timeout = 10
    server_version, sys_version = "hdm", ""

    def do_POST(self) -> None:  # so called by http.server
        """A study is complete."""
        length = self.headers.get("Content-Length", "0")
        if not length.isascii() or not length.isdigit() or int(length) > _MAX_BODY:
            return self._answer(413)
        self.rfile.read(int(length))
        sent = self.headers.get("Authorization", "").encode("latin-1", "replace")
        if not hmac.compare_digest(sent, b"Bearer " + self.server.token.encode()):
            self.server.inbox.refused("hook without token")
            return self._answer(401)
        address = urlsplit(self.path)
        uids = parse_qs(address.query).get("StudyInstanceUID", [])
        if address.path != "/complete" or len(uids) != 1 or len(uids[0]) > _MAX_UID:
            return self._answer(400)
        return self._answer(202 if self.server.inbox.complete(uids[0]) else 404)

    def log_message(self, *_: Any) -> None:
        """Nothing: addresses hold UIDs."""

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int, token: str, inbox: Inbox) -> None:
        self.token, self.inbox = token, inbox
        super().__init__((_HOST, port), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that breaks off is no news."""


@contextmanager
def hooked(options: ReceiverOptions, inbox: Inbox) -> Iterator[str]:
    """Take calls while the context lasts; yields where.

    Raises:
        ConfigError: the token cannot be read.
        OutputError: the port is taken.
    """
    token = options.connection.credentials(WHERE).token
    try:
        server = _Server(options.hook_port, token, inbox)
    except OSError as error:
        raise OutputError(
            f"the hook cannot listen: {error.strerror}",
            where=f"{_HOST}:{options.hook_port}",
            remedy="choose another hook_port",
        ) from error
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://{_HOST}:{options.hook_port}/complete"
    finally:
        server.shutdown()
        server.server_close()
