"""DICOMweb: a session of HTTP with our trust, credentials and patience, and dicomweb-client's client over it.

Import this module only when a connection is made: it loads dicomweb-client.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hdm_dicom.pacs.address import Address
from hdm_dicom.pacs.connection import Connection
from hdm_dicom.pacs.failures import NO_CONNECTION, hush, missing_library, why_not_connected
from hdm_pipeline.errors import PeerError, PeerRefusedError, PeerSilentError

try:
    import requests
    import urllib3
    from dicomweb_client.web import DICOMwebClient
    from requests.adapters import HTTPAdapter
    from urllib3.exceptions import ReadTimeoutError
except ImportError as missing:
    raise missing_library("dicomweb-client") from missing

MAX_ANSWER = 1 << 28
"""Most bytes of an answer that is held in memory."""

_CHUNK = 1 << 16
_POOL = 8
_REDIRECTS = range(300, 400)
_REFUSED = {
    401: "the PACS does not know us, or the password or token is wrong",
    403: "the PACS does not allow this to us",
    407: "a proxy asks for credentials",
}


class _Adapter(HTTPAdapter):
    """Connections with our TLS context, and a timeout even where the caller forgot one."""

    def __init__(self, context: Any, timeout: float) -> None:
        self._context, self._timeout = context, timeout
        super().__init__(pool_connections=_POOL, pool_maxsize=_POOL)

    def init_poolmanager(self, *args: Any, **more: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._context, **more)

    def send(self, request: Any, *args: Any, **more: Any) -> Any:
        more["timeout"] = self._timeout
        return super().send(request, *args, **more)


class Session(requests.Session):
    """A session that bounds what it holds in memory, and follows no redirect: one could lead away from TLS or trust.

    Environment variables (proxies, .netrc, bundles of certificates) do not count; the options alone do.

    Args:
        address: of the PACS.
        connection: its options.
        where: the key of the options, for errors.

    Attributes:
        more: the last answer came with a warning: a list may have more items than were given.

    Raises:
        ConfigError: certificates or secrets cannot be read.
    """

    def __init__(self, address: Address, connection: Connection, where: str) -> None:
        super().__init__()
        hush()
        self.trust_env = False
        self.address, self._patience = address, connection.timeout
        self.more = False
        known = connection.credentials(where)
        if known.token:
            self.headers["Authorization"] = f"Bearer {known.token}"
        elif known.user:
            pair = base64.b64encode(f"{known.user}:{known.password}".encode()).decode()
            self.headers["Authorization"] = f"Basic {pair}"
        self.verify = connection.ca_file or True
        for scheme in ("https://", "http://"):
            self.mount(scheme, _Adapter(connection.tls(where), connection.timeout))

    def send(self, request: Any, **more: Any) -> Any:
        """As requests does, but an answer that is not streamed is read within bounds of size and time."""
        streamed = more.pop("stream", False)
        more["allow_redirects"] = False
        request.url = _as_is(request.url)
        answer = super().send(request, stream=True, **more)
        if answer.status_code in _REDIRECTS:
            answer.close()
            raise PeerError(
                "the PACS sends us to another address",
                where=self.address.shown,
                remedy="write the address that it redirects to, if that is a PACS that you trust",
            )
        self.more = "Warning" in answer.headers
        if not streamed:
            answer._content = b"".join(bounded(answer, self.address, MAX_ANSWER, 10 * self._patience))
            answer._content_consumed = True
        return answer


def _as_is(url: str) -> str:
    """An address whose query escapes no more than it must: Orthanc takes ``%2A`` for three letters, not for ``*``."""
    path, mark, query = url.partition("?")
    query = query.replace("+", "%20")
    for escaped, character in (("%2A", "*"), ("%2C", ","), ("%3F", "?")):
        query = query.replace(escaped, character)
    return path + mark + query


def session(address: Address, connection: Connection, where: str) -> Session:
    """A session for `address`; see `Session`. Close it, or use it as a context."""
    return Session(address, connection, where)


def client(http: Session, *, plain: bool) -> DICOMwebClient:
    """dicomweb-client's client over a session. It does not try again by itself; see `failures.retried`."""
    made = DICOMwebClient(http.address.url(plain=plain), session=http)
    made.set_http_retry_params(retry=False)
    return made


