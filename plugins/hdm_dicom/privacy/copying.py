"""One de-identified file: a new header, and the pixel data of the old file streamed behind it, a piece at a time."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID

from hdm_dicom.files.attributes import numbers, text
from hdm_dicom.files.headers import read_with_pixels, transfer_syntax
from hdm_dicom.files.instances import PixelSpan
from hdm_dicom.files.overlays import overlays_in_pixels
from hdm_dicom.files.zipped import open_file, split_member
from hdm_dicom.privacy.deidentify import deidentify
from hdm_dicom.privacy.tally import Tally

_PIECE = 1 << 20
_ITEM, _END = (0xFFFE, 0xE000), (0xFFFE, 0xE0DD)
_UNDEFINED = 0xFFFFFFFF


class BrokenPixelsError(ValueError):
    """Pixel data end before they should, or hold what is no item."""


class HiddenOverlayError(ValueError):
    """An overlay lies in bits of compressed pixels, from which it cannot be removed."""


@dataclass
class Original:
    """A file that is about to be de-identified.

    Attributes:
        path: of the file.
        header: its data set without pixels; with them where the file is deflated.
        pixels: where its pixel data lie; None without any, and where the file is deflated.
        element: the head of the pixel data element in the new file.
        cleared: bits of each sample that hold overlays, to be cleared.
    """

    path: str
    header: FileDataset
    pixels: PixelSpan | None
    element: bytes
    cleared: int


def read_original(path: str) -> Original:
    """The header of a file, with what its meta header alone states put in its place.

    Raises:
        NotDicomError: see `hdm_dicom.files.headers`.
        OSError, ValueError: unreadable; other exceptions of pydicom's parser are passed on.
        HiddenOverlayError: see there.
    """
    header, span = read_with_pixels(path)
    syntax = UID(transfer_syntax(header))
    meta = getattr(header, "file_meta", None) or FileMetaDataset()
    for name, of_meta in (
        ("SOPClassUID", "MediaStorageSOPClassUID"),
        ("SOPInstanceUID", "MediaStorageSOPInstanceUID"),
    ):
        if not text(header, name) and text(meta, of_meta):
            setattr(header, name, text(meta, of_meta))
    if syntax.is_deflated:
        with open_file(path) as file:  # `read_with_pixels` has looked at its size
            return Original(path, pydicom.dcmread(file), None, b"", 0)
    bits = _overlay_bits(header)
    if bits and syntax.is_encapsulated:
        raise HiddenOverlayError("an overlay in compressed pixels")
    return Original(path, header, span, b"" if span is None else _element(header, span, syntax, path), bits)


def _element(header: FileDataset, span: PixelSpan, syntax: UID, path: str) -> bytes:
    """Tag, type and length, encoded as the transfer syntax says: the file itself may be encoded otherwise."""
    implicit, little = header.original_encoding
    if bool(little) != syntax.is_little_endian:
        raise ValueError("the byte order is not that of the transfer syntax")
    with open_file(path) as file:
        file.seek(span.offset - (8 if implicit else 12))
        head = file.read(8)
    kind = head[4:6]
    if implicit:
        wide = (numbers(header, "BitsAllocated", 1) or (8.0,))[0] > 8
        kind = b"OW" if wide and span.length is not None else b"OB"
    order = "<" if little else ">"
    length = _UNDEFINED if span.length is None else span.length
    if syntax.is_implicit_VR:
        return head[:4] + struct.pack(f"{order}I", length)
    return head[:4] + kind + b"\0\0" + struct.pack(f"{order}I", length)


def _overlay_bits(header: FileDataset) -> int:
    """Bits beyond the stored ones, where an overlay plane (retired) is kept in them."""
    if not overlays_in_pixels(header):
        return 0
    allocated, stored, high = (
        int((numbers(header, name, 1) or (0.0,))[0]) for name in ("BitsAllocated", "BitsStored", "HighBit")
    )
    if allocated not in (8, 16, 32):
        return 0
    kept = ((1 << stored) - 1) << max(high + 1 - stored, 0)
    return ((1 << allocated) - 1) & ~kept


def new_header(original: Original, key: bytes, tally: Tally) -> bytes:
    """The bytes of the de-identified file up to its pixel data; of the whole file where the original is deflated."""
    header = original.header
    syntax = transfer_syntax(header)
    deidentify(header, key, tally)
    # Only what the file is: other elements name the station that it came from.
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = UID(syntax)
    meta.MediaStorageSOPClassUID = UID(text(header, "SOPClassUID"))
    meta.MediaStorageSOPInstanceUID = UID(text(header, "SOPInstanceUID"))
    header.file_meta, header.preamble = meta, b"\0" * 128
    out = io.BytesIO()
    header.save_as(out, enforce_file_format=True)
    return out.getvalue()


def pixel_pieces(original: Original) -> Iterator[bytes]:
    """The pixel data element of the original, whatever its encoding; what stands behind it is left out.

    Raises:
        BrokenPixelsError: see there; or the file cannot be read any more.
    """
    span = original.pixels
    if span is None:
        return
    try:
        with open_file(original.path) as file:
            file.seek(span.offset)
            yield original.element
            yield from _items(file) if span.length is None else _cleared(_run(file, span.length), original)
    except OSError:
        raise BrokenPixelsError("the file cannot be read") from None


def _items(file: BinaryIO) -> Iterator[bytes]:
    """Items of encapsulated pixel data and their end (PS3.5 A.4); always little endian."""
    while True:
        head = _exactly(file, 8)
        tag = (int.from_bytes(head[:2], "little"), int.from_bytes(head[2:4], "little"))
        length = int.from_bytes(head[4:8], "little")
        if tag not in (_ITEM, _END) or (tag == _ITEM and length == _UNDEFINED):
            raise BrokenPixelsError("no item of pixel data")
        yield head
        if tag == _END:
            return
        yield from _run(file, length)


def _run(file: BinaryIO, length: int) -> Iterator[bytes]:
    while length:
        piece = _exactly(file, min(length, _PIECE))
        length -= len(piece)
        yield piece


def _exactly(file: BinaryIO, length: int) -> bytes:
    found = file.read(length)
    if len(found) != length:
        raise BrokenPixelsError("pixel data end too early")
    return found


def _cleared(pieces: Iterator[bytes], original: Original) -> Iterator[bytes]:
    if not original.cleared:
        yield from pieces
        return
    size = int((numbers(original.header, "BitsAllocated", 1) or (8.0,))[0]) // 8
    kind = np.dtype(f"{'<' if UID(transfer_syntax(original.header)).is_little_endian else '>'}u{size}")
    keep = np.array(~original.cleared & ((1 << 8 * size) - 1), dtype=kind)
    for piece in pieces:  # a piece is a whole number of samples, but for a byte of padding
        whole = len(piece) - len(piece) % size
        yield (np.frombuffer(piece[:whole], dtype=kind) & keep).astype(kind).tobytes() + piece[whole:]


def same_file(path: str, original: Original, header: bytes) -> bool:
    """Whether `path` is the de-identified file already, and not older than its original. It is whole if it is there."""
    try:
        there, source = os.stat(path), os.stat((split_member(original.path) or [original.path])[0])
        with open(path, "rb") as file:
            return file.read(len(header)) == header and there.st_mtime_ns >= source.st_mtime_ns
    except OSError:
        return False
