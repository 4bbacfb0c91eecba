"""C-STORE: the files of a scene to a PACS over one association, as they are, and their commitment if it is asked for.

Import this module only when a connection is made: it loads pynetdicom.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pynetdicom import _config, build_context

from hdm_dicom.pacs.address import Address
from hdm_dicom.pacs.answers import of_status
from hdm_dicom.pacs.associations import accepts, association
from hdm_dicom.pacs.commitment import PUSH_MODEL, Commitment, commit
from hdm_dicom.pacs.connection import Connection
from hdm_dicom.pacs.instance import StoredFile
from hdm_pipeline.contracts import SendAnswer
from hdm_pipeline.errors import PeerError, PeerRefusedError

_config.STORE_SEND_CHUNKED_DATASET = True
"""Files are sent as they lie on the disk: not decoded, and not in memory as a whole."""

_ECHO = "1.2.840.10008.1.1"
"""SOP class of verification."""

_MOST_QUEUED = 32
"""Messages of 128 KiB at most that may wait for the network."""


def store(
    address: Address, connection: Connection, files: Sequence[Path], where: str, commitment: Commitment | None = None
) -> list[SendAnswer]:
    """Store files; one answer for each.

    Args:
        address: of the PACS.
        connection: its options.
        files: of one scene.
        where: the key of the options, for errors.
        commitment: how the PACS is to confirm that it keeps them; None not to ask.

    Raises:
        ConfigError: certificates or a library are missing.
        OSError: a file cannot be read.
    """
    stored = [StoredFile.of(path) for path in files]
    contexts = [build_context(kind, syntax) for kind, syntax in sorted({(one.kind, one.syntax) for one in stored})]
    contexts += [build_context(PUSH_MODEL)] if commitment else []
    # Every PACS takes an echo: one that does not take our classes then says so, instead of ending the association.
    contexts += [build_context(_ECHO)]
    try:
        with ExitStack() as stack:
            handlers = stack.enter_context(commitment.listening(connection, address, where)) if commitment else []
            made = stack.enter_context(association(address, connection, contexts, where, handlers=handlers))
            _pace(made)
            answers = [_store_one(made, one, number) for number, one in enumerate(stored, start=1)]
            return answers if commitment is None else commit(made, commitment, stored, answers, connection.timeout)
    except PeerRefusedError as error:
        return [SendAnswer("unavailable", error.what, error.remedy)] * len(files)
    except PeerError as error:
        return [SendAnswer("unavailable", error.what, error.remedy, again=True)] * len(files)


def _store_one(made: Any, one: StoredFile, number: int) -> SendAnswer:
    if not made.is_established:
        return of_status(None)
    if not _takes(made, one):
        what = f"the PACS takes no objects of class {one.kind}"
        if accepts(made, one.kind):
            what += f" in transfer syntax {one.syntax}"
        return SendAnswer("refused", what, "enter the class in the PACS' list of what it takes, or send by dicomweb://")
    status = made.send_c_store(one.path, msg_id=number)
    return of_status(getattr(status, "Status", None))


def _takes(made: Any, one: StoredFile) -> bool:
    return any(
        context.abstract_syntax == one.kind and one.syntax in context.transfer_syntax
        for context in made.accepted_contexts
    )


def _pace(made: Any) -> None:
    """Let a file be read no faster than it is sent: the library queues all of it otherwise."""
    send = made.dul.send_pdu

    def paced(primitive: Any) -> None:
        while made.dul.to_provider_queue.qsize() >= _MOST_QUEUED and made.dul.is_alive() and made.is_established:
            time.sleep(0.001)
        send(primitive)

    made.dul.send_pdu = paced
