"""One instance as it comes in: straight to the inbox, within its bounds, looked at before it is acknowledged.

Import this module only when listening: it loads pydicom.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable
from typing import Any

from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID

from hdm_dicom.files.attributes import PARSE_ERRORS, text
from hdm_dicom.files.headers import read_to_pixels
from hdm_dicom.files.uids import derived_uid
from hdm_pipeline.contracts import Arrival, Inbox
from hdm_pipeline.errors import HdmError, InboxFullError

SUCCESS = 0x0000
PROCESSING_FAILURE = 0x0110
OUT_OF_RESOURCES = 0xA700
DOES_NOT_MATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000

_IDENTIFIERS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_UID = re.compile(r"[0-9][0-9.]{0,63}")
"""Stricter than that would refuse images of real machines (leading zeros)."""

_PREFIX = bytes(128) + b"DICM"
_OURS = UID(derived_uid("hdm_dicom.pacs.incoming"))
"""Who wrote the file. Of no library's version: an image sent again after an update is still the same file."""


class Incoming(io.BytesIO):
    """The data set of a message, where pynetdicom writes to while it arrives; what comes goes to the inbox.

    An instance that is refused is read to its end all the same: its sender then gets a status instead of a broken
    connection, and goes on with the next one.

    Args:
        inbox: where it is filed.
        source: the association.
        max_bytes: most bytes of a data set.
        announced: gives SOP class, SOP instance and transfer syntax, as soon as the data set begins.
    """

    def __init__(
        self, inbox: Inbox, source: object, max_bytes: int, announced: Callable[[], tuple[str, str, str]]
    ) -> None:
        super().__init__()
        self._inbox, self._source, self._max_bytes, self._announced = inbox, source, max_bytes, announced
        self._about = ("", "")
        self._arrival: Arrival | None = None
        self._size = 0
        self._status = SUCCESS

    def write(self, data: Any) -> int:
        """Take a fragment in."""
        piece = bytes(data)
        self._size += len(piece)
        if self._status != SUCCESS:
            return len(piece)
        if self._size > self._max_bytes:
            self._refuse(OUT_OF_RESOURCES, "larger than max_bytes")
            return len(piece)
        try:
            if self._arrival is None:
                sop_class, instance, syntax = self._announced()
                self._about = (sop_class, instance)
                head = _head(sop_class, instance, syntax)
                self._arrival = self._inbox.arrival(self._source)
                self._arrival.write(head)
            self._arrival.write(piece)
        except InboxFullError:
            self._refuse(OUT_OF_RESOURCES, "inbox full")
        except HdmError:
            self._refuse(OUT_OF_RESOURCES, "disk error")
        except PARSE_ERRORS:
            self._refuse(CANNOT_UNDERSTAND, "malformed")
        return len(piece)

    def finish(self) -> int:
        """File the instance; the status that answers it. Only after `SUCCESS` is it on the disk."""
        try:
            return self._finish()
        except InboxFullError:
            return self._refuse(OUT_OF_RESOURCES, "inbox full")
        except HdmError:
            return self._refuse(OUT_OF_RESOURCES, "disk error")
        except Exception:  # noqa: BLE001  # whatever it is, it is no reason to acknowledge
            return self._refuse(PROCESSING_FAILURE, "internal error")

    def discard(self) -> None:
        """Drop what has come so far."""
        if self._arrival is not None:
            self._arrival.discard()

    def _finish(self) -> int:
        if self._status != SUCCESS:
            return self._status
        if self._arrival is None:
            return self._refuse(CANNOT_UNDERSTAND, "malformed")
        path = self._arrival.close()
        try:
            with path.open("rb") as file:
                header = read_to_pixels(file, _IDENTIFIERS)
                sop_class, instance, study, series = (text(header, name) for name in _IDENTIFIERS)
                pixels = hashlib.file_digest(file, "sha256").hexdigest()
        except PARSE_ERRORS:
            return self._refuse(CANNOT_UNDERSTAND, "malformed")
        if not all(_UID.fullmatch(uid) for uid in (sop_class, instance, study, series)):
            return self._refuse(CANNOT_UNDERSTAND, "malformed")
        if self._about != (sop_class, instance):
            return self._refuse(DOES_NOT_MATCH, "not what was announced")
        # A corrected header replaces the earlier one. Machines that give one UID to several images lose none of them.
        self._arrival.file(study, series, f"{instance} {pixels}")
        return SUCCESS

    def _refuse(self, status: int, reason: str) -> int:
        self._status = status
        self._inbox.refused(reason)
        self.discard()
        return status


def _head(sop_class: str, instance: str, syntax: str) -> bytes:
    """What a file begins with before its data set (PS3.10). It depends on the instance alone, not on who sent it."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(_checked(sop_class))
    meta.MediaStorageSOPInstanceUID = UID(_checked(instance))
    meta.TransferSyntaxUID = UID(syntax)
    meta.ImplementationClassUID, meta.ImplementationVersionName = _OURS, "HDM"
    head = DicomBytesIO()
    head.write(_PREFIX)
    write_file_meta_info(head, meta)
    return head.getvalue()


def _checked(uid: str) -> str:
    if not _UID.fullmatch(uid):
        raise ValueError("no UID")
    return uid
