"""The C-STORE provider: pynetdicom's server, with bounds on what a peer may make it hold or wait for.

Import this module only when listening: it loads pynetdicom.
"""

from __future__ import annotations

import functools
import io
import ipaddress
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hdm_dicom.pacs.associations import entity
from hdm_dicom.pacs.failures import missing_library
from hdm_dicom.pacs.incoming import CANNOT_UNDERSTAND, Incoming
from hdm_dicom.pacs.receiver_options import WHERE, ReceiverOptions
from hdm_pipeline.contracts import Inbox
from hdm_pipeline.errors import OutputError

try:
    from pynetdicom import ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, _config, evt
    from pynetdicom.dimse import DIMSEServiceProvider
    from pynetdicom.dimse_messages import DIMSEMessage
    from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made when it is asked for
    from pynetdicom.transport import RequestHandler, ThreadedAssociationServer
except ImportError as missing:
    raise missing_library("pynetdicom") from missing

_MAX_PDU = 1 << 20
"""Longest message unit that is read, whatever its head says; longer ones than we ask for are a fault or an attack."""

_MAX_COMMAND = 1 << 16
_MAX_QUEUED = 8
"""Messages that a peer may send without waiting for their answers."""

_IDLE = 4
"""An association may be idle for so many times `timeout`: machines send while they scan."""

_SPARE_CONNECTIONS = 20
_CLOSING = 5.0
"""Seconds that associations get to end when the listener stops."""


class _Command(io.BytesIO):
    """A command set as it arrives, within bounds; an error ends the association."""

    def write(self, data: Any) -> int:
        if self.tell() + len(data) > _MAX_COMMAND:
            raise ValueError("a command of more than 64 KiB")
        return super().write(data)


class _Dimse(DIMSEServiceProvider):
    """Puts data sets of messages where they belong while they arrive, instead of into memory."""

    def __init__(self, association: Any, inbox: Inbox, max_bytes: int) -> None:
        super().__init__(association)
        self._make = functools.partial(Incoming, inbox, association, max_bytes)
        self._over = False

    def receive_primitive(self, primitive: Any) -> None:
        """Take in a fragment; see pynetdicom."""
        if self._over:
            return
        if self.message is None:
            if self.msg_queue.qsize() >= _MAX_QUEUED:
                raise ValueError("too many messages at once")
            self.message = DIMSEMessage()
            self.message.encoded_command_set = _Command()
            self.message.data_set = self._make(functools.partial(_announced, self.message, self.assoc))
        super().receive_primitive(primitive)

    def finish(self) -> None:
        """The association is over: drop what is half."""
        self._over = True
        message = self.message
        if message is not None and isinstance(message.data_set, Incoming):
            message.data_set.discard()
        for _, primitive in list(self.msg_queue.queue):
            data = getattr(primitive, "DataSet", None)
            if isinstance(data, Incoming):
                data.discard()


def _announced(message: DIMSEMessage, association: Any) -> tuple[str, str, str]:
    """What a message says of its data set: SOP class, SOP instance, and the transfer syntax that was agreed upon.

    Raises:
        LookupError: its presentation context is none of the association's.
        AttributeError: it has no command set, or says nothing.
    """
    context: Any = association._accepted_cx[message.context_id]
    command = message.command_set
    return str(command.AffectedSOPClassUID), str(command.AffectedSOPInstanceUID), str(context.transfer_syntax[0])


class _Handler(RequestHandler):
    """Makes an association whose socket and messages are within bounds."""

    server: _Server

    def handle(self) -> None:
        """Shake hands, if by TLS, here and not in the thread that accepts: a slow peer holds up nobody."""
        if isinstance(self.request, ssl.SSLSocket):
            self.request.do_handshake()
        super().handle()

    def _create_association(self) -> Any:
        made = super()._create_association()
        options, inbox = self.server.options, self.server.inbox
        dimse = made.dimse = _Dimse(made, inbox, options.max_bytes)
        wire: Any = made.dul.socket
        wire.recv = functools.partial(_receive, wire, options.connection.timeout)
        run = made.run

        def run_and_tidy() -> None:
            try:
                run()
            finally:
                dimse.finish()
                inbox.closed(made)
                self.server.ended()

        made.run = run_and_tidy  # type: ignore[method-assign]  # the thread's whole life
        made.daemon = made.dul.daemon = True
        return made