def arriving(answer: Any) -> Iterator[bytes]:
    """The body of a streamed answer as it arrives: a peer that drips is seen, where `iter_content` waits for more."""
    try:
        while piece := answer.raw.read1(_CHUNK, decode_content=True):
            yield piece
    except ReadTimeoutError:
        raise requests.ReadTimeout from None
    except urllib3.exceptions.HTTPError as error:
        raise requests.ConnectionError(type(error).__name__) from None


def bounded(answer: Any, address: Address, most: int, seconds: float) -> Iterator[bytes]:
    """The body of a streamed answer in pieces.

    Raises:
        PeerError: it is longer than `most` bytes, or takes longer than `seconds`.
    """
    start, seen = time.monotonic(), 0
    for piece in arriving(answer):
        seen += len(piece)
        if seen > most:
            answer.close()
            remedy = "check that the address is that of a DICOMweb service; ask for less by more matching keys"
            raise PeerError(f"an answer of the PACS is longer than {most} bytes", where=address.shown, remedy=remedy)
        if time.monotonic() - start > seconds:
            answer.close()
            raise PeerError(
                f"the PACS has not finished its answer after {seconds:g} seconds",
                where=address.shown,
                remedy="raise `timeout`, or ask the PACS' administrator",
            )
        yield piece


@contextmanager
def talking(address: Address, doing: str, *, plain: bool = False) -> Iterator[None]:
    """Turn what HTTP raises into our errors, without the query, which may name a patient.

    Args:
        address: of the PACS.
        doing: what is tried, e.g. ``"list series"``.
        plain: without TLS; for the remedy.

    Raises:
        PeerRefusedError: credentials or certificates are refused, by the PACS or by us.
        PeerError: it cannot be reached, is too slow, or answers with another error.
    """
    try:
        yield
    except requests.HTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        if status in _REFUSED:
            raise PeerRefusedError(
                f"cannot {doing}: {_REFUSED[status]} (HTTP {status})",
                where=address.shown,
                remedy="check user_env and password_env, or token_env, and what the PACS allows that user",
            ) from None
        raise PeerError(
            f"cannot {doing}: the PACS answers with HTTP {status}",
            where=address.shown,
            remedy="check the path of the address; the PACS' own log says more",
        ) from None
    except requests.exceptions.SSLError as error:
        # What OpenSSL says names certificates, not patients.
        text = str(getattr(error.args[0], "reason", "") if error.args else "")
        ours = "certificate verify failed" in text
        why = (
            "its certificate is not trusted" if ours else "it and we find no common TLS, or it refuses our certificate"
        )
        raise PeerRefusedError(
            f"cannot {doing}: {why}",
            where=address.shown,
            remedy="ca_file names who signed the PACS' certificate; certificate_file and key_file are ours; "
            "plain: true only for a PACS without TLS in a network that you trust",
        ) from None
    except (requests.RequestException, OSError) as error:
        if isinstance(error, requests.ConnectTimeout):
            why, remedy = NO_CONNECTION
        elif isinstance(error, requests.Timeout) or isinstance(error.args[0] if error.args else None, ReadTimeoutError):
            why, remedy = "the PACS takes the call and does not answer in time", "raise `timeout`; is it overloaded?"
        elif found := why_not_connected(error, tls=not plain):
            why, remedy = found
        elif isinstance(error, requests.ConnectionError):
            why, remedy = "the connection breaks", "check whether the PACS runs; its own log may say why"
        else:
            why, remedy = f"no answer that can be read ({type(error).__name__})", "check the path of the address"
        silent = isinstance(error, requests.Timeout | requests.ConnectionError | OSError)
        kind = PeerSilentError if silent else PeerError
        raise kind(f"cannot {doing}: {why}", where=address.shown, remedy=remedy) from None
