"""A PACS by DIMSE: C-FIND to list, C-GET or C-MOVE to fetch (PS3.4 C.4, study root)."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from pydicom.dataset import Dataset

from hdm_dicom.files.attributes import numbers, text
from hdm_dicom.files.syntaxes import PACKED_SYNTAXES, PLAIN_SYNTAXES
from hdm_dicom.files.uids import is_uid
from hdm_dicom.pacs.address import Address
from hdm_dicom.pacs.associations import accepts, association, entity
from hdm_dicom.pacs.connection import Connection
from hdm_dicom.remote.inbox import Inbox
from hdm_dicom.remote.peer import ASK_FOR_LESS, CONNECTION, MAX_LISTED, Peer
from hdm_dicom.remote.query import ListedSeries
from hdm_pipeline.errors import ConfigError, HdmError, PeerError, PeerRefusedError, PeerSilentError, SceneError

# Loaded after `associations`, which says what to do if pynetdicom is not installed.
from pynetdicom import AllStoragePresentationContexts, build_context, build_role, evt  # isort: skip

_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
_GET = "1.2.840.10008.5.1.4.1.2.2.3"
"""Study root."""

_STORED = (
    *("1", "1.1", "1.2", "2", "2.1", "2.2", "3.1", "4", "4.1", "4.2", "4.3", "4.4", "6.1", "6.2", "6.3", "7"),
    *("7.1", "7.2", "7.3", "7.4", "12.1", "12.1.1", "12.2", "12.2.1", "13.1.1", "13.1.2", "13.1.3", "20", "30"),
    *("30.1", "66.4", "66.7", "77.1.1", "77.1.2", "77.1.4", "128", "128.1", "130", "481.1", "481.3"),
    *("1.1.1", "1.2.1", "1.3", "1.3.1", "3", "5", "6", "66", "66.1", "66.2", "77.1.5.1", "77.1.5.4"),
)
"""Storage SOP classes that we ask for where the PACS does not say which it holds, below 1.2.840.10008.5.1.4.1.1:
images, segmentations and structures."""

_STORAGE = "1.2.840.10008.5.1.4.1.1."
_MOST_CONTEXTS = 128
"""Presentation contexts of an association (PS3.8 9.3.2.2)."""
_PENDING = (0xFF00, 0xFF01)
_SUCCESS = 0x0000
_OUT_OF_RESOURCES = 0xA700
_NOT_OF_THIS = 0xA900
_MOVE_TARGET_UNKNOWN = 0xA801
_RETRIEVE_PATIENCE = 10
"""A whole instance may take this many times `timeout`."""

_LISTENING = threading.Lock()
"""Held while we listen for C-MOVE: there is one port."""

log = logging.getLogger(__name__)


class DimsePeer:
    """An application entity of a PACS (`Peer`). Each call is an association of its own.

    Args:
        address: of the PACS.
        connection: its options.
        retrieve: ``get`` or ``move``.
        move_port: where we listen for ``move``.
    """

    def __init__(self, address: Address, connection: Connection, retrieve: str, move_port: int) -> None:
        self._address, self._connection = address, connection
        self._how, self._port = retrieve, move_port

    def apart(self) -> AbstractContextManager[Peer]:
        """See `Peer`."""
        return nullcontext(self)

    def studies(self, keys: Mapping[str, str]) -> list[str]:
        """See `Peer`."""
        found = self._find("STUDY", {"StudyInstanceUID": "", **keys}, "list studies")
        return list(dict.fromkeys(text(one, "StudyInstanceUID") for one in found))

    def series(self, study: str, keys: Mapping[str, str], more: Collection[str] = ()) -> list[ListedSeries]:
        """See `Peer`."""
        self._need_study(study)
        asked = {
            "SeriesInstanceUID": "",
            "Modality": "",
            "NumberOfSeriesRelatedInstances": "",
            **dict.fromkeys(more, ""),
        }
        found = self._find("SERIES", {"StudyInstanceUID": study, **asked, **keys}, "list series")
        return [
            ListedSeries(
                study,
                text(one, "SeriesInstanceUID"),
                text(one, "Modality"),
                _count(one),
                {keyword: said for keyword in more if (said := text(one, keyword).strip())},
            )
            for one in found
        ]

    def instances(self, listed: ListedSeries) -> list[str]:
        """See `Peer`."""
        asked = {"StudyInstanceUID": listed.study, "SeriesInstanceUID": listed.series, "SOPInstanceUID": ""}
        return list(dict.fromkeys(text(o, "SOPInstanceUID") for o in self._find("IMAGE", asked, "list instances")))

    def classes(self, listed: ListedSeries) -> set[str]:
        """See `Peer`."""
        asked = {"StudyInstanceUID": listed.study, "SeriesInstanceUID": listed.series}
        asked |= {"SOPInstanceUID": "", "SOPClassUID": ""}
        return {text(one, "SOPClassUID") for one in self._find("IMAGE", asked, "list instances")}

    def holding(self, uid: str, study: str) -> list[ListedSeries]:
        """See `Peer`."""
        self._need_study(study)
        for listed in self.series(study, {}):
            if uid in self.instances(listed):
                return [listed]
        return []

    def retrieve(self, listed: ListedSeries, inbox: Inbox, only: Collection[str] = ()) -> None:
        """See `Peer`."""
        wanted = Dataset()
        wanted.QueryRetrieveLevel = "IMAGE" if only else "SERIES"
        wanted.StudyInstanceUID, wanted.SeriesInstanceUID = listed.study, listed.series
        if only:
            wanted.SOPInstanceUID = list(only)
        arrivals = _Arrivals(inbox)
        with arrivals.errors_first():
            if self._how == "move":
                self._move(wanted, arrivals)
            else:
                self._get(wanted, arrivals, self._told_classes(listed))

    def _told_classes(self, listed: ListedSeries) -> set[str]:
        """SOP classes of a series; none where the PACS lists no instances, which it need not do for C-GET."""
        try:
            return self.classes(listed)
        except PeerSilentError:
            raise
        except PeerError:
            return set()

    def _get(self, wanted: Dataset, arrivals: _Arrivals, kinds: Collection[str]) -> None:
        contexts = [build_context(_GET), *_taken(kinds)]
        roles = [build_role(each, scp_role=True) for each in dict.fromkeys(c.abstract_syntax for c in contexts[1:])]
        with self._associated(contexts, roles, arrivals.handlers()) as made:
            self._require(accepts(made, _GET), "fetch by C-GET", "set input.options.retrieve: move")
            made.dimse_timeout = _RETRIEVE_PATIENCE * self._connection.timeout
            self._end(made.send_c_get(wanted, _GET), "fetch a series")

    def _move(self, wanted: Dataset, arrivals: _Arrivals) -> None:
        with _LISTENING, self._listening(arrivals), self._associated([build_context(_MOVE)]) as made:
            self._require(accepts(made, _MOVE), "fetch by C-MOVE", "set input.options.retrieve: get")
            made.dimse_timeout = _RETRIEVE_PATIENCE * self._connection.timeout
            self._end(made.send_c_move(wanted, self._connection.ae_title, _MOVE), "fetch a series")

    @contextmanager
    def _listening(self, arrivals: _Arrivals) -> Iterator[None]:
        ours = entity(self._connection)
        ours.require_called_aet = True
        ours.require_calling_aet = [self._address.called]
        for context in AllStoragePresentationContexts:
            ours.add_supported_context(str(context.abstract_syntax), [*PLAIN_SYNTAXES, *PACKED_SYNTAXES])
        tls = self._connection.tls(CONNECTION, server=True)
        try:
            server = ours.start_server(("", self._port), block=False, ssl_context=tls, evt_handlers=arrivals.handlers())
        except OSError as error:
            raise PeerError(
                f"nobody can listen on port {self._port}: {error.strerror}",
                where="input.options.move_port",
                remedy="choose a free port, and tell it to the PACS",
            ) from None
        try:
            yield
        finally:
            if server is not None:
                server.shutdown()

    def _find(self, level: str, keys: Mapping[str, str], doing: str) -> list[Dataset]:
        asked = Dataset()
        asked.SpecificCharacterSet = "ISO_IR 192"
        asked.QueryRetrieveLevel = level
        for key, value in keys.items():
            setattr(asked, key, value.replace(",", "\\") if key.endswith("UID") else value)
        found: list[Dataset] = []
        with self._associated([build_context(_FIND)]) as made:
            self._require(accepts(made, _FIND), doing, "use an address of the PACS' query service")

            def answers() -> Iterator[Any]:
                for status, identifier in made.send_c_find(asked, _FIND):
                    if getattr(status, "Status", None) in _PENDING and identifier is not None:
                        found.append(identifier)
                        if len(found) > MAX_LISTED:
                            what = f"cannot {doing}: more than {MAX_LISTED} are listed"
                            raise PeerError(what, where=self._shown, remedy=ASK_FOR_LESS)
                    yield status, identifier

            self._end(answers(), doing)
        uid = {"STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}[level]
        if not all(is_uid(text(one, uid)) for one in found):
            what = f"cannot {doing}: the PACS lists one whose {uid} is no UID"
            remedy = "find and correct it in the PACS; or ask for others by more matching keys"
            raise PeerError(what, where=self._shown, remedy=remedy)
        return found

    @contextmanager
    def _associated(self, contexts: list[Any], roles: Any = (), handlers: Any = ()) -> Iterator[Any]:
        with association(self._address, self._connection, contexts, CONNECTION, roles=roles, handlers=handlers) as made:
            yield made

    def _end(self, answers: Iterable[Any], doing: str) -> None:
        """Take all answers; the last one says how it ended."""
        status = None
        for answer, _ in answers:
            status = getattr(answer, "Status", None)
            if status is None:
                break
        if status is None:
            raise PeerSilentError(
                f"cannot {doing}: the PACS breaks off, or does not answer in time",
                where=self._shown,
                remedy="raise `timeout`; the PACS' own log may say more",
            )
        if status == _MOVE_TARGET_UNKNOWN:
            raise PeerRefusedError(
                f"cannot {doing}: the PACS does not know {self._connection.ae_title}",
                where=self._shown,
                remedy=f"enter {self._connection.ae_title} with this machine's address and port {self._port} in the "
                "PACS' list of application entities",
            )
        # Sub-operations that failed (a warning) are found by counting what has arrived.
        if status not in (_SUCCESS, 0xB000):
            raise PeerError(
                f"cannot {doing}: the PACS answers with status {status:04X}H",
                where=self._shown,
                remedy="the PACS' own log says more",
            )

    def _need_study(self, study: str) -> None:
        if not study:
            raise ConfigError(
                "by DIMSE a PACS is asked study by study",
                where=self._shown,
                remedy="give StudyInstanceUID, too",
            )

    def _require(self, accepted: bool, doing: str, remedy: str) -> None:
        if not accepted:
            raise PeerRefusedError(f"cannot {doing}: the PACS does not offer it", where=self._shown, remedy=remedy)

    @property
    def _shown(self) -> str:
        return self._address.shown


class _Arrivals:
    """Takes what a PACS stores with us; what goes wrong is raised when the call has ended."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._error: HdmError | None = None
        self._received = 0

    def handlers(self) -> list[Any]:
        """For pynetdicom."""
        return [(evt.EVT_C_STORE, self._store), (evt.EVT_DATA_RECV, self._received_more)]

    @contextmanager
    def errors_first(self) -> Iterator[None]:
        """What made us break off explains more than that the association broke."""
        try:
            yield
        except HdmError:
            if self._error is None:
                raise
        if self._error is not None:
            raise self._error

    def _received_more(self, event: Any) -> None:
        """An instance is held in memory until it is whole: one that has no end is not waited for."""
        self._received += len(event.data)
        if self._error is not None:
            return
        try:
            self._inbox.check_stopped()
            if self._received > self._inbox.room:
                raise self._inbox.too_large()
        except HdmError as error:
            self._error = error
            event.assoc.dul.socket.close()

    def _store(self, event: Any) -> int:
        if self._error is not None:
            return _OUT_OF_RESOURCES
        try:
            self._inbox.put([event.encoded_dataset()])
        except HdmError as error:
            self._error = error
            return _NOT_OF_THIS if isinstance(error, SceneError) else _OUT_OF_RESOURCES
        return _SUCCESS


def _taken(kinds: Collection[str]) -> list[Any]:
    """Presentation contexts of what a PACS is to send us by C-GET.

    It picks one syntax of each context, mostly the first, and many send nothing that they had to decompress for it. So
    each compressed syntax has a context of its own, for the classes of the series. Where the PACS does not say these
    there are too many for that: each class then has one context.

    Args:
        kinds: SOP classes of the series, as the PACS lists them; empty where it does not say.
    """
    offers = [list(PLAIN_SYNTAXES), *([packed] for packed in PACKED_SYNTAXES)]
    if kinds and all(map(is_uid, kinds)) and len(kinds) * len(offers) < _MOST_CONTEXTS:
        return [build_context(kind, offer) for kind in sorted(kinds) for offer in offers]
    return [build_context(_STORAGE + each, [*PLAIN_SYNTAXES, *PACKED_SYNTAXES]) for each in _STORED]


def _count(listed: Dataset) -> int | None:
    found = numbers(listed, "NumberOfSeriesRelatedInstances", 1)
    return None if found is None else int(found[0])
