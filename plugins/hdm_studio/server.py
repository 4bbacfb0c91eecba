"""The server: it listens, tells its address, and ends when it is asked to."""

from __future__ import annotations

import errno
import signal
import socket
import sys
from collections.abc import Callable
from types import FrameType

import uvicorn

from hdm_pipeline.errors import ConfigError
from hdm_studio.app import make_app
from hdm_studio.security import Door, is_loopback
from hdm_studio.studio import Studio

PORT = 8765
"""Unless another one is asked for: one that stays the same can be bookmarked and tunneled to."""

_LAST_WORDS = 2
"""Seconds that open requests have when the server ends."""


def listen(host: str, port: int | None) -> socket.socket:
    """A socket that listens.

    Args:
        host: address or name of an interface of this machine.
        port: 0 for any; None for the usual one or, if another program has it, any.

    Raises:
        ConfigError: the host is not this machine, or the port is taken.
    """
    try:
        return _bound(host, PORT if port is None else port)
    except OSError as error:
        if port is None and error.errno == errno.EADDRINUSE:
            return listen(host, 0)
        taken = error.errno == errno.EADDRINUSE
        raise ConfigError(
            f"cannot listen there: {error.strerror or error}",
            where=f"--host {host}" + ("" if port is None else f" --port {port}"),
            remedy="choose another --port" if taken else "give an address of this machine, and a port above 1023",
        ) from error


def serve(studio: Studio, sock: socket.socket, host: str, tell: Callable[[str], None]) -> None:
    """Answer requests until SIGINT or SIGTERM.

    Args:
        studio: the pipeline at work.
        sock: a socket that listens; see `listen`.
        host: as the user gave it.
        tell: prints a line for the user.
    """
    door = Door(host, sock.getsockname()[1])
    tell(f"studio of {studio.session.config.name}: {door.address}")
    tell("Labels are saved while they are drawn. Press Ctrl-C to end.")
    if not is_loopback(host):
        print(
            f"warning: listening on {host}: other machines reach this studio. Whoever has the address above can see "
            "and change everything, and nothing is encrypted. Safer: leave out --host, and use `ssh -L`.",
            file=sys.stderr,
        )
    for number in (signal.SIGINT, signal.SIGTERM):
        # uvicorn ends on these, and then sends them to us once more.
        signal.signal(number, lambda *_: None)
    make_server(studio, door).run(sockets=[sock])
    if (process := studio.runs.running_process()) is not None:
        tell(f"The run goes on, as process {process}. To stop it: kill -INT {process}")


def make_server(studio: Studio, door: Door) -> uvicorn.Server:
    """A server that keeps no record of who asked for what."""
    config = uvicorn.Config(
        make_app(studio, door),
        access_log=False,
        log_level="warning",
        lifespan="off",
        loop="asyncio",
        http="h11",
        ws="none",
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=_LAST_WORDS,
    )
    return _Server(config, studio)


class _Server(uvicorn.Server):
    """Tells long answers that it ends: it waits for all of them."""

    def __init__(self, config: uvicorn.Config, studio: Studio) -> None:
        super().__init__(config)
        self._studio = studio

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGINT or SIGTERM came."""
        self._studio.closing.set()
        super().handle_exit(sig, frame)


def _bound(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(128)
    except OSError:
        sock.close()
        raise
    return sock
