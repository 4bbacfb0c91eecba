"""When a peer fails: what it is called, and trying again."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import TypeVar

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
