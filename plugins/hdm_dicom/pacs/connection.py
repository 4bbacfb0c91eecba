"""How a PACS is spoken to: who we are, what we trust, and how long we wait; the same for input, sending and listening.

A pipeline file names where secrets are (`password_env`, `token_file`, ...), never the secrets. They are read when a
connection is made, and no text of this room shows them.
"""

from __future__ import annotations

import math
import os
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from hdm_dicom.pacs.address import checked_title
from hdm_pipeline.errors import ConfigError

_MAX_SECRET = 1 << 16
_MAX_TIMEOUT = 86_400.0
_PATHS = ("ca_file", "certificate_file", "key_file", "password_file", "token_file")


@dataclass(frozen=True)
class Credentials:
    """Who we are to a PACS over HTTP: a user with a password, or a bearer token; all empty for neither."""

    user: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)


@dataclass(frozen=True)
class Connection:
    """Options of a connection, as they stand in the YAML.

    Attributes:
        ae_title: our own application entity (DIMSE).
        plain: speak without TLS; must be asked for.
        ca_file: certificates in PEM that the peer's is checked against; empty for those that this system trusts.
        certificate_file: our own certificate in PEM, for peers that ask for one.
        key_file: its key in PEM, without a passphrase; empty if it stands in `certificate_file`.
        user_env, password_env: environment variables with user and password (HTTP basic).
        password_file: file with the password, instead of `password_env`.
        token_env, token_file: environment variable or file with a bearer token.
        timeout: seconds to wait for a connection, and for each next answer.
    """

    ae_title: str = "HDM"
    plain: bool = False
    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""
    user_env: str = ""
    password_env: str = ""
    password_file: str = ""
    token_env: str = ""
    token_file: str = ""
    timeout: float = 30.0

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """All names of options."""
        return tuple(f.name for f in fields(cls))

    @classmethod
    def parse(cls, options: Mapping[str, Any] | None, where: str, beside: Sequence[str] = ()) -> Connection:
        """Check options by name, type and value. Nothing is read yet. Relative paths count from the working directory.

        Args:
            options: from the YAML.
            where: the key they stand at, e.g. ``input.options.connection``.
            beside: names of other options that stand at that key, which have been taken out; for errors.

        Raises:
            ConfigError: unknown name, wrong type or value, or options that do not fit together.
        """
        given = dict(options or {})
        if unknown := sorted(set(given) - set(cls.names()), key=str):
            secret = unknown[0] in ("password", "token", "user", "key")
            remedy = "name an environment variable or a file: user_env, password_env, password_file, token_env, ..."
            raise ConfigError(
                f"unknown option {unknown[0]!r}"
                if not secret
                else f"{unknown[0]!r} does not belong in a pipeline file",
                where=where,
                remedy=remedy if secret else f"use one of: {', '.join([*cls.names(), *beside])}",
            )
        for name, value in given.items():
            given[name] = _typed(name, value, type(getattr(cls, name)), where)
            if name in _PATHS and given[name]:
                given[name] = os.path.abspath(os.path.expanduser(given[name]))
        parsed = cls(**given)
        parsed._check(where)
        return parsed

    def as_dict(self) -> dict[str, Any]:
        """The options as JSON-able values; `parse` takes them back. No secret is among them."""
        return asdict(self)

    def _check(self, where: str) -> None:
        checked_title(self.ae_title, f"{where}.ae_title")
        if not (math.isfinite(self.timeout) and 0 < self.timeout <= _MAX_TIMEOUT):
            what, remedy = "the timeout is no number of seconds from 0 to a day", "leave it out for 30 seconds"
            raise ConfigError(what, where=f"{where}.timeout", remedy=remedy)
        for one, two in (("password_env", "password_file"), ("token_env", "token_file")):
            if getattr(self, one) and getattr(self, two):
                raise ConfigError(f"{one} and {two} are both given", where=where, remedy="keep one")
        by_password, by_token = self.password_env or self.password_file, self.token_env or self.token_file
        if bool(self.user_env) != bool(by_password):
            raise ConfigError(
                "a user needs a password, and a password a user",
                where=where,
                remedy="give user_env with password_env or password_file",
            )
        if by_password and by_token:
            raise ConfigError("a password and a token are both given", where=where, remedy="keep one")
        if self.key_file and not self.certificate_file:
            raise ConfigError("key_file without certificate_file", where=where, remedy="give both, or neither")
        if self.plain and (self.ca_file or self.certificate_file):
            raise ConfigError(
                "certificates are of no use without TLS", where=where, remedy="leave out plain, or the certificates"
            )

    def credentials(self, where: str) -> Credentials:
        """User and password, or token, read from where the options say.

        Raises:
            ConfigError: a variable is not set, a file cannot be read, or what it holds cannot be sent in a header.
        """

        def secret(env: str, file: str) -> str:
            if env:
                return _from_environment(getattr(self, env), f"{where}.{env}")
            return _from_file(getattr(self, file), f"{where}.{file}")

        if self.user_env:
            by_env = bool(self.password_env)
            return Credentials(
                user=_from_environment(self.user_env, f"{where}.user_env"),
                password=secret("password_env" if by_env else "", "password_file"),
            )
        if self.token_env or self.token_file:
            return Credentials(token=secret("token_env" if self.token_env else "", "token_file"))
        return Credentials()

    def tls(self, where: str, *, server: bool = False) -> ssl.SSLContext | None:
        """What TLS is spoken with (1.2 or newer); None where `plain` is asked for.

        Args:
            where: for errors.
            server: for a listener, which needs `certificate_file`, and asks callers for certificates of `ca_file`
                if that is given; else for a caller, which checks the peer's certificate and name.

        Raises:
            ConfigError: a file is missing, is no PEM, or key and certificate do not belong together.
        """
        if self.plain:
            return None
        purpose = ssl.Purpose.CLIENT_AUTH if server else ssl.Purpose.SERVER_AUTH
        if server and not self.certificate_file:
            raise ConfigError(
                "a listener with TLS needs a certificate",
                where=f"{where}.certificate_file",
                remedy="give certificate_file and key_file, or plain: true in a network that you trust",
            )
        # Reading all certificates that the system trusts takes 80 ms: only where they count.
        context = (
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
            if self.ca_file
            else ssl.create_default_context(purpose)
        )
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.ca_file:
            context.verify_mode = ssl.CERT_REQUIRED
            with_file(self.ca_file, f"{where}.ca_file", lambda: context.load_verify_locations(self.ca_file))
        if self.certificate_file:
            key = self.key_file or self.certificate_file
            with_file(key, f"{where}.{'key_file' if self.key_file else 'certificate_file'}", lambda: None)
            # An empty passphrase: a key that asks for one is an error, not a question on a terminal.
            load = lambda: context.load_cert_chain(self.certificate_file, key, password="")  # noqa: E731
            with_file(self.certificate_file, f"{where}.certificate_file", load)
        return context


