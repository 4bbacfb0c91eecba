"""Addresses of a PACS: ``dicomweb://host[:port]/path?KEY=VALUE`` and ``dimse://AET@host:port?KEY=VALUE``.

An address says where and what, never who: passwords and tokens in it are refused, for addresses end up in pipeline
files and in histories of shells. Its query may name a patient, so nothing shows the query (`Address.shown`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from hdm_pipeline.errors import ConfigError

SCHEMES = ("dicomweb", "dimse")

_HTTPS_PORT = 443
_HTTP_PORT = 80
_MAX_TITLE = 16
_TITLE = re.compile(r"[ -\[\]-~]+")
"""Printable ASCII but the backslash: PS3.5, VR AE."""
_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")
_PATH = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@%/-]*")
_NOT_KEYS = ("includefield", "limit", "offset", "fuzzymatching")


@dataclass(frozen=True)
class Address:
    """Where a PACS listens, and which objects in it are meant.

    Attributes:
        scheme: ``dicomweb`` or ``dimse``.
        host: name or IP address, without brackets.
        port: TCP port; 0 where the address names none, which only ``dicomweb`` may do.
        path: of ``dicomweb``: where the service begins, e.g. ``/dicom-web``; no slash at its end.
        called: of ``dimse``: the application entity that is called.
        query: matching keys by keyword and their values, in the order of the address. May name a patient.
    """

    scheme: Literal["dicomweb", "dimse"]
    host: str
    port: int = 0
    path: str = ""
    called: str = ""
    query: tuple[tuple[str, str], ...] = ()

    @property
    def shown(self) -> str:
        """The address without its query: what logs and errors may name."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        title = f"{self.called}@" if self.called else ""
        port = f":{self.port}" if self.port else ""
        return f"{self.scheme}://{title}{host}{port}{self.path}"

    def __repr__(self) -> str:
        return f"Address({self.shown})"

    def url(self, *, plain: bool = False) -> str:
        """The root of a DICOMweb service as ``https://...``; as ``http://...`` with `plain`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = self.port or (_HTTP_PORT if plain else _HTTPS_PORT)
        return f"{'http' if plain else 'https'}://{host}:{port}{self.path}"


def is_address(uri: str) -> bool:
    """Whether a text means to be an address of a PACS."""
    return uri.lower().startswith(tuple(f"{scheme}://" for scheme in SCHEMES))


def parse_address(uri: str, where: str) -> Address:
    """Take an address apart and check it.

    Args:
        uri: the address.
        where: the key it stands at, for errors; the address itself is not repeated, for it may hold a secret.

    Raises:
        ConfigError: another scheme, a password, no host, no AE title, or an unknown matching key.
    """
    scheme, separator, _ = uri.partition("://")
    if not separator or scheme.lower() not in SCHEMES or not uri.isprintable() or " " in uri:
        raise _wrong("this is no address of a PACS", where)
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError as error:
        raise _wrong("the host or port of an address cannot be read", where) from error
    if parts.fragment or parts.password is not None:
        raise _wrong(
            "an address holds a password" if parts.password is not None else "an address has a part after #",
            where,
            "give secrets by environment or file: user_env, password_env, password_file, token_env, token_file",
        )
    if not parts.hostname or not _HOST.fullmatch(parts.hostname):
        raise _wrong("an address names no host", where)
    if port == 0:
        raise _wrong("port 0 is none to connect to", where)
    query = _query(parts.query, where)
    if scheme.lower() == "dicomweb":
        if parts.username is not None:
            raise _wrong("a dicomweb:// address holds a user", where, "name the user by user_env")
        if not _PATH.fullmatch(parts.path):
            raise _wrong("the path of an address has a character that does not belong there", where)
        return Address("dicomweb", parts.hostname, port or 0, path=parts.path.rstrip("/"), query=query)
    if not parts.username:
        raise _wrong("a dimse:// address names no application entity", where)
    if port is None:
        raise _wrong("a dimse:// address names no port", where)
    if parts.path.strip("/"):
        raise _wrong("a dimse:// address has a path", where)
    return Address("dimse", parts.hostname, port, called=checked_title(unquote(parts.username), where), query=query)


def checked_title(title: str, where: str) -> str:
    """The title of an application entity: 1 to 16 characters of ASCII, no backslash, blanks around it dropped.

    Raises:
        ConfigError: it is none.
    """
    title = title.strip(" ")
    if not title or len(title) > _MAX_TITLE or not _TITLE.fullmatch(title):
        raise ConfigError(
            "an AE title has 1 to 16 characters of ASCII and no backslash",
            where=where,
            remedy="ask the PACS' administrator for the title",
        )
    return title


def checked_key(key: str, where: str) -> str:
    """A matching key by keyword, e.g. ``StudyDate``.

    Raises:
        ConfigError: DICOM has no such attribute, or the key steers a query instead of matching.
    """
    from pydicom.datadict import dictionary_VR, tag_for_keyword

    if key.lower() in _NOT_KEYS:
        raise ConfigError(f"{key} is no matching key", where=where, remedy="leave it out: every page is asked for")
    tag = tag_for_keyword(key)
    if tag is None:
        raise ConfigError(
            "a matching key is no keyword of DICOM" if not key.isidentifier() else f"DICOM has no attribute {key!r}",
            where=where,
            remedy="use keywords, e.g. StudyDate, ModalitiesInStudy, Modality, SeriesDescription, SeriesInstanceUID",
        )
    if dictionary_VR(tag) == "SQ":
        raise ConfigError(f"{key} is a sequence: no key to match by", where=where, remedy="use another key")
    return key


def _query(text: str, where: str) -> tuple[tuple[str, str], ...]:
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=True, errors="strict") if text else []
    except ValueError as error:
        raise _wrong("the part of an address after ? is no list of KEY=VALUE", where) from error
    for key, value in pairs:
        checked_key(key, where)
        if not value or not value.isprintable():
            raise _wrong(f"the matching key {key} has no value", where)
    if len({key for key, _ in pairs}) < len(pairs):
        raise _wrong("a matching key stands twice in an address", where)
    return tuple(pairs)


def _wrong(what: str, where: str, remedy: str = "") -> ConfigError:
    usual = "write dicomweb://host[:port]/path?KEY=VALUE or dimse://CALLED_AET@host:port?KEY=VALUE"
    return ConfigError(what, where=where, remedy=remedy or usual)
