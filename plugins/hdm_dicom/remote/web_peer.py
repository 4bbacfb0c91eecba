"""A PACS by DICOMweb: QIDO-RS through dicomweb-client, WADO-RS as streams of bytes.

dicomweb-client holds and parses whole instances; here they go to disk in pieces, as the PACS sends them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

from pydicom.datadict import tag_for_keyword

from hdm_dicom.files.uids import is_uid
from hdm_dicom.pacs import web
from hdm_dicom.pacs.address import Address
from hdm_dicom.pacs.connection import Connection
from hdm_dicom.pacs.failures import retried
from hdm_dicom.pacs.multipart import Multipart
from hdm_dicom.remote.inbox import Inbox
from hdm_dicom.remote.peer import ASK_FOR_LESS, CONNECTION, MAX_LISTED, Peer
from hdm_dicom.remote.query import ListedSeries
from hdm_pipeline.errors import PeerError, PeerSilentError

_PAGE = 100
_SLOWEST = 1024
"""Bytes a second below which a peer counts as hung, once `timeout` has passed."""

_STUDY, _SERIES, _INSTANCE = "0020000D", "0020000E", "00080018"
_CLASS = "00080016"
_MODALITY, _COUNT = "00080060", "00201209"
_AS_STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'

Item = dict[str, Any]


class WebPeer:
    """A DICOMweb service (`Peer`); a context manager, used by one thread."""

    def __init__(self, address: Address, connection: Connection) -> None:
        self._address, self._connection = address, connection
        self._http = web.session(address, connection, CONNECTION)
        self._client = web.client(self._http, plain=connection.plain)

    def __enter__(self) -> WebPeer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def apart(self) -> AbstractContextManager[Peer]:
        """See `Peer`."""
        return WebPeer(self._address, self._connection)

    def studies(self, keys: Mapping[str, str]) -> list[str]:
        """See `Peer`."""

        def page(offset: int) -> list[Item]:
            found: list[Item] = self._client.search_for_studies(limit=_PAGE, offset=offset, search_filters=dict(keys))
            return found

        # To its empty end: a PACS may give fewer than asked for, and say nothing.
        return [_uid(item, _STUDY) for item in self._pages("list studies", page, _STUDY, to_the_end=True)]

    def series(self, study: str, keys: Mapping[str, str], more: Collection[str] = ()) -> list[ListedSeries]:
        """See `Peer`."""

        def page(offset: int) -> list[Item]:
            found: list[Item] = self._client.search_for_series(
                study or None,
                fields=["NumberOfSeriesRelatedInstances", *more],
                limit=_PAGE,
                offset=offset,
                search_filters=dict(keys),
            )
            return found

        tags = {keyword: f"{tag_for_keyword(keyword):08X}" for keyword in more}
        return [
            ListedSeries(
                study or _uid(item, _STUDY),
                _uid(item, _SERIES),
                _text(item, _MODALITY),
                _number(item),
                {keyword: found for keyword, tag in tags.items() if (found := _text(item, tag).strip())},
            )
            for item in self._pages("list series", page, _SERIES)
        ]

    def instances(self, listed: ListedSeries) -> list[str]:
        """See `Peer`."""
        return [_uid(item, _INSTANCE) for item in self._instances(listed)]

    def classes(self, listed: ListedSeries) -> set[str]:
        """See `Peer`."""
        return {_uid(item, _CLASS) for item in self._instances(listed)}

    def _instances(self, listed: ListedSeries) -> Iterator[Item]:
        def page(offset: int) -> list[Item]:
            found: list[Item] = self._client.search_for_instances(
                listed.study, listed.series, limit=_PAGE, offset=offset
            )
            return found

        return self._pages("list instances", page, _INSTANCE, to_the_end=True)

    def holding(self, uid: str, study: str) -> list[ListedSeries]:
        """See `Peer`."""

        def page(offset: int) -> list[Item]:
            found: list[Item] = self._client.search_for_instances(
                study or None, fields=["Modality"], limit=_PAGE, offset=offset, search_filters={"SOPInstanceUID": uid}
            )
            return [item for item in found if _uid(item, _INSTANCE) == uid]

        return [
            ListedSeries(study or _uid(item, _STUDY), _uid(item, _SERIES), _text(item, _MODALITY), None)
            for item in self._pages("find an object", page, _INSTANCE)
        ]

    def retrieve(self, listed: ListedSeries, inbox: Inbox, only: Collection[str] = ()) -> None:
        """See `Peer`."""
        whole = f"{self._address.url(plain=self._connection.plain)}/studies/{listed.study}/series/{listed.series}"
        for url in [f"{whole}/instances/{uid}" for uid in only] or [whole]:
            with web.talking(self._address, "fetch a series", plain=self._connection.plain):
                self._retrieve(url, inbox)

    def _retrieve(self, url: str, inbox: Inbox) -> None:
        answer = self._http.get(url, headers={"Accept": _AS_STORED}, stream=True)
        try:
            answer.raise_for_status()
            parts = Multipart(self._pieces(answer), answer.headers.get("Content-Type", ""), self._address.shown)
            for part in parts:
                inbox.put(part)
        finally:
            answer.close()

    def _pieces(self, answer: Any) -> Iterator[bytes]:
        start, seen = time.monotonic(), 0
        for piece in web.arriving(answer):
            yield piece
            seen += len(piece)
            passed = time.monotonic() - start
            if passed > self._connection.timeout and seen < _SLOWEST * passed:
                what = f"the PACS sends less than {_SLOWEST} bytes a second"
                remedy = "look at the network and at the load of the PACS; the next run tries again"
                raise PeerSilentError(what, where=self._address.shown, remedy=remedy)

    def _pages(
        self, doing: str, ask: Callable[[int], list[Item]], key: str, *, to_the_end: bool = False
    ) -> Iterator[Item]:
        """Items of all pages, each once, whose UID is one."""
        seen: set[str] = set()
        offset = 0
        while True:
            page = retried(lambda start=offset: self._page(doing, ask, start))  # type: ignore[misc]
            new = {uid: item for item in page if (uid := _uid(item, key)) not in seen}
            seen |= new.keys()
            offset += len(page)
            yield from new.values()
            if len(seen) > MAX_LISTED:
                what = f"cannot {doing}: more than {MAX_LISTED} are listed"
                raise PeerError(what, where=self._address.shown, remedy=ASK_FOR_LESS)
            if not new or (len(page) < _PAGE and not to_the_end and not self._http.more):
                return

    def _page(self, doing: str, ask: Callable[[int], list[Item]], offset: int) -> list[Item]:
        with web.talking(self._address, doing, plain=self._connection.plain):
            try:
                items = ask(offset)
                good = all(
                    is_uid(uid) for item in items for tag in (_STUDY, _SERIES, _INSTANCE) if (uid := _uid(item, tag))
                )
            except (ValueError, TypeError, AttributeError, KeyError):
                good, items = False, []
        if not good:
            raise PeerError(
                f"cannot {doing}: the PACS' answer is no list of DICOM JSON with valid UIDs",
                where=self._address.shown,
                remedy="check that the path of the address is that of its DICOMweb service",
            )
        return items


def _values(item: Item, tag: str) -> list[Any]:
    found = item.get(tag, {}).get("Value", [])
    return found if isinstance(found, list) else []


def _text(item: Item, tag: str) -> str:
    return "\\".join(str(value) for value in _values(item, tag))


def _uid(item: Item, tag: str) -> str:
    return _text(item, tag).strip("\0 ")


def _number(item: Item) -> int | None:
    text = _text(item, _COUNT)
    return int(text) if text.isdigit() else None
