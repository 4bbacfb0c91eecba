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


PLAIN_SYNTAXES = tuple(f"1.2.840.10008.1.2{rest}" for rest in (".1", "", ".2", ".1.99"))
"""Pixels as they are: explicit and implicit little endian, big endian, deflated."""

PACKED_SYNTAXES = tuple(
    f"1.2.840.10008.1.2{rest}"
    for rest in (".5", *(f".4.{number}" for number in (90, 91, 80, 81, 70, 57, 50, 51, 201, 202, 203)))
)
"""Compressed pixels, by what decoders the package comes with (docs/dicom.md): RLE, JPEG and what came of it."""

_DECODED = frozenset((*PLAIN_SYNTAXES, *PACKED_SYNTAXES))

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