def with_file(path: str, where: str, load: Any) -> None:
    """Open a file of certificates, then load it.

    Raises:
        ConfigError: it cannot be opened, or holds nothing of the kind.
    """
    try:
        with open(path, "rb") as file:
            file.read(1)
        load()
    except ssl.SSLError as error:
        raise ConfigError(
            "a certificate or key cannot be used",
            where=f"{where}: {path}",
            remedy="give PEM files; a key has no passphrase and belongs to its certificate",
        ) from error
    except OSError as error:
        raise ConfigError(
            f"a file of certificates cannot be read: {error.strerror}",
            where=f"{where}: {path}",
            remedy="check path and permissions",
        ) from error


def _typed(name: str, value: Any, kind: type, where: str) -> Any:
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        remedy = "correct the value, or leave the option out for its default (docs/pacs.md)"
        raise ConfigError(f"option {name!r} must be of type {kind.__name__}", where=f"{where}.{name}", remedy=remedy)
    return value


def _from_environment(name: str, where: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise ConfigError(
            f"the environment variable {name} is not set" if value is None else f"{name} is empty",
            where=where,
            remedy=f"set {name} where the pipeline runs; on a cluster, on every node",
        )
    return _sendable(value, where)


def _from_file(path: str, where: str) -> str:
    try:
        with open(path, "rb") as file:
            raw = file.read(_MAX_SECRET + 1)
        text = "" if len(raw) > _MAX_SECRET else raw.decode("utf-8").strip("\r\n")
    except OSError as error:
        raise ConfigError(
            f"a file with a secret cannot be read: {error.strerror}",
            where=f"{where}: {path}",
            remedy="check path and permissions; on a cluster, it must be on every node",
        ) from error
    except UnicodeDecodeError:
        text = ""
    if not text:
        raise ConfigError(
            "a file with a secret holds none", where=f"{where}: {path}", remedy="write the secret as its only line"
        )
    return _sendable(text, where)


def _sendable(secret: str, where: str) -> str:
    if not secret.isprintable():
        raise ConfigError(
            "a secret has line breaks or other control characters", where=where, remedy="write it as one line"
        )
    return secret
