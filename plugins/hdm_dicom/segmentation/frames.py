"""The pixel data of a segmentation, streamed: slices go to an unnamed file once, frames are cut from it in order.

BINARY packs eight pixels a byte, the first in the lowest bit, across the borders of frames (PS3.5 section 8.1.1).
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Literal

import numpy as np
import numpy.typing as npt

Kind = Literal["BINARY", "FRACTIONAL", "LABELMAP"]
Bytes = npt.NDArray[np.uint8]

_FEW = 16
"""Segments up to this many are looked for one by one, which is faster than counting all."""


class SliceSpool:
    """Slices of a mask, or of scores, on disk, and which class is present in which slice. Empty slices take no room.

    Args:
        slices: each stored slice [bands, rows, columns]: for a mask one band of class values, else a band a class.
        values: mask values of the classes, in order of their segment numbers.
        kind: how the slices are read: FRACTIONAL takes scores, the others a mask.
        file: where they are kept; empty, and owned by the caller.
        layered: slices of BINARY have a band a class, too, of 0 and 1.

    Attributes:
        present: [slices, classes] whether the class has a pixel in the slice.
        overlap: a pixel has several classes; never of a mask.
    """

    def __init__(
        self, slices: Iterable[Bytes], values: tuple[int, ...], kind: Kind, file: IO[bytes], *, layered: bool = False
    ) -> None:
        self._file, self._kind = file, kind
        self._layered = layered or kind == "FRACTIONAL"
        self.overlap = False
        self._offsets: list[int | None] = []
        self._shape: tuple[int, ...] = ()
        consecutive = values == tuple(range(1, len(values) + 1))
        # Mask values become segment numbers; background and nodata become 0.
        table = np.zeros(256, dtype=np.uint8)
        table[list(values)] = np.arange(1, len(values) + 1)
        present = []
        end = 0
        for image in slices:
            self._shape = image.shape
            if self._layered:
                found = image.reshape(image.shape[0], -1).any(axis=1)
                self.overlap = self.overlap or (found.sum() > 1 and bool((np.count_nonzero(image, axis=0) > 1).any()))
            else:
                # The table costs ten times a comparison and a product, and is seldom needed.
                image = image * (image <= len(values)) if consecutive else table[image]
                found = _segments_in(image, len(values))
            present.append(found)
            self._offsets.append(end if found.any() else None)
            if found.any():
                end += file.write(np.ascontiguousarray(image).data)
        file.flush()
        self.present = np.array(present, dtype=bool).reshape(-1, len(values))

    def frame(self, index: int, segment: int) -> Bytes:
        """[rows, columns] of a slice as its frame holds it: 0 or 1, scores, or segment numbers (LABELMAP)."""
        _, rows, columns = self._shape
        offset = self._offsets[index]
        if offset is None:
            return np.zeros((rows, columns), dtype=np.uint8)
        band = segment - 1 if self._layered else 0
        self._file.seek(offset + band * rows * columns)
        image = np.frombuffer(self._file.read(rows * columns), dtype=np.uint8).reshape(rows, columns)
        return (image == segment).view(np.uint8) if self._kind == "BINARY" and not self._layered else image


def _segments_in(image: Bytes, count: int) -> npt.NDArray[np.bool_]:
    """Which of the segment numbers 1 to `count` an image holds."""
    if not image.any():
        return np.zeros(count, dtype=bool)
    if count <= _FEW:
        return np.array([(image == number).any() for number in range(1, count + 1)])
    return np.bincount(image.ravel(), minlength=count + 1)[1 : count + 1] > 0


@contextmanager
def spooled(
    slices: Iterable[Bytes], values: tuple[int, ...], kind: Kind, folder: str, *, layered: bool = False
) -> Iterator[SliceSpool]:
    """A `SliceSpool` in a file without a name, which vanishes with the context."""
    with tempfile.TemporaryFile(dir=folder, prefix=".hdm-dicom-") as file:
        yield SliceSpool(slices, values, kind, file, layered=layered)


def stream(spool: SliceSpool, frames: Iterable[tuple[int, int]], kind: Kind, out: IO[bytes]) -> tuple[int, str]:
    """Write frames as pixel data, padded to an even length.

    Args:
        spool: where the slices are.
        frames: (stored slice, segment number) in the order of the frames.
        kind: BINARY packs bits.
        out: file to append to.

    Returns:
        Bytes written, and their SHA-256 (hex).
    """
    digest = hashlib.sha256()
    written = 0
    rest = np.empty(0, dtype=np.uint8)

    def put(data: bytes) -> None:
        nonlocal written
        out.write(data)
        digest.update(data)
        written += len(data)

    for index, segment in frames:
        pixels = spool.frame(index, segment).ravel()
        if kind != "BINARY":
            put(pixels.tobytes())
            continue
        if rest.size:
            pixels = np.concatenate([rest, pixels])
        whole = pixels.size - pixels.size % 8
        put(np.packbits(pixels[:whole], bitorder="little").tobytes())
        rest = pixels[whole:].copy()
    if rest.size:
        put(np.packbits(rest, bitorder="little").tobytes())
    if written % 2:
        put(b"\0")
    out.flush()
    return written, digest.hexdigest()
