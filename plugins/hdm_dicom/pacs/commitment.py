"""Storage commitment (PS3.4 annex J): the PACS is asked to say that it keeps what it was sent.

The answer, an N-EVENT-REPORT, comes over the association that asked, or over one that the PACS opens to us: then our
application entity listens on a port for as long as it is waited for.

Import this module only when a connection is made: it loads pynetdicom.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import evt

from hdm_dicom.pacs.address import Address
from hdm_dicom.pacs.answers import of_reason
from hdm_dicom.pacs.associations import accepts, entity
from hdm_dicom.pacs.connection import Connection
from hdm_dicom.pacs.instance import StoredFile
from hdm_pipeline.contracts import SendAnswer
from hdm_pipeline.errors import ConfigError

PUSH_MODEL = "1.2.840.10008.1.20.1"
"""SOP class of storage commitment."""

_INSTANCE = "1.2.840.10008.1.20.1.1"
"""Its only instance."""

_REQUEST = 1
"""Action type of a request (PS3.4 J.3.2)."""

_LONGEST = 0xFFFF


@dataclass
class Commitment:
    """One request, and what is answered.

    Attributes:
        port: of this machine, on which the PACS reports; 0 if it does so over the association that asks.
        transaction: UID of the request, which only the PACS learns.
        kept: instances that the PACS says it keeps.
        failed: failure reason of the others, where it gives one.
        answered: set by the answer.
    """

    port: int = 0
    transaction: str = field(default_factory=lambda: str(generate_uid(prefix=None)))
    kept: set[str] = field(default_factory=set)
    failed: dict[str, int | None] = field(default_factory=dict)
    answered: threading.Event = field(default_factory=threading.Event)

    def report(self, event: Any) -> tuple[int, Dataset | None]:
        """Take an N-EVENT-REPORT; returns the status of our answer."""
        told = event.event_information
        if str(getattr(told, "TransactionUID", "")) != self.transaction:
            return 0x0112, None  # of another request, or of nobody's
        self.kept |= {str(item.ReferencedSOPInstanceUID) for item in getattr(told, "ReferencedSOPSequence", None) or ()}
        for item in getattr(told, "FailedSOPSequence", None) or ():
            self.failed[str(item.ReferencedSOPInstanceUID)] = getattr(item, "FailureReason", None)
        self.answered.set()
        return 0x0000, None

    @contextmanager
    def listening(self, connection: Connection, address: Address, where: str) -> Iterator[list[Any]]:
        """Listen on the port, if there is one; yields the handlers of the association that asks.

        Raises:
            ConfigError: the port is taken, or a listener with TLS has no certificate.
        """
        handlers: list[Any] = [(evt.EVT_N_EVENT_REPORT, self.report)]
        if not self.port:
            yield handlers
            return
        ours = entity(connection)
        ours.require_called_aet = True
        ours.require_calling_aet = [address.called]
        ours.maximum_associations = 4
        ours.add_supported_context(PUSH_MODEL, scu_role=True, scp_role=True)
        tls = connection.tls(where, server=True)
        try:
            server = ours.start_server(("", self.port), block=False, evt_handlers=handlers, ssl_context=tls)
        except OSError as error:
            raise ConfigError(
                f"port {self.port} cannot be listened on: {error.strerror}",
                where=f"{where}.port",
                remedy="give a free port, the one that the PACS has for us",
            ) from error
        try:
            yield handlers
        finally:
            if server is not None:
                server.shutdown()


def commit(
    made: Any, commitment: Commitment, files: Sequence[StoredFile], answers: Sequence[SendAnswer], timeout: float
) -> list[SendAnswer]:
    """Ask for the commitment of what was stored, and wait for it.

    Args:
        made: the association over which the files were sent.
        commitment: of the request; listening.
        files: that were sent.
        answers: to them.
        timeout: seconds to wait.

    Returns:
        The answers: what was stored is ``stored`` only if the PACS keeps it.
    """
    stored = [one for one, answer in zip(files, answers, strict=True) if answer.outcome == "stored"]
    if not stored or not made.is_established:
        return list(answers)
    failure = _ask(made, commitment, stored, timeout)

    def final(one: StoredFile, answer: SendAnswer) -> SendAnswer:
        if answer.outcome != "stored":
            return answer
        if failure is not None:
            return failure
        if one.instance in commitment.kept:
            return SendAnswer("stored", f"{answer.what}, committed")
        found = of_reason(commitment.failed.get(one.instance))
        return SendAnswer("refused", f"stored, but not committed: {found.what}", found.remedy)

    return [final(one, answer) for one, answer in zip(files, answers, strict=True)]


def _ask(made: Any, commitment: Commitment, stored: Sequence[StoredFile], timeout: float) -> SendAnswer | None:
    """Send the request and wait for the report; None if it came."""
    if not accepts(made, PUSH_MODEL):
        return SendAnswer(
            "refused",
            "stored, but the PACS offers no storage commitment",
            "leave out `commitment`, or switch it on there",
        )
    request = Dataset()
    request.TransactionUID = commitment.transaction
    request.ReferencedSOPSequence = []
    for one in stored:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = one.kind, one.instance
        request.ReferencedSOPSequence.append(item)
    status, _ = made.send_n_action(request, _REQUEST, PUSH_MODEL, _INSTANCE, msg_id=_LONGEST)
    code = getattr(status, "Status", None)
    if code != 0:
        told = "no answer" if code is None else f"status {code:04X}H"
        return SendAnswer("refused", f"stored, but the PACS takes no request for commitment ({told})")
    if not commitment.answered.wait(timeout):
        return SendAnswer(
            "refused",
            f"stored, but not committed within {timeout:g} seconds",
            "raise `timeout`; if the PACS reports over an association of its own, give `port` and enter it there",
        )
    return None
