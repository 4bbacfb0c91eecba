"""Deflated data sets (PS3.5 A.5): pydicom inflates them whole, so how much that would be is found out first."""

from __future__ import annotations

import zlib
from typing import BinaryIO

from pydicom.filereader import read_dataset, read_preamble
from pydicom.tag import BaseTag
from pydicom.uid import DeflatedExplicitVRLittleEndian

MAX_INFLATED = 512 << 20
"""Largest inflated data set, in bytes."""

_HEAD = 4096
_PIECE = 1 << 20


def check_inflated(file: BinaryIO) -> None:
    """Refuse a file that inflates to more than `MAX_INFLATED`; in bounded memory. The file's position is kept.

    Raises:
        ValueError: it does.
    """
    start = file.tell()
    if DeflatedExplicitVRLittleEndian.encode() in file.read(_HEAD):
        file.seek(start)
        _inflate(file)
    file.seek(start)


def _inflate(file: BinaryIO) -> None:
    read_preamble(file, force=True)
    read_dataset(file, is_implicit_VR=False, is_little_endian=True, stop_when=_after_meta)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    total = 0
    try:
        while piece := inflater.unconsumed_tail or file.read(_PIECE):
            total += len(inflater.decompress(piece, _PIECE))
            if total > MAX_INFLATED:
                raise ValueError(f"a deflated data set of more than {MAX_INFLATED >> 20} MiB")
    except zlib.error:
        return  # the parser will say so


def _after_meta(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return tag.group != 2
