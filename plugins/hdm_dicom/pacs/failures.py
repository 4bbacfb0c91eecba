"""When a peer fails: what it is called, and trying again."""

from __future__ import annotations

import errno
import logging
import socket
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any, TypeVar

from hdm_pipeline.errors import ConfigError, PeerError, PeerRefusedError

T = TypeVar("T")

ATTEMPTS = 3
_FIRST_WAIT = 0.5
_OF_SCHEME = {"dicomweb": ("dicomweb_client", "dicomweb-client"), "dimse": ("pynetdicom", "pynetdicom")}
_LIBRARIES = ("pynetdicom", "dicomweb_client", "urllib3")


def retried(action: Callable[[], T], attempts: int = ATTEMPTS, wait: float = _FIRST_WAIT) -> T:
    """The action's result; it is tried again, after a wait that doubles, while a peer fails for a reason that may pass.

    Raises:
        PeerRefusedError: at once.
        PeerError: of the last attempt.
    """
    for attempt in range(1, attempts + 1):
        try:
            return action()
        except PeerRefusedError:
            raise
        except PeerError:
            if attempt == attempts:
                raise
        time.sleep(wait * 2 ** (attempt - 1))
    raise AssertionError("no attempt at all")


def why_not_connected(error: BaseException, *, tls: bool) -> tuple[str, str] | None:
    """Why a connection was not made, or broke, and what to do: told by the error of the socket behind `error`.

    Args:
        error: of a library, with those behind it as arguments, causes and contexts.
        tls: whether TLS was spoken.
    """
    behind = list(_behind(error))
    if any(isinstance(one, socket.gaierror) for one in behind):
        return "nobody knows the name of the host", "check the host of the address, and this machine's DNS"
    if any(isinstance(one, ConnectionRefusedError) for one in behind):
        return "the connection is refused: nothing listens there", "check host, port and whether the PACS runs"
    if any(getattr(one, "errno", None) in (errno.ENETUNREACH, errno.EHOSTUNREACH) for one in behind):
        return "no network leads to the host", "check the host of the address, and this machine's network"
    if any(isinstance(one, ConnectionResetError | ConnectionAbortedError | BrokenPipeError) for one in behind):
        how = "plain: true if it has no TLS" if tls else "leave out plain: true if it speaks TLS"
        return "the PACS breaks the connection off", f"check the port; {how}; its own log may say why"
    if any(isinstance(one, TimeoutError) for one in behind):
        return NO_CONNECTION
    return None


NO_CONNECTION = (
    "no connection is made in time",
    "check host and port, whether the PACS runs, and firewalls on the way; raise `timeout` if it is far away",
)


def _behind(error: BaseException) -> Iterator[BaseException]:
    """An error and those behind it, each once."""
    seen: set[int] = set()
    waiting: list[Any] = [error]
    while waiting:
        one = waiting.pop(0)
        if isinstance(one, BaseException) and id(one) not in seen:
            seen.add(id(one))
            yield one
            waiting += [*one.args, getattr(one, "reason", None), one.__cause__, one.__context__]


def missing_library(library: str) -> ConfigError:
    """The error for a library of the extra `pacs` that is not installed."""
    return ConfigError(f"{library} is not installed", where="PACS", remedy="pip install 'hdm-pipeline[pacs]'")


def require_library(scheme: str) -> None:
    """Refuse addresses of a scheme whose library is not installed, without loading it.

    Raises:
        ConfigError: it is not.
    """
    module, library = _OF_SCHEME[scheme]
    if find_spec(module) is None:
        raise missing_library(library)


def hush() -> None:
    """Silence the libraries' own logs: they repeat queries, addresses and values of data sets, which name patients."""
    for name in _LIBRARIES:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
