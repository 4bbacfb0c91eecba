"""The sender plug-ins `dicomweb` (STOW-RS) and `dimse` (C-STORE): products of DICOM to a PACS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hdm_dicom.pacs.address import parse_address
from hdm_dicom.pacs.connection import Connection
from hdm_dicom.pacs.failures import require_library
from hdm_pipeline.contracts import SendAnswer
from hdm_pipeline.errors import ConfigError

if TYPE_CHECKING:
    from hdm_dicom.pacs.stow import Stow

_WHERE = "output.send"
_OPTIONS = f"{_WHERE}.options"
_MAX_PORT = 65535


class _PacsSender:
    """What both share: an address, a connection, and files that must be of DICOM."""

    takes: ClassVar[tuple[str, ...]] = ("application/dicom",)
    takes_unknown: ClassVar[bool] = False
    _more: ClassVar[tuple[str, ...]] = ()
    """Options beside those of the connection."""

    def __init__(self, address: str, options: Mapping[str, Any] | None = None) -> None:
        self._address = parse_address(address, _WHERE)
        self._connection = Connection.parse(options, _OPTIONS, self._more)

    def check(self) -> Sequence[str]:
        """See `Sender.check`.

        Raises:
            ConfigError: a library, a certificate or a secret is missing.
        """
        require_library(self._address.scheme)
        self._connection.tls(_OPTIONS)
        self._connection.credentials(_OPTIONS)
        return []

    def fits(self, path: Path) -> bool:
        """See `Sender.fits`: whether it is a file of DICOM."""
        from hdm_dicom.pacs.instance import is_dicom

        return is_dicom(path)

    def send(self, files: Sequence[Path]) -> Sequence[SendAnswer]:
        """See `Sender.send`. What is no file of DICOM is refused."""
        good = [path for path in files if self.fits(path)]
        answers = dict(zip(good, self._send(good), strict=True)) if good else {}
        odd = SendAnswer("refused", "the file is no DICOM", "leave the product out of `output.send`")
        return [answers.get(path, odd) for path in files]

    def _send(self, files: Sequence[Path]) -> Sequence[SendAnswer]:
        raise NotImplementedError


class DicomWebSender(_PacsSender):
    """Sends to ``dicomweb://host[:port]/path`` by STOW-RS, each file in a request of its own.

    Options: those of `hdm_dicom.pacs.connection.Connection`.
    """

    name: ClassVar[str] = "dicomweb"

    def __init__(self, address: str, options: Mapping[str, Any] | None = None) -> None:
        super().__init__(address, options)
        self._stow: Stow | None = None

    def _send(self, files: Sequence[Path]) -> Sequence[SendAnswer]:
        from hdm_dicom.pacs.stow import Stow

        if self._stow is None:
            self._stow = Stow(self._address, self._connection, _OPTIONS)
        return self._stow.store(files)


class DimseSender(_PacsSender):
    """Sends to ``dimse://CALLED_AET@host:port`` by C-STORE, the files of a scene over one association.

    Options: those of `hdm_dicom.pacs.connection.Connection`, ``commitment`` (true: a file counts as sent once the PACS
    has committed itself to keep it) and ``port`` (of this machine, for a PACS that reports that over an association
    of its own).
    """

    name: ClassVar[str] = "dimse"
    _more: ClassVar[tuple[str, ...]] = ("commitment", "port")

    def __init__(self, address: str, options: Mapping[str, Any] | None = None) -> None:
        given = dict(options or {})
        self._commitment, self._port = given.pop("commitment", False), given.pop("port", 0)
        if not isinstance(self._commitment, bool):
            remedy = "write `commitment: true` where the PACS is to confirm that it keeps each file"
            raise ConfigError("commitment is true or false", where=f"{_OPTIONS}.commitment", remedy=remedy)
        if type(self._port) is not int or not 0 <= self._port <= _MAX_PORT:
            remedy = "give the port on which the PACS reaches us for its commitment, e.g. 11113"
            raise ConfigError("a port is a number up to 65535", where=f"{_OPTIONS}.port", remedy=remedy)
        if self._port and not self._commitment:
            raise ConfigError("port without commitment: true", where=f"{_OPTIONS}.port", remedy="give both, or neither")
        super().__init__(address, given)

    def check(self) -> Sequence[str]:
        """See `Sender.check`."""
        if self._port:
            self._connection.tls(_OPTIONS, server=True)
        return super().check()

    def _send(self, files: Sequence[Path]) -> Sequence[SendAnswer]:
        from hdm_dicom.pacs.commitment import Commitment
        from hdm_dicom.pacs.store import store

        commitment = Commitment(self._port) if self._commitment else None
        return store(self._address, self._connection, files, _OPTIONS, commitment)
