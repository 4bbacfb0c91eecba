"""STOW-RS: files to a PACS over HTTP, each in a request of its own, streamed from the disk.

Import this module only when a connection is made: it loads dicomweb-client.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from hdm_dicom.pacs.address import Address
from hdm_dicom.pacs.answers import of_http, of_stow
from hdm_dicom.pacs.connection import Connection
from hdm_dicom.pacs.instance import StoredFile
from hdm_dicom.pacs.web import Session, session, talking
from hdm_pipeline.contracts import SendAnswer
from hdm_pipeline.errors import PeerError, PeerRefusedError

_PIECE = 1 << 20


class _Body:
    """A file as the only part of a multipart body: as long as it says, and never in memory as a whole."""

    def __init__(self, file: BinaryIO, size: int, boundary: str) -> None:
        head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        tail = f"\r\n--{boundary}--\r\n".encode()
        self._length = len(head) + size + len(tail)
        self._pieces = self._cut(head, file, tail)
        self._rest = b""

    def __len__(self) -> int:
        return self._length

    @staticmethod
    def _cut(head: bytes, file: BinaryIO, tail: bytes) -> Iterator[bytes]:
        yield head
        while piece := file.read(_PIECE):
            yield piece
        yield tail

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces

    def read(self, size: int = -1) -> bytes:
        """The next piece, `size` bytes at most; empty at the end."""
        if not self._rest:
            self._rest = next(self._pieces, b"")
        size = len(self._rest) if size < 0 else size
        piece, self._rest = self._rest[:size], self._rest[size:]
        return piece


class Stow:
    """Stores files in one PACS. Its connection is kept from scene to scene.

    Args:
        address: of the PACS.
        connection: its options.
        where: the key of the options, for errors.
    """

    def __init__(self, address: Address, connection: Connection, where: str) -> None:
        self._address, self._connection, self._where = address, connection, where
        self._http: Session | None = None

    def store(self, files: Sequence[Path]) -> list[SendAnswer]:
        """Store files; one answer for each. Once the PACS takes nothing, the others are not tried.

        Raises:
            ConfigError: certificates, credentials or a library are missing.
            OSError: a file cannot be read.
        """
        answers: list[SendAnswer] = []
        for path in files:
            answer = self._store_one(StoredFile.of(path))
            answers.append(answer)
            if answer.outcome == "unavailable":
                return answers + [answer] * (len(files) - len(answers))
        return answers

    def _store_one(self, stored: StoredFile) -> SendAnswer:
        kept = self._http
        if kept is not None:
            answer = _stow_one(kept, self._address, self._connection, stored)
            if answer.outcome != "unavailable":
                return answer
            # The PACS may have closed it meanwhile, and a token may have been renewed: once more from the start.
            kept.close()
            self._http = None
        http = session(self._address, self._connection, self._where)
        answer = _stow_one(http, self._address, self._connection, stored)
        if answer.outcome == "unavailable":
            http.close()
        else:
            self._http = http
        return answer


def _stow_one(http: Session, address: Address, connection: Connection, stored: StoredFile) -> SendAnswer:
    boundary = secrets.token_hex(16)
    headers = {
        "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
        "Accept": "application/dicom+json",
    }
    try:
        with talking(address, "store", plain=connection.plain), stored.path.open("rb") as file:
            body = _Body(file, stored.size, boundary)
            answer = http.post(f"{address.url(plain=connection.plain)}/studies", data=body, headers=headers)
    except PeerRefusedError as error:
        return SendAnswer("unavailable", error.what, error.remedy)
    except PeerError as error:
        return SendAnswer("unavailable", error.what, error.remedy, again=True)
    return of_http(answer.status_code) or of_stow(answer.status_code, _json(answer), stored.instance)


def _json(answer: Any) -> Any:
    try:
        return answer.json()
    except ValueError:
        return None
