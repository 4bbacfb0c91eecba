"""Names by which a finding is followed through segmentations, reports and tables of one series."""

from __future__ import annotations

from dataclasses import dataclass

from hdm_dicom.derived.texts import LONG_STRING, class_name
from hdm_dicom.files.uids import derived_uid, digest, keyed_uid

_HASH = 16
_MARGIN = 8
"""Characters that are left for the number of a lesion."""


@dataclass(frozen=True)
class Tracking:
    """Tracking identifier and tracking UID (PS3.16 TID 1501).

    Attributes:
        identifier: for people: the class, the number of the lesion, and a hash.
        uid: the same for the same place in the same series.
    """

    identifier: str
    uid: str

    def keyed(self, key: bytes | None) -> Tracking:
        """The same in de-identified products; itself without a key."""
        if key is None:
            return self
        uid = keyed_uid(key, self.uid)
        return Tracking(keyed_identifier(uid), uid)


def keyed_identifier(uid: str) -> str:
    """The tracking identifier that stands beside a replaced tracking UID: the old one was made of the series' name."""
    return digest(uid)[:_HASH]


def of_class(series: str, name: str) -> Tracking:
    """That of a class in a series, by the UID of the series."""
    identifier = f"{class_name(name, LONG_STRING - _HASH - 4)} {digest(series, name)[:_HASH]}"
    return Tracking(identifier, derived_uid("tracking", series, name))


def of_lesion(series: str, name: str, number: int, first: tuple[int, int, int]) -> Tracking:
    """That of a connected region.

    Args:
        series: UID of the series.
        name: of the class.
        number: of the lesion, 1 for the largest; only for people.
        first: (z, y, x) of its first voxel.
    """
    short = class_name(name, LONG_STRING - _HASH - 4 - _MARGIN)
    hashed = digest(series, name, *first)[:_HASH]
    return Tracking(f"{short} {number} {hashed}", derived_uid("lesion", series, name, *first))
