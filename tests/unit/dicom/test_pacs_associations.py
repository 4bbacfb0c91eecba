"""Associations of DIMSE with a small application entity: titles, TLS, and peers that break off."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE, build_context
from pynetdicom.sop_class import CTImageStorage, Verification

from hdm_dicom.pacs.address import parse_address
from hdm_dicom.pacs.associations import accepts, association
from hdm_dicom.pacs.connection import Connection
from hdm_pipeline.errors import PeerError, PeerRefusedError
from tests.judges.orthanc import certificate

WHERE = "input.options.connection"


@contextmanager
def peer(tls: tuple[Path, Path] | None = None) -> Iterator[int]:
    ours = AE("PEER")
    ours.require_called_aet = True
    ours.add_supported_context(Verification)
    context = None
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
    server = ours.start_server(("127.0.0.1", 0), block=False, ssl_context=context)
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


def echo(port: int, options: dict[str, Any], title: str = "PEER", host: str = "127.0.0.1") -> int:
    address = parse_address(f"dimse://{title}@{host}:{port}", "input.uri")
    connection = Connection.parse({"timeout": 2, **options}, WHERE)
    contexts = [build_context(Verification), build_context(CTImageStorage)]
    with association(address, connection, contexts, WHERE) as made:
        assert accepts(made, Verification)
        assert not accepts(made, CTImageStorage)
        return int(made.send_c_echo().Status)


def test_plain_and_tls(tmp_path: Path) -> None:
    pem = certificate(tmp_path)
    with peer() as port:
        assert echo(port, {"plain": True}) == 0
        with pytest.raises(PeerError):
            echo(port, {})
    with peer(pem) as port:
        assert echo(port, {"ca_file": str(pem[0])}) == 0
        with pytest.raises(PeerError, match="TLS"):
            echo(port, {})
        with pytest.raises(PeerError):
            echo(port, {"plain": True})


def test_a_wrong_title_is_refused() -> None:
    with peer() as port, pytest.raises(PeerRefusedError, match="rejects") as caught:
        echo(port, {"plain": True}, title="OTHER")
    assert "HDM" in caught.value.remedy


def test_a_peer_that_accepts_the_call_and_says_nothing() -> None:
    kept: list[Any] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=lambda: kept.append(server.accept()), daemon=True).start()
        with pytest.raises(PeerError, match="takes the call and does not answer in time"):
            echo(server.getsockname()[1], {"plain": True, "timeout": 0.5})


def test_a_peer_that_breaks_off() -> None:
    def break_off(server: socket.socket) -> None:
        server.accept()[0].close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=break_off, args=(server,), daemon=True).start()
        with pytest.raises(PeerError, match="breaks off instead of answering"):
            echo(server.getsockname()[1], {"plain": True})


@pytest.mark.parametrize("plain", [True, False])
def test_who_cannot_be_reached_is_told_why(plain: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = server.getsockname()[1]
    with pytest.raises(PeerError, match="nothing listens there"):
        echo(closed, {"plain": plain})
    with pytest.raises(PeerError, match="nobody knows the name"):
        echo(closed, {"plain": plain}, host="nowhere.invalid")


def test_no_connection_in_time() -> None:
    with full_backlog() as port, pytest.raises(PeerError, match="no connection is made in time"):
        echo(port, {"plain": True, "timeout": 0.5})


@contextmanager
def full_backlog() -> Iterator[int]:
    """A port that answers no call: as many wait as may, and nobody takes them."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())
        yield server.getsockname()[1]


def test_the_body_s_error_aborts() -> None:
    with peer() as port:
        address = parse_address(f"dimse://PEER@127.0.0.1:{port}", "input.uri")
        plain = Connection(plain=True)
        with (
            pytest.raises(RuntimeError, match="body"),
            association(address, plain, [build_context(Verification)], WHERE) as made,
        ):
            raise RuntimeError("body")
        assert made.is_aborted
