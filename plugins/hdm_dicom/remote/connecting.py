"""From an address and options to a PACS that is connected."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hdm_dicom.options import ReaderOptions
from hdm_dicom.pacs.address import Address
from hdm_dicom.pacs.connection import Connection
from hdm_dicom.pacs.failures import require_library
from hdm_dicom.remote.peer import CONNECTION, Peer


def connection_of(options: ReaderOptions) -> Connection:
    """The options of the connection.

    Raises:
        ConfigError: one is wrong.
    """
    return Connection.parse(dict(options.connection), CONNECTION)


def check_connection(address: Address, options: ReaderOptions) -> None:
    """Check what a connection needs, without the network.

    Raises:
        ConfigError: an option is wrong; a library, a certificate or a secret is missing.
    """
    connection = connection_of(options)
    require_library(address.scheme)
    if address.scheme == "dicomweb":
        connection.credentials(CONNECTION)
    connection.tls(CONNECTION, server=address.scheme == "dimse" and options.retrieve == "move")


@contextmanager
def connected(address: Address, options: ReaderOptions) -> Iterator[Peer]:
    """The PACS at an address.

    Raises:
        ConfigError: secrets or certificates cannot be read, or a library is not installed.
        PeerError: it cannot be reached, or refuses.
    """
    connection = connection_of(options)
    if address.scheme == "dicomweb":
        from hdm_dicom.remote.web_peer import WebPeer

        with WebPeer(address, connection) as peer:
            yield peer
    else:
        from hdm_dicom.remote.dimse_peer import DimsePeer

        yield DimsePeer(address, connection, options.retrieve, options.move_port)
