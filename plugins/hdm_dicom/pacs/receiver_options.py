"""Options of the receiver `dicom`."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from hdm_dicom.pacs.address import checked_title
from hdm_dicom.pacs.connection import Connection
from hdm_pipeline.errors import ConfigError

WHERE = "listen.receive.dicom"
_MAX_PORT = 65_535
_LEFT_OUT = ("user_env", "password_env", "password_file")
"""Options of a connection that a listener has no use for."""


@dataclass(frozen=True)
class ReceiverOptions:
    """Options of the receiver, as they stand in the YAML.

    Attributes:
        port: TCP port; 0 takes any that is free, which is told at the start.
        host: address to listen at; other machines reach `0.0.0.0` or one of this machine's addresses.
        callers: AE titles that may call; empty for any. A title proves nothing: it keeps mistakes out, not people.
        allow_ips: addresses and networks that may connect.
        max_bytes: most bytes of one instance.
        max_associations: at once.
        hook_port: TCP port on 127.0.0.1 for `POST /complete?StudyInstanceUID=...`; 0 for none.
        connection: `ae_title` (which callers must call), `plain` or `certificate_file` and `key_file`, `ca_file` (then
            callers need certificates that it signed), `timeout`, and `token_env` or `token_file` of the hook.
    """

    port: int
    host: str = "127.0.0.1"
    callers: tuple[str, ...] = ()
    allow_ips: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    max_bytes: int = 2 * 10**9
    max_associations: int = 50
    hook_port: int = 0
    connection: Connection = field(default_factory=Connection)

    @classmethod
    def parse(cls, options: Mapping[str, Any] | None) -> ReceiverOptions:
        """Check options by name, type and value.

        Raises:
            ConfigError: unknown name, wrong type or value, or options that do not fit together.
        """
        given = dict(options or {})
        own = [one.name for one in fields(cls) if one.name != "connection"]
        shared = [name for name in Connection.names() if name not in _LEFT_OUT]
        if unknown := sorted(set(given) - set(own) - set(shared), key=str):
            raise ConfigError(
                f"unknown option {unknown[0]!r}", where=WHERE, remedy=f"use one of: {', '.join([*own, *shared])}"
            )
        connection = Connection.parse({name: given.pop(name) for name in shared if name in given}, WHERE)
        if "port" not in given:
            raise ConfigError("no port is given", where=f"{WHERE}.port", remedy="give one, such as 11112")
        for name in ("port", "max_bytes", "max_associations", "hook_port"):
            _require(type(given.get(name, 1)) is int, name, "a whole number")
        for name in ("callers", "allow_ips"):
            value = given.get(name, [])
            _require(isinstance(value, list) and all(isinstance(one, str) for one in value), name, "a list of texts")
        _require(isinstance(given.get("host", ""), str), "host", "a text")
        chosen: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in given.items()}
        parsed = cls(connection=connection, **chosen)
        parsed._check()
        return parsed

    def _check(self) -> None:
        for name, low, high in (
            ("port", 0, _MAX_PORT),
            ("hook_port", 0, _MAX_PORT),
            ("max_bytes", 1, 1 << 40),
            ("max_associations", 1, 1000),
        ):
            _require(low <= getattr(self, name) <= high, name, f"a number from {low} to {high}")
        for title in self.callers:
            checked_title(title, f"{WHERE}.callers")
        for text in self.allow_ips:
            try:
                ipaddress.ip_network(text)
            except ValueError as error:
                raise ConfigError(
                    f"{text!r} is no address or network",
                    where=f"{WHERE}.allow_ips",
                    remedy="write 10.1.2.3 or 10.1.0.0/16 (the bits after the / are zero)",
                ) from error
        if not self.connection.plain and not self.connection.certificate_file:
            raise ConfigError(
                "a listener with TLS needs a certificate",
                where=f"{WHERE}.certificate_file",
                remedy="give certificate_file and key_file, or plain: true in a network that you trust",
            )
        if self.hook_port and not (self.connection.token_env or self.connection.token_file):
            raise ConfigError(
                "a hook needs a token",
                where=f"{WHERE}.hook_port",
                remedy="give token_env or token_file",
            )

    @property
    def networks(self) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
        """`allow_ips`, parsed."""
        return [ipaddress.ip_network(text) for text in self.allow_ips]


def _require(holds: bool, name: str, kind: str) -> None:
    if not holds:
        remedy = "correct the value, or leave the option out where docs/configuration.md names a default"
        raise ConfigError(f"option {name!r} must be {kind}", where=f"{WHERE}.{name}", remedy=remedy)