class _Server(ThreadedAssociationServer):
    """Takes connections from those who may, as many as it may."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, *args: Any, options: ReceiverOptions, inbox: Inbox, **more: Any) -> None:
        self.options, self.inbox = options, inbox
        self._networks = options.networks
        self._most = options.max_associations + _SPARE_CONNECTIONS
        self._open = 0
        self._lock = threading.Lock()
        super().__init__(*args, **more)

    def get_request(self) -> tuple[Any, Any]:
        """Accept a connection; the handshake of TLS comes later."""
        assert self.socket is not None
        wire, address = self.socket.accept()
        wire.settimeout(self.options.connection.timeout)
        if self.ssl_context is not None:
            wire = self.ssl_context.wrap_socket(wire, server_side=True, do_handshake_on_connect=False)
        return wire, address

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether a connection may be made, before a byte of it is read."""
        address = ipaddress.ip_address(client_address[0])
        mapped = getattr(address, "ipv4_mapped", None)
        if not any((mapped or address) in network for network in self._networks):
            self.inbox.refused("address not allowed")
            return False
        with self._lock:
            if self._open >= self._most:
                self.inbox.refused("too many connections")
                return False
            self._open += 1
        return True

    def ended(self) -> None:
        """A connection is over."""
        with self._lock:
            self._open -= 1

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that never became an association: no common TLS, say."""
        self.ended()
        self.inbox.refused("broken connection")


@contextmanager
def serving(options: ReceiverOptions, inbox: Inbox) -> Iterator[str]:
    """Listen while the context lasts; yields where.

    Raises:
        ConfigError: certificates cannot be read.
        OutputError: the address is taken, or not this machine's.
    """
    _config.LOG_HANDLER_LEVEL = "none"  # its events repeat what peers send, and cost half the time
    ours = entity(options.connection)
    ours.network_timeout = _IDLE * options.connection.timeout
    ours.maximum_associations = options.max_associations
    ours.require_called_aet = True
    ours.require_calling_aet = list(options.callers)
    for context in AllStoragePresentationContexts:
        ours.add_supported_context(str(context.abstract_syntax), ALL_TRANSFER_SYNTAXES)
    ours.add_supported_context(Verification)
    try:
        server = ours.make_server(
            (options.host, options.port),
            ssl_context=options.connection.tls(WHERE, server=True),
            evt_handlers=[
                (evt.EVT_C_STORE, _store),
                (evt.EVT_REJECTED, lambda _event: inbox.refused("association rejected")),
            ],
            server_class=_Server,
            request_handler=_Handler,
            options=options,
            inbox=inbox,
        )
    except OSError as error:
        raise OutputError(
            f"cannot listen: {error.strerror or type(error).__name__}",
            where=f"{options.host}:{options.port}",
            remedy="choose another port or host; ports below 1024 need rights",
        ) from error
    ours._servers.append(server)  # as start_server does; shutdown takes it out
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
    host, port = server.server_address[:2]
    try:
        yield f"dimse://{ours.ae_title}@{host}:{port}{' without TLS' if options.connection.plain else ''}"
    finally:
        server.shutdown()
        end = time.monotonic() + _CLOSING
        while server.active_associations and time.monotonic() < end:
            time.sleep(0.05)
        for association in server.active_associations:
            association.abort()


def _store(event: Any) -> int:
    data = event.request.DataSet
    return data.finish() if isinstance(data, Incoming) else CANNOT_UNDERSTAND


def _receive(wire: Any, timeout: float, count: int) -> bytearray:
    """Read exactly `count` bytes, or up to the end of the connection; within `timeout` seconds altogether.

    Raises:
        OSError: it takes longer, or is more than a peer may send at once; the connection is then closed.
    """
    if count > _MAX_PDU:
        raise OSError("a message unit is too long")
    data = bytearray()
    end = time.monotonic() + timeout
    try:
        while len(data) < count:
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError("a message unit takes too long")
            wire.socket.settimeout(left)
            piece = wire.socket.recv(min(count - len(data), 1 << 16))
            if not piece:
                break
            data += piece
    finally:
        if wire.socket is not None:
            wire.socket.settimeout(timeout)
    return data
