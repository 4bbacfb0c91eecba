"""multipart/related as a stream (RFC 2046): each part in pieces, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from email.message import Message

from hdm_pipeline.errors import PeerError

_MAX_HEAD = 1 << 16


class Multipart:
    """Iterates over parts, each an iterator of pieces of its content; take a part to its end before the next.

    Args:
        pieces: the body.
        content_type: of the answer; names the boundary.
        where: of the peer, for errors.

    Raises:
        PeerError: it is no multipart, or ends before its end.
    """

    def __init__(self, pieces: Iterator[bytes], content_type: str, where: str) -> None:
        message = Message()
        message["Content-Type"] = content_type
        boundary = message.get_boundary()
        self._where = where
        if message.get_content_type() != "multipart/related" or not boundary:
            raise self._wrong("the PACS' answer is no multipart/related")
        self._border = b"\r\n--" + boundary.encode()
        self._pieces = pieces
        self._data = bytearray(b"\r\n")  # the first border has no line before it

    def __iter__(self) -> Iterator[Iterator[bytes]]:
        for _ in self._until_border():
            pass  # a preamble
        while True:
            self._need(2)
            if self._data[:2] == b"--":
                return
            self._skip_head()
            yield self._until_border()

    def _skip_head(self) -> None:
        # The border's own line end, then lines of the head, then an empty line.
        while (end := self._data.find(b"\r\n\r\n")) < 0:
            if len(self._data) > _MAX_HEAD:
                raise self._wrong("the head of a part of the PACS' answer has no end")
            self._more()
        del self._data[: end + 4]

    def _until_border(self) -> Iterator[bytes]:
        keep = len(self._border) - 1
        while (end := self._data.find(self._border)) < 0:
            if len(self._data) > keep:
                out = bytes(self._data[:-keep])
                del self._data[:-keep]
                yield out
            self._more()
        if end:
            yield bytes(self._data[:end])
        del self._data[: end + len(self._border)]

    def _need(self, count: int) -> None:
        while len(self._data) < count:
            self._more()

    def _more(self) -> None:
        piece = next(self._pieces, None)
        if piece is None:
            raise self._wrong("the PACS' answer ends before its end")
        self._data += piece

    def _wrong(self, what: str) -> PeerError:
        return PeerError(what, where=self._where, remedy="the PACS' own log may say why")
