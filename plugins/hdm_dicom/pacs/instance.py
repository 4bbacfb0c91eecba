"""A file of DICOM as what sends it must know it: by its meta header alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydicom.filereader import read_file_meta_info

_PREAMBLE = 128
_MAGIC = b"DICM"


@dataclass(frozen=True)
class StoredFile:
    """One file.

    Attributes:
        path: where it lies.
        size: in bytes.
        kind: SOP class UID.
        instance: SOP instance UID.
        syntax: transfer syntax UID.
    """

    path: Path
    size: int
    kind: str
    instance: str
    syntax: str

    @classmethod
    def of(cls, path: Path) -> StoredFile:
        """Read the meta header.

        Raises:
            OSError: the file cannot be read.
        """
        meta = read_file_meta_info(path)
        return cls(
            path,
            path.stat().st_size,
            str(meta.MediaStorageSOPClassUID),
            str(meta.MediaStorageSOPInstanceUID),
            str(meta.TransferSyntaxUID),
        )


def is_dicom(path: Path) -> bool:
    """Whether a file begins as files of DICOM do (PS3.10); raises OSError where it cannot be read."""
    with path.open("rb") as file:
        return file.read(_PREAMBLE + len(_MAGIC))[_PREAMBLE:] == _MAGIC
