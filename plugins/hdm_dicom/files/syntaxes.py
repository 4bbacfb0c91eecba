"""Transfer syntaxes that cannot be decoded here, named as far as they are known."""

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


_DECODED = frozenset(
    f"1.2.840.10008.1.2{rest}"
    for rest in (
        *("", ".1", ".1.99", ".2", ".5"),  # uncompressed, deflated, big endian; RLE
        *(f".4.{number}" for number in (50, 51, 57, 70, 80, 81, 90, 91, 201, 202, 203)),  # JPEG and what came of it
    )
)
"""What the decoders take that come with the package (docs/dicom.md)."""

_VIDEO = ("MPEG", "HEVC", "SMPTE")
_FRAMES = "export the frames as images, not as a video: at the device, or from the PACS"


def unknown_syntax(uid: str) -> tuple[str, str] | None:
    """What is wrong with a transfer syntax, and what to do; None if it can be decoded."""
    if uid in _DECODED:
        return None
    if UID(uid).name != uid and UID(uid).is_transfer_syntax:  # the standard has a name for it
        video = any(word in UID(uid).name for word in _VIDEO)
        return f"the transfer syntax {UID(uid).name} is not decoded", _FRAMES if video else _REMEDY
    named = uid if is_uid(uid) else "that is no UID"
    if uid in _PRIVATE:
        return f"the private transfer syntax {named} ({_PRIVATE[uid]})", _REMEDY
    kind = "private " if is_uid(uid) and UID(uid).is_private else ""
    return f"its {kind}transfer syntax {named} is not known", _REMEDY
