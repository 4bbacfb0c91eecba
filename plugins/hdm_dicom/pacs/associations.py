"""DIMSE: an association with a PACS, with TLS, titles and timeouts.

Import this module only when a connection is made: it loads pynetdicom.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hdm_dicom.pacs.address import Address
from hdm_dicom.pacs.connection import Connection
from hdm_dicom.pacs.failures import hush, missing_library, why_not_connected
from hdm_pipeline.errors import PeerError, PeerRefusedError, PeerSilentError

try:
    from pynetdicom import AE, evt
    from pynetdicom.presentation import PresentationContext
except ImportError as missing:
    raise missing_library("pynetdicom") from missing

_PDU = 1 << 17
"""Most bytes of a message that the peer may send at once."""
_LOOK = 5.0
"""Seconds for finding out why there is no connection."""


def entity(connection: Connection) -> AE:
    """Our application entity, with its title and timeouts; for callers and for listeners."""
    hush()
    ours = AE(ae_title=connection.ae_title)
    ours.connection_timeout = ours.acse_timeout = ours.dimse_timeout = ours.network_timeout = connection.timeout
    ours.maximum_pdu_size = _PDU
    return ours


@contextmanager
def association(
    address: Address,
    connection: Connection,
    contexts: Sequence[PresentationContext],
    where: str,
    *,
    roles: Sequence[Any] = (),
    handlers: Sequence[Any] = (),
) -> Iterator[Any]:
    """An established association; released at the end, aborted when the body raises.

    Args:
        address: of the PACS.
        connection: its options.
        contexts: what is asked for (`pynetdicom.build_context`); see `accepts` for what was granted.
        where: the key of the options, for errors.
        roles: of C-GET: `pynetdicom.build_role` for what the PACS sends back.
        handlers: pynetdicom's event handlers.

    Raises:
        ConfigError: certificates cannot be read.
        PeerRefusedError: the PACS rejects us, or one side does not trust the other's certificate.
        PeerError: it cannot be reached, or breaks off.
    """
    made = _associated(address, connection, contexts, where, roles, handlers)
    try:
        yield made
    except BaseException:
        made.abort()
        raise
    if made.is_established:
        made.release()


def accepts(made: Any, sop_class: str) -> bool:
    """Whether an association's peer takes a SOP class."""
    return any(context.abstract_syntax == sop_class for context in made.accepted_contexts)


def _associated(
    address: Address,
    connection: Connection,
    contexts: Sequence[PresentationContext],
    where: str,
    roles: Sequence[Any],
    handlers: Sequence[Any],
) -> Any:
    tls = connection.tls(where)
    opened: list[bool] = []
    start = time.monotonic()
    try:
        made = entity(connection).associate(
            address.host,
            address.port,
            contexts=list(contexts),
            ae_title=address.called,
            max_pdu=_PDU,
            ext_neg=list(roles),
            tls_args=None if tls is None else (tls, address.host),
            evt_handlers=[*handlers, (evt.EVT_CONN_OPEN, lambda _: opened.append(True))],
        )
    except OSError as error:  # the name of the host: pynetdicom looks it up itself
        raise _not_connected(address, error, tls=tls is not None) from None
    if made.is_established:
        return made
    if made.is_rejected:
        answer = made.acceptor.primitive
        raise PeerRefusedError(
            f"the PACS rejects the association: {getattr(answer, 'reason_str', 'no reason given')}",
            where=address.shown,
            remedy=f"check the called AE title, and enter {connection.ae_title} with this machine's address "
            "in the PACS' list of application entities",
        )
    if made.rejected_contexts and not made.accepted_contexts:
        raise PeerRefusedError(
            "the PACS offers none of the services that are asked for",
            where=address.shown,
            remedy="check host, port and called AE title: a PACS may have several; its log says what it was asked",
        )
    late = time.monotonic() - start >= connection.timeout
    raise _failed(address, connection, tls=tls is not None, opened=bool(opened), late=late)


def _failed(address: Address, connection: Connection, *, tls: bool, opened: bool, late: bool) -> PeerError:
    """Why there is no association, where the PACS has not said it."""
    if opened and late:
        return PeerSilentError(
            "the PACS takes the call and does not answer in time",
            where=address.shown,
            remedy="check the port: something else may listen there; raise `timeout` if the PACS is slow",
        )
    if opened:
        return PeerSilentError(
            "the PACS breaks off instead of answering",
            where=address.shown,
            remedy="check the port; leave out plain: true if it speaks TLS" if not tls else "check the port",
        )
    error = TimeoutError() if late and not tls else _tried(address, connection.timeout)
    if error is not None:
        return _not_connected(address, error, tls=tls)
    return PeerSilentError(
        "the PACS cannot be reached" if not tls else "the PACS cannot be reached by TLS",
        where=address.shown,
        remedy="check host, port and whether it runs"
        + ("" if not tls else "; ca_file, certificate_file and key_file; plain: true if it has no TLS"),
    )


def _tried(address: Address, timeout: float) -> OSError | None:
    """Why no connection can be made; None where one can. pynetdicom keeps the reason to itself."""
    try:
        socket.create_connection((address.host, address.port), min(timeout, _LOOK)).close()
    except OSError as error:
        return error
    return None


def _not_connected(address: Address, error: OSError, *, tls: bool) -> PeerError:
    why, remedy = why_not_connected(error, tls=tls) or (
        "the PACS cannot be reached",
        "check host, port and whether it runs",
    )
    return PeerSilentError(why, where=address.shown, remedy=remedy)
