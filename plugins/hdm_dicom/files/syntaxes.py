"""Transfer syntaxes that no standard decoder knows, named as far as they are known."""

from __future__ import annotations

from pydicom.uid import UID, ImplicitVRLittleEndian

from hdm_dicom.files.uids import is_uid

DECODED_AS = str(ImplicitVRLittleEndian)
"""Stands for a syntax that cannot be decoded, so that the rest of the header can be judged."""

_PRIVATE = {
    "1.2.840.113619.5.2": "GE, implicit big endian",
    "1.3.46.670589.33.1.4.1": "Philips, compressed CT",
}

_REMEDY = (
    "export the series with a standard transfer syntax: at the device, or from the PACS (explicit little endian is "
    "read by everything)"
)


def unknown_syntax(uid: str) -> tuple[str, str] | None:
    """What is wrong with a transfer syntax, and what to do; None if it is one of the standard's."""
    if UID(uid).is_transfer_syntax:
        return None
    named = uid if is_uid(uid) else "that is no UID"
    if uid in _PRIVATE:
        return f"the private transfer syntax {named} ({_PRIVATE[uid]})", _REMEDY
    kind = "private " if is_uid(uid) and UID(uid).is_private else ""
    return f"its {kind}transfer syntax {named} is not known", _REMEDY
