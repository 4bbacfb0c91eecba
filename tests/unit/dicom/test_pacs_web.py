"""The session of DICOMweb against a small server of HTTP: trust, credentials, bounds, redirects, slowness."""

from __future__ import annotations

import logging
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from hdm_dicom.pacs import web
from hdm_dicom.pacs.address import parse_address
from hdm_dicom.pacs.connection import Connection
from hdm_dicom.pacs.failures import retried
from hdm_pipeline.errors import PeerError, PeerRefusedError, PeerSilentError
from tests.judges.orthanc import certificate
from tests.unit.dicom.test_pacs_associations import full_backlog

WHERE = "input.options.connection"


class Peer(BaseHTTPRequestHandler):
    """Answers by the last part of the path, and notes what it was sent."""

    seen: list[dict[str, str]] = []  # noqa: RUF012

    def do_GET(self) -> None:
        self.seen.append(dict(self.headers))
        kind = self.path.partition("?")[0].rpartition("/")[2]
        if kind == "moved":
            self.send_response(302)
            self.send_header("Location", "http://127.0.0.1:9/elsewhere")
            self.end_headers()
            return
        if kind.isdigit():
            self.send_error(int(kind))
            return
        body = b"[]" if kind != "endless" else b"x" * 4096
        self.send_response(200)
        self.send_header("Content-Type", "application/dicom+json")
        self.send_header("Content-Length", "2" if kind != "endless" else "1000000000")
        self.end_headers()
        for _ in range(2000 if kind == "endless" else 1):
            if kind == "silent":
                time.sleep(1.5)
            self.wfile.write(body)
            if kind == "endless":
                time.sleep(0.01)

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def peer(tls: tuple[Path, Path] | None = None, ask: bool = False) -> Iterator[str]:
    Peer.seen.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Peer)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
        if ask:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(tls[0])
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"dicomweb://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def get(uri: str, options: dict[str, Any], query: str = "") -> Any:
    address = parse_address(uri, "input.uri")
    connection = Connection.parse({"timeout": 1, **options}, WHERE)
    with web.session(address, connection, WHERE) as http, web.talking(address, "ask"):
        answer = http.get(address.url(plain=connection.plain) + query)
        answer.raise_for_status()
        return answer.content


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return certificate(tmp_path_factory.mktemp("pem"))


def test_plain_http_only_if_asked(pem: tuple[Path, Path]) -> None:
    with peer() as uri:
        assert get(f"{uri}/ok", {"plain": True}) == b"[]"
        with pytest.raises(PeerRefusedError):
            get(f"{uri}/ok", {})
        assert len(Peer.seen) == 1


def test_the_certificate_of_the_peer_is_checked(pem: tuple[Path, Path]) -> None:
    with peer(pem) as uri:
        assert get(f"{uri}/ok", {"ca_file": str(pem[0])}) == b"[]"
        with pytest.raises(PeerRefusedError, match="not trusted"):
            get(f"{uri}/ok", {})


def test_a_peer_that_asks_for_our_certificate(pem: tuple[Path, Path]) -> None:
    with peer(pem, ask=True) as uri:
        trust = {"ca_file": str(pem[0])}
        ours = {"certificate_file": str(pem[0]), "key_file": str(pem[1])}
        assert get(f"{uri}/ok", {**trust, **ours}) == b"[]"
        with pytest.raises(PeerError):
            get(f"{uri}/ok", trust)


def test_credentials_are_sent_and_come_from_the_options_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (netrc := tmp_path / "netrc").write_text("machine 127.0.0.1 login stray password stray\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("U", "hdm")
    monkeypatch.setenv("P", "secret")
    with peer() as uri:
        get(f"{uri}/ok", {"plain": True})
        get(f"{uri}/ok", {"plain": True, "user_env": "U", "password_env": "P"})
        get(f"{uri}/ok", {"plain": True, "token_env": "P"})
    assert [seen.get("Authorization") for seen in Peer.seen] == [None, "Basic aGRtOnNlY3JldA==", "Bearer secret"]


@pytest.mark.parametrize(
    ("kind", "error", "what"),
    [
        ("401", PeerRefusedError, "password or token is wrong"),
        ("403", PeerRefusedError, "does not allow"),
        ("404", PeerError, "HTTP 404"),
        ("503", PeerError, "HTTP 503"),
        ("moved", PeerError, "another address"),
        ("silent", PeerSilentError, "in time"),
    ],
)
def test_other_answers_are_typed_and_show_no_query(
    kind: str, error: type[PeerError], what: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with peer() as uri, pytest.raises(error, match=what) as caught:
        get(f"{uri}/{kind}", {"plain": True}, "?PatientName=ROE")
    assert type(caught.value) is error
    assert "ROE" not in str(caught.value) + caplog.text
    assert caught.value.__cause__ is None


def test_an_answer_without_end_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "MAX_ANSWER", 100_000)
    with peer() as uri, pytest.raises(PeerError, match="longer than 100000 bytes"):
        get(f"{uri}/endless", {"plain": True})


def test_an_answer_that_drips_is_cut() -> None:
    with peer() as uri, pytest.raises(PeerError, match="has not finished"):
        get(f"{uri}/endless", {"plain": True, "timeout": 0.05})


def test_nobody_listens() -> None:
    with peer() as uri:
        pass
    with pytest.raises(PeerError, match="refused"):
        get(f"{uri}/ok", {"plain": True})


def test_connections_that_fail_are_told_apart() -> None:
    with pytest.raises(PeerError, match="nobody knows the name"):
        get("dicomweb://nowhere.invalid/ok", {"plain": True})
    for linger in (0, None):  # a reset, and an end without an answer
        with socket.create_server(("127.0.0.1", 0)) as server:

            def break_off(server: socket.socket = server, linger: int | None = linger) -> None:
                caller, _ = server.accept()
                caller.recv(1000)
                if linger is not None:
                    caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, linger))
                caller.close()

            threading.Thread(target=break_off, daemon=True).start()
            with pytest.raises(PeerError, match="breaks the connection off"):
                get(f"dicomweb://127.0.0.1:{server.getsockname()[1]}/ok", {"plain": True})


def test_no_connection_in_time() -> None:
    with full_backlog() as port, pytest.raises(PeerError, match="no connection is made in time"):
        get(f"dicomweb://127.0.0.1:{port}/ok", {"plain": True, "timeout": 0.5})


def test_trying_again_ends_at_once_when_refused() -> None:
    tried: list[int] = []

    def fails(error: type[PeerError]) -> None:
        tried.append(1)
        raise error("no")

    with pytest.raises(PeerRefusedError):
        retried(lambda: fails(PeerRefusedError), wait=0)
    assert len(tried) == 1
    with pytest.raises(PeerError):
        retried(lambda: fails(PeerError), attempts=3, wait=0)
    assert len(tried) == 4
