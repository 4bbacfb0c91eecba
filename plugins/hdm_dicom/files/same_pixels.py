"""Whether two files hold the same pixels: by what is stored, and where that differs, by what it decodes to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import pydicom
from pydicom.encaps import generate_frames
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import UID, RLELossless

from hdm_dicom.files.attributes import READ_ERRORS
from hdm_dicom.files.codestreams import codestream_size
from hdm_dicom.files.instances import Instance
from hdm_dicom.files.zipped import open_file

_ALIKE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")
"""Transfer syntaxes that store pixels alike: implicit and explicit little endian."""

_PIECE = 1 << 20
_FEW = 8 << 20
"""Bytes up to which pixels are compared as they are."""

_MOST_PIXELS = 1 << 26
"""Largest image that is decoded to compare it."""


def stored_pixels(instance: Instance) -> bytes:
    """What stands for the pixels as they are stored, frame by frame where compressed; empty if they cannot be read.

    The pixels themselves where they are few, which is cheaper to compare than a hash, else their SHA-256. In front, the
    transfer syntax, where it matters.
    """
    syntax = b"" if instance.syntax in _ALIKE else instance.syntax.encode()
    digest, kept, size = hashlib.sha256(), [syntax], 0
    try:
        for piece in _stored(instance):
            size += len(piece)
            if size <= _FEW:
                kept.append(piece)
                continue
            for waiting in kept:
                digest.update(waiting)
            kept.clear()
            digest.update(piece)
    except READ_ERRORS:
        return b""
    return b"".join(kept) if kept else digest.digest()


def _stored(instance: Instance) -> Iterator[bytes]:
    if instance.span is None:
        raise ValueError("no pixel data, or deflated")
    with open_file(instance.path) as file:
        file.seek(instance.span.offset)
        if instance.span.length is None:
            yield from generate_frames(file, number_of_frames=instance.frames)
            return
        needed = instance.frames * instance.rows * instance.columns * instance.samples * instance.bits_allocated // 8
        left = min(instance.span.length, instance.span.available, needed)  # some files are padded
        while left > 0 and (piece := file.read(min(left, _PIECE))):
            left -= len(piece)
            yield piece


def decoded_digest(instance: Instance) -> str:
    """SHA-256 of the decoded pixels, whatever the transfer syntax; empty if they cannot be decoded within bounds."""
    if instance.rows * instance.columns > _MOST_PIXELS or instance.fault:
        return ""
    digest = hashlib.sha256()
    try:
        if UID(instance.syntax).is_encapsulated and not instance.deflated:
            for stored in _stored(instance):
                rows, columns = codestream_size(stored) or (1, 1)
                if rows * columns > _MOST_PIXELS:
                    return ""
        with open_file(instance.path) as file:
            source: Any = pydicom.dcmread(file, force=True) if instance.deflated else file
            # pylibjpeg-rle, where installed, ends the process on a damaged frame (a panic is no Exception).
            plugin = "pydicom" if instance.syntax == RLELossless else ""
            # Of a file, one frame after the other is read; it may be larger than memory.
            given: dict[str, Any] = {} if instance.deflated else {"transfer_syntax_uid": instance.syntax}
            for frame in iter_pixels(source, raw=True, decoding_plugin=plugin, **given):
                digest.update(frame.tobytes())
    except READ_ERRORS:
        return ""
    return digest.hexdigest()
